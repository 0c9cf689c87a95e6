//! Another OCI runtime in the place of ours: `crun`, `runc`, or what else takes a bundle and makes a container of it.
//!
//! It makes the container, and nothing else: our own process builds the root, writes the bundle, has it created and started
//! (`init::foreign`), and hands its first process to the keeper, which is its parent then. From there on it is a container as
//! any other: namespaces to join, control groups, a pidfd. What the program remembers of it is taken back by [`delete`].
//!
//! # Why a program is run here
//!
//! The compose file asks for it by name. Nobody who does not comes to this module.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};

/// Another OCI runtime, and where it keeps what it knows of one container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForeignRuntime {
    /// The program, by its absolute path.
    pub program: PathBuf,
    /// The folder that it is given as its `--root`, for this container alone.
    pub root: PathBuf,
}

/// A runtime could not be made to forget a container.
#[derive(Debug, thiserror::Error)]
pub enum DeleteError {
    /// The program could not be run.
    #[error("cannot run {}", program.display())]
    Run {
        /// The program.
        program: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It has refused.
    #[error("{} does not delete the container: {said}", program.display())]
    Refused {
        /// The program.
        program: PathBuf,
        /// Its words.
        said: String,
    },
    /// Its folder.
    #[error("cannot remove {}", root.display())]
    Folder {
        /// The folder.
        root: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl ForeignRuntime {
    /// The program with what it is told before each of its commands.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--root").arg(&self.root);
        if self.is_crun() {
            // The control groups are made already, with all that limits the container.
            command.arg("--cgroup-manager=disabled");
        }
        command
    }

    /// Whether it can be told to leave control groups alone.
    pub(crate) fn is_crun(&self) -> bool {
        let name = self.program.file_name().unwrap_or_default();
        name.as_encoded_bytes().starts_with(b"crun")
    }
}

/// Has the runtime forget the container called `id`, of which nothing runs any more. One that it does not know is no error.
///
/// # Errors
///
/// [`DeleteError`]; its folder is tried to be removed in any case.
pub fn delete(runtime: &ForeignRuntime, id: &str) -> Result<(), DeleteError> {
    if !runtime.root.exists() {
        return Ok(());
    }
    let deleted = delete_state(runtime, id);
    let removed = sys::remove::remove_tree(&runtime.root)
        .map_err(|source| DeleteError::Folder { root: runtime.root.clone(), source });
    // That of all containers of the project; the kernel refuses while there are others in it.
    let _ = runtime.root.parent().map(std::fs::remove_dir);
    deleted.and(removed)
}

fn delete_state(runtime: &ForeignRuntime, id: &str) -> Result<(), DeleteError> {
    let program = || runtime.program.clone();
    let ran = runtime.command().args(["delete", "--force", id]).stdin(Stdio::null()).output();
    let output = ran.map_err(|source| DeleteError::Run { program: program(), source })?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(DeleteError::Refused { program: program(), said })
}

/// Finds the program of a runtime: by an absolute path, or by its name in the directories of `path` (a `PATH`).
///
/// # Errors
///
/// The places at which it is not.
pub fn find(name: &str, path: &str) -> Result<PathBuf, String> {
    let is_program = |candidate: &Path| {
        candidate.is_file() && rustix::fs::access(candidate, rustix::fs::Access::EXEC_OK).is_ok()
    };
    if name.contains('/') {
        let found = PathBuf::from(name);
        return if found.is_absolute() && is_program(&found) {
            Ok(found)
        } else {
            Err(name.to_owned())
        };
    }
    // Where distributions put it, for who was started with a short PATH.
    let places =
        path.split(':').chain(["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin"]);
    let mut candidates =
        places.filter(|place| place.starts_with('/')).map(|place| Path::new(place).join(name));
    candidates.find(|candidate| is_program(candidate)).ok_or_else(|| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runtime_is_found_by_name_or_path() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("some-runtime");
        std::fs::write(&program, "").unwrap();
        let path = format!("relative:{}", folder.path().display());
        assert!(find("some-runtime", &path).is_err(), "it cannot be executed");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&program, mode).unwrap();
        assert_eq!(find("some-runtime", &path), Ok(program.clone()));
        assert_eq!(find(&program.display().to_string(), ""), Ok(program));
        assert_eq!(find("bin/sh", "/"), Err("bin/sh".to_owned()));
        assert_eq!(find("sh", ""), find("sh", "/nowhere"));
    }

    #[test]
    fn only_crun_is_told_to_leave_control_groups_alone() {
        let words = |program: &str| {
            let runtime = ForeignRuntime { program: program.into(), root: "/run/x".into() };
            let command = runtime.command();
            command.get_args().map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>()
        };
        assert_eq!(words("/usr/bin/runc"), ["--root", "/run/x"]);
        assert_eq!(words("/usr/bin/crun"), ["--root", "/run/x", "--cgroup-manager=disabled"]);
    }
}
