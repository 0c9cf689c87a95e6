//! The lock of a project: whoever holds it is the project's only supervisor.
//!
//! # Order
//!
//! A process that needs several locks takes them in the order project,
//! volumes, network, images, runtime, and several projects in the order of
//! their names. [`ProjectLock::acquire_all`] does the latter; the stores lock
//! inside single calls, so whoever holds a project lock may call any of them
//! and a store never waits for a project.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::Roots;

/// A project lock could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another supervisor lives.
    #[error("project {project} already has a supervisor")]
    Held {
        /// The project.
        project: String,
    },
    /// The lock file could not be made or locked.
    #[error("cannot lock {}", path.display())]
    Lock {
        /// The lock file.
        path: PathBuf,
        /// The kernel's words.
        source: io::Error,
    },
}

/// The lock of one project, held until it is dropped or the process dies.
///
/// flock(2): the lock belongs to the open file, so it outlives the process
/// only if the descriptor is handed on; it is close-on-exec.
#[derive(Debug)]
pub struct ProjectLock {
    file: File,
}

impl ProjectLock {
    /// Takes the lock of `project` or says that it is taken; does not wait.
    ///
    /// # Errors
    ///
    /// [`LockError`].
    pub fn acquire(roots: &Roots, project: &str) -> Result<Self, LockError> {
        let path = roots.project(project).lock();
        let failed = |source| LockError::Lock { path: path.clone(), source };
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(failed)?;
        }
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(failed)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { file }),
            Err(Errno::WOULDBLOCK) => Err(LockError::Held { project: project.to_owned() }),
            Err(error) => Err(failed(error.into())),
        }
    }

    /// Takes the locks of several projects, in the order of their names.
    ///
    /// # Errors
    ///
    /// [`LockError`] of the first that is not to be had; none is held then.
    pub fn acquire_all(roots: &Roots, projects: &[&str]) -> Result<Vec<Self>, LockError> {
        let mut projects = projects.to_vec();
        projects.sort_unstable();
        projects.dedup();
        projects.into_iter().map(|project| Self::acquire(roots, project)).collect()
    }
}

impl AsFd for ProjectLock {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_held_once_and_freed_by_dropping() {
        let folder = tempfile::tempdir().unwrap();
        let roots = Roots::new(folder.path(), folder.path());
        let first = ProjectLock::acquire(&roots, "shop").unwrap();
        assert!(matches!(ProjectLock::acquire(&roots, "shop"), Err(LockError::Held { .. })));
        ProjectLock::acquire_all(&roots, &["b", "a", "b"]).unwrap();
        ProjectLock::acquire_all(&roots, &["shop", "a"]).unwrap_err();
        drop(first);
        ProjectLock::acquire_all(&roots, &["shop", "a"]).unwrap();
    }
}
