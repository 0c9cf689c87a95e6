//! Another OCI runtime in the place of ours: `crun`, `runc`, or what else takes a bundle and makes a container of it.
//!
//! It makes the container, and nothing else: our own process builds the root, writes the bundle, has it created and started
//! (`init::foreign`), and hands its first process to the keeper, which is its parent then. From there on it is a container as
//! any other: namespaces to join, control groups, a pidfd. What the program remembers of it is taken back by [`delete`].
//!
//! gVisor (`runsc`) makes a [sandbox](Kind::Gvisor) instead: a kernel of its own, in a process. That process stands for the first
//! one of the container: it hands signals on to that and ends as it does. There are no namespaces to join, so whoever wants to
//! come in asks the runtime ([`Doorway`]), and the files are seen where the sandbox itself takes them from ([`server_of_files`]).
//!
//! # Why a program is run here
//!
//! The compose file asks for it by name. Nobody who does not comes to this module.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};

use crate::cgroup::Place;
use crate::launch::Launch;

/// What gVisor calls the process that opens files for a sandbox, where processes are listed.
const GOFER: &[u8] = b"runsc-gofer";

/// What a runtime is able to do, as far as we have to know. The only place that goes by a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It makes a container of namespaces, and can be told to leave control groups alone.
    Crun,
    /// It makes a container of namespaces.
    Namespaces,
    /// gVisor: the container's kernel is a process, which has its network and its files to itself.
    Gvisor,
    /// A virtual machine that only containerd can have made.
    Kata,
}

impl Kind {
    /// By the name of the program, which may have something behind it: `runsc-kvm` is a way of calling `runsc`.
    pub fn of(program: &Path) -> Self {
        let name = program.file_name().unwrap_or_default().as_encoded_bytes();
        let begins = |words: &[&str]| words.iter().any(|word| name.starts_with(word.as_bytes()));
        match () {
            () if begins(&["crun"]) => Self::Crun,
            () if begins(&["runsc"]) => Self::Gvisor,
            () if begins(&["kata", "containerd-shim-kata"]) => Self::Kata,
            () => Self::Namespaces,
        }
    }

    /// Whether the processes of the container are none of the host's kernel: no namespace of theirs can be joined or shared, and
    /// what is mounted or attached later does not come to them.
    pub const fn is_sandbox(self) -> bool {
        matches!(self, Self::Gvisor | Self::Kata)
    }

    /// Whether it is started within the control groups of the container, and leaves them as they are.
    pub(crate) const fn starts_within_groups(self) -> bool {
        matches!(self, Self::Crun | Self::Gvisor)
    }

    /// What the program is told before each of its commands.
    const fn options(self) -> &'static [&'static str] {
        match self {
            // The control groups are made already, with all that limits the container.
            Self::Crun => &["--cgroup-manager=disabled"],
            // What is written is in our own upper directory, and what we write is seen inside.
            Self::Gvisor => &["--ignore-cgroups", "--overlay2=none", "--file-access=shared"],
            Self::Namespaces | Self::Kata => &[],
        }
    }
}

/// Another OCI runtime, and where it keeps what it knows of one container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForeignRuntime {
    /// The program, by its absolute path.
    pub program: PathBuf,
    /// The folder that it is given as its `--root`, for this container alone.
    pub root: PathBuf,
}

/// A runtime has not done what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// The program could not be run.
    #[error("cannot run {}", program.display())]
    Run {
        /// The program.
        program: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It has refused.
    #[error("{} {verb}: {said}", program.display())]
    Refused {
        /// The program.
        program: PathBuf,
        /// Its command.
        verb: String,
        /// Its words.
        said: String,
    },
}

/// A runtime could not be made to forget a container.
#[derive(Debug, thiserror::Error)]
pub enum DeleteError {
    /// The program.
    #[error(transparent)]
    Ask(#[from] AskError),
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
        command.arg("--root").arg(&self.root).args(self.kind().options());
        command
    }

    /// Runs one of its commands, and gives what it prints.
    fn ask(&self, words: &[&str]) -> Result<String, AskError> {
        let program = || self.program.clone();
        let ran = self.command().args(words).stdin(Stdio::null()).output();
        let output = ran.map_err(|source| AskError::Run { program: program(), source })?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        let verb = words.first().copied().unwrap_or_default().to_owned();
        Err(AskError::Refused { program: program(), verb, said })
    }

    /// What it is able to do.
    pub fn kind(&self) -> Kind {
        Kind::of(&self.program)
    }
}

/// The way into a sandbox: its runtime is asked to run one more process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Doorway {
    /// The runtime.
    pub runtime: ForeignRuntime,
    /// What it knows the container by.
    pub id: String,
    /// Directories that are made within, of which nothing can be told from outside.
    pub hidden: Vec<PathBuf>,
    /// Where the number that the process has within is written to, for [`Doorway::kill`].
    #[serde(default)]
    pub pid_file: Option<PathBuf>,
}

impl Doorway {
    /// That of a container, if it is a sandbox.
    pub fn of(launch: &Launch) -> Option<Self> {
        let runtime = launch.foreign.clone().filter(|runtime| runtime.kind().is_sandbox())?;
        Some(Self { runtime, id: launch.id.clone(), hidden: hidden(launch), pid_file: None })
    }

    /// Kills the process that has come in, and forgets its number. Who has asked for it may have been killed already: it goes on
    /// without him.
    ///
    /// # Errors
    ///
    /// [`AskError`]; also when it has just ended by itself.
    pub fn kill(&self) -> Result<(), AskError> {
        let number = self.pid_file.as_ref().and_then(|file| std::fs::read_to_string(file).ok());
        let Some(number) = number else { return Ok(()) };
        let asked = self.runtime.ask(&["kill", "--pid", number.trim(), &self.id, "KILL"]);
        self.forget();
        asked.map(drop)
    }

    /// What the runtime says runs within, as it says it: a line of titles, and one for each process.
    ///
    /// # Errors
    ///
    /// [`AskError`].
    pub fn list(&self) -> Result<String, AskError> {
        self.runtime.ask(&["ps", &self.id])
    }

    /// Forgets the number of a process that has come in and ended.
    pub fn forget(&self) {
        // One that never came in has none.
        let _ = self.pid_file.as_ref().map(std::fs::remove_file);
    }

    /// Whether what lies at this path is made within.
    pub fn hides(&self, path: &Path) -> bool {
        self.hidden.iter().any(|place| path.starts_with(place))
    }
}

/// Where a sandbox has file systems of its own.
fn hidden(launch: &Launch) -> Vec<PathBuf> {
    let mounts = launch.spec.mounts().iter().flatten();
    let within = mounts.filter(|mount| mount.typ().as_deref().is_some_and(|kind| kind != "bind"));
    within.map(|mount| mount.destination().clone()).collect()
}

/// The process whose root is that of the sandbox in these control groups: the one that opens files for it.
pub fn server_of_files(place: &Place) -> Option<i32> {
    let serves = |pid: &i32| {
        let words = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        words.split(|byte| *byte == 0).next() == Some(GOFER)
    };
    place.pids().into_iter().find(serves)
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
    let deleted = runtime.ask(&["delete", "--force", id]);
    let removed = sys::remove::remove_tree(&runtime.root)
        .map_err(|source| DeleteError::Folder { root: runtime.root.clone(), source });
    // That of all containers of the project; the kernel refuses while there are others in it.
    let _ = runtime.root.parent().map(std::fs::remove_dir);
    deleted?;
    removed
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
    fn what_a_runtime_can_do_is_told_by_its_name() {
        let rows = [
            ("/usr/bin/crun", Kind::Crun),
            ("/usr/bin/runc", Kind::Namespaces),
            ("/opt/youki", Kind::Namespaces),
            ("/usr/local/bin/runsc-kvm", Kind::Gvisor),
            ("kata", Kind::Kata),
            ("/usr/bin/containerd-shim-kata-v2", Kind::Kata),
        ];
        for (program, kind) in rows {
            assert_eq!(Kind::of(Path::new(program)), kind, "{program}");
        }
        assert!(Kind::Gvisor.is_sandbox() && !Kind::Crun.is_sandbox());
    }

    #[test]
    fn each_kind_is_told_what_it_leaves_to_us() {
        let words = |program: &str| {
            let runtime = ForeignRuntime { program: program.into(), root: "/run/x".into() };
            let command = runtime.command();
            command.get_args().map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>()
        };
        assert_eq!(words("/usr/bin/runc"), ["--root", "/run/x"]);
        assert_eq!(words("/usr/bin/crun"), ["--root", "/run/x", "--cgroup-manager=disabled"]);
        let gvisor = ["--ignore-cgroups", "--overlay2=none", "--file-access=shared"];
        assert_eq!(words("/usr/bin/runsc")[2..], gvisor);
    }
}
