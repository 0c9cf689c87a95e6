//! The unfinished work of one writer, and how it becomes part of the store.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::Store;
use super::durable::sync_directory;
use super::error::StoreError;
use super::index::{Entry, Index};
use super::lock::{Lock, Mode};
use super::record::LayerRecord;
use crate::digest::Digest;
use crate::image::Image;

/// How the names of temporary directories begin.
pub(super) const TEMPORARY: &str = ".tmp-";

/// A writer's directory below `layers/`. Dropping it deletes what has not been committed.
///
/// While it lives it holds the writers' lock, so that nothing is deleted that it has found in the store.
#[derive(Debug)]
pub(crate) struct Workspace<'a> {
    store: &'a Store,
    path: PathBuf,
    _writing: Lock,
}

/// A layer that is unpacked and verified.
#[derive(Debug, Clone)]
pub(crate) struct StagedLayer {
    /// The digest of its uncompressed archive.
    pub(crate) diff_id: Digest,
    /// Where it is unpacked.
    pub(crate) path: PathBuf,
    /// Bytes of all files in it.
    pub(crate) size: u64,
}

/// A blob whose digest is known.
#[derive(Debug, Clone)]
pub(crate) struct StagedBlob {
    pub(crate) digest: Digest,
    pub(crate) path: PathBuf,
    pub(crate) size: u64,
}

impl<'a> Workspace<'a> {
    /// Starts writing. What dead writers left is deleted first.
    pub(crate) fn begin(store: &'a Store) -> Result<Self, StoreError> {
        store.collect_garbage()?;
        let writing = Lock::wait(&store.writers_lock(), Mode::Shared)?;
        let path = new_directory(&store.layers())?;
        Ok(Self { store, path, _writing: writing })
    }

    /// Starts writing without deleting anything: for one that mostly finds what it needs.
    pub(crate) fn beside(store: &'a Store) -> Result<Self, StoreError> {
        let writing = Lock::wait(&store.writers_lock(), Mode::Shared)?;
        let path = new_directory(&store.layers())?;
        Ok(Self { store, path, _writing: writing })
    }

    /// Its directory.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn store(&self) -> &'a Store {
        self.store
    }

    /// A directory for a layer.
    pub(crate) fn new_layer(&self, name: &str) -> Result<PathBuf, StoreError> {
        let path = self.path.join(name);
        // The mode of the root of a layer that has no entry for it. Source: moby `pkg/archive`.
        DirBuilder::new().mode(0o755).create(&path).map_err(StoreError::access("create", &path))?;
        Ok(path)
    }

    /// As [`Self::new_layer`]; what an earlier attempt left under the name is removed.
    pub(crate) fn fresh_layer(&self, name: &str) -> Result<PathBuf, StoreError> {
        let path = self.path.join(name);
        sys::remove::remove_tree(&path).map_err(StoreError::access("delete", &path))?;
        self.new_layer(name)
    }

    /// A file for a blob.
    pub(crate) fn new_blob(&self, name: &str) -> Result<(PathBuf, File), StoreError> {
        let path = self.path.join(name);
        let file = File::create_new(&path).map_err(StoreError::access("create", &path))?;
        Ok((path, file))
    }

    /// Stages a document that is made here.
    pub(crate) fn stage_document(&self, document: &[u8]) -> Result<StagedBlob, StoreError> {
        let digest = Digest::of(document);
        let path = self.path.join(digest.hex());
        fs::write(&path, document).map_err(StoreError::access("write", &path))?;
        Ok(StagedBlob { digest, path, size: document.len() as u64 })
    }

    /// Makes everything part of the store: content to disk, then its names, then the index.
    pub(crate) fn commit(
        self,
        layers: &[StagedLayer],
        blobs: &[StagedBlob],
        entries: Vec<Entry>,
    ) -> Result<Vec<Image>, StoreError> {
        let store = self.store;
        let _lock = self.place_all(layers, blobs)?;
        let mut index = Index::read(&store.index())?;
        for entry in &entries {
            index.insert(entry.clone());
        }
        index.write(&store.index())?;
        entries.iter().map(|entry| store.image(entry)).collect()
    }

    /// Makes layers part of the store that no image needs yet. They are garbage as soon as nobody writes, unless the
    /// cache names them.
    pub(crate) fn keep(
        &self,
        layers: &[StagedLayer],
        blobs: &[StagedBlob],
    ) -> Result<(), StoreError> {
        self.place_all(layers, blobs).map(drop)
    }

    /// Gives content its names, after it is on disk.
    fn place_all(&self, layers: &[StagedLayer], blobs: &[StagedBlob]) -> Result<Lock, StoreError> {
        let store = self.store;
        for layer in layers {
            self.write_record(layer)?;
        }
        self.sync()?;
        let lock = store.lock_index(Mode::Exclusive)?;
        for layer in layers {
            place(&layer.path, &store.layer(layer.diff_id))?;
        }
        for blob in blobs {
            place(&blob.path, &store.blob(blob.digest))?;
        }
        for directory in [store.layers(), store.root.join("blobs/sha256")] {
            sync_directory(&directory).map_err(StoreError::access("write", &directory))?;
        }
        Ok(lock)
    }

    fn write_record(&self, layer: &StagedLayer) -> Result<(), StoreError> {
        let path = self.store.layer_record(layer.diff_id);
        let temporary = self.path.join(format!("{}.json", layer.diff_id.hex()));
        let record = LayerRecord { version: LayerRecord::VERSION, size: layer.size };
        let json = serde_json::to_vec(&record)
            .map_err(|source| StoreError::Damaged { path: path.clone(), source })?;
        fs::write(&temporary, json).map_err(StoreError::access("write", &temporary))?;
        fs::rename(&temporary, &path).map_err(StoreError::access("create", &path))
    }

    /// Writes all files to disk. One call for the file system is much faster than one for each file.
    fn sync(&self) -> Result<(), StoreError> {
        let sync = || -> io::Result<()> { Ok(rustix::fs::syncfs(File::open(&self.path)?)?) };
        sync().map_err(StoreError::access("write", &self.path))
    }
}

impl Drop for Workspace<'_> {
    fn drop(&mut self) {
        // What resists is deleted by the next writer.
        let _ = sys::remove::remove_tree(&self.path);
    }
}

/// Gives content its name. What is there under this digest is the same content, and stays: it may be in use.
fn place(from: &Path, to: &Path) -> Result<(), StoreError> {
    if to.symlink_metadata().is_ok() {
        return Ok(());
    }
    fs::rename(from, to).map_err(StoreError::access("create", to))
}

/// A new temporary directory in `parent`.
pub(super) fn new_directory(parent: &Path) -> Result<PathBuf, StoreError> {
    let mut random = [0; 8];
    let path = loop {
        let filled = rustix::io::retry_on_intr(|| {
            rustix::rand::getrandom(&mut random[..], rustix::rand::GetRandomFlags::empty())
        });
        match filled {
            Ok(8) => break parent.join(format!("{TEMPORARY}{:016x}", u64::from_ne_bytes(random))),
            Ok(_) => {}
            Err(errno) => {
                return Err(StoreError::access("create a directory in", parent)(errno.into()));
            }
        }
    };
    DirBuilder::new().mode(0o700).create(&path).map_err(StoreError::access("create", &path))?;
    Ok(path)
}
