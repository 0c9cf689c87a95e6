//! Why a step failed, before the list of steps adds its name.

use std::io;

use crate::failure::Failure;

/// The kernel's errno and what was attempted.
#[derive(Debug)]
pub(super) struct StepError {
    /// 0 for our own decision.
    pub errno: i32,
    /// Names the path, the user or the program, and says what the kernel said.
    pub detail: String,
}

impl StepError {
    /// A refusal of ours.
    pub fn refused(errno: i32, detail: impl Into<String>) -> Self {
        Self { errno, detail: detail.into() }
    }
}

/// Says what was attempted when a call fails.
pub(super) trait Attempt<T> {
    /// Turns the error into that of a step; `what` completes "failed: ".
    fn attempt(self, what: impl FnOnce() -> String) -> Result<T, StepError>;
}

impl<T, E: Into<io::Error>> Attempt<T> for Result<T, E> {
    fn attempt(self, what: impl FnOnce() -> String) -> Result<T, StepError> {
        self.map_err(|error| {
            let error = error.into();
            let errno = error.raw_os_error().unwrap_or_else(|| match error.kind() {
                io::ErrorKind::NotFound => libc::ENOENT,
                io::ErrorKind::AlreadyExists => libc::EEXIST,
                _ => libc::EINVAL,
            });
            StepError { errno, detail: format!("{}: {}", what(), Failure::words(errno)) }
        })
    }
}
