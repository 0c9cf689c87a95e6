//! Where a container is in the hierarchies: the handle that everything else works on.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

use super::setting::Purpose;
use super::tree::{Tree, remove_tree};
use super::{CgroupError, Hierarchy, Limits, events, file};

/// The directories of one container, as absolute paths; outlives the process that made it by being written to a record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// How the machine mounts its hierarchies.
    pub hierarchy: Hierarchy,
    /// Path below the top of each hierarchy.
    pub name: String,
    /// Directory in the version 2 tree: the target of `CLONE_INTO_CGROUP`; absent on a legacy machine.
    pub unified: Option<PathBuf>,
    /// Directories in the version 1 trees by controller, some of which may share one; empty on a unified machine.
    pub controllers: BTreeMap<String, PathBuf>,
}

impl Place {
    /// Every directory of the place once, the version 2 one first.
    pub fn directories(&self) -> impl Iterator<Item = &Path> {
        self.unified.as_deref().into_iter().chain(self.version_1_directories())
    }

    /// Every version 1 directory once: what is left to join after `CLONE_INTO_CGROUP`.
    pub fn version_1_directories(&self) -> impl Iterator<Item = &Path> {
        let all: Vec<&Path> = self.controllers.values().map(PathBuf::as_path).collect();
        all.clone()
            .into_iter()
            .enumerate()
            .filter(move |(index, path)| !all[..*index].contains(path))
            .map(|(_, path)| path)
    }

    /// The directory whose files belong to a controller.
    pub(super) fn directory(&self, controller: &str) -> Option<&Path> {
        match self.hierarchy {
            Hierarchy::Unified => self.unified.as_deref(),
            Hierarchy::Hybrid | Hierarchy::Legacy => {
                self.controllers.get(controller).map(PathBuf::as_path)
            }
        }
    }

    /// The top of the version 2 tree.
    pub(crate) fn unified_top(&self) -> Option<&Path> {
        self.unified.as_deref()?.ancestors().nth(self.depth())
    }

    /// How many directories there are between the top of a hierarchy and the processes.
    pub(super) fn depth(&self) -> usize {
        Path::new(&self.name).components().count()
    }

    /// Moves a process, with all its threads, into every hierarchy.
    ///
    /// # Errors
    /// [`CgroupError::Write`] names the file; `ESRCH` means the process is gone.
    pub fn add(&self, pid: i32) -> Result<(), CgroupError> {
        self.directories()
            .try_for_each(|directory| file::write(directory, "cgroup.procs", &pid.to_string()))
    }

    /// Moves the calling process into every hierarchy.
    ///
    /// # Errors
    /// As [`Place::add`].
    pub fn join_self(&self) -> Result<(), CgroupError> {
        self.directories().try_for_each(|directory| file::write(directory, "cgroup.procs", "0"))
    }

    /// Moves the calling process into every version 1 hierarchy.
    ///
    /// # Errors
    /// As [`Place::add`].
    pub(crate) fn join_version_1(&self) -> Result<(), CgroupError> {
        self.version_1_directories()
            .try_for_each(|directory| file::write(directory, "cgroup.procs", "0"))
    }

    /// Moves all processes of the place into one more directory.
    pub(super) fn move_all(&self, directory: &Path) -> Result<(), CgroupError> {
        let elsewhere = self.directories().find(|other| *other != directory);
        loop {
            // Children forked in between are where their parents were, so look until nobody is new.
            let inside = file::pids(directory);
            let outside: Vec<i32> = elsewhere
                .map(file::pids)
                .unwrap_or_default()
                .into_iter()
                .filter(|pid| !inside.contains(pid))
                .collect();
            if outside.is_empty() {
                return Ok(());
            }
            for pid in outside {
                match file::write(directory, "cgroup.procs", &pid.to_string()) {
                    Err(CgroupError::Write { source, .. })
                        if source.raw_os_error() == Some(libc::ESRCH) => {}
                    other => other?,
                }
            }
        }
    }

    /// The processes in the container, children's control groups included; empty if it is gone.
    pub fn pids(&self) -> Vec<i32> {
        self.directories().next().map(all_pids).unwrap_or_default()
    }

    /// Sends SIGKILL to every process at once, so that none can fork away from it. Nothing to kill is no error.
    ///
    /// # Errors
    /// [`CgroupError::Write`] and, on machines without `cgroup.kill`, [`CgroupError::Timeout`].
    pub fn kill(&self) -> Result<(), CgroupError> {
        if let Some(directory) = &self.unified {
            match file::write(directory, "cgroup.kill", "1") {
                Err(CgroupError::Write { source, .. })
                    if file::is_missing(&source) && directory.exists() => {}
                Err(CgroupError::Write { source, .. }) if file::is_missing(&source) => {
                    return Ok(());
                }
                other => return other,
            }
        }
        self.kill_frozen()
    }

    /// Kills where the kernel has no `cgroup.kill` (before 5.14, or version 1 alone): a frozen process
    /// cannot fork, and its pid cannot pass to another.
    fn kill_frozen(&self) -> Result<(), CgroupError> {
        let frozen = self.freeze();
        for pid in self.pids() {
            // ESRCH is what was wanted.
            let _ = Pid::from_raw(pid).map(|pid| kill_process(pid, Signal::KILL));
        }
        // Thawed in any case: a frozen process of version 1 does not die.
        self.thaw().and(frozen)
    }

    /// Stops every process where it is, and waits until all have stopped.
    ///
    /// # Errors
    /// [`CgroupError::Timeout`] if a process stays in an uninterruptible call.
    pub fn freeze(&self) -> Result<(), CgroupError> {
        events::set_frozen(self, events::Frozen::Yes)
    }

    /// Lets every process go on.
    ///
    /// # Errors
    /// As [`Place::freeze`].
    pub fn thaw(&self) -> Result<(), CgroupError> {
        events::set_frozen(self, events::Frozen::No)
    }

    /// Sets the limits of a running container: what is absent goes back to the kernel's default, and devices stay as they are.
    ///
    /// The place gains a directory if a limit needs a controller that it has not had so far.
    ///
    /// # Errors
    /// As [`super::create`]; `EBUSY` on a memory limit means that more is in use and cannot be reclaimed.
    pub fn update(&mut self, limits: &Limits) -> Result<(), CgroupError> {
        limits.check()?;
        let tree = Tree::host()?;
        tree.check_cpuset(limits)?;
        tree.extend(self, limits)?;
        let total = self
            .directory("memory")
            .and_then(|directory| file::number(directory, "memory.memsw.limit_in_bytes"));
        tree.limit(self, limits, Purpose::Update, total)
    }

    /// Removes the directories, and those of the project if they are empty; what is gone counts as removed.
    ///
    /// Waits for processes that are dying, as rmdir(2) is refused until the last one is out.
    ///
    /// # Errors
    /// The first refusal, after all directories have been tried; [`CgroupError::Timeout`] names the processes that are still inside.
    pub fn remove(&self) -> Result<(), CgroupError> {
        let removed = self.directories().map(|directory| self.remove_one(directory));
        let outcome = removed.fold(Ok(()), Result::and);
        self.remove_empty_parents();
        outcome
    }

    fn remove_one(&self, directory: &Path) -> Result<(), CgroupError> {
        let mut removed = remove_tree(directory);
        if removed.as_ref().is_err_and(|error| error.raw_os_error() == Some(libc::EBUSY)) {
            events::wait_until_empty(self)?;
            removed = remove_tree(directory);
        }
        removed.map_err(|source| CgroupError::Call {
            call: "rmdir",
            path: directory.to_owned(),
            source,
        })
    }

    /// Removes what a failed creation has made; the error that caused it is the one to report.
    pub(super) fn discard(&self) {
        for directory in self.directories() {
            let _ = fs::remove_dir(directory);
        }
        self.remove_empty_parents();
    }

    /// The kernel refuses directories in use, so trying is safe.
    fn remove_empty_parents(&self) {
        // What is above the root and the project may be somebody else's.
        let ours = self.depth().saturating_sub(1).min(2);
        for directory in self.directories() {
            let parents = directory.ancestors().skip(1).take(ours);
            let _ = parents.map(fs::remove_dir).take_while(Result::is_ok).count();
        }
    }
}

/// The processes in a directory and below.
fn all_pids(directory: &Path) -> Vec<i32> {
    let mut pids = file::pids(directory);
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            pids.extend(all_pids(&entry.path()));
        }
    }
    pids
}
