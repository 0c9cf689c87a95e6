//! Files from the host into the file system of a container, from outside.
//!
//! The container needs no `tar`, no `sh` and no rights: whoever holds its root writes into it. All files of one save
//! appear together: each is written under another name beside its place first, and all get their names at the end.
//!
//! What is in the container is hostile: a path is resolved below its root, and the last name of it is never followed.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid};
use rustix::io::Errno;
use sys::root::{Place, Root};

/// A copy that failed.
#[derive(Debug, thiserror::Error)]
#[error("{} cannot be put to {}", from.display(), to.display())]
pub struct SyncError {
    /// The file of the host.
    pub from: PathBuf,
    /// Its place in the container.
    pub to: PathBuf,
    /// Why not.
    pub source: io::Error,
}

/// What was done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Synced {
    /// Files, links and directories that were written.
    pub written: usize,
    /// Places at which there is nothing any more.
    pub removed: usize,
}

/// Whom copies belong to: user and group.
pub type Owner = (u32, u32);

/// A file that waits for its name.
struct Staged {
    from: PathBuf,
    to: PathBuf,
    waiting: Place,
    place: Place,
}

/// Makes the container look at the places `changes` as the host does at the paths there: what is on the host is written,
/// what is not is removed. Directories are made, but not filled: what is in them is listed by itself.
///
/// # Errors
///
/// The first file that could not be written; what was not given its name by then is taken away again.
pub fn sync(
    root: &Root,
    owner: Owner,
    changes: &BTreeMap<PathBuf, PathBuf>,
) -> Result<Synced, SyncError> {
    let mut staged: Vec<Staged> = Vec::new();
    let mut gone: Vec<(&PathBuf, &PathBuf)> = Vec::new();
    let mut synced = Synced::default();
    // By path, so that a directory comes before what is in it.
    for (from, to) in changes {
        let failed = |source| SyncError { from: from.clone(), to: to.clone(), source };
        let one = match stage(root, owner, from, to) {
            Ok(one) => one,
            Err(error) if error.kind() == io::ErrorKind::NotFound && !exists(from) => {
                gone.push((from, to));
                continue;
            }
            Err(error) => {
                withdraw(&staged);
                return Err(failed(error));
            }
        };
        synced.written += 1;
        if let Some((waiting, place)) = one {
            staged.push(Staged { from: from.clone(), to: to.clone(), waiting, place });
        }
    }
    for (at, one) in staged.iter().enumerate() {
        if let Err(source) = put(one) {
            withdraw(&staged[at..]);
            return Err(SyncError { from: one.from.clone(), to: one.to.clone(), source });
        }
    }
    for (from, to) in gone.into_iter().rev() {
        let removed = remove(root, to);
        let removed =
            removed.map_err(|source| SyncError { from: from.clone(), to: to.clone(), source })?;
        synced.removed += usize::from(removed);
    }
    Ok(synced)
}

fn exists(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

fn withdraw(staged: &[Staged]) {
    for one in staged {
        // The error that is told is the one that led here.
        let _ = one.waiting.remove_file();
    }
}

/// Writes what is at `from` beside `to`; a directory is made at once. Returns where it waits, and for which place.
fn stage(root: &Root, owner: Owner, from: &Path, to: &Path) -> io::Result<Option<(Place, Place)>> {
    let found = fs::symlink_metadata(from)?;
    let kind = found.file_type();
    if !(kind.is_dir() || kind.is_file() || kind.is_symlink()) {
        // A socket or a fifo is of use only to whoever made it.
        return Ok(None);
    }
    let place = place(root, owner, to)?;
    if kind.is_dir() {
        make_directory(&place, owner, &found)?;
        return Ok(None);
    }
    let waiting = beside(&place)?;
    let written = if kind.is_symlink() {
        let target = fs::read_link(from)?;
        waiting.create_symlink(target.as_os_str()).and_then(|()| own(&waiting, owner))
    } else {
        let source = File::open(from)?;
        waiting.create_file(Mode::from_raw_mode(0o600)).and_then(|mut file| {
            io::copy(&mut &source, &mut file)?;
            dress(&file, owner, &found)
        })
    };
    if let Err(error) = written {
        // What is there of it is of no use; the error is told.
        let _ = waiting.remove_file();
        return Err(error);
    }
    Ok(Some((waiting, place)))
}

/// A name that nothing has, in the directory of `place`.
fn beside(place: &Place) -> io::Result<Place> {
    let mut bytes = [0; 8];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    let name = format!(".compose-sync-{:016x}", u64::from_ne_bytes(bytes));
    let directory = place.directory().try_clone_to_owned()?;
    Place::new(std::sync::Arc::new(directory), &OsString::from(name))
}

/// Gives a file its name.
fn put(Staged { from, waiting, place, .. }: &Staged) -> io::Result<()> {
    let renamed = waiting.rename(place);
    let errno =
        renamed.as_ref().err().and_then(io::Error::raw_os_error).map(Errno::from_raw_os_error);
    match errno {
        // A directory is in its place.
        Some(Errno::ISDIR | Errno::EXIST | Errno::NOTEMPTY) => {
            place.remove_all()?;
            waiting.rename(place)
        }
        // Something is mounted there: what is mounted gets the content.
        Some(Errno::BUSY) => {
            let flags = OFlags::WRONLY | OFlags::TRUNC | OFlags::NONBLOCK | OFlags::NOCTTY;
            let file = place.open(flags)?;
            if FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode) != FileType::RegularFile {
                return Err(Errno::BUSY.into());
            }
            io::copy(&mut File::open(from)?, &mut File::from(file))?;
            waiting.remove_file()
        }
        _ => renamed,
    }
}

/// Returns whether there was anything.
fn remove(root: &Root, to: &Path) -> io::Result<bool> {
    let place = match root.place(to) {
        Ok(place) => place,
        Err(error) if is_nothing(&error) => return Ok(false),
        Err(error) => return Err(error),
    };
    if place.metadata()?.is_none() {
        return Ok(false);
    }
    place.remove_all()?;
    Ok(true)
}

fn is_nothing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// The place `to` below `root`; directories on the way are made, and belong to `owner`.
fn place(root: &Root, owner: Owner, to: &Path) -> io::Result<Place> {
    match root.place(to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        found => return found,
    }
    let parent = to.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let above = place(root, owner, parent)?;
    match above.create_dir(Mode::from_raw_mode(0o755)) {
        Ok(()) => own(&above, owner)?,
        // A link that leads to nothing yet.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            root.create_dir_all(parent, Mode::from_raw_mode(0o755))?;
        }
        Err(error) => return Err(error),
    }
    root.place(to)
}

fn make_directory(place: &Place, owner: Owner, found: &Metadata) -> io::Result<()> {
    if let Some(there) = place.metadata()? {
        if FileType::from_raw_mode(there.st_mode) == FileType::Directory {
            return Ok(());
        }
        place.remove_file()?;
    }
    place.create_dir(Mode::from_raw_mode(0o700))?;
    let directory = place.open(OFlags::RDONLY | OFlags::DIRECTORY)?;
    let (user, group) = ids(owner);
    rustix::fs::fchown(&directory, Some(user), Some(group))?;
    Ok(rustix::fs::fchmod(&directory, mode(found))?)
}

fn own(place: &Place, owner: Owner) -> io::Result<()> {
    let (user, group) = ids(owner);
    let flags = AtFlags::SYMLINK_NOFOLLOW;
    Ok(rustix::fs::chownat(place.directory(), place.name(), Some(user), Some(group), flags)?)
}

/// Owner, permissions and time, in this order: a change of the owner takes away set-user-ID (chown(2)).
fn dress(file: impl AsFd, owner: Owner, found: &Metadata) -> io::Result<()> {
    let (user, group) = ids(owner);
    rustix::fs::fchown(&file, Some(user), Some(group))?;
    rustix::fs::fchmod(&file, mode(found))?;
    let changed = Timespec { tv_sec: found.mtime(), tv_nsec: found.mtime_nsec() };
    let times = Timestamps { last_access: changed, last_modification: changed };
    Ok(rustix::fs::futimens(&file, &times)?)
}

fn mode(found: &Metadata) -> Mode {
    Mode::from_raw_mode(found.mode() & 0o7777)
}

fn ids((user, group): Owner) -> (Uid, Gid) {
    (Uid::from_raw(user), Gid::from_raw(group))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    struct World {
        folder: tempfile::TempDir,
        root: Root,
    }

    impl World {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            fs::create_dir(folder.path().join("host")).unwrap();
            fs::create_dir(folder.path().join("root")).unwrap();
            let root = Root::open(&folder.path().join("root")).unwrap();
            Self { folder, root }
        }

        fn host(&self, path: &str) -> PathBuf {
            self.folder.path().join("host").join(path)
        }

        fn inside(&self, path: &str) -> PathBuf {
            self.folder.path().join("root").join(path)
        }

        fn sync(&self, paths: &[&str]) -> Result<Synced, SyncError> {
            let changes = paths.iter().map(|path| (self.host(path), Path::new("/app").join(path)));
            let owner = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
            sync(&self.root, owner, &changes.collect())
        }

        fn nothing_is_left_over(&self) {
            let entries = fs::read_dir(self.inside("app")).unwrap();
            let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
            let left: Vec<String> = names.filter(|name| name.starts_with(".compose")).collect();
            assert!(left.is_empty(), "{left:?}");
        }
    }

    #[test]
    fn the_container_looks_as_the_host_does() {
        let world = World::new();
        fs::create_dir_all(world.host("a")).unwrap();
        fs::write(world.host("a/file"), "text").unwrap();
        fs::set_permissions(world.host("a/file"), fs::Permissions::from_mode(0o751)).unwrap();
        symlink("file", world.host("a/link")).unwrap();
        let done = world.sync(&["a", "a/file", "a/link", "never"]).unwrap();
        assert_eq!(done, Synced { written: 3, removed: 0 });
        assert_eq!(fs::read_to_string(world.inside("app/a/link")).unwrap(), "text");
        let found = fs::metadata(world.inside("app/a/file")).unwrap();
        let original = fs::metadata(world.host("a/file")).unwrap();
        assert_eq!((found.mode() & 0o7777, found.mtime()), (0o751, original.mtime()));

        // A file becomes a directory, and a directory a file.
        fs::remove_file(world.host("a/file")).unwrap();
        fs::create_dir(world.host("a/file")).unwrap();
        fs::write(world.host("a/file/x"), "x").unwrap();
        world.sync(&["a/file", "a/file/x"]).unwrap();
        assert_eq!(fs::read_to_string(world.inside("app/a/file/x")).unwrap(), "x");
        fs::remove_dir_all(world.host("a")).unwrap();
        fs::write(world.host("a"), "a file").unwrap();
        world.sync(&["a"]).unwrap();
        assert_eq!(fs::read_to_string(world.inside("app/a")).unwrap(), "a file");
        fs::remove_file(world.host("a")).unwrap();
        assert_eq!(world.sync(&["a", "a/file"]).unwrap(), Synced { written: 0, removed: 1 });
        assert!(!world.inside("app/a").exists());
        world.nothing_is_left_over();
    }

    #[test]
    fn links_in_the_container_lead_nowhere_else() {
        let world = World::new();
        let victim = world.folder.path().join("victim");
        fs::create_dir(&victim).unwrap();
        fs::write(victim.join("file"), "safe").unwrap();
        fs::create_dir(world.inside("app")).unwrap();
        symlink(&victim, world.inside("app/dir")).unwrap();
        symlink(victim.join("file"), world.inside("app/file")).unwrap();
        symlink("../../../..", world.inside("app/up")).unwrap();
        for folder in ["dir", "up"] {
            fs::create_dir_all(world.host(folder)).unwrap();
            fs::write(world.host(folder).join("file"), "evil").unwrap();
        }
        fs::write(world.host("file"), "evil").unwrap();
        // Where the link leads inside of the root, or an error: in no case outside of it.
        for path in ["dir/file", "up/file", "file"] {
            let _ = world.sync(&[path]);
        }
        assert_eq!(fs::read_to_string(victim.join("file")).unwrap(), "safe");
        assert_eq!(fs::read_to_string(world.inside("app/file")).unwrap(), "evil");
        assert_eq!(fs::read_to_string(world.inside("file")).unwrap(), "evil");
        // Neither does a removal.
        fs::remove_file(world.host("dir/file")).unwrap();
        let _ = world.sync(&["dir/file"]);
        assert!(victim.join("file").exists());
    }

    #[test]
    fn a_save_that_fails_leaves_nothing() {
        let world = World::new();
        fs::create_dir(world.inside("app")).unwrap();
        fs::write(world.inside("app/b"), "a file, and no directory").unwrap();
        fs::write(world.host("a"), "new").unwrap();
        fs::create_dir(world.host("b")).unwrap();
        fs::write(world.host("b/x"), "new").unwrap();
        let error = world.sync(&["a", "b/x"]).unwrap_err();
        assert_eq!(error.from, world.host("b/x"));
        assert!(!world.inside("app/a").exists());
        world.nothing_is_left_over();
    }
}
