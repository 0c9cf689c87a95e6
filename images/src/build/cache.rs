//! What earlier builds have made, by what they read.
//!
//! ```text
//! cache/steps/HEX.json   a step: the layer that it made; the key is a digest of all that it read
//! cache/stats/HEX        digests of the files of a context
//! cache/mounts/HEX/      what RUN --mount=type=cache keeps
//! ```
//!
//! A record is written after its layer is part of the store, and says nothing without it; so nobody trips over what a
//! killed build has left. Layers that a record names are not garbage. A record that no build has asked for in a month
//! goes with the next garbage.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::store::{Store, StoreError};

/// How long a record is kept that nobody asks for.
const KEPT: Duration = Duration::from_secs(30 * 24 * 3600);
/// How old the time of the last use may become before it is written again.
const TOUCHED: Duration = Duration::from_secs(24 * 3600);

/// A layer that a step has made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CachedLayer {
    /// The digest of its uncompressed archive.
    pub(crate) diff_id: Digest,
    /// The digest of its compressed archive.
    pub(crate) blob: Digest,
    /// Bytes of the compressed archive.
    pub(crate) blob_size: u64,
}

/// What a step has made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StepRecord {
    pub(crate) version: u32,
    /// Nothing for a step that changed no file.
    pub(crate) layer: Option<CachedLayer>,
    /// When it was made.
    pub(crate) created: Timestamp,
}

impl StepRecord {
    pub(crate) const VERSION: u32 = 1;
}

impl Store {
    fn steps(&self) -> PathBuf {
        self.root().join("cache/steps")
    }

    /// Makes the directories of the cache.
    pub(super) fn open_cache(&self) -> Result<(), StoreError> {
        for name in ["steps", "stats", "mounts"] {
            let directory = self.root().join("cache").join(name);
            if !directory.is_dir() {
                let made = DirBuilder::new().recursive(true).mode(0o700).create(&directory);
                made.map_err(StoreError::access("create", &directory))?;
            }
        }
        Ok(())
    }

    pub(super) fn stats_path(&self, context: &Path) -> PathBuf {
        use std::os::unix::ffi::OsStrExt;
        let name = Digest::of(context.as_os_str().as_bytes());
        self.root().join("cache/stats").join(name.hex())
    }

    /// Where a cache mount lies.
    pub(super) fn mount_path(&self, id: &str) -> PathBuf {
        self.root().join("cache/mounts").join(Digest::of(id.as_bytes()).hex())
    }

    /// What the step with this key has made, if that is still there.
    pub(super) fn find_step(&self, key: Digest) -> Option<StepRecord> {
        let path = self.steps().join(format!("{}.json", key.hex()));
        let record: StepRecord = serde_json::from_slice(&fs::read(&path).ok()?).ok()?;
        if record.version != StepRecord::VERSION {
            return None;
        }
        if let Some(layer) = &record.layer {
            let unpacked = self.find_layer(layer.diff_id).ok()?;
            if unpacked.is_none() || !self.has_blob(layer.blob) {
                return None;
            }
        }
        touch(&path);
        Some(record)
    }

    /// Remembers what a step has made. A record that cannot be written costs a later build time and is no error.
    pub(super) fn remember_step(&self, key: Digest, record: &StepRecord) {
        let path = self.steps().join(format!("{}.json", key.hex()));
        let next = path.with_extension(format!(
            "next-{}-{:?}",
            std::process::id(),
            std::thread::current().id()
        ));
        if let Ok(json) = serde_json::to_vec(record)
            && fs::write(&next, json).is_ok()
            && fs::rename(&next, &path).is_err()
        {
            let _ = fs::remove_file(next);
        }
    }

    /// The layers that the cache keeps. Records that are too old, or damaged, are deleted.
    pub(crate) fn cached_layers(&self) -> Result<Vec<CachedLayer>, StoreError> {
        let directory = self.steps();
        let entries = match fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(StoreError::access("read", &directory)(error)),
        };
        let mut layers = Vec::new();
        for entry in entries {
            let path = entry.map_err(StoreError::access("read", &directory))?.path();
            let record: Option<StepRecord> =
                fs::read(&path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
            match record.filter(|_| !is_older(&path, KEPT)) {
                Some(record) => layers.extend(record.layer),
                // It may be gone already; and what stays is asked again next time.
                None => drop(fs::remove_file(&path)),
            }
        }
        Ok(layers)
    }
}

fn is_older(path: &Path, age: Duration) -> bool {
    let modified = fs::metadata(path).and_then(|metadata| metadata.modified());
    modified.is_ok_and(|time| SystemTime::now().duration_since(time).is_ok_and(|past| past > age))
}

/// Notes that a record was of use.
fn touch(path: &Path) {
    if is_older(path, TOUCHED)
        && let Ok(file) = File::options().write(true).open(path)
    {
        let _ = file.set_modified(SystemTime::now());
    }
}
