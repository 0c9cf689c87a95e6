//! Why a seccomp profile cannot be used.

use std::io;
use std::path::PathBuf;

use crate::spec::SpecError;

/// A profile that cannot be read, understood or compiled.
#[derive(Debug, thiserror::Error)]
pub enum SeccompError {
    /// The file cannot be read.
    #[error("seccomp profile `{}`", .path.display())]
    Read {
        /// The profile.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is not a profile.
    #[error("seccomp profile `{}` is not in Docker's format", .path.display())]
    Parse {
        /// The profile.
        path: PathBuf,
        /// Where and why.
        source: serde_json::Error,
    },
    /// The profile says something that cannot be compiled.
    #[error("seccomp profile `{profile}`: {problem}")]
    Unsupported {
        /// The profile, or `default`.
        profile: String,
        /// What it says.
        problem: String,
    },
    /// The capabilities on which the profile depends cannot be determined.
    #[error("capabilities for the seccomp profile")]
    Capabilities(#[source] SpecError),
}
