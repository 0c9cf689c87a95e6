//! Copying from one root to another, file by file, by descriptors.
//!
//! Nothing is followed below the place where a copy begins: whoever changes either side meanwhile, a container on a shared
//! folder perhaps, changes what is copied and never where it goes.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;
use sys::root::Place;

use super::entry::{DEEPEST, Look, children, look, open_dir, open_file};

/// Whom copies belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owners {
    /// Whom the originals belong to.
    Kept,
    /// Whoever copies.
    Copier,
}

/// A copy that failed.
#[derive(Debug, thiserror::Error)]
#[error("{}", path.display())]
pub struct CopyError {
    /// What was copied, or where it was to go.
    pub path: PathBuf,
    /// Why not.
    pub source: io::Error,
}

/// Adds the path to an error.
pub fn at(path: &Path) -> impl FnOnce(io::Error) -> CopyError + '_ {
    move |source| CopyError { path: path.to_owned(), source }
}

/// Copies what is at `from` to `to`; a directory is merged into one that is there.
///
/// # Errors
///
/// The first thing that could not be copied, with its path below `shown`.
pub fn copy(from: &Place, to: &Place, owners: Owners, shown: &Path) -> Result<(), CopyError> {
    copy_at(from, to, owners, shown, 0)
}

/// Copies what is in the directory `from` into the directory `to`.
///
/// # Errors
///
/// As [`copy`].
pub fn copy_children(
    from: OwnedFd,
    to: OwnedFd,
    owners: Owners,
    shown: &Path,
) -> Result<(), CopyError> {
    copy_inside(&Arc::new(from), &Arc::new(to), owners, shown, 0)
}

fn copy_at(
    from: &Place,
    to: &Place,
    owners: Owners,
    shown: &Path,
    depth: usize,
) -> Result<(), CopyError> {
    let found = look(from).map_err(at(shown))?;
    if found.kind == FileType::Directory {
        return copy_dir(from, to, &found, owners, shown, depth);
    }
    copy_one(from, to, &found, owners).map_err(at(shown))
}

fn copy_dir(
    from: &Place,
    to: &Place,
    found: &Look,
    owners: Owners,
    shown: &Path,
    depth: usize,
) -> Result<(), CopyError> {
    if depth >= DEEPEST {
        return Err(at(shown)(io::Error::other("directories are nested too deeply")));
    }
    let source = Arc::new(open_dir(from).map_err(at(shown))?);
    match to.create_dir(Mode::from_raw_mode(0o700)) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        made => made.map_err(at(shown))?,
    }
    let target = open_dir(to).map_err(|error| match error.raw_os_error() {
        Some(number) if number == Errno::NOTDIR.raw_os_error() => {
            at(shown)(io::Error::other("a directory does not take the place of a file"))
        }
        _ => at(shown)(error),
    });
    let target = Arc::new(target?);
    copy_inside(&source, &target, owners, shown, depth + 1)?;
    dress(&target, found, owners).map_err(at(shown))
}

fn copy_inside(
    from: &Arc<OwnedFd>,
    to: &Arc<OwnedFd>,
    owners: Owners,
    shown: &Path,
    depth: usize,
) -> Result<(), CopyError> {
    for child in children(from).map_err(at(shown))? {
        let path = shown.join(child.name());
        let target = Place::new(Arc::clone(to), child.name()).map_err(at(&path))?;
        copy_at(&child, &target, owners, &path, depth)?;
    }
    Ok(())
}

fn copy_one(from: &Place, to: &Place, found: &Look, owners: Owners) -> io::Result<()> {
    match found.kind {
        FileType::RegularFile => {
            let mut source = open_file(from)?;
            let mut target = writable(to)?;
            io::copy(&mut source, &mut target)?;
            dress(&target, found, owners)
        }
        FileType::Symlink => {
            let target = from.read_link()?;
            replacing(to, |to| to.create_symlink(&target))?;
            own(to, found, owners)
        }
        // A socket is of use only to the process that listens.
        FileType::Socket => Ok(()),
        kind => {
            replacing(to, |to| to.create_node(kind, found.mode, found.device))?;
            own(to, found, owners)
        }
    }
}

/// A regular file to write to: what is there is emptied, so that a mounted file stays the one that is mounted; a program
/// that runs is replaced.
pub fn writable(place: &Place) -> io::Result<File> {
    let fresh = || place.create_file(Mode::from_raw_mode(0o600));
    match fresh() {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        created => return created,
    }
    match look(place)?.kind {
        FileType::Directory => {
            return Err(io::Error::other("a file does not take the place of a directory"));
        }
        FileType::RegularFile => {
            let flags = OFlags::WRONLY | OFlags::TRUNC | OFlags::NONBLOCK | OFlags::NOCTTY;
            match place.open(flags) {
                Err(error) if error.raw_os_error() == Some(Errno::TXTBSY.raw_os_error()) => {}
                opened => return opened.map(File::from),
            }
        }
        _ => {}
    }
    place.remove_file()?;
    fresh()
}

/// Creates something that is no file and no directory, in the place of what is there.
pub fn replacing(place: &Place, create: impl Fn(&Place) -> io::Result<()>) -> io::Result<()> {
    match create(place) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        created => return created,
    }
    if look(place)?.kind == FileType::Directory {
        return Err(io::Error::other("a file does not take the place of a directory"));
    }
    place.remove_file()?;
    create(place)
}

/// Gives a file or directory the owner, the permissions and the time of its original. In this order: a change of the
/// owner takes away set-user-ID (chown(2)).
pub fn dress(file: impl rustix::fd::AsFd, found: &Look, owners: Owners) -> io::Result<()> {
    if owners == Owners::Kept {
        let (uid, gid) = (Uid::from_raw(found.uid), Gid::from_raw(found.gid));
        rustix::fs::fchown(&file, Some(uid), Some(gid))?;
    }
    rustix::fs::fchmod(&file, found.mode)?;
    Ok(rustix::fs::futimens(&file, &found.times())?)
}

/// The same for what cannot be opened.
pub fn own(place: &Place, found: &Look, owners: Owners) -> io::Result<()> {
    if owners == Owners::Kept {
        let (uid, gid) = (Uid::from_raw(found.uid), Gid::from_raw(found.gid));
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        rustix::fs::chownat(place.directory(), place.name(), Some(uid), Some(gid), flags)?;
    }
    let (directory, name) = (place.directory(), place.name());
    let flags = AtFlags::SYMLINK_NOFOLLOW;
    Ok(rustix::fs::utimensat(directory, name, &found.times(), flags)?)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use sys::root::Root;

    use super::*;

    fn place(root: &Path, name: &str) -> Place {
        Root::open(root).unwrap().place(Path::new(name)).unwrap()
    }

    #[test]
    fn trees_are_copied_and_links_are_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        fs::create_dir_all(from.join("a/b")).unwrap();
        fs::create_dir(&to).unwrap();
        fs::write(from.join("a/b/file"), "text").unwrap();
        fs::set_permissions(from.join("a/b/file"), fs::Permissions::from_mode(0o750)).unwrap();
        symlink("/etc/passwd", from.join("a/link")).unwrap();
        copy(&place(&from, "a"), &place(&to, "c"), Owners::Copier, Path::new("a")).unwrap();
        assert_eq!(fs::read_to_string(to.join("c/b/file")).unwrap(), "text");
        let mode = fs::metadata(to.join("c/b/file")).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o750);
        assert_eq!(fs::read_link(to.join("c/link")).unwrap(), Path::new("/etc/passwd"));

        // A link in the way is replaced, and what it leads to is left alone.
        fs::write(dir.path().join("host"), "host").unwrap();
        fs::remove_file(to.join("c/b/file")).unwrap();
        symlink(dir.path().join("host"), to.join("c/b/file")).unwrap();
        copy(&place(&from, "a"), &place(&to, "c"), Owners::Copier, Path::new("a")).unwrap();
        assert_eq!(fs::read_to_string(dir.path().join("host")).unwrap(), "host");
        assert_eq!(fs::read_to_string(to.join("c/b/file")).unwrap(), "text");

        // A folder that is a link by now is not entered.
        fs::remove_dir_all(to.join("c/b")).unwrap();
        symlink(dir.path(), to.join("c/b")).unwrap();
        let refused =
            copy(&place(&from, "a"), &place(&to, "c"), Owners::Copier, Path::new("a")).unwrap_err();
        assert_eq!(refused.path, Path::new("a/b"));
        assert!(!dir.path().join("file").exists());
    }

    #[test]
    fn a_file_and_a_directory_do_not_replace_each_other() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("folder/x")).unwrap();
        fs::write(dir.path().join("file"), "").unwrap();
        let (folder, file) = (place(dir.path(), "folder"), place(dir.path(), "file"));
        for (from, to) in [(&folder, &file), (&file, &folder)] {
            let refused = copy(from, to, Owners::Copier, Path::new("it")).unwrap_err();
            assert!(refused.source.to_string().contains("does not take the place"), "{refused:?}");
        }
        assert!(dir.path().join("folder/x").exists() && dir.path().join("file").is_file());
    }
}
