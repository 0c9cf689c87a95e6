//! What can go wrong with the files of the store.

use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use crate::digest::Digest;

/// The store could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file or directory of the store refused.
    #[error("cannot {action} {}", path.display())]
    Access {
        /// What was tried: a verb.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// No room: the disk, or the quota on it, is used up.
    #[error("no space left on the file system of {}", path.display())]
    Full {
        /// Where there is no room.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A file of the store does not hold what it should.
    #[error("{} is damaged", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where in it.
        source: serde_json::Error,
    },
    /// A file of the store holds a value that the store does not write.
    #[error("{} is damaged: {reason}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// An image needs a layer that is not there.
    #[error("layer {layer} of image {image} is missing from the store")]
    LayerMissing {
        /// The digest of the uncompressed layer.
        layer: Digest,
        /// The id of the image.
        image: Digest,
    },
}

impl StoreError {
    /// Makes an error of a failed call, for `map_err`.
    pub(crate) fn access(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| {
            if is_full(&source) {
                Self::Full { path, source }
            } else {
                Self::Access { action, path, source }
            }
        }
    }
}

/// Whether an error says that there is no room left.
pub(crate) fn is_full(error: &io::Error) -> bool {
    let full = [Errno::NOSPC.raw_os_error(), Errno::DQUOT.raw_os_error()];
    error.raw_os_error().is_some_and(|errno| full.contains(&errno))
}
