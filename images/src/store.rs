//! The store: an OCI image layout with its layers unpacked beside it.
//!
//! ```text
//! oci-layout             what this directory is
//! index.json             the images and their names; replaced whole, durably
//! blobs/sha256/HEX       manifests, configurations, layers as they came
//! layers/HEX/            a layer unpacked, by the digest of its uncompressed archive; in overlay form
//! layers/HEX.json        its size
//! layers/.tmp-XXXX/      what a writer has not finished
//! cache/                 what builds remember: see `build/cache.rs`
//! partial/HEX            a blob on its way from a registry, as far as it has come
//! index.lock writers.lock
//! ```
//!
//! A name in the index is the last thing that an import writes and the first that a removal takes away. What no name
//! leads to is garbage, whoever left it, and the next writer deletes it. So a process may die at any point.

pub(crate) mod durable;
pub(crate) mod error;
mod find;
mod garbage;
pub(crate) mod index;
mod inspect;
mod lock;
pub(crate) mod partial;
mod record;
mod remove;
pub(crate) mod usage;
mod verify;
pub(crate) mod workspace;

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

pub use error::StoreError;
pub(crate) use find::DIRECTORY;
pub use find::{Damaged, FindError, Listing};
pub use remove::{Force, RemoveError, Removed, TagError};
pub use usage::Usage;
pub use verify::Verified;

use crate::digest::Digest;
use lock::{Lock, Mode};

const LAYOUT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;

/// The images of this machine.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
}

impl Store {
    /// Opens the store in the directory `data`, and creates it if there is none.
    ///
    /// The directory is readable for its owner alone: layers hold programs that are setuid root.
    ///
    /// # Errors
    ///
    /// [`StoreError::Access`] or [`StoreError::Full`] when it cannot be created.
    pub fn open(data: &Path) -> Result<Self, StoreError> {
        let store = Self { root: data.to_owned() };
        let layout = data.join("oci-layout");
        match fs::symlink_metadata(&layout) {
            Ok(_) => return Ok(store),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(StoreError::access("open", &layout)(error)),
        }
        for directory in [store.layers(), store.root.join("blobs/sha256")] {
            let created = DirBuilder::new().recursive(true).mode(0o700).create(&directory);
            created.map_err(StoreError::access("create", &directory))?;
        }
        let _lock = store.lock_index(Mode::Exclusive)?;
        durable::replace_file(&layout, LAYOUT).map_err(StoreError::access("create", &layout))?;
        Ok(store)
    }

    /// The same store, only to be looked into: nothing is made, and where nothing is there are no images.
    pub fn look(data: &Path) -> Self {
        Self { root: data.to_owned() }
    }

    /// Its directory.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    fn layers(&self) -> PathBuf {
        self.root.join("layers")
    }

    /// Where the unpacked layer with this digest is.
    pub(crate) fn layer(&self, diff_id: Digest) -> PathBuf {
        self.layers().join(diff_id.hex())
    }

    /// Where the blob with this digest is.
    pub(crate) fn blob(&self, digest: Digest) -> PathBuf {
        self.root.join("blobs/sha256").join(digest.hex())
    }

    /// Whether the blob with this digest is here.
    pub(crate) fn has_blob(&self, digest: Digest) -> bool {
        self.blob(digest).is_file()
    }

    /// Bytes that are free on the file system of the store.
    pub(crate) fn free(&self) -> Result<u64, StoreError> {
        let found = rustix::fs::statvfs(&self.root)
            .map_err(|errno| StoreError::access("look at", &self.root)(errno.into()))?;
        Ok(found.f_bavail.saturating_mul(found.f_frsize))
    }

    fn index(&self) -> PathBuf {
        self.root.join("index.json")
    }

    fn lock_index(&self, mode: Mode) -> Result<Lock, StoreError> {
        Lock::wait(&self.root.join("index.lock"), mode)
    }
}
