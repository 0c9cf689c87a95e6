//! inotify(7): directories in, what happens in them out, as the kernel tells it.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;

use super::source::WatchError;

/// Bytes for events: a few thousand at once.
const ROOM: usize = 64 << 10;

/// The directory that is watched has gone, or has another name.
const OWN: ReadFlags = ReadFlags::DELETE_SELF.union(ReadFlags::MOVE_SELF).union(ReadFlags::IGNORED);

/// Directories that are watched.
#[derive(Debug)]
pub struct Directories {
    inotify: OwnedFd,
    /// The paths that lead to a directory, by the number of its watch.
    paths: BTreeMap<i32, BTreeSet<PathBuf>>,
    watches: BTreeMap<PathBuf, i32>,
}

/// Something that has happened.
#[derive(Debug)]
pub struct Happening {
    /// The entry of a directory, or the directory.
    pub path: PathBuf,
    /// What.
    pub what: ReadFlags,
    /// It has happened to a directory itself: nothing is told of it any longer under this path.
    pub is_over: bool,
}

impl Directories {
    /// None.
    ///
    /// # Errors
    ///
    /// [`WatchError::Limit`] when the user has no instance left.
    pub fn new() -> Result<Self, WatchError> {
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)
            .map_err(|error| WatchError::new(Path::new("files"), error.into()))?;
        Ok(Self { inotify, paths: BTreeMap::new(), watches: BTreeMap::new() })
    }

    /// Watches the directory that `path` leads to now for `flags`, beside those that it is watched for already, and for its own
    /// end. Returns whether there is such a directory.
    ///
    /// # Errors
    ///
    /// [`WatchError`].
    pub fn add(&mut self, path: &Path, flags: WatchFlags) -> Result<bool, WatchError> {
        let flags = flags
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF
            | WatchFlags::ONLYDIR
            | WatchFlags::MASK_ADD;
        let watch = match inotify::add_watch(&self.inotify, path, flags) {
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
    pub fn remove(&mut self, path: &Path) {
        let Some(watch) = self.watches.remove(path) else { return };
        let Some(paths) = self.paths.get_mut(&watch) else { return };
        paths.remove(path);
        if paths.is_empty() {
            self.paths.remove(&watch);
            // The kernel may have taken it away by itself.
            let _ = inotify::remove_watch(&self.inotify, watch);
        }
    }

    /// The paths under which directories are watched.
    pub fn all(&self) -> impl Iterator<Item = &Path> {
        self.watches.keys().map(PathBuf::as_path)
    }

    /// Takes all that has happened since the last call, and says whether some of it was lost.
    ///
    /// # Errors
    ///
    /// What read(2) says.
    pub fn take(&mut self) -> io::Result<(Vec<Happening>, bool)> {
        let (mut all, mut lost) = (Vec::new(), false);
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
            lost |= what.contains(ReadFlags::QUEUE_OVERFLOW);
            let name = event.file_name().map(|name| OsStr::from_bytes(name.to_bytes()));
            for directory in self.paths.get(&event.wd()).into_iter().flatten() {
                let path = name.map_or_else(|| directory.clone(), |name| directory.join(name));
                let is_over = name.is_none() && what.intersects(OWN);
                all.push(Happening { path, what, is_over });
            }
        }
        for one in all.iter().filter(|one| one.is_over) {
            self.remove(&one.path);
        }
        Ok((all, lost))
    }
}

impl AsFd for Directories {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_directory_is_told_of_under_each_of_its_paths() {
        let folder = tempfile::tempdir().unwrap();
        let (real, link) = (folder.path().join("real"), folder.path().join("link"));
        fs::create_dir(&real).unwrap();
        symlink("real", &link).unwrap();
        let mut directories = Directories::new().unwrap();
        for path in [&real, &link] {
            assert!(directories.add(path, WatchFlags::CREATE).unwrap());
        }
        assert!(!directories.add(&folder.path().join("none"), WatchFlags::CREATE).unwrap());
        let mut told = |name: &str| {
            fs::write(real.join(name), "").unwrap();
            let (happened, _) = directories.take().unwrap();
            let paths: Vec<PathBuf> = happened.into_iter().map(|one| one.path).collect();
            // What follows is about what is left.
            directories.remove(&real);
            paths
        };
        assert_eq!(told("a"), [link.join("a"), real.join("a")]);
        assert_eq!(told("b"), [link.join("b")]);
        // Another directory under the same path.
        fs::remove_file(&link).unwrap();
        fs::create_dir(&link).unwrap();
        directories.add(&link, WatchFlags::CREATE).unwrap();
        fs::write(real.join("c"), "").unwrap();
        fs::write(link.join("d"), "").unwrap();
        let (happened, lost) = directories.take().unwrap();
        assert_eq!(happened.into_iter().map(|one| one.path).collect::<Vec<_>>(), [link.join("d")]);
        assert!(!lost);
    }
}
