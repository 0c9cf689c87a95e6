//! Descriptors in the event loop.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use tokio::io::unix::AsyncFd;

/// Something with a descriptor, as the event loop wants it.
#[derive(Debug)]
pub struct Source<T>(pub T);

impl<T: AsFd> AsRawFd for Source<T> {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

/// Makes `source` known to the event loop of this thread.
///
/// # Errors
///
/// What epoll_ctl(2) says.
#[expect(
    deprecated,
    reason = "its fault is a source that answers another number later; ours own one descriptor each"
)]
pub fn register<T: AsFd>(source: T) -> io::Result<AsyncFd<Source<T>>> {
    AsyncFd::new(Source(source))
}

/// A descriptor of its own in the event loop.
pub type Descriptor = AsyncFd<Source<OwnedFd>>;
