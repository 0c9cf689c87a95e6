//! Why a process did not reach its own program.

use std::fmt::Display;
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
    /// The path, user or program, the attempt, and what the kernel said.
    pub detail: String,
}

impl Failure {
    /// The step in which the program is looked up and executed.
    pub const EXECUTE: &'static str = "execute";

    /// The step in which the user and the groups are looked up.
    pub const USER: &'static str = "user";
    /// The step in which the working directory is entered.
    pub const DIRECTORY: &'static str = "directory";

    /// A step that failed by a call of the kernel.
    pub fn of_call(step: &str, error: &io::Error, detail: impl Display) -> Self {
        let errno = error.raw_os_error().unwrap_or_default();
        Self { step: step.to_owned(), errno, detail: format!("{detail}: {}", Self::words(errno)) }
    }

    /// The kernel's own words for `errno`.
    pub fn words(errno: i32) -> &'static str {
        nix::errno::Errno::from_raw(errno).desc()
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
