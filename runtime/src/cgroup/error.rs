//! Why a control group cannot be made, limited or removed.

use std::io;
use std::path::PathBuf;

/// A refusal of the kernel, with the file and the value, or of our own check before it.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    /// There is no control group file system where one is expected.
    #[error("no control groups are mounted at `{}`", .0.display())]
    NotMounted(PathBuf),
    /// A limit needs a controller that the machine does not offer.
    #[error("the `{controller}` controller is not available in `{}`", .tree.display())]
    MissingController {
        /// Name of the controller.
        controller: &'static str,
        /// Where it was looked for.
        tree: PathBuf,
    },
    /// A limit that the kernel would refuse, or that contradicts another.
    #[error("{limit} {value}: {problem}")]
    Limit {
        /// The limit, by its name in a compose file.
        limit: &'static str,
        /// The value asked for.
        value: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A device of the host cannot be read.
    #[error("device `{}` of the host", .path.display())]
    Device {
        /// Path on the host.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// mkdir(2) was refused.
    #[error("mkdir(`{}`)", .path.display())]
    Create {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A directory of this name is in use by other processes.
    #[error("`{}` exists and has processes in it: {}", .path.display(), list(.pids))]
    Occupied {
        /// The directory.
        path: PathBuf,
        /// Who is in it.
        pids: Vec<i32>,
    },
    /// A file could not be read.
    #[error("read `{}`", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A value was refused.
    #[error("write `{value}` to `{}`", .path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What was written.
        value: String,
        /// Why it was refused.
        source: io::Error,
    },
    /// Another call was refused.
    #[error("{call} on `{}`", .path.display())]
    Call {
        /// The call.
        call: &'static str,
        /// What it was about.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Processes did not go away, freeze or thaw in time.
    #[error("`{}` did not become {state} within {seconds} s; processes in it: {}", .path.display(), list(.pids))]
    Timeout {
        /// The directory.
        path: PathBuf,
        /// What was waited for.
        state: &'static str,
        /// How long.
        seconds: u64,
        /// Who is in it.
        pids: Vec<i32>,
    },
}

/// The process ids in words.
fn list(pids: &[i32]) -> String {
    if pids.is_empty() {
        return "none".to_owned();
    }
    pids.iter().map(i32::to_string).collect::<Vec<_>>().join(", ")
}
