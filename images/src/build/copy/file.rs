//! One file, from its tree to where it goes.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{FileType, Gid, Mode, Timespec, Uid, XattrFlags};
use sys::root::Place;

use super::super::read::Reader;
use super::super::tree::{Item, Tree, kind};
use super::{CopyError, Wishes, attributes, mtime, times, unwritten};

/// Writes files.
#[derive(Debug)]
pub(super) struct FileWriter<'a> {
    reader: Reader<'a>,
    wishes: &'a Wishes,
    /// Whether owners and attributes come along.
    owned: bool,
}

impl<'a> FileWriter<'a> {
    pub(super) fn new(tree: &'a Tree, wishes: &'a Wishes) -> Self {
        Self { reader: Reader::new(&tree.root), wishes, owned: tree.owned }
    }

    /// Puts a file where nothing but another file may be.
    pub(super) fn put(&mut self, item: &Item, place: &Place, to: &Path) -> Result<(), CopyError> {
        let mut file = create(place, to)?;
        let mut found = Vec::new();
        if let Some(bytes) = item.content.as_ref().and_then(|content| content.bytes.as_ref()) {
            file.write_all(bytes).map_err(unwritten(to))?;
        } else {
            let unread = |source| CopyError::Read { path: item.from.display().to_string(), source };
            let mut source = self.reader.open(item).map_err(unread)?;
            let size = usize::try_from(item.stat.st_size).unwrap_or(usize::MAX);
            self.reader.read(&mut source, size, unread, |part| {
                file.write_all(part).map_err(unwritten(to))
            })?;
            if self.owned {
                found = attributes(&source).unwrap_or_default();
            }
        }
        let owner = if self.owned { (item.stat.st_uid, item.stat.st_gid) } else { (0, 0) };
        let time = self.wishes.clamp(mtime(&item.stat));
        let adorn = || -> io::Result<()> {
            self.wishes.adorn(&file, item.stat.st_mode, owner, time)?;
            for (name, value) in &found {
                // What the file system of the store does not keep is lost, as for layers.
                let _ = rustix::fs::fsetxattr(
                    &file,
                    OsStr::from_bytes(name),
                    value,
                    XattrFlags::empty(),
                );
            }
            Ok(())
        };
        adorn().map_err(unwritten(to))
    }
}

impl Wishes {
    pub(super) fn clamp(&self, time: Timespec) -> Timespec {
        match self.latest {
            Some(latest) if time.tv_sec >= latest => Timespec { tv_sec: latest, tv_nsec: 0 },
            _ => time,
        }
    }

    pub(super) fn permissions(&self, mode: u32, is_directory: bool) -> Mode {
        let changed = self.mode.as_ref().map_or(mode, |change| change.apply(mode, is_directory));
        Mode::from_raw_mode(changed & 0o7777)
    }

    /// Owner before mode: a change of the owner takes the setuid bit away (chown(2)).
    pub(super) fn adorn(
        &self,
        file: impl AsFd,
        mode: u32,
        owner: (u32, u32),
        time: Timespec,
    ) -> io::Result<()> {
        let (uid, gid) = self.owner.unwrap_or(owner);
        rustix::fs::fchown(&file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
        rustix::fs::fchmod(&file, self.permissions(mode, false))?;
        Ok(rustix::fs::futimens(&file, &times(time))?)
    }
}

/// Creates a file; another one that is there goes.
pub(super) fn create(place: &Place, to: &Path) -> Result<File, CopyError> {
    let mode = Mode::from_raw_mode(0o600);
    match place.create_file(mode) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            clear(place, to)?;
            place.create_file(mode).map_err(unwritten(to))
        }
        answer => answer.map_err(unwritten(to)),
    }
}

/// Takes away what is not a directory.
pub(super) fn clear(place: &Place, to: &Path) -> Result<(), CopyError> {
    let found = place.metadata().map_err(unwritten(to))?;
    match found.map(|stat| kind(&stat)) {
        None => Ok(()),
        Some(FileType::Directory) => Err(CopyError::Directory(to.display().to_string())),
        Some(_) => place.remove_file().map_err(unwritten(to)),
    }
}
