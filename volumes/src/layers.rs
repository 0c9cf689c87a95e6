//! The layers of an image as one folder, without a mount that anyone could see.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};
use sys::root::Root;

/// The layers could not be read as one folder.
#[derive(Debug, thiserror::Error)]
pub enum LayersError {
    /// A layer is not there.
    #[error("cannot open the layer {path}")]
    Open {
        /// The layer.
        path: PathBuf,
        /// The kernel's words.
        source: io::Error,
    },
    /// The overlay could not be made.
    #[error("{call} of a read-only overlay of {count} layers")]
    Overlay {
        /// The call that was refused.
        call: &'static str,
        /// How many layers.
        count: usize,
        /// The kernel's words.
        source: io::Error,
    },
}

/// Opens `layers`, topmost first, as the one tree that a container sees.
///
/// Several layers become an overlay that is mounted nowhere (fsopen(2), fsmount(2)): it lives as long as the descriptor.
pub(crate) fn open(layers: &[PathBuf]) -> Result<Option<Root>, LayersError> {
    match layers {
        [] => Ok(None),
        [only] => match Root::open(only) {
            Ok(root) => Ok(Some(root)),
            Err(source) => Err(LayersError::Open { path: only.clone(), source }),
        },
        several => overlay(several).map(Some),
    }
}

fn overlay(layers: &[PathBuf]) -> Result<Root, LayersError> {
    let count = layers.len();
    let refused =
        |call| move |errno: Errno| LayersError::Overlay { call, count, source: errno.into() };
    let opened = layers.iter().map(open_layer).collect::<Result<Vec<_>, _>>()?;
    let context =
        rustix::mount::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).map_err(refused("fsopen"))?;
    sys::overlay::create(context.as_fd(), &opened).map_err(|source| LayersError::Overlay {
        call: "fsconfig",
        count,
        source,
    })?;
    let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY | MountAttrFlags::MOUNT_ATTR_NODEV;
    let mounted = rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
        .map_err(refused("fsmount"))?;
    Ok(Root::from(mounted))
}

fn open_layer(path: &PathBuf) -> Result<OwnedFd, LayersError> {
    rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| LayersError::Open { path: path.clone(), source: errno.into() })
}
