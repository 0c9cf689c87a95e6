//! When logs grow.
//!
//! # Why
//!
//! One inotify(7) instance for all logs, with a watch for the folder of each: a user has 128 instances, and more watches than that.
//! Where inotify has nothing left, fanotify(7) takes over, as for the files that `watch` follows.

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::sys::fanotify::{Fanotify, MarkFlags, MaskFlags};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::io::Errno;

use crate::watch::marks;
use crate::watch::source::WatchError;

/// Bytes for what the kernel has to say, which nobody looks at.
const ROOM: usize = 16 << 10;

/// The folders of logs, and what tells that there is more in them. Nothing is told of what was there before.
#[derive(Debug, Default)]
pub struct Changes {
    inotify: Option<OwnedFd>,
    watches: BTreeMap<PathBuf, i32>,
    fanotify: Option<Fanotify>,
}

impl Changes {
    /// Tells from now on of the log in `folder`, which is made if it does not exist.
    ///
    /// # Errors
    ///
    /// [`WatchError::Limit`] when neither inotify nor fanotify has anything left.
    pub fn follow(&mut self, folder: &Path) -> Result<(), WatchError> {
        let made = fs::create_dir_all(folder);
        made.map_err(|source| WatchError::Watch { path: folder.to_owned(), source })?;
        let watched = self.watch(folder);
        watched.or_else(|error| match error {
            // What inotify has said is what the user can do something about.
            Errno::NOSPC | Errno::MFILE => {
                self.mark(folder).map_err(|_| WatchError::new(folder, error.into()))
            }
            _ => Err(WatchError::new(folder, error.into())),
        })
    }

    /// Tells no longer of the log in `folder`. What fanotify tells of goes with its folder.
    pub fn forget(&mut self, folder: &Path) {
        if let (Some(inotify), Some(watch)) = (&self.inotify, self.watches.remove(folder)) {
            // With the folder it is gone already.
            let _ = inotify::remove_watch(inotify, watch);
        }
    }

    /// What poll(2) can wait for: one of them is readable when a log may have grown.
    pub fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let fanotify = self.fanotify.as_ref().map(AsFd::as_fd);
        self.inotify.as_ref().map(AsFd::as_fd).into_iter().chain(fanotify)
    }

    /// Takes what there is to say, so that the descriptors are readable again at the next change.
    pub fn take(&self) {
        let mut room = [0; ROOM];
        for descriptor in self.descriptors() {
            // If there is more than that, it is told again.
            let _ = rustix::io::read(descriptor, &mut room);
        }
    }

    fn watch(&mut self, folder: &Path) -> Result<(), Errno> {
        let inotify = match &mut self.inotify {
            Some(inotify) => inotify,
            none => none.insert(inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?),
        };
        let what = WatchFlags::MODIFY | WatchFlags::CREATE;
        let watch = inotify::add_watch(&*inotify, folder, what)?;
        self.watches.insert(folder.to_owned(), watch);
        Ok(())
    }

    fn mark(&mut self, folder: &Path) -> Result<(), nix::errno::Errno> {
        let fanotify = match &mut self.fanotify {
            Some(fanotify) => fanotify,
            none => none.insert(marks::init()?),
        };
        let what = MaskFlags::FAN_MODIFY | MaskFlags::FAN_CREATE | MaskFlags::FAN_EVENT_ON_CHILD;
        let add = MarkFlags::FAN_MARK_ADD | MarkFlags::FAN_MARK_ONLYDIR;
        fanotify.mark(add, what, rustix::fs::CWD, Some(folder))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    fn has_changed(changes: &Changes) -> bool {
        let descriptors = changes.descriptors();
        let mut descriptors: Vec<_> =
            descriptors.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
        let changed = poll(&mut descriptors, Some(&Timespec::default())).unwrap() > 0;
        changes.take();
        changed
    }

    #[test]
    fn a_log_that_grows_is_told_of_until_it_is_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let (web, db) = (folder.path().join("web"), folder.path().join("db"));
        let mut changes = Changes::default();
        changes.follow(&web).unwrap();
        changes.follow(&db).unwrap();
        assert!(!has_changed(&changes));
        for file in ["web/1.out", "db/1.out", "db/1.out"] {
            fs::write(folder.path().join(file), "line\n").unwrap();
            assert!(has_changed(&changes), "{file}");
            assert!(!has_changed(&changes), "{file}");
        }
        changes.forget(&db);
        // inotify says that this is over.
        changes.take();
        fs::write(db.join("1.out"), "more\n").unwrap();
        assert!(!has_changed(&changes));
        assert_eq!(changes.descriptors().count(), 1);
    }

    #[test]
    fn fanotify_tells_of_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let mut changes = Changes::default();
        // Not every kernel and file system lets us: the scenario `logs_are_followed_without_inotify` asks for it.
        if changes.mark(folder.path()).is_err() {
            return;
        }
        assert!(!has_changed(&changes));
        fs::write(folder.path().join("1.out"), "line\n").unwrap();
        assert!(has_changed(&changes));
        fs::write(folder.path().join("1.out"), "more\n").unwrap();
        assert!(has_changed(&changes));
        assert!(!has_changed(&changes));
    }
}
