//! Paths inside a directory that may be hostile: a layer, a container's root file system, a volume.
//!
//! Whoever fills such a directory may put symbolic links anywhere, so a path that was joined to it as text can lead
//! to the host. Here every path is resolved by the kernel below a descriptor: an absolute link starts at the
//! directory, `..` stops there, and links of procfs are not followed (openat2(2), `RESOLVE_IN_ROOT`, Linux 5.6).
//! What is created or removed is named by its parent's descriptor and one component, which is never followed.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, CWD, Dev, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

use crate::remove::remove_at;

/// How often a resolution is repeated that the kernel gave up because something was renamed meanwhile (EAGAIN).
const ATTEMPTS: usize = 128;

/// How many dangling symbolic links [`Root::create_dir_all`] follows: the kernel's own limit (path_resolution(7)).
const LINKS: usize = 40;

/// A directory below which all paths are resolved.
#[derive(Debug)]
pub struct Root {
    directory: Arc<OwnedFd>,
}

impl Root {
    /// Opens the directory at `path`. This path is trusted and resolved as usual.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self::from(rustix::fs::openat(CWD, path, flags, Mode::empty())?))
    }

    /// Opens what `path` leads to, with symbolic links followed inside the root, the last one too unless `flags`
    /// has `NOFOLLOW`. `CLOEXEC` is added.
    ///
    /// Opening a fifo without `NONBLOCK`, or a device at all, is the caller's risk: see [`Root::open_file`].
    pub fn resolve(&self, path: &Path, flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
        let how = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        for _ in 1..ATTEMPTS {
            match rustix::fs::openat2(&*self.directory, path, flags | OFlags::CLOEXEC, mode, how) {
                Err(Errno::AGAIN | Errno::INTR) => {}
                answer => return Ok(answer?),
            }
        }
        Ok(rustix::fs::openat2(&*self.directory, path, flags | OFlags::CLOEXEC, mode, how)?)
    }

    /// Opens an existing directory, as a place to create in and not to read from (`O_PATH`).
    pub fn open_dir(&self, path: &Path) -> io::Result<OwnedFd> {
        self.resolve(path, OFlags::PATH | OFlags::DIRECTORY, Mode::empty())
    }

    /// Opens an existing regular file for reading.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::InvalidInput`] for anything but a regular file; a fifo does not block and a device is not
    /// opened, because the kind is looked at before the file is opened for reading.
    pub fn open_file(&self, path: &Path) -> io::Result<File> {
        let found = self.resolve(path, OFlags::PATH, Mode::empty())?;
        require_regular(&rustix::fs::fstat(&found)?)?;
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = self.resolve(path, flags, Mode::empty())?;
        // The name may have been given to something else between the two calls.
        require_regular(&rustix::fs::fstat(&file)?)?;
        Ok(File::from(file))
    }

    /// Finds the place that `path` names: its parent, resolved, and its last component, not followed.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::InvalidInput`] for a path whose last component is no name (`/`, `.`, `a/..`); otherwise what
    /// opening the parent says.
    pub fn place(&self, path: &Path) -> io::Result<Place> {
        let (parent, name) = split(path)?;
        Ok(Place { directory: Arc::new(self.open_dir(parent)?), name: name.to_owned() })
    }

    /// As [`Root::place`], with missing parents created with `mode` (owner root).
    pub fn place_creating(&self, path: &Path, mode: Mode) -> io::Result<Place> {
        let (parent, name) = split(path)?;
        Ok(Place { directory: Arc::new(self.create_dir_all(parent, mode)?), name: name.to_owned() })
    }

    /// Opens the directory `path`, creating what is missing of it with `mode` (less the umask).
    ///
    /// A symbolic link on the way that leads to nothing is followed, inside the root, and its target is created, as
    /// for a layer that adds `run/x` to a root whose `run` is a link to a directory yet to come.
    pub fn create_dir_all(&self, path: &Path, mode: Mode) -> io::Result<OwnedFd> {
        self.create_dir_through(path, mode, LINKS)
    }

    fn create_dir_through(&self, path: &Path, mode: Mode, links: usize) -> io::Result<OwnedFd> {
        match self.open_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            answer => return answer,
        }
        let mut walked = PathBuf::new();
        let mut directory = self.open_dir(&walked)?;
        for component in path.components() {
            let name = match component {
                Component::Normal(name) => name,
                Component::ParentDir => OsStr::new(".."),
                Component::CurDir | Component::RootDir | Component::Prefix(_) => continue,
            };
            let next = walked.join(name);
            directory = match self.open_dir(&next) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    match rustix::fs::mkdirat(&directory, name, mode) {
                        Ok(()) => self.open_dir(&next)?,
                        Err(Errno::EXIST) => {
                            let target = self.link_target(&directory, name, &walked)?;
                            let links = links.checked_sub(1).ok_or(Errno::LOOP)?;
                            self.create_dir_through(&target, mode, links)?
                        }
                        Err(error) => return Err(error.into()),
                    }
                }
                answer => answer?,
            };
            walked = next;
        }
        Ok(directory)
    }

    /// Where the link `name` in `directory` (which is `at` below the root) points, as a path below the root.
    fn link_target(&self, directory: &OwnedFd, name: &OsStr, at: &Path) -> io::Result<PathBuf> {
        let target = rustix::fs::readlinkat(directory, name, Vec::new())?;
        // An absolute target replaces `at` here, and is relative to the root in openat2.
        Ok(at.join(OsStr::from_bytes(target.as_bytes())))
    }
}

impl From<OwnedFd> for Root {
    fn from(directory: OwnedFd) -> Self {
        Self { directory: Arc::new(directory) }
    }
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }
}

/// A name in a directory that is held open. The name is never followed, so what is done here is done in this
/// directory whatever becomes of the path that led to it.
#[derive(Debug, Clone)]
pub struct Place {
    directory: Arc<OwnedFd>,
    name: OsString,
}

impl Place {
    /// The place called `name` in `directory`.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::InvalidInput`] when `name` is not one plain component.
    pub fn new(directory: Arc<OwnedFd>, name: &OsStr) -> io::Result<Self> {
        require_component(name)?;
        Ok(Self { directory, name: name.to_owned() })
    }

    /// The directory.
    pub fn directory(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }

    /// The name in it.
    pub fn name(&self) -> &OsStr {
        &self.name
    }

    /// What is here, or `None`.
    pub fn metadata(&self) -> io::Result<Option<Stat>> {
        match rustix::fs::statat(&self.directory, &*self.name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(found) => Ok(Some(found)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Opens what is here; a symbolic link is not followed.
    pub fn open(&self, flags: OFlags) -> io::Result<OwnedFd> {
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(&self.directory, &*self.name, flags, Mode::empty())?)
    }

    /// Opens the regular file that is here for reading; a symbolic link is not followed, and a fifo does not block.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::InvalidInput`] for anything but a regular file. A device would have been opened by then: who
    /// can put one here has to be trusted that far, as with a tree of files that was looked at before.
    pub fn open_file(&self) -> io::Result<File> {
        let file = self.open(OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY)?;
        require_regular(&rustix::fs::fstat(&file)?)?;
        Ok(File::from(file))
    }

    /// Creates a file and opens it for writing. Fails when there is anything here.
    pub fn create_file(&self, mode: Mode) -> io::Result<File> {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(&self.directory, &*self.name, flags, mode)?.into())
    }

    /// Creates a directory.
    pub fn create_dir(&self, mode: Mode) -> io::Result<()> {
        Ok(rustix::fs::mkdirat(&self.directory, &*self.name, mode)?)
    }

    /// Creates a symbolic link that points to `target`.
    pub fn create_symlink(&self, target: &OsStr) -> io::Result<()> {
        Ok(rustix::fs::symlinkat(target, &self.directory, &*self.name)?)
    }

    /// Creates a second name for what is at `existing`, which is not followed if it is a symbolic link.
    pub fn create_hard_link(&self, existing: &Place) -> io::Result<()> {
        let (from, to) = (existing, self);
        Ok(rustix::fs::linkat(
            &from.directory,
            &*from.name,
            &to.directory,
            &*to.name,
            AtFlags::empty(),
        )?)
    }

    /// Creates a fifo, a socket or a device node, with `mode` less the umask.
    pub fn create_node(&self, kind: FileType, mode: Mode, device: Dev) -> io::Result<()> {
        rustix::fs::mknodat(&self.directory, &*self.name, kind, mode, device)?;
        Ok(())
    }

    /// The target of the symbolic link that is here.
    pub fn read_link(&self) -> io::Result<OsString> {
        let target = rustix::fs::readlinkat(&self.directory, &*self.name, Vec::new())?;
        Ok(OsString::from_vec(target.into_bytes()))
    }

    /// Gives what is here the name `to`, in one step and in the place of a file that has it.
    pub fn rename(&self, to: &Place) -> io::Result<()> {
        Ok(rustix::fs::renameat(&self.directory, &*self.name, &to.directory, &*to.name)?)
    }

    /// Removes a file, link or node.
    pub fn remove_file(&self) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&self.directory, &*self.name, AtFlags::empty())?)
    }

    /// Removes an empty directory.
    pub fn remove_dir(&self) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&self.directory, &*self.name, AtFlags::REMOVEDIR)?)
    }

    /// Removes whatever is here, with all that is in it. Symbolic links are removed, not followed. Nothing here is
    /// a success.
    pub fn remove_all(&self) -> io::Result<()> {
        remove_at(self.directory.as_fd(), &self.name)
    }
}

fn split(path: &Path) -> io::Result<(&Path, &OsStr)> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    Ok((path.parent().unwrap_or(Path::new("")), name))
}

fn require_component(name: &OsStr) -> io::Result<()> {
    let mut components = Path::new(name).components();
    match (components.next(), components.next()) {
        (Some(Component::Normal(only)), None) if only == name => Ok(()),
        _ => Err(io::ErrorKind::InvalidInput.into()),
    }
}

fn require_regular(found: &Stat) -> io::Result<()> {
    if FileType::from_raw_mode(found.st_mode) == FileType::RegularFile {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Read;
    use std::os::unix::fs::symlink;

    use super::*;

    fn scratch() -> (tempfile::TempDir, Root) {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("root")).unwrap();
        fs::write(dir.path().join("outside"), "host").unwrap();
        let root = Root::open(&dir.path().join("root")).unwrap();
        (dir, root)
    }

    #[test]
    fn resolves_absolute_links_and_dots_inside() {
        let (dir, root) = scratch();
        let inside = dir.path().join("root");
        fs::create_dir(inside.join("etc")).unwrap();
        fs::write(inside.join("etc/hosts"), "inside").unwrap();
        symlink("/etc", inside.join("absolute")).unwrap();
        symlink("../../../etc", inside.join("dots")).unwrap();
        for path in ["etc/hosts", "/etc/hosts", "absolute/hosts", "dots/hosts", "../../etc/hosts"] {
            let mut text = String::new();
            root.open_file(Path::new(path)).unwrap().read_to_string(&mut text).unwrap();
            assert_eq!(text, "inside", "{path}");
        }
        symlink("../outside", inside.join("out")).unwrap();
        let refused = root.open_file(Path::new("out")).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn reads_only_regular_files() {
        let (_dir, root) = scratch();
        let fifo = root.place(Path::new("fifo")).unwrap();
        fifo.create_node(FileType::Fifo, Mode::from(0o600), 0).unwrap();
        let refused = root.open_file(Path::new("fifo")).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::InvalidInput);
        assert_eq!(fifo.open_file().unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn creates_directories_through_dangling_links() {
        let (dir, root) = scratch();
        let inside = dir.path().join("root");
        symlink("/deep/../deep/er", inside.join("run")).unwrap();
        root.create_dir_all(Path::new("run/lock/x"), Mode::from(0o755)).unwrap();
        assert!(inside.join("deep/er/lock/x").is_dir());
        symlink("loop", inside.join("loop")).unwrap();
        let refused = root.create_dir_all(Path::new("loop/x"), Mode::from(0o755)).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(Errno::LOOP.raw_os_error()));
    }

    #[test]
    fn a_place_is_never_followed() {
        let (dir, root) = scratch();
        symlink(dir.path().join("outside"), dir.path().join("root/link")).unwrap();
        let link = root.place(Path::new("link")).unwrap();
        assert!(link.create_file(Mode::from(0o644)).is_err());
        assert!(link.open(OFlags::RDONLY).is_err());
        assert!(link.open_file().is_err());
        let name = root.place(Path::new("copy")).unwrap();
        name.create_hard_link(&link).unwrap();
        assert!(dir.path().join("root/copy").is_symlink());
        link.remove_all().unwrap();
        assert_eq!(fs::read_to_string(dir.path().join("outside")).unwrap(), "host");
    }

    #[test]
    fn removes_trees_without_following() {
        let (dir, root) = scratch();
        let inside = dir.path().join("root");
        fs::create_dir_all(inside.join("a/b/c")).unwrap();
        fs::write(inside.join("a/b/file"), "").unwrap();
        fs::create_dir(dir.path().join("kept")).unwrap();
        fs::write(dir.path().join("kept/file"), "").unwrap();
        symlink(dir.path().join("kept"), inside.join("a/link")).unwrap();
        root.place(Path::new("a")).unwrap().remove_all().unwrap();
        root.place(Path::new("a")).unwrap().remove_all().unwrap();
        assert!(!inside.join("a").exists());
        assert!(dir.path().join("kept/file").exists());
    }

    #[test]
    fn names_that_are_no_names_are_refused() {
        let (_dir, root) = scratch();
        for name in ["", ".", "..", "/", "a/b", "a/", "/a"] {
            let place =
                Place::new(Arc::new(root.open_dir(Path::new("")).unwrap()), OsStr::new(name));
            assert!(place.is_err(), "{name:?}");
        }
        for path in ["/", "..", "a/..", ""] {
            assert!(root.place(Path::new(path)).is_err(), "{path:?}");
        }
    }
}
