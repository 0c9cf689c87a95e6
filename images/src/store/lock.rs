//! The two locks of the store, held by flock(2) and so released by the kernel when a process dies.
//!
//! | lock | shared | exclusive |
//! |---|---|---|
//! | `index.lock` | reading the index and what it names | replacing the index: short |
//! | `writers.lock` | from the start to the end of an import or load | deleting what nothing names |
//!
//! Deleting is only done while nobody writes. Therefore a layer that a writer has found in the store stays until its
//! image is named, and a temporary directory that is found while the writers' lock is held exclusively belongs to
//! a dead process. Order: `writers.lock` before `index.lock`.

use std::fs::{self, File};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::FlockOperation;
use rustix::io::Errno;

use super::error::StoreError;

/// A held lock; dropping it releases it.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

/// How a lock is wanted.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Mode {
    /// Beside others that want it shared.
    Shared,
    /// Alone.
    Exclusive,
}

impl Lock {
    /// Waits for the lock at `path`.
    pub(crate) fn wait(path: &Path, mode: Mode) -> Result<Self, StoreError> {
        let operation = match mode {
            Mode::Shared => FlockOperation::LockShared,
            Mode::Exclusive => FlockOperation::LockExclusive,
        };
        // Who only reads makes no file if there is one.
        let file = match (mode, File::open(path)) {
            (Mode::Shared, Ok(file)) => file,
            _ => open(path)?,
        };
        match rustix::io::retry_on_intr(|| rustix::fs::flock(&file, operation)) {
            Ok(()) => Ok(Self { _file: file }),
            Err(errno) => Err(StoreError::access("lock", path)(errno.into())),
        }
    }

    /// Takes the lock exclusively if that is possible at once.
    pub(crate) fn attempt(path: &Path) -> Result<Option<Self>, StoreError> {
        let file = open(path)?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Self { _file: file })),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(errno) => Err(StoreError::access("lock", path)(errno.into())),
        }
    }
}

fn open(path: &Path) -> Result<File, StoreError> {
    let options = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path);
    options.map_err(StoreError::access("open", path))
}
