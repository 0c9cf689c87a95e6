//! Deleting what no name leads to: content of removed images, and what killed writers left.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::Store;
use super::durable::sync_directory;
use super::error::StoreError;
use super::index::Index;
use super::lock::{Lock, Mode};
use super::workspace::{TEMPORARY, new_directory};
use crate::digest::Digest;
use crate::manifest::digest_of;

/// What the index leads to.
#[derive(Debug, Default)]
struct Used {
    blobs: BTreeSet<Digest>,
    layers: BTreeSet<Digest>,
}

impl Store {
    /// Deletes garbage if nobody is writing; otherwise it stays for the next writer. So it does while an image of
    /// the index is damaged, because what that one needs cannot be known.
    pub(crate) fn collect_garbage(&self) -> Result<(), StoreError> {
        let Some(alone) = self.write_alone()? else { return Ok(()) };
        match self.used() {
            Ok(used) => self.sweep(&used, &alone),
            Err(_) => Ok(()),
        }
    }

    /// Keeps everything from being deleted for as long as the lock lives.
    pub(crate) fn hold(&self) -> Result<Lock, StoreError> {
        Lock::wait(&self.writers_lock(), Mode::Shared)
    }

    /// Keeps everybody else from writing; `None` while somebody does.
    pub(crate) fn write_alone(&self) -> Result<Option<Lock>, StoreError> {
        Lock::attempt(&self.writers_lock())
    }

    pub(super) fn writers_lock(&self) -> PathBuf {
        self.root.join("writers.lock")
    }

    /// Deletes what is not used. With the writers' lock held exclusively there is no writer whose unfinished work
    /// this could be.
    ///
    /// Garbage is first renamed away, and the renames are written to disk: a layer that is half deleted must not be
    /// found under its name by anybody, not even after a power cut.
    fn sweep(&self, used: &Used, _alone: &Lock) -> Result<(), StoreError> {
        self.sweep_partials(false)?;
        let leftovers = self.leftovers()?;
        let mut garbage = self.unused(&self.root.join("blobs/sha256"), &used.blobs)?;
        garbage.extend(self.unused(&self.layers(), &used.layers)?);
        if !garbage.is_empty() {
            let bin = new_directory(&self.layers())?;
            for (number, path) in garbage.iter().enumerate() {
                let target = bin.join(number.to_string());
                fs::rename(path, &target).map_err(StoreError::access("delete", path))?;
            }
            for directory in [self.root.join("blobs/sha256"), self.layers()] {
                sync_directory(&directory).map_err(StoreError::access("write", &directory))?;
            }
            remove(&bin)?;
        }
        leftovers.iter().try_for_each(|path| remove(path))
    }

    fn used(&self) -> Result<Used, StoreError> {
        let _lock = self.lock_index(Mode::Shared)?;
        let mut used = Used::default();
        for layer in self.cached_layers()? {
            used.layers.insert(layer.diff_id);
            used.blobs.insert(layer.blob);
        }
        for entry in Index::read(&self.index())?.entries {
            let manifest = self.manifest(&entry)?;
            let id = digest_of(manifest.config()).map_err(self.invalid(entry.manifest))?;
            used.blobs.extend([entry.manifest, id]);
            for layer in manifest.layers() {
                used.blobs.insert(digest_of(layer).map_err(self.invalid(entry.manifest))?);
            }
            used.layers.extend(self.configuration(id)?.diff_ids);
        }
        Ok(used)
    }

    /// Temporary directories.
    fn leftovers(&self) -> Result<Vec<PathBuf>, StoreError> {
        let names = names(&self.layers())?.into_iter();
        Ok(names.filter(|(name, _)| name.starts_with(TEMPORARY)).map(|(_, path)| path).collect())
    }

    /// Everything in `directory` that is named by a digest which is not used.
    fn unused(
        &self,
        directory: &Path,
        used: &BTreeSet<Digest>,
    ) -> Result<Vec<PathBuf>, StoreError> {
        let names = names(directory)?.into_iter();
        let is_unused = |name: &str| {
            Digest::from_hex(name.strip_suffix(".json").unwrap_or(name))
                .is_some_and(|digest| !used.contains(&digest))
        };
        Ok(names.filter(|(name, _)| is_unused(name)).map(|(_, path)| path).collect())
    }
}

/// The names in a directory, with their paths. Names that are not text are not ours.
fn names(directory: &Path) -> Result<Vec<(String, PathBuf)>, StoreError> {
    let read = || -> io::Result<Vec<(String, PathBuf)>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            if let Ok(name) = entry.file_name().into_string() {
                names.push((name, entry.path()));
            }
        }
        Ok(names)
    };
    read().map_err(StoreError::access("read", directory))
}

fn remove(path: &Path) -> Result<(), StoreError> {
    // A layer may be deeper than this process may have files open.
    sys::remove::remove_tree(path).map_err(StoreError::access("delete", path))
}
