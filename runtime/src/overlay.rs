//! Layers as one tree, without a container: for whoever reads or changes files in them by himself.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use crate::init;
use crate::launch::Upper;

/// Layers could not be put together.
#[derive(Debug, thiserror::Error)]
#[error("cannot mount {count} layers: {detail}")]
pub struct OverlayError {
    /// How many.
    pub count: usize,
    /// What was attempted.
    pub detail: String,
    /// The kernel's answer.
    pub source: io::Error,
}

/// Mounts `layers`, topmost first, read-only. The mount is attached nowhere and ends with its descriptor.
///
/// # Errors
///
/// [`OverlayError`]; there has to be at least one layer.
pub fn view(layers: &[PathBuf]) -> Result<OwnedFd, OverlayError> {
    mount(layers, &Upper::ReadOnly)
}

/// Mounts `layers`, topmost first, with changes going to the directory `upper`; `work` is empty and on the same file
/// system. The mount is attached nowhere and ends with its descriptor.
///
/// # Errors
///
/// [`OverlayError`]; there has to be at least one layer.
pub fn writable(layers: &[PathBuf], upper: &Path, work: &Path) -> Result<OwnedFd, OverlayError> {
    mount(layers, &Upper::Directory { upper: upper.to_owned(), work: work.to_owned() })
}

/// Removes from the directory `work` of a mount that is there what the one before it has left: mounting only puts it aside.
///
/// # Errors
///
/// When it cannot be removed; it is in nobody's way.
pub fn sweep(work: &Path) -> io::Result<()> {
    init::sweep(work)
}

fn mount(layers: &[PathBuf], upper: &Upper) -> Result<OwnedFd, OverlayError> {
    init::overlay(layers, upper).map_err(|(errno, detail)| OverlayError {
        count: layers.len(),
        detail,
        source: io::Error::from_raw_os_error(errno),
    })
}
