//! Why a process did not reach its own program.

use std::io;

use serde::{Deserialize, Serialize};

/// Why a process did not reach its own program: the step, the kernel's errno, and what the step was about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{step}: {detail}")]
pub struct Failure {
    /// The step, as named in `init::steps`.
    pub step: String,
    /// The kernel's number for it, 0 if it was our own decision.
    pub errno: i32,
    /// The path, user or program, and the attempt.
    pub detail: String,
}

impl Failure {
    /// The step in which the program is looked up and executed.
    pub const EXECUTE: &'static str = "execute";

    /// The kernel's own words, or nothing if it was our own decision.
    pub fn cause(&self) -> Option<io::Error> {
        (self.errno != 0).then(|| io::Error::from_raw_os_error(self.errno))
    }

    /// The exit code that a shell gives: 127 for a program that does not exist, 126 for one that cannot be executed,
    /// 125 for everything that is not about the program.
    pub fn shell_code(&self) -> i32 {
        match (self.step.as_str(), self.errno) {
            (Self::EXECUTE, libc::ENOENT) => 127,
            (Self::EXECUTE, _) => 126,
            _ => 125,
        }
    }
}
