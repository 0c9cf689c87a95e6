//! From the archive of a layer to a directory that overlayfs can use.
//!
//! The archive is hostile. Every entry is placed below the descriptor of the directory (`sys::root`), parents are
//! resolved inside it, and the last component is never followed. Symbolic links in a path are not refused: real
//! layers write through them, and inside the directory they harm nobody.
//!
//! What is deleted in lower layers is written as overlayfs wants it: a character device 0:0 for a name, the
//! attribute `trusted.overlay.opaque` for a directory. Attributes of that family in the archive are dropped, because
//! they would make overlayfs look for files elsewhere.
//!
//! Source: OCI image-spec 1.1, layer.md; Linux `Documentation/filesystems/overlayfs.rst`.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufRead, Read as _};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Timespec, Uid};
use rustix::io::Errno;
use sys::root::{Place, Root};

use super::adorn::{Owner, adorn, adorn_node, owner, set_opaque, set_opaque_on, times};
use super::archive::{Archive, ArchiveError, Entry, Kind};
use super::path::clean;
use super::sparse::SparseMap;
use super::stream::Source;
use super::unpack::{LayerError, Limits};
use crate::store::error::is_full;

/// Begins the name of an entry that deletes the rest of the name in lower layers.
const WHITEOUT: &[u8] = b".wh.";
/// Begins names that AUFS kept for itself.
const WHITEOUT_META: &[u8] = b".wh..wh.";
/// Makes its directory hide everything in lower layers.
const WHITEOUT_OPAQUE: &[u8] = b".wh..wh..opq";

/// Bytes that may stand behind the end of an archive, which is filled up to some round number. A few bytes that stand for
/// zeros without end are a compressed archive as well.
const LONGEST_END: u64 = 64 << 20;
/// From this size on a file is asked for room before anything of it is written.
const LARGE: u64 = 1 << 20;

/// Mode of directories that have no entry of their own. Source: moby `pkg/archive`, `ImpliedDirectoryMode`.
const IMPLIED: Mode = Mode::from_bits_retain(0o755);

/// Writes the entries of one archive below one directory.
pub(super) struct Writer {
    root: Root,
    path: PathBuf,
    limits: Limits,
    /// The directory of the last entry: the next one is mostly in the same.
    parent: Option<(PathBuf, Arc<OwnedFd>)>,
    /// Times of directories, which are set when nothing is created in them any more.
    times: Vec<(PathBuf, Timespec)>,
    entries: u64,
    size: u64,
    whiteouts: Whiteouts,
    /// Whose everything becomes, if not whose the archive says.
    owner: Option<Owner>,
}

/// What names with `.wh.` are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whiteouts {
    /// They hide what is below the layer.
    Hide,
    /// Names as any.
    Names,
}

impl Writer {
    /// A writer for an archive that is no layer.
    pub(super) fn below(directory: OwnedFd, owner: Option<(u32, u32)>) -> Self {
        Self {
            root: Root::from(directory),
            path: PathBuf::from("the target"),
            limits: Limits::default(),
            parent: None,
            times: Vec::new(),
            entries: 0,
            size: 0,
            whiteouts: Whiteouts::Names,
            owner: owner.map(|(uid, gid)| (Uid::from_raw(uid), Gid::from_raw(gid))),
        }
    }

    pub(super) fn new(into: &Path, limits: Limits) -> Result<Self, LayerError> {
        let failed = |source| LayerError::Create { path: into.display().to_string(), source };
        let root = Root::open(into).map_err(failed)?;
        Ok(Self {
            root,
            path: into.to_owned(),
            limits,
            parent: None,
            times: Vec::new(),
            entries: 0,
            size: 0,
            whiteouts: Whiteouts::Hide,
            owner: None,
        })
    }

    /// Writes everything and reads `source` to its end. Returns the bytes of all files, and whether the mark of the
    /// end was there.
    pub(super) fn write_all(mut self, source: Source) -> Result<(u64, bool), LayerError> {
        let mut archive = Archive::new(source);
        let mut last = String::new();
        loop {
            let failed = |source| LayerError::Archive { after: last.clone(), source };
            let Some(entry) = archive.next().map_err(failed)? else { break };
            last = String::from_utf8_lossy(&entry.path).into_owned();
            self.count(&entry)?;
            self.write(&entry, &mut archive)?;
        }
        self.set_times()?;
        let has_ended = archive.has_ended();
        let mut rest = archive.into_source().take(LONGEST_END + 1);
        let length = io::copy(&mut rest, &mut io::sink());
        let length = length.map_err(|error| LayerError::Archive {
            after: last,
            source: ArchiveError::from_read(error),
        })?;
        if length > LONGEST_END {
            return Err(LayerError::TooMuch {
                what: "bytes behind the end of the archive",
                limit: LONGEST_END,
            });
        }
        Ok((self.size, has_ended))
    }

    fn count(&mut self, entry: &Entry) -> Result<(), LayerError> {
        let Limits { entries, bytes } = self.limits;
        self.entries += 1;
        self.size = self.size.saturating_add(entry.size);
        if self.entries > entries {
            return Err(LayerError::TooMuch { what: "entries", limit: entries });
        }
        if self.size > bytes {
            return Err(LayerError::TooMuch { what: "bytes", limit: bytes });
        }
        Ok(())
    }

    fn write(&mut self, entry: &Entry, data: &mut Archive<Source>) -> Result<(), LayerError> {
        let name = || String::from_utf8_lossy(&entry.path).into_owned();
        let refuse = |reason| LayerError::Entry { path: name(), reason };
        let path =
            clean(&entry.path).map_err(|source| LayerError::Path { path: name(), source })?;
        let unknown = || refuse("has an owner that Linux does not know");
        let owner = self.owner.or_else(|| owner(entry)).ok_or_else(unknown)?;
        let created = match path.file_name() {
            None if entry.kind == Kind::Directory => self.adorn_root(entry, owner),
            None => return Err(refuse("replaces the root of the layer")),
            Some(last)
                if self.whiteouts == Whiteouts::Hide && last.as_bytes().starts_with(WHITEOUT) =>
            {
                match hidden(last) {
                    Hidden::Name(hidden) => self.hide(&path, hidden),
                    Hidden::Directory => {
                        self.place(&path).and_then(|place| set_opaque(place.directory()))
                    }
                    Hidden::Nothing => Ok(()),
                    Hidden::Refused => return Err(refuse("deletes what is no name")),
                }
            }
            Some(_) => match &entry.kind {
                Kind::HardLink { target } => {
                    let target = clean(target)
                        .map_err(|source| LayerError::Path { path: name(), source })?;
                    self.link(&path, &target)
                }
                _ => self.create(&path, entry, owner, data),
            },
        };
        created.map_err(|source| self.refused(name(), source))
    }

    fn refused(&self, path: String, source: io::Error) -> LayerError {
        if is_full(&source) {
            return LayerError::Full { directory: self.path.clone(), source };
        }
        if source.kind() == io::ErrorKind::UnexpectedEof {
            return LayerError::Archive { after: path, source: ArchiveError::Truncated };
        }
        LayerError::Create { path, source }
    }

    /// Where an entry goes. Parents that are missing are created.
    fn place(&mut self, path: &Path) -> io::Result<Place> {
        let parent = path.parent().unwrap_or(Path::new(""));
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let directory = match &self.parent {
            Some((known, directory)) if known == parent => Arc::clone(directory),
            _ => {
                let directory = Arc::new(self.directory(parent)?);
                self.parent = Some((parent.to_owned(), Arc::clone(&directory)));
                directory
            }
        };
        Place::new(directory, name)
    }

    fn directory(&mut self, path: &Path) -> io::Result<OwnedFd> {
        match self.root.create_dir_all(path, IMPLIED) {
            // A whiteout on the way: the layer deletes a directory and makes a new one of that name.
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
                self.revive(path)?;
                self.root.create_dir_all(path, IMPLIED)
            }
            answer => answer,
        }
    }

    /// Makes a directory of the whiteout that is in the way of `path`.
    fn revive(&mut self, path: &Path) -> io::Result<()> {
        let above: Vec<&Path> =
            path.ancestors().filter(|part| part.file_name().is_some()).collect();
        for part in above.into_iter().rev() {
            let place = self.root.place(part)?;
            if place.metadata()?.is_some_and(|found| is_whiteout(&found)) {
                place.remove_file()?;
                place.create_dir(IMPLIED)?;
                let directory = place.open(OFlags::RDONLY | OFlags::DIRECTORY)?;
                rustix::fs::fchmod(&directory, IMPLIED)?;
                return set_opaque_on(&directory);
            }
        }
        Err(io::ErrorKind::NotADirectory.into())
    }

    /// Applies an entry for the root of the layer.
    fn adorn_root(&mut self, entry: &Entry, owner: Owner) -> io::Result<()> {
        let directory =
            self.root.resolve(Path::new(""), OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?;
        adorn(&directory, entry, owner)?;
        self.times.push((PathBuf::new(), entry.mtime));
        Ok(())
    }

    /// Creates anything but a hard link, in place of what may be there.
    fn create(
        &mut self,
        path: &Path,
        entry: &Entry,
        owner: Owner,
        data: &mut Archive<Source>,
    ) -> io::Result<()> {
        let place = self.place(path)?;
        match &entry.kind {
            Kind::File(map) => {
                if map.is_none() {
                    self.find_room(entry.size)?;
                }
                let mut file =
                    self.replacing(&place, |place| place.create_file(Mode::from(0o600)))?;
                copy(&mut file, map.as_ref(), data)?;
                adorn(&file, entry, owner)?;
                rustix::fs::futimens(&file, &times(entry.mtime))?;
            }
            Kind::Directory => {
                self.create_directory(&place)?;
                let directory = place.open(OFlags::RDONLY | OFlags::DIRECTORY)?;
                adorn(&directory, entry, owner)?;
                self.times.push((path.to_owned(), entry.mtime));
            }
            Kind::Symlink { target } => {
                self.replacing(&place, |place| place.create_symlink(OsStr::from_bytes(target)))?;
                adorn_node(&place, entry, owner)?;
            }
            Kind::Character { major, minor } => {
                self.create_node(
                    &place,
                    FileType::CharacterDevice,
                    (*major, *minor),
                    entry,
                    owner,
                )?;
            }
            Kind::Block { major, minor } => {
                self.create_node(&place, FileType::BlockDevice, (*major, *minor), entry, owner)?;
            }
            Kind::Fifo => self.create_node(&place, FileType::Fifo, (0, 0), entry, owner)?,
            // `write` sends these to `link`.
            Kind::HardLink { .. } => {}
        }
        Ok(())
    }

    /// Refuses a file that cannot fit, instead of filling the disk with the zeros that a few bytes stand for.
    fn find_room(&self, size: u64) -> io::Result<()> {
        if size < LARGE {
            return Ok(());
        }
        let found = rustix::fs::fstatvfs(&self.root)?;
        let free = found.f_bfree.saturating_mul(found.f_frsize);
        if size > free { Err(Errno::NOSPC.into()) } else { Ok(()) }
    }

    fn create_node(
        &mut self,
        place: &Place,
        kind: FileType,
        (major, minor): (u32, u32),
        entry: &Entry,
        owner: Owner,
    ) -> io::Result<()> {
        let mode = Mode::from_bits_retain(entry.mode & 0o777);
        let device = rustix::fs::makedev(major, minor);
        self.replacing(place, |place| place.create_node(kind, mode, device))?;
        adorn_node(place, entry, owner)?;
        // Not a symbolic link, which this call would follow: it was created two lines above.
        Ok(rustix::fs::chmodat(
            place.directory(),
            place.name(),
            Mode::from_bits_retain(entry.mode),
            AtFlags::empty(),
        )?)
    }

    /// Creates with `create`, removing what is there if need be.
    fn replacing<T>(
        &mut self,
        place: &Place,
        create: impl Fn(&Place) -> io::Result<T>,
    ) -> io::Result<T> {
        match create(place) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                self.clear(place)?;
                create(place)
            }
            answer => answer,
        }
    }

    fn clear(&mut self, place: &Place) -> io::Result<()> {
        // The directory that is kept open may have been reached through what is removed.
        self.parent = None;
        place.remove_all()
    }

    /// Creates a directory; one that is there is used as it is.
    fn create_directory(&mut self, place: &Place) -> io::Result<()> {
        match place.create_dir(Mode::from(0o700)) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            answer => return answer,
        }
        let found = place.metadata()?.ok_or(io::ErrorKind::NotFound)?;
        if FileType::from_raw_mode(found.st_mode) == FileType::Directory {
            return Ok(());
        }
        self.clear(place)?;
        place.create_dir(Mode::from(0o700))?;
        if is_whiteout(&found) {
            set_opaque_on(&place.open(OFlags::RDONLY | OFlags::DIRECTORY)?)?;
        }
        Ok(())
    }

    /// Creates a second name for what this layer has at `target`.
    fn link(&mut self, path: &Path, target: &Path) -> io::Result<()> {
        let existing = self.root.place(target)?;
        let place = self.place(path)?;
        match place.create_hard_link(&existing) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            answer => return answer,
        }
        let (old, new) = (existing.metadata()?, place.metadata()?);
        let same = |one: &rustix::fs::Stat, other: &rustix::fs::Stat| {
            (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)
        };
        if old.zip(new).is_some_and(|(old, new)| same(&old, &new)) {
            return Ok(());
        }
        self.clear(&place)?;
        place.create_hard_link(&existing)
    }

    /// Hides what lower layers have at the name that the entry `path` deletes. What this layer itself has there
    /// stays: deletions are for lower layers only.
    fn hide(&mut self, path: &Path, hidden: &OsStr) -> io::Result<()> {
        let place = self.place(&path.with_file_name(hidden))?;
        match place.metadata()? {
            None => place.create_node(FileType::CharacterDevice, Mode::empty(), 0),
            Some(found) if FileType::from_raw_mode(found.st_mode) == FileType::Directory => {
                set_opaque_on(&place.open(OFlags::RDONLY | OFlags::DIRECTORY)?)
            }
            Some(_) => Ok(()),
        }
    }

    /// Sets the times of directories, the deepest and last ones first.
    fn set_times(&mut self) -> Result<(), LayerError> {
        self.parent = None;
        for (path, mtime) in std::mem::take(&mut self.times).into_iter().rev() {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
            let set = match self.root.resolve(&path, flags, Mode::empty()) {
                Ok(directory) => {
                    rustix::fs::futimens(&directory, &times(mtime)).map_err(io::Error::from)
                }
                // Replaced by a later entry.
                Err(error) if is_replaced(&error) => Ok(()),
                Err(error) => Err(error),
            };
            set.map_err(|source| self.refused(path.display().to_string(), source))?;
        }
        Ok(())
    }
}

fn is_replaced(error: &io::Error) -> bool {
    let replaced = [Errno::NOENT, Errno::NOTDIR, Errno::LOOP].map(Errno::raw_os_error);
    error.raw_os_error().is_some_and(|errno| replaced.contains(&errno))
}

/// What a whiteout hides.
enum Hidden<'a> {
    Name(&'a OsStr),
    Directory,
    Nothing,
    Refused,
}

fn hidden(name: &OsStr) -> Hidden<'_> {
    match name.as_bytes() {
        WHITEOUT_OPAQUE => Hidden::Directory,
        bytes if bytes.starts_with(WHITEOUT_META) => Hidden::Nothing,
        bytes => match &bytes[WHITEOUT.len()..] {
            b"" | b"." | b".." => Hidden::Refused,
            rest => Hidden::Name(OsStr::from_bytes(rest)),
        },
    }
}

fn is_whiteout(found: &rustix::fs::Stat) -> bool {
    FileType::from_raw_mode(found.st_mode) == FileType::CharacterDevice && found.st_rdev == 0
}

/// Copies the data of an entry to its file. Holes stay holes.
fn copy(file: &mut File, map: Option<&SparseMap>, data: &mut Archive<Source>) -> io::Result<()> {
    let Some(map) = map else {
        return copy_exactly(file, u64::MAX, data);
    };
    file.set_len(map.size)?;
    for piece in &map.pieces {
        rustix::fs::seek(&*file, rustix::fs::SeekFrom::Start(piece.offset))?;
        copy_exactly(file, piece.length, data)?;
    }
    Ok(())
}

/// Copies at most `count` bytes of the entry, straight from the piece that the other threads use as well.
fn copy_exactly(file: &mut File, mut count: u64, data: &mut Archive<Source>) -> io::Result<()> {
    while count > 0 {
        let available = data.fill_buf()?;
        if available.is_empty() {
            break;
        }
        let step =
            usize::try_from(count).map_or(available.len(), |count| count.min(available.len()));
        io::Write::write_all(file, &available[..step])?;
        data.consume(step);
        count -= step as u64;
    }
    Ok(())
}
