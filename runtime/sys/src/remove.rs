//! Removing trees that somebody hostile may have made.
//!
//! A container can nest folders a hundred thousand deep in its root file system or in a volume. A removal that holds a
//! descriptor, or a stack frame, for each level ends with EMFILE or worse, and what it should remove stays for ever. It
//! can also have a mount in the tree that leads elsewhere, as after a bind mount that was forgotten.
//!
//! Here the descent stops at a depth; what lies deeper is moved up, next to the top, and has its turn later. Symbolic links
//! are removed and not followed, and mounts are not entered.

use std::ffi::{CStr, CString, OsStr};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// How many folders are open at once. Each level is a descriptor, of which a process may have no more than 1024.
const DEPTH: usize = 64;

/// Removes whatever is at `path`, with all that is in it. The path to the last component is trusted. Nothing there is a success.
///
/// # Errors
///
/// The first refusal of the kernel; EBUSY for a mount point in the tree, whose content is left alone.
pub fn remove_tree(path: &Path) -> io::Result<()> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let parent =
        path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let parent = match rustix::fs::openat(CWD, parent, flags, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(()),
        answer => answer?,
    };
    remove_at(parent.as_fd(), name)
}

/// Removes `name` in `directory`, with all that is in it. Nothing there is a success.
pub(crate) fn remove_at(directory: BorrowedFd<'_>, name: &OsStr) -> io::Result<()> {
    let name = CString::new(name.as_bytes())?;
    Ok(remove_named(directory, &name)?)
}

fn remove_named(directory: BorrowedFd<'_>, name: &CStr) -> Result<(), Errno> {
    if unlink(directory, name)? {
        return Ok(());
    }
    let top = match enter(directory, name) {
        Err(Errno::NOENT) => return Ok(()),
        answer => answer?,
    };
    let mut pass = Pass { top: top.as_fd(), hoisted: 0 };
    loop {
        let before = pass.hoisted;
        pass.empty(&top, 0)?;
        match rustix::fs::unlinkat(directory, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            // What was moved up has its turn. Otherwise somebody adds as fast as we remove.
            Err(Errno::NOTEMPTY | Errno::EXIST) if pass.hoisted > before => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// One way down through the tree.
struct Pass<'top> {
    top: BorrowedFd<'top>,
    /// Folders moved up so far; their names are numbers.
    hoisted: u64,
}

impl Pass<'_> {
    /// Removes what is in `directory`, which is `depth` below the top.
    fn empty(&mut self, directory: &OwnedFd, depth: usize) -> Result<(), Errno> {
        for name in names(directory)? {
            if unlink(directory.as_fd(), &name)? {
                continue;
            }
            if depth < DEPTH {
                match enter(directory.as_fd(), &name) {
                    Ok(inner) => self.empty(&inner, depth + 1)?,
                    Err(Errno::NOENT) => continue,
                    Err(errno) => return Err(errno),
                }
                match rustix::fs::unlinkat(directory, &*name, AtFlags::REMOVEDIR) {
                    Ok(()) | Err(Errno::NOENT) => {}
                    Err(errno) => return Err(errno),
                }
            } else if rustix::fs::unlinkat(directory, &*name, AtFlags::REMOVEDIR).is_err() {
                self.hoist(directory, &name)?;
            }
        }
        Ok(())
    }

    /// Moves a folder next to the top, under a name that is free.
    fn hoist(&mut self, directory: &OwnedFd, name: &CStr) -> Result<(), Errno> {
        loop {
            self.hoisted += 1;
            let up = format!(".removed-{}", self.hoisted);
            let flags = rustix::fs::RenameFlags::NOREPLACE;
            match rustix::fs::renameat_with(directory, name, self.top, up, flags) {
                Err(Errno::EXIST) => {}
                answer => return answer,
            }
        }
    }
}

/// Removes anything but a folder; false for a folder.
fn unlink(directory: BorrowedFd<'_>, name: &CStr) -> Result<bool, Errno> {
    match rustix::fs::unlinkat(directory, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(true),
        // unlink(2): EISDIR on Linux, EPERM by POSIX.
        Err(Errno::ISDIR | Errno::PERM) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// Opens a folder for reading, unless another file system is mounted on it.
fn enter(directory: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let how = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    match rustix::fs::openat2(directory, name, flags, Mode::empty(), how) {
        Err(Errno::XDEV) => Err(Errno::BUSY),
        // A file that could not be unlinked, such as one with the immutable flag.
        Err(Errno::NOTDIR) => Err(Errno::PERM),
        answer => answer,
    }
}

fn names(directory: &OwnedFd) -> Result<Vec<CString>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        if ![c".", c".."].contains(&entry.file_name()) {
            names.push(entry.file_name().to_owned());
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn removes_trees_files_and_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let (tree, kept) = (dir.path().join("tree"), dir.path().join("kept"));
        fs::create_dir_all(tree.join("a/b")).unwrap();
        fs::create_dir(&kept).unwrap();
        fs::write(kept.join("file"), "").unwrap();
        fs::write(tree.join("a/file"), "").unwrap();
        symlink(&kept, tree.join("a/link")).unwrap();
        remove_tree(&tree).unwrap();
        assert!(!tree.exists());
        remove_tree(&tree).unwrap();
        remove_tree(&tree.join("deeper/still")).unwrap();
        symlink(&kept, &tree).unwrap();
        remove_tree(&tree).unwrap();
        assert!(kept.join("file").exists());
        assert!(remove_tree(Path::new("/")).is_err());
    }

    #[test]
    fn removes_what_is_deeper_than_any_path() {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path().join("tree");
        fs::create_dir(&tree).unwrap();
        // Names that a removal could choose for itself.
        fs::create_dir(tree.join(".removed-1")).unwrap();
        let mut at =
            rustix::fs::open(&tree, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).unwrap();
        for _ in 0..5000 {
            rustix::fs::mkdirat(&at, c"d", Mode::RWXU).unwrap();
            at = enter(at.as_fd(), c"d").unwrap();
        }
        drop(at);
        remove_tree(&tree).unwrap();
        assert!(!tree.exists());
    }

    #[test]
    fn does_not_enter_mounts() {
        let dir = tempfile::tempdir().unwrap();
        let (tree, kept) = (dir.path().join("tree"), dir.path().join("kept"));
        fs::create_dir_all(tree.join("mount")).unwrap();
        fs::create_dir(&kept).unwrap();
        fs::write(kept.join("file"), "").unwrap();
        // In a thread with mounts of its own.
        std::thread::scope(|scope| {
            scope.spawn(|| {
                nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).unwrap();
                let private = rustix::mount::MountPropagationFlags::PRIVATE
                    | rustix::mount::MountPropagationFlags::REC;
                rustix::mount::mount_change("/", private).unwrap();
                rustix::mount::mount_bind(&kept, tree.join("mount")).unwrap();
                let refused = remove_tree(&tree).unwrap_err();
                assert_eq!(refused.raw_os_error(), Some(libc::EBUSY));
            });
        });
        assert!(kept.join("file").exists());
        remove_tree(&tree).unwrap();
    }
}
