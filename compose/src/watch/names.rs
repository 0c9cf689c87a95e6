//! When a name in a directory is given to another file: a save by rename, a link that is switched, a file that is made again.
//!
//! # Why not [`super::source`]
//!
//! Whoever follows a file that is mounted somewhere sees by itself what is written to it. So nothing here wakes up for a file
//! that is written to, be it a log beside the file or `/dev/null`: these watches stay for as long as a container runs.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;

use super::batch::Stage;
use super::source::{Changes, Touch, WatchError};

/// Bytes for events: a few thousand at once.
const ROOM: usize = 64 << 10;

/// What is to be told of a directory: names that are given in it, and its own end.
const WATCHED: WatchFlags = WatchFlags::CREATE
    .union(WatchFlags::MOVED_TO)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MOVE_SELF)
    .union(WatchFlags::ONLYDIR);

/// Directories in which names are given to files.
#[derive(Debug)]
pub struct Names {
    inotify: OwnedFd,
    /// The paths that lead to a directory, by the number of its watch.
    paths: BTreeMap<i32, BTreeSet<PathBuf>>,
    watches: BTreeMap<PathBuf, i32>,
}

impl Names {
    /// Watches nothing.
    ///
    /// # Errors
    ///
    /// [`WatchError::Limit`] when the user has no instance left.
    pub fn new() -> Result<Self, WatchError> {
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)
            .map_err(|error| WatchError::new(Path::new("files"), error.into()))?;
        Ok(Self { inotify, paths: BTreeMap::new(), watches: BTreeMap::new() })
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
                match self.add(path) {
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
        let others = self.watches.keys().filter(|path| !kept.contains(path.as_path()));
        for path in others.cloned().collect::<Vec<PathBuf>>() {
            self.remove(&path);
        }
        outcome
    }

    /// Watches the directory that `path` leads to now. Returns whether there is one.
    fn add(&mut self, path: &Path) -> Result<bool, WatchError> {
        let watch = match inotify::add_watch(&self.inotify, path, WATCHED) {
            Ok(watch) => watch,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(false),
            Err(error) => return Err(WatchError::new(path, error.into())),
        };
        if self.watches.get(path) != Some(&watch) {
            self.remove(path);
            self.watches.insert(path.to_owned(), watch);
            self.paths.entry(watch).or_default().insert(path.to_owned());
        }
        Ok(true)
    }

    /// Watches the directory no longer under this path.
    fn remove(&mut self, path: &Path) {
        let Some(watch) = self.watches.remove(path) else { return };
        let Some(paths) = self.paths.get_mut(&watch) else { return };
        paths.remove(path);
        if paths.is_empty() {
            self.paths.remove(&watch);
            // The kernel may have taken it away by itself.
            let _ = inotify::remove_watch(&self.inotify, watch);
        }
    }

    /// The names that were given to other files since the last call, and the directories that have lost their own: those are
    /// not watched any longer.
    ///
    /// # Errors
    ///
    /// What read(2) says.
    pub fn take(&mut self) -> io::Result<Changes> {
        let mut changes = Changes::default();
        let mut over = Vec::new();
        let at = Instant::now();
        let mut room = vec![MaybeUninit::uninit(); ROOM];
        let mut reader = Reader::new(&self.inotify, &mut room);
        loop {
            let event = match reader.next() {
                Ok(event) => event,
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            };
            let what = event.events();
            changes.lost |= what.contains(ReadFlags::QUEUE_OVERFLOW);
            let name = event.file_name().map(|name| OsStr::from_bytes(name.to_bytes()));
            for directory in self.paths.get(&event.wd()).into_iter().flatten() {
                let path = match name {
                    Some(name) => directory.join(name),
                    // It has happened to the directory itself.
                    None => {
                        over.push(directory.clone());
                        directory.clone()
                    }
                };
                let stage = stage(what, &path);
                changes.touched.push(Touch { path, stage, at });
            }
        }
        over.iter().for_each(|path| self.remove(path));
        Ok(changes)
    }
}

impl AsFd for Names {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
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

    #[test]
    fn a_directory_is_told_of_under_each_of_its_paths() {
        let folder = tempfile::tempdir().unwrap();
        let (real, link) = (folder.path().join("real"), folder.path().join("link"));
        fs::create_dir(&real).unwrap();
        symlink("real", &link).unwrap();
        let mut names = Names::new().unwrap();
        let paths = |names: &mut Names| -> Vec<PathBuf> {
            told(names).into_iter().map(|(path, _)| path).collect()
        };
        names.keep([&*real, &link]).unwrap();
        fs::write(real.join("a"), "").unwrap();
        assert_eq!(paths(&mut names), [link.join("a"), real.join("a")]);
        names.keep([&*link]).unwrap();
        fs::write(real.join("b"), "").unwrap();
        assert_eq!(paths(&mut names), [link.join("b")]);
        // Another directory under the same path.
        fs::remove_file(&link).unwrap();
        fs::create_dir(&link).unwrap();
        names.keep([&*link]).unwrap();
        fs::write(real.join("c"), "").unwrap();
        fs::write(link.join("d"), "").unwrap();
        assert_eq!(paths(&mut names), [link.join("d")]);
    }
}
