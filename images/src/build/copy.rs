//! Putting files into the tree of a stage.
//!
//! Both sides are hostile: what is read is read below the descriptor of its tree, and what is written is written below
//! the descriptor of the stage, so that links lead nowhere else.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid, XattrFlags,
};
use sys::root::{Place, Root};

use super::mode::ModeChange;
use super::tree::{Item, Source, Tree, below, kind};
use crate::layer::is_allowed_attribute;

/// Permissions of directories that nobody has described.
const IMPLIED: Mode = Mode::from_raw_mode(0o755);

/// Files could not be put where they are to go.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// A directory is to become a file.
    #[error("`{0}` is a directory, and a file is to be put there")]
    Directory(String),
    /// A file is to become a directory.
    #[error("`{0}` is no directory, and one is to be put there")]
    NotDirectory(String),
    /// A device that would hide files of lower layers.
    #[error("`{0}` is a device that cannot be copied")]
    Device(String),
    /// A call of the kernel.
    #[error("cannot write `{path}`")]
    Write {
        /// The path in the stage.
        path: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A call of the kernel.
    #[error("cannot read `{path}`")]
    Read {
        /// The path in what is copied.
        path: String,
        /// The kernel's answer.
        source: io::Error,
    },
}

/// How files change on the way.
#[derive(Debug, Clone, Default)]
pub(super) struct Wishes {
    /// `--chown`; as they are in an image, root's from a context, without.
    pub(super) owner: Option<(u32, u32)>,
    /// `--chmod`.
    pub(super) mode: Option<ModeChange>,
    /// Later times become this one: `SOURCE_DATE_EPOCH`.
    pub(super) latest: Option<i64>,
    /// `--parents`.
    pub(super) parents: bool,
}

/// The tree of a stage, and what is being put into it.
#[derive(Debug)]
pub(super) struct Writer<'a> {
    root: &'a Root,
    wishes: &'a Wishes,
    /// Directories that are open: the next file is mostly in one of them.
    open: Option<(PathBuf, Arc<OwnedFd>)>,
    /// Times of directories, which are set when nothing is created in them any more.
    times: Vec<(PathBuf, Timespec)>,
    known: std::collections::HashSet<PathBuf>,
    /// What has several names, by device and inode.
    links: HashMap<(u64, u64), PathBuf>,
    buffer: Vec<u8>,
}

/// Where a path lies, as an error of a call.
fn unwritten(path: &Path) -> impl FnOnce(io::Error) -> CopyError {
    let path = Path::new("/").join(path).display().to_string();
    move |source| CopyError::Write { path, source }
}

impl<'a> Writer<'a> {
    pub(super) fn new(root: &'a Root, wishes: &'a Wishes) -> Self {
        Self {
            root,
            wishes,
            open: None,
            times: Vec::new(),
            known: std::collections::HashSet::new(),
            links: HashMap::new(),
            buffer: vec![0; 128 << 10],
        }
    }

    /// Whether files go below `target` under their own names.
    pub(super) fn goes_into(&self, target: &str, sources: usize) -> bool {
        target.ends_with('/')
            || target.ends_with("/.")
            || target == "."
            || sources > 1
            || self.root.open_dir(&below(target)).is_ok()
    }

    /// Copies `sources` to `target`, an absolute path in the stage.
    pub(super) fn copy(
        &mut self,
        tree: &Tree,
        sources: &[Source],
        target: &str,
        into: bool,
    ) -> Result<(), CopyError> {
        let at = below(target);
        for source in sources {
            let Some(first) = source.items.first() else { continue };
            let is_directory = kind(&first.stat) == FileType::Directory;
            let base = if self.wishes.parents {
                at.join(&source.path)
            } else if into && !is_directory {
                at.join(&source.name)
            } else {
                at.clone()
            };
            let time = self.clamp(mtime(&first.stat));
            let holder = if is_directory { Some(&*base) } else { base.parent() };
            self.directory(holder.unwrap_or(Path::new("")), time)?;
            let items = if is_directory { &source.items[1..] } else { &source.items };
            for item in items {
                let to = if is_directory { base.join(&item.to) } else { base.clone() };
                self.item(tree, item, &to)?;
            }
        }
        Ok(())
    }

    /// Writes a file with this content.
    pub(super) fn write(&mut self, path: &Path, content: &[u8]) -> Result<(), CopyError> {
        let time = self.clamp(Timespec { tv_sec: 0, tv_nsec: 0 });
        self.directory(path.parent().unwrap_or(Path::new("")), time)?;
        let place = self.place(path)?;
        let mut file = self.create(&place, path)?;
        let write = |file: &mut File| -> io::Result<()> {
            file.write_all(content)?;
            self.adorn(&*file, 0o644, (0, 0), false, time)
        };
        write(&mut file).map_err(unwritten(path))
    }

    /// Sets the times of directories, the deepest and last ones first.
    pub(super) fn finish(mut self) -> Result<(), CopyError> {
        self.open = None;
        for (path, time) in std::mem::take(&mut self.times).into_iter().rev() {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY;
            let set = self
                .root
                .resolve(&path, flags, Mode::empty())
                .and_then(|directory| Ok(rustix::fs::futimens(&directory, &times(time))?));
            set.map_err(unwritten(&path))?;
        }
        Ok(())
    }

    fn clamp(&self, time: Timespec) -> Timespec {
        match self.wishes.latest {
            Some(latest) if time.tv_sec >= latest => Timespec { tv_sec: latest, tv_nsec: 0 },
            _ => time,
        }
    }

    /// Opens a directory of the stage, which is made with all above it if it is not there.
    pub(super) fn directory(
        &mut self,
        path: &Path,
        time: Timespec,
    ) -> Result<Arc<OwnedFd>, CopyError> {
        if let Some((known, directory)) = &self.open
            && known == path
        {
            return Ok(Arc::clone(directory));
        }
        let opened = match self.root.open_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.make(path, time)?,
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
                return Err(CopyError::NotDirectory(path.display().to_string()));
            }
            answer => answer.map_err(unwritten(path))?,
        };
        let opened = Arc::new(opened);
        if self.known.insert(path.to_owned()) {
            // What is created in it changes its time, which is not what was asked for.
            let stat = rustix::fs::fstat(&opened).map_err(|error| unwritten(path)(error.into()))?;
            self.times.push((path.to_owned(), mtime(&stat)));
        }
        self.open = Some((path.to_owned(), Arc::clone(&opened)));
        Ok(opened)
    }

    fn make(&mut self, path: &Path, time: Timespec) -> Result<OwnedFd, CopyError> {
        let Some(name) = path.file_name() else {
            return self.root.open_dir(path).map_err(unwritten(path));
        };
        let parent = self.directory(path.parent().unwrap_or(Path::new("")), time)?;
        let make = || -> io::Result<OwnedFd> {
            let place = Place::new(parent, name)?;
            match place.create_dir(IMPLIED) {
                Ok(()) => {}
                // A link that leads nowhere, yet.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    return self.root.create_dir_all(path, IMPLIED);
                }
                Err(error) => return Err(error),
            }
            let directory = place.open(OFlags::RDONLY | OFlags::DIRECTORY)?;
            let (uid, gid) = self.wishes.owner.unwrap_or_default();
            rustix::fs::fchown(&directory, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
            rustix::fs::fchmod(&directory, IMPLIED)?;
            rustix::fs::futimens(&directory, &times(time))?;
            self.root.open_dir(path)
        };
        make().map_err(unwritten(path))
    }

    fn place(&mut self, path: &Path) -> Result<Place, CopyError> {
        let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
        let directory = self.directory(path.parent().unwrap_or(Path::new("")), zero)?;
        let name = path.file_name().unwrap_or_default();
        Place::new(directory, name).map_err(unwritten(path))
    }

    fn item(&mut self, tree: &Tree, item: &Item, to: &Path) -> Result<(), CopyError> {
        let place = self.place(to)?;
        let owner = if tree.owned { (item.stat.st_uid, item.stat.st_gid) } else { (0, 0) };
        let time = self.clamp(mtime(&item.stat));
        match kind(&item.stat) {
            FileType::Directory => self.put_directory(item, &place, to, owner, time),
            FileType::RegularFile => self.put_file(tree, item, &place, to, owner, time),
            FileType::Symlink => {
                let target = item.link.as_deref().unwrap_or_default();
                clear(&place, to)?;
                let make = || -> io::Result<()> {
                    place.create_symlink(target)?;
                    adorn_node(&place, self.wishes.owner.unwrap_or(owner), time)
                };
                make().map_err(unwritten(to))
            }
            kind => {
                if kind == FileType::CharacterDevice && item.stat.st_rdev == 0 {
                    return Err(CopyError::Device(item.from.display().to_string()));
                }
                clear(&place, to)?;
                let make = || -> io::Result<()> {
                    let mode = self.permissions(item.stat.st_mode, false);
                    place.create_node(kind, mode, item.stat.st_rdev)?;
                    adorn_node(&place, self.wishes.owner.unwrap_or(owner), time)?;
                    // Not a symbolic link, which this call would follow: it was created two lines above.
                    let flags = AtFlags::empty();
                    Ok(rustix::fs::chmodat(place.directory(), place.name(), mode, flags)?)
                };
                make().map_err(unwritten(to))
            }
        }
    }

    fn permissions(&self, mode: u32, is_directory: bool) -> Mode {
        let changed =
            self.wishes.mode.as_ref().map_or(mode, |change| change.apply(mode, is_directory));
        Mode::from_raw_mode(changed & 0o7777)
    }

    fn put_directory(
        &mut self,
        item: &Item,
        place: &Place,
        to: &Path,
        owner: (u32, u32),
        time: Timespec,
    ) -> Result<(), CopyError> {
        let directory = match place.create_dir(Mode::from_raw_mode(0o700)) {
            Ok(()) => place.open(OFlags::RDONLY | OFlags::DIRECTORY),
            // A link to a directory stays: what is in this one goes there.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY;
                match self.root.resolve(to, flags, Mode::empty()) {
                    Err(_) => return Err(CopyError::NotDirectory(to.display().to_string())),
                    found => found,
                }
            }
            Err(error) => Err(error),
        };
        let directory = directory.map_err(unwritten(to))?;
        let mode = self.permissions(item.stat.st_mode, true);
        let (uid, gid) = self.wishes.owner.unwrap_or(owner);
        let set = || -> io::Result<()> {
            rustix::fs::fchown(&directory, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
            Ok(rustix::fs::fchmod(&directory, mode)?)
        };
        set().map_err(unwritten(to))?;
        self.known.insert(to.to_owned());
        self.times.push((to.to_owned(), time));
        Ok(())
    }

    fn put_file(
        &mut self,
        tree: &Tree,
        item: &Item,
        place: &Place,
        to: &Path,
        owner: (u32, u32),
        time: Timespec,
    ) -> Result<(), CopyError> {
        let inode = (item.stat.st_dev, item.stat.st_ino);
        if item.stat.st_nlink > 1
            && let Some(first) = self.links.get(&inode)
        {
            clear(place, to)?;
            let link = || place.create_hard_link(&self.root.place(first)?);
            return link().map_err(unwritten(to));
        }
        let source = tree.root.open_file(&item.from);
        let mut source = source
            .map_err(|source| CopyError::Read { path: item.from.display().to_string(), source })?;
        let mut file = self.create(place, to)?;
        self.transfer(&mut source, &mut file, item, to)?;
        let attributes =
            if tree.owned { attributes(&source).unwrap_or_default() } else { Vec::new() };
        let adorn = || -> io::Result<()> {
            self.adorn(&file, item.stat.st_mode, owner, true, time)?;
            for (name, value) in &attributes {
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
        adorn().map_err(unwritten(to))?;
        if item.stat.st_nlink > 1 {
            self.links.insert(inode, to.to_owned());
        }
        Ok(())
    }

    fn transfer(
        &mut self,
        source: &mut File,
        file: &mut File,
        item: &Item,
        to: &Path,
    ) -> Result<(), CopyError> {
        loop {
            let length = match source.read(&mut self.buffer) {
                Ok(0) => return Ok(()),
                Ok(length) => length,
                Err(source) => {
                    return Err(CopyError::Read { path: item.from.display().to_string(), source });
                }
            };
            file.write_all(&self.buffer[..length]).map_err(unwritten(to))?;
            if length < self.buffer.len()
                && item.stat.st_size == i64::try_from(length).unwrap_or(-1)
            {
                return Ok(());
            }
        }
    }

    fn create(&self, place: &Place, to: &Path) -> Result<File, CopyError> {
        let mode = Mode::from_raw_mode(0o600);
        match place.create_file(mode) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                clear(place, to)?;
                place.create_file(mode).map_err(unwritten(to))
            }
            answer => answer.map_err(unwritten(to)),
        }
    }

    /// Owner before mode: a change of the owner takes the setuid bit away (chown(2)).
    fn adorn(
        &self,
        file: impl AsFd,
        mode: u32,
        owner: (u32, u32),
        keep_special: bool,
        time: Timespec,
    ) -> io::Result<()> {
        let (uid, gid) = self.wishes.owner.unwrap_or(owner);
        rustix::fs::fchown(&file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
        let mode = if keep_special { mode } else { mode & 0o777 };
        rustix::fs::fchmod(&file, self.permissions(mode, false))?;
        Ok(rustix::fs::futimens(&file, &times(time))?)
    }
}

/// Takes away what is not a directory.
fn clear(place: &Place, to: &Path) -> Result<(), CopyError> {
    let found = place.metadata().map_err(unwritten(to))?;
    match found.map(|stat| kind(&stat)) {
        None => Ok(()),
        Some(FileType::Directory) => Err(CopyError::Directory(to.display().to_string())),
        Some(_) => place.remove_file().map_err(unwritten(to)),
    }
}

fn adorn_node(place: &Place, (uid, gid): (u32, u32), time: Timespec) -> io::Result<()> {
    let flags = AtFlags::SYMLINK_NOFOLLOW;
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    rustix::fs::chownat(place.directory(), place.name(), Some(uid), Some(gid), flags)?;
    Ok(rustix::fs::utimensat(place.directory(), place.name(), &times(time), flags)?)
}

/// The attributes of a file that belong into an image.
pub(super) fn attributes(file: impl AsFd) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut names = vec![0; 4096];
    let length = match rustix::fs::flistxattr(&file, &mut names) {
        Ok(length) => length,
        Err(rustix::io::Errno::NOTSUP) => 0,
        Err(error) => return Err(error.into()),
    };
    let mut found = Vec::new();
    for name in names[..length].split(|byte| *byte == 0).filter(|name| is_allowed_attribute(name)) {
        let mut value = vec![0; 64 << 10];
        let length = rustix::fs::fgetxattr(&file, OsStr::from_bytes(name), &mut value)?;
        value.truncate(length);
        found.push((name.to_vec(), value));
    }
    found.sort();
    Ok(found)
}

fn mtime(stat: &Stat) -> Timespec {
    Timespec {
        tv_sec: stat.st_mtime,
        tv_nsec: i64::try_from(stat.st_mtime_nsec).unwrap_or_default(),
    }
}

pub(super) fn times(time: Timespec) -> Timestamps {
    Timestamps { last_access: time, last_modification: time }
}
