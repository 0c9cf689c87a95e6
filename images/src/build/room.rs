//! What the cache of builds takes, and taking it away.

use std::collections::BTreeSet;
use std::fs::{self, Metadata};
use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::cache::StepRecord;
use crate::digest::Digest;
use crate::store::usage::{Part, Usage};
use crate::store::{Store, StoreError};

/// What a record of the cache is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheKind {
    /// A step with the layer that it made.
    Step,
    /// The directory of a `RUN --mount=type=cache`.
    Mount,
    /// The digests of the files of a context.
    Digests,
}

/// A record of the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheRecord {
    /// Its key.
    pub id: Digest,
    /// What it is for.
    pub kind: CacheKind,
    /// Bytes that go with it: what an image or another record has as well counts for that one.
    pub size: u64,
    /// When it was made.
    pub created: Option<Timestamp>,
    /// When a build last used it, to a day.
    pub used: Option<Timestamp>,
    /// Whether an image has its layer.
    pub shared: bool,
    path: PathBuf,
}

/// What [`Store::prune_cache`] has removed.
#[derive(Debug, Default)]
pub struct PrunedCache {
    /// The records.
    pub gone: Vec<CacheRecord>,
    /// Somebody is building, fetching or loading: nothing was removed.
    pub busy: bool,
}

impl Store {
    /// What builds remember, beside the images of `usage`.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the cache cannot be read.
    pub fn cache_usage(&self, usage: &Usage) -> Result<Vec<CacheRecord>, StoreError> {
        let mut records = Vec::new();
        let mut counted = BTreeSet::new();
        for (id, path, found) in self.cache_files("steps")? {
            let bytes = fs::read(&path).unwrap_or_default();
            let Ok(step) = serde_json::from_slice::<StepRecord>(&bytes) else { continue };
            let parts = step.layer.map(|one| [Part::Blob(one.blob), Part::Layer(one.diff_id)]);
            let mut size = found.len();
            let mut shared = false;
            for part in parts.into_iter().flatten() {
                if usage.has(part) {
                    shared = true;
                } else if counted.insert(part) {
                    size += self.part_size(part)?;
                }
            }
            let (created, used) = (Some(step.created), modified(&found));
            records.push(CacheRecord {
                id,
                kind: CacheKind::Step,
                size,
                created,
                used,
                shared,
                path,
            });
        }
        for (folder, kind) in [("mounts", CacheKind::Mount), ("stats", CacheKind::Digests)] {
            for (id, path, found) in self.cache_files(folder)? {
                let size = if found.is_dir() { tree_size(&path) } else { found.len() };
                let created = found.created().ok().and_then(|time| time.try_into().ok());
                let used = modified(&found);
                records.push(CacheRecord { id, kind, size, created, used, shared: false, path });
            }
        }
        Ok(records)
    }

    /// Removes the records for which `goes` holds, with the layers that nothing else needs.
    ///
    /// While somebody writes, nothing is removed: a build may have a mount of the cache, and what it has found there is
    /// what it goes on with.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when something resists.
    pub fn prune_cache(
        &self,
        goes: impl Fn(&CacheRecord) -> bool,
    ) -> Result<PrunedCache, StoreError> {
        let Some(alone) = self.write_alone()? else {
            return Ok(PrunedCache { gone: Vec::new(), busy: true });
        };
        let mut gone = self.cache_usage(&self.image_usage()?)?;
        gone.retain(goes);
        for record in &gone {
            let removed = sys::remove::remove_tree(&record.path);
            removed.map_err(StoreError::access("delete", &record.path))?;
        }
        drop(alone);
        self.collect_garbage()?;
        Ok(PrunedCache { gone, busy: false })
    }

    /// The entries of a folder of the cache that are named by a key.
    fn cache_files(&self, folder: &str) -> Result<Vec<(Digest, PathBuf, Metadata)>, StoreError> {
        let folder = self.root().join("cache").join(folder);
        let read = || -> io::Result<Vec<_>> {
            let entries = match fs::read_dir(&folder) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
                entries => entries?,
            };
            let mut files = Vec::new();
            for entry in entries {
                let path = entry?.path();
                let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
                let key = Digest::from_hex(name.strip_suffix(".json").unwrap_or(name));
                // What goes meanwhile is not there.
                if let (Some(key), Ok(found)) = (key, path.symlink_metadata()) {
                    files.push((key, path, found));
                }
            }
            files.sort_by_key(|(key, ..)| *key);
            Ok(files)
        };
        read().map_err(StoreError::access("read", &folder))
    }
}

fn modified(found: &Metadata) -> Option<Timestamp> {
    found.modified().ok().and_then(|time| time.try_into().ok())
}

/// Bytes of the files below a directory that steps have filled; links are not followed.
fn tree_size(path: &Path) -> u64 {
    let Ok(found) = path.symlink_metadata() else { return 0 };
    let below = fs::read_dir(path).ok().filter(|_| found.is_dir());
    let inside: u64 = below.into_iter().flatten().flatten().map(|one| tree_size(&one.path())).sum();
    if found.is_file() { found.len() + inside } else { inside }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::cache::CachedLayer;
    use crate::store::workspace::{StagedBlob, Workspace};

    fn remember(store: &Store, key: &str, layer: Option<CachedLayer>) {
        // A moment of one length: a fraction of a second is written without its last zeros.
        let created = Timestamp::UNIX_EPOCH;
        let record = StepRecord { version: StepRecord::VERSION, layer, created };
        store.remember_step(Digest::of(key.as_bytes()), &record);
    }

    #[test]
    fn the_cache_is_counted_and_goes_when_nobody_builds() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        store.open_cache().unwrap();
        let workspace = Workspace::begin(&store).unwrap();
        let StagedBlob { digest, path, size } = workspace.stage_document(b"layer").unwrap();
        let blob = StagedBlob { digest, path, size };
        workspace.keep(&[], &[blob]).unwrap();
        let layer = CachedLayer { diff_id: Digest::of(b"files"), blob: digest, blob_size: 5 };
        remember(&store, "one", Some(layer));
        remember(&store, "two", Some(layer));
        let mount = store.mount_path("/cache");
        fs::create_dir(&mount).unwrap();
        fs::write(mount.join("file"), [0; 100]).unwrap();

        let usage = store.image_usage().unwrap();
        let records = store.cache_usage(&usage).unwrap();
        let steps: Vec<_> =
            records.iter().filter(|record| record.kind == CacheKind::Step).collect();
        assert_eq!((records.len(), steps.len()), (3, 2));
        assert_eq!(steps[0].size.abs_diff(steps[1].size), 5, "a layer counts once");
        assert!(records.iter().any(|one| one.kind == CacheKind::Mount && one.size == 100));

        // The workspace is that of somebody who builds.
        let pruned = store.prune_cache(|_| true).unwrap();
        assert!(pruned.busy && pruned.gone.is_empty() && mount.is_dir());
        drop(workspace);
        let pruned = store.prune_cache(|record| record.kind == CacheKind::Mount).unwrap();
        assert_eq!((pruned.gone.len(), mount.exists(), store.has_blob(digest)), (1, false, true));
        let pruned = store.prune_cache(|_| true).unwrap();
        assert_eq!((pruned.gone.len(), store.has_blob(digest)), (2, false));
    }
}
