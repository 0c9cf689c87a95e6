//! Putting files into the tree of a stage.
//!
//! Both sides are hostile: what is read is read below the descriptor of its tree, and what is written is written below
//! the descriptor of the stage, so that links lead nowhere else.
//!
//! # Why some files go past the overlay
//!
//! The tree of a stage is an overlay, in which every call costs more, and one directory takes one new file at a time. A
//! directory that is new has nothing below it, so it and all in it is only in the upper directory of the overlay. Files
//! of such directories are created there, several at a time.

mod file;

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid};
use sys::root::{Place, Root};

use self::file::{FileWriter, clear, create};
use super::mode::ModeChange;
use super::read::side_by_side;
use super::run::path_of;
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

/// Where the files of a stage are written.
#[derive(Debug)]
pub(super) struct Ground {
    /// All of them, with those of lower layers.
    pub(super) root: Root,
    /// Those of this layer alone.
    pub(super) upper: Root,
    /// Whether there are no lower layers.
    pub(super) is_alone: bool,
}

/// Files whose content is known, by their path in the layer.
pub(super) type Written = HashMap<PathBuf, Arc<[u8]>>;

/// The tree of a stage, and what is being put into it.
#[derive(Debug)]
pub(super) struct Writer<'a> {
    root: &'a Root,
    upper: Option<&'a Root>,
    wishes: &'a Wishes,
    /// Directories that are open: the next file is mostly in one of them.
    open: Option<(PathBuf, Arc<OwnedFd>)>,
    /// Times of directories, which are set when nothing is created in them any more.
    times: Vec<(PathBuf, Timespec)>,
    known: std::collections::HashSet<PathBuf>,
    /// Directories that are new, with their paths in the layer.
    fresh: HashMap<PathBuf, PathBuf>,
    written: Written,
    /// What has several names, by device and inode.
    links: HashMap<(u64, u64), PathBuf>,
}

/// A file that goes into a directory which is new.
struct Aside<'a> {
    item: &'a Item,
    to: PathBuf,
    real: PathBuf,
}

/// Where a path lies, as an error of a call.
fn unwritten(path: &Path) -> impl FnOnce(io::Error) -> CopyError {
    let path = Path::new("/").join(path).display().to_string();
    move |source| CopyError::Write { path, source }
}

impl<'a> Writer<'a> {
    /// Writes below any directory.
    pub(super) fn new(root: &'a Root, wishes: &'a Wishes) -> Self {
        Self {
            root,
            upper: None,
            wishes,
            open: None,
            times: Vec::new(),
            known: std::collections::HashSet::new(),
            fresh: HashMap::new(),
            written: Written::new(),
            links: HashMap::new(),
        }
    }

    /// Writes into a stage.
    pub(super) fn on(ground: &'a Ground, wishes: &'a Wishes) -> Self {
        let mut writer = Self::new(&ground.root, wishes);
        writer.upper = Some(&ground.upper);
        if ground.is_alone {
            writer.fresh.insert(PathBuf::new(), PathBuf::new());
        }
        writer
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
        sources: &[&Source],
        target: &str,
        into: bool,
    ) -> Result<(), CopyError> {
        let at = below(target);
        let mut files = FileWriter::new(tree, self.wishes);
        for source in sources {
            let mut aside = Vec::new();
            let Some(first) = source.items.first() else { continue };
            let is_directory = kind(&first.stat) == FileType::Directory;
            let base = if self.wishes.parents {
                at.join(&source.path)
            } else if into && !is_directory {
                at.join(&source.name)
            } else {
                at.clone()
            };
            let time = self.wishes.clamp(mtime(&first.stat));
            let holder = if is_directory { Some(&*base) } else { base.parent() };
            self.directory(holder.unwrap_or(Path::new("")), time)?;
            let items = if is_directory { &source.items[1..] } else { &source.items };
            for item in items {
                let to = if is_directory { base.join(&item.to) } else { base.clone() };
                let real = self.real(&to);
                if let Some(real) = &real {
                    self.written.remove(real);
                }
                match real.filter(|_| is_plain(item)) {
                    Some(real) => aside.push(Aside { item, to, real }),
                    None => self.item(&mut files, tree, item, &to)?,
                }
            }
            self.write_aside(tree, aside)?;
        }
        Ok(())
    }

    /// Writes files past the overlay, into directories of the layer that are new.
    fn write_aside(&mut self, tree: &Tree, mut all: Vec<Aside<'_>>) -> Result<(), CopyError> {
        let (Some(upper), wishes) = (self.upper, self.wishes) else { return Ok(()) };
        type Own<'t> = (FileWriter<'t>, Option<(PathBuf, Arc<OwnedFd>)>);
        let begin = || -> Own<'_> { (FileWriter::new(tree, wishes), None) };
        side_by_side(&mut all, begin, |(files, open), Aside { item, to, real }| {
            let parent = real.parent().unwrap_or(Path::new(""));
            let directory = match open {
                Some((known, directory)) if known == parent => Arc::clone(directory),
                _ => {
                    let directory = Arc::new(upper.open_dir(parent).map_err(unwritten(to))?);
                    *open = Some((parent.to_owned(), Arc::clone(&directory)));
                    directory
                }
            };
            let name = real.file_name().unwrap_or_default();
            let place = Place::new(directory, name).map_err(unwritten(to))?;
            files.put(item, &place, to)
        })?;
        for Aside { item, real, .. } in all {
            if let Some(bytes) = item.content.as_ref().and_then(|content| content.bytes.as_ref()) {
                self.written.insert(real, Arc::clone(bytes));
            }
        }
        Ok(())
    }

    /// The path in the layer of what is in a directory that is new.
    fn real(&self, path: &Path) -> Option<PathBuf> {
        Some(self.fresh.get(path.parent()?)?.join(path.file_name()?))
    }

    /// Notes that a directory is new.
    fn mark(&mut self, path: &Path, directory: &OwnedFd) {
        let Some(upper) = self.upper else { return };
        let real = self.real(path).or_else(|| {
            let path = path_of(directory).ok()?;
            Some(path.strip_prefix("/").ok()?.to_owned())
        });
        if let Some(real) = real.filter(|real| upper.open_dir(real).is_ok()) {
            self.fresh.insert(path.to_owned(), real);
        }
    }

    fn open_dir(&self, path: &Path) -> io::Result<OwnedFd> {
        match (self.upper, self.fresh.get(path)) {
            (Some(upper), Some(real)) => upper.open_dir(real),
            _ => self.root.open_dir(path),
        }
    }

    /// Writes a file with this content.
    pub(super) fn write(&mut self, path: &Path, content: &[u8]) -> Result<(), CopyError> {
        let time = self.wishes.clamp(Timespec { tv_sec: 0, tv_nsec: 0 });
        self.directory(path.parent().unwrap_or(Path::new("")), time)?;
        let place = self.place(path)?;
        if let Some(real) = self.real(path) {
            self.written.remove(&real);
        }
        let mut file = create(&place, path)?;
        let mut write = || -> io::Result<()> {
            file.write_all(content)?;
            self.wishes.adorn(&file, 0o644, (0, 0), time)
        };
        write().map_err(unwritten(path))
    }

    /// Sets the times of directories, the deepest and last ones first. Gives the files whose content is known.
    pub(super) fn finish(mut self) -> Result<Written, CopyError> {
        self.open = None;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        for (path, time) in std::mem::take(&mut self.times).into_iter().rev() {
            let opened = match (self.upper, self.fresh.get(&path)) {
                (Some(upper), Some(real)) => upper.resolve(real, flags, Mode::empty()),
                _ => self.root.resolve(&path, flags, Mode::empty()),
            };
            opened
                .and_then(|directory| Ok(rustix::fs::futimens(&directory, &times(time))?))
                .map_err(unwritten(&path))?;
        }
        Ok(self.written)
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
        let opened = match self.open_dir(path) {
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
            self.mark(path, &directory);
            self.open_dir(path)
        };
        make().map_err(unwritten(path))
    }

    fn place(&mut self, path: &Path) -> Result<Place, CopyError> {
        let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
        let directory = self.directory(path.parent().unwrap_or(Path::new("")), zero)?;
        let name = path.file_name().unwrap_or_default();
        Place::new(directory, name).map_err(unwritten(path))
    }

    fn item(
        &mut self,
        files: &mut FileWriter<'_>,
        tree: &Tree,
        item: &Item,
        to: &Path,
    ) -> Result<(), CopyError> {
        let place = self.place(to)?;
        let owner = if tree.owned { (item.stat.st_uid, item.stat.st_gid) } else { (0, 0) };
        let time = self.wishes.clamp(mtime(&item.stat));
        match kind(&item.stat) {
            FileType::Directory => self.put_directory(item, &place, to, owner, time),
            FileType::RegularFile => self.put_file(files, item, &place, to),
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
                    let mode = self.wishes.permissions(item.stat.st_mode, false);
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

    fn put_directory(
        &mut self,
        item: &Item,
        place: &Place,
        to: &Path,
        owner: (u32, u32),
        time: Timespec,
    ) -> Result<(), CopyError> {
        let mut is_new = false;
        let directory = match place.create_dir(Mode::from_raw_mode(0o700)) {
            Ok(()) => {
                is_new = true;
                place.open(OFlags::RDONLY | OFlags::DIRECTORY)
            }
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
        let mode = self.wishes.permissions(item.stat.st_mode, true);
        let (uid, gid) = self.wishes.owner.unwrap_or(owner);
        let set = || -> io::Result<()> {
            rustix::fs::fchown(&directory, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
            Ok(rustix::fs::fchmod(&directory, mode)?)
        };
        set().map_err(unwritten(to))?;
        if is_new {
            self.mark(to, &directory);
        }
        self.known.insert(to.to_owned());
        self.times.push((to.to_owned(), time));
        Ok(())
    }

    fn put_file(
        &mut self,
        files: &mut FileWriter<'_>,
        item: &Item,
        place: &Place,
        to: &Path,
    ) -> Result<(), CopyError> {
        let inode = (item.stat.st_dev, item.stat.st_ino);
        if item.stat.st_nlink > 1
            && let Some(first) = self.links.get(&inode)
        {
            clear(place, to)?;
            // Both by the same mount, wherever they are.
            let link = || self.root.place(to)?.create_hard_link(&self.root.place(first)?);
            return link().map_err(unwritten(to));
        }
        files.put(item, place, to)?;
        if item.stat.st_nlink > 1 {
            self.links.insert(inode, to.to_owned());
        }
        Ok(())
    }
}

/// A file that shares its content with no other.
fn is_plain(item: &Item) -> bool {
    kind(&item.stat) == FileType::RegularFile && item.stat.st_nlink == 1
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
