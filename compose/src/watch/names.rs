//! When a name in a directory is given to another file: a save by rename, a link that is switched, a file that is made again.
//!
//! # Why not [`super::source`]
//!
//! Whoever follows a file that is mounted somewhere sees by itself what is written to it. So nothing here wakes up for a file
//! that is written to, be it a log beside the file or `/dev/null`: these watches stay for as long as a container runs.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::time::Instant;

use rustix::fs::inotify::{ReadFlags, WatchFlags};

use super::batch::Stage;
use super::directories::{Directories, Happening};
use super::source::{Changes, Touch, WatchError};

/// Directories in which names are given to files.
#[derive(Debug)]
pub struct Names {
    directories: Directories,
}

impl Names {
    /// Watches nothing.
    ///
    /// # Errors
    ///
    /// [`WatchError::Limit`] when the user has no instance left.
    pub fn new() -> Result<Self, WatchError> {
        Ok(Self { directories: Directories::new()? })
    }

    /// Watches `directories`, where they lead to now, and nothing else. Of one that is not there the nearest above it that is.
    ///
    /// # Errors
    ///
    /// The first that cannot be watched; the others are.
    pub fn keep<'p>(
        &mut self,
        directories: impl IntoIterator<Item = &'p Path>,
    ) -> Result<(), WatchError> {
        let mut kept = BTreeSet::new();
        let mut outcome = Ok(());
        for directory in directories {
            for path in directory.ancestors() {
                match self.directories.add(path, WatchFlags::CREATE | WatchFlags::MOVED_TO) {
                    Ok(true) => {
                        kept.insert(path);
                        break;
                    }
                    Ok(false) => {}
                    Err(error) => {
                        outcome = outcome.and(Err(error));
                        break;
                    }
                }
            }
        }
        let others = self.directories.all().filter(|path| !kept.contains(path));
        for path in others.map(Path::to_owned).collect::<Vec<PathBuf>>() {
            self.directories.remove(&path);
        }
        outcome
    }

    /// The names that were given to other files since the last call, and the directories that have lost their own.
    ///
    /// # Errors
    ///
    /// What read(2) says.
    pub fn take(&mut self) -> io::Result<Changes> {
        let (happened, lost) = self.directories.take()?;
        let at = Instant::now();
        let touch = |Happening { path, what, .. }| {
            let stage = stage(what, &path);
            Touch { path, stage, at }
        };
        Ok(Changes { touched: happened.into_iter().map(touch).collect(), lost })
    }
}

impl AsFd for Names {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.directories.as_fd()
    }
}

/// A file that is made is about to be written. A link, a socket and what gets a name by rename(2) are whole.
fn stage(events: ReadFlags, path: &Path) -> Stage {
    let is_file = || fs::symlink_metadata(path).is_ok_and(|found| found.is_file());
    match events.contains(ReadFlags::CREATE) && is_file() {
        true => Stage::Writing,
        false => Stage::Whole,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// What is told, in its order: events of the kernel are there when the call that has caused them returns.
    fn told(names: &mut Names) -> Vec<(PathBuf, Stage)> {
        let touched = names.take().unwrap().touched;
        touched.into_iter().map(|touch| (touch.path, touch.stage)).collect()
    }

    #[test]
    fn a_name_that_is_given_to_another_file_is_told_and_a_write_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let (file, saved, link) =
            (folder.path().join("conf"), folder.path().join("saved"), folder.path().join("link"));
        fs::write(&file, "1").unwrap();
        fs::write(&saved, "2").unwrap();
        let mut names = Names::new().unwrap();
        names.keep([folder.path()]).unwrap();
        fs::write(&file, "3").unwrap();
        assert_eq!(told(&mut names), []);
        fs::rename(&saved, &file).unwrap();
        assert_eq!(told(&mut names), [(file.clone(), Stage::Whole)]);
        fs::remove_file(&file).unwrap();
        assert_eq!(told(&mut names), []);
        fs::write(&file, "4").unwrap();
        symlink("conf", &link).unwrap();
        assert_eq!(told(&mut names), [(file.clone(), Stage::Writing), (link, Stage::Whole)]);
        names.keep([]).unwrap();
        fs::remove_file(&file).unwrap();
        fs::write(&file, "5").unwrap();
        assert_eq!(told(&mut names), []);
    }

    #[test]
    fn a_directory_that_goes_and_comes_is_waited_for_above_it() {
        let folder = tempfile::tempdir().unwrap();
        let etc = folder.path().join("etc");
        fs::create_dir(&etc).unwrap();
        let mut names = Names::new().unwrap();
        names.keep([&*etc]).unwrap();
        fs::remove_dir(&etc).unwrap();
        assert!(told(&mut names).contains(&(etc.clone(), Stage::Whole)));
        names.keep([&*etc]).unwrap();
        fs::create_dir(&etc).unwrap();
        assert_eq!(told(&mut names), [(etc.clone(), Stage::Whole)]);
        names.keep([&*etc]).unwrap();
        fs::create_dir(etc.join("new")).unwrap();
        assert_eq!(told(&mut names), [(etc.join("new"), Stage::Whole)]);
        // It has another name: what is at the old one is another directory.
        fs::rename(&etc, folder.path().join("old")).unwrap();
        assert_eq!(told(&mut names), [(etc, Stage::Whole)]);
    }
}
