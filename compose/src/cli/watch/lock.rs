//! One watch for each project: two would write the same files at the same time.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::cli::error::CommandError;
use crate::record::Roots;

/// Held while a project is watched; the kernel lets it go with the process (flock(2)).
#[derive(Debug)]
pub struct WatchLock {
    _file: File,
}

impl WatchLock {
    /// Takes the lock of `project`; does not wait.
    ///
    /// # Errors
    ///
    /// When another command has it; that one is named.
    pub fn acquire(roots: &Roots, project: &str) -> Result<Self, CommandError> {
        let folder = roots.project(project).run().to_owned();
        let path = folder.join("watch.lock");
        let failed = |error: io::Error| {
            CommandError::failed(format!("cannot lock {}: {error}", path.display()))
                .help("check that the folder can be written to")
        };
        fs::create_dir_all(&folder).map_err(failed)?;
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let mut file = file.map_err(failed)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                let mut pid = String::new();
                // Without it the message is still true.
                let _ = file.read_to_string(&mut pid);
                let message =
                    format!("project {project} is watched already, by process {}", pid.trim());
                return Err(CommandError::failed(message).help("end that command first"));
            }
            Err(error) => return Err(failed(error.into())),
        }
        file.set_len(0).map_err(failed)?;
        writeln!(file, "{}", std::process::id()).map_err(failed)?;
        Ok(Self { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_watch_is_told_of_the_first() {
        let folder = tempfile::tempdir().unwrap();
        let roots = Roots::new(folder.path().join("data"), folder.path().join("run"));
        let first = WatchLock::acquire(&roots, "p").unwrap();
        let error = WatchLock::acquire(&roots, "p").unwrap_err();
        let message = format!("project p is watched already, by process {}", std::process::id());
        assert_eq!(error.failures[0].message, message);
        assert!(WatchLock::acquire(&roots, "q").is_ok());
        drop(first);
        assert!(WatchLock::acquire(&roots, "p").is_ok());
    }
}
