//! Files from the host into the file system of a container, from outside.
//!
//! The container needs no `tar`, no `sh` and no rights: whoever holds its root writes into it. All files of one save
//! appear together: each is written under another name first, and all get their names at the end. What is known to be saved
//! before the rest is can be written ahead ([`Staging::prepare`]), so that only names are left to give.
//!
//! One file waits beside its place, many wait in directories of their own: whoever watches theirs in the container is told of
//! none of them before it has its name, and ext4 makes a file in a third less of the time where none was deleted just now.
//!
//! What is in the container is hostile: a path is resolved below its root, and the last name of it is never followed.

mod owned;
mod rooms;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File, Metadata};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use rustix::fs::{FallocateFlags, FileType, Mode, OFlags};
use rustix::io::Errno;
use sys::root::{Place, Root};

use owned::{dress, make_directory, own, place};
use rooms::Rooms;

/// Files up to this size are copied by one read and one write.
const SMALL: u64 = 64 * 1024;

/// From so many files on they wait in a directory of their own.
const MANY: usize = 8;

/// How many files that were replaced are held: a process may mostly have 1024 open.
const HELD: usize = 400;

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

impl SyncError {
    fn new((from, to): (&Path, &Path), source: io::Error) -> Self {
        Self { from: from.to_owned(), to: to.to_owned(), source }
    }
}

/// What was done.
#[derive(Debug, Default)]
pub struct Synced {
    /// Files, links and directories that were written.
    pub written: usize,
    /// Places at which there is nothing any more.
    pub removed: usize,
    /// Files that had the places before.
    pub replaced: Replaced,
}

/// Files in whose places others are. The file system forgets a file when nobody has it open any longer, which takes as long as
/// making one, and longer than to put another one in its place: so they are let go of when all else is done.
#[derive(Debug, Default)]
pub struct Replaced {
    held: Vec<OwnedFd>,
}

impl Replaced {
    /// Holds what is at `place`, if that is something.
    fn hold(&mut self, place: &Place) {
        if self.held.len() < HELD
            && let Ok(file) = place.open(OFlags::PATH)
        {
            self.held.push(file);
        }
    }

    /// Takes over what another one holds, as far as there is room.
    pub fn append(&mut self, other: Self) {
        let room = HELD.saturating_sub(self.held.len());
        self.held.extend(other.held.into_iter().take(room));
    }
}

/// Whom copies belong to: user and group.
pub type Owner = (u32, u32);

/// A file that waits for its name.
#[derive(Debug)]
struct Staged {
    waiting: Place,
    place: Place,
}

/// A path on the host, and the one in the container.
pub type Pair = (PathBuf, PathBuf);

/// Files on their way into one container. Those that have not got their names are taken away when it is dropped.
#[derive(Debug)]
pub struct Staging {
    root: Root,
    /// What waits.
    staged: BTreeMap<Pair, Staged>,
    writer: Writer,
    /// For half of the files, when many are written side by side.
    second: Writer,
}

/// Whoever writes files beside their places, one after the other.
#[derive(Debug)]
struct Writer {
    owner: Owner,
    /// Where many files wait.
    rooms: Rooms,
    is_many: bool,
    /// The directory that was written to last: the next file mostly is for the same one.
    directory: Option<Directory>,
    /// Names that nothing else has: something random, and a number.
    random: u64,
    count: u64,
    buffer: Vec<u8>,
}

/// A directory of the container.
#[derive(Debug)]
struct Directory {
    path: PathBuf,
    open: Arc<OwnedFd>,
    /// Where many files wait for their names in it.
    room: Option<Arc<OwnedFd>>,
}

impl Drop for Staging {
    fn drop(&mut self) {
        // Nobody is left to tell of what stays.
        for one in self.staged.values() {
            let _ = one.waiting.remove_file();
        }
    }
}

impl Staging {
    /// Nothing, for the container with this root; what is written there belongs to `owner`.
    ///
    /// # Errors
    ///
    /// When the kernel has no random bytes.
    pub fn new(root: Root, owner: Owner) -> io::Result<Self> {
        let (writer, second) = (Writer::new(owner)?, Writer::new(owner)?);
        Ok(Self { root, staged: BTreeMap::new(), writer, second })
    }

    /// Whom copies belong to.
    #[must_use]
    pub const fn owner(&self) -> Owner {
        self.writer.owner
    }

    /// Writes files before their save, which is one of many files, is over. Anything but a file whose directory is there is
    /// left to [`Self::finish`], and so is what cannot be written. `side_by_side` writes half of them in another thread: for
    /// when nobody else needs a processor.
    pub fn prepare(&mut self, files: &[Pair], side_by_side: bool) {
        let Self { root, writer, second, .. } = self;
        let own = match side_by_side && files.len() >= MANY {
            true => files.len() / 2,
            false => files.len(),
        };
        // One directory after the other, as they come: each writer keeps to its own ones.
        let (files, others) = files.split_at(own);
        let root = &*root;
        let written = thread::scope(|scope| {
            let beside = (!others.is_empty()).then(|| {
                thread::Builder::new().spawn_scoped(scope, || second.write_ahead(root, others))
            });
            let mut written = writer.write_ahead(root, files);
            // What it has not written is left, as all that fails here.
            let others = beside.and_then(Result::ok).and_then(|thread| thread.join().ok());
            written.extend(others.into_iter().flatten());
            written
        });
        self.staged.extend(written);
    }

    /// Takes back what was prepared of `from`: it was touched again.
    pub fn forget(&mut self, from: &Path) {
        let of_it = (from.to_owned(), PathBuf::new())..;
        let keys = self.staged.range(of_it).map(|(key, _)| key.clone());
        let keys: Vec<_> = keys.take_while(|(of, _)| of == from).collect();
        for key in keys {
            if let Some(one) = self.staged.remove(&key) {
                // Its name is nobody else's; a file that stays does no harm.
                let _ = one.waiting.remove_file();
            }
        }
    }

    /// Makes the container look at the places `changes` as the host does at the paths there: what is on the host is
    /// written, what is not is removed. Directories are made, but not filled: what is in them is listed by itself.
    ///
    /// # Errors
    ///
    /// The first file that could not be written; what was not given its name by then is taken away again.
    pub fn finish(mut self, changes: &BTreeMap<PathBuf, PathBuf>) -> Result<Synced, SyncError> {
        let mut gone: Vec<(&PathBuf, &PathBuf)> = Vec::new();
        let mut synced = Synced::default();
        self.writer.is_many |= changes.len() >= MANY;
        // By path, so that a directory comes before what is in it.
        for (from, to) in changes {
            if !self.staged.contains_key(&(from.clone(), to.clone())) {
                match self.writer.look_and_stage(&self.root, from, to) {
                    Ok(None) => {}
                    Ok(Some(one)) => drop(self.staged.insert((from.clone(), to.clone()), one)),
                    Err(error) if error.kind() == io::ErrorKind::NotFound && !exists(from) => {
                        gone.push((from, to));
                        continue;
                    }
                    Err(error) => return Err(SyncError::new((from, to), error)),
                }
            }
            synced.written += 1;
        }
        for (from, to) in changes {
            let Some(one) = self.staged.remove(&(from.clone(), to.clone())) else { continue };
            synced.replaced.hold(&one.place);
            self.name(from, to, &one).map_err(|error| SyncError::new((from, to), error))?;
        }
        for (from, to) in gone.into_iter().rev() {
            let removed =
                remove(&self.root, to).map_err(|error| SyncError::new((from, to), error))?;
            synced.removed += usize::from(removed);
        }
        Ok(synced)
    }

    /// Gives a file its name. It is written again, beside its place, when a directory has gone since it was written, and when
    /// the two are on one mount and yet apart (a subvolume, a quota of its own: rename(2), EXDEV).
    fn name(&mut self, from: &Path, to: &Path, one: &Staged) -> io::Result<()> {
        let Err(error) = put(from, one) else { return Ok(()) };
        // The error that is told is the one that led here.
        let _ = one.waiting.remove_file();
        if !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::CrossesDevices) {
            return Err(error);
        }
        self.writer.directory = None;
        self.writer.is_many = false;
        let Some(again) = self.writer.look_and_stage(&self.root, from, to)? else { return Ok(()) };
        put(from, &again).inspect_err(|_| {
            let _ = again.waiting.remove_file();
        })
    }
}

impl Writer {
    fn new(owner: Owner) -> io::Result<Self> {
        let mut bytes = [0; 8];
        rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
        Ok(Self {
            owner,
            rooms: Rooms::default(),
            is_many: false,
            directory: None,
            random: u64::from_ne_bytes(bytes),
            count: 0,
            buffer: Vec::new(),
        })
    }

    /// Writes those of `files` that are files, and whose directories are there; returns those that are written.
    fn write_ahead(&mut self, root: &Root, files: &[Pair]) -> Vec<(Pair, Staged)> {
        self.is_many = true;
        let written = files.iter().filter_map(|(from, to)| {
            let found = fs::symlink_metadata(from).ok().filter(Metadata::is_file)?;
            self.open(root, to.parent()?).ok()?;
            let one = self.stage(root, (from, to), &found).ok()??;
            Some(((from.clone(), to.clone()), one))
        });
        written.collect()
    }

    fn look_and_stage(
        &mut self,
        root: &Root,
        from: &Path,
        to: &Path,
    ) -> io::Result<Option<Staged>> {
        let found = fs::symlink_metadata(from)?;
        self.stage(root, (from, to), &found)
    }

    /// Writes what was `found` at `from` for `to`; a directory is made at once.
    fn stage(
        &mut self,
        root: &Root,
        (from, to): (&Path, &Path),
        found: &Metadata,
    ) -> io::Result<Option<Staged>> {
        let kind = found.file_type();
        if !(kind.is_dir() || kind.is_file() || kind.is_symlink()) {
            // A socket or a fifo is of use only to whoever made it.
            return Ok(None);
        }
        let (place, waiting) = self.places(root, to)?;
        if kind.is_dir() {
            make_directory(&place, self.owner, found)?;
            return Ok(None);
        }
        let written = if kind.is_symlink() {
            let target = fs::read_link(from)?;
            let made = waiting.create_symlink(target.as_os_str());
            made.and_then(|()| own(&waiting, self.owner))
        } else {
            let source = File::open(from)?;
            waiting.create_file(Mode::from_raw_mode(0o600)).and_then(|mut file| {
                self.fill(&source, &mut file, found.len())?;
                dress(&file, self.owner, found)
            })
        };
        if let Err(error) = written {
            // What is there of it is of no use; the error is told.
            let _ = waiting.remove_file();
            return Err(error);
        }
        Ok(Some(Staged { waiting, place }))
    }

    fn fill(&mut self, mut source: &File, file: &mut File, size: u64) -> io::Result<()> {
        if size > SMALL {
            return io::copy(&mut source, file).map(drop);
        }
        self.buffer.clear();
        // Through `take`, which does not ask for the size again.
        source.take(u64::MAX).read_to_end(&mut self.buffer)?;
        if let Ok(room @ 1..) = u64::try_from(self.buffer.len()) {
            // Without room of its own, ext4 writes the file to the disk when it takes the place of another one
            // (`auto_da_alloc`, ext4(5)). Elsewhere it may be refused, and is not needed.
            let _ = rustix::fs::fallocate(&*file, FallocateFlags::empty(), 0, room);
        }
        file.write_all(&self.buffer)
    }

    /// The place `to`, and one with a name that nothing has in which it can wait.
    fn places(&mut self, root: &Root, to: &Path) -> io::Result<(Place, Place)> {
        let name = to.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let parent = to.parent().ok_or(io::ErrorKind::InvalidInput)?;
        let directory = match self.open(root, parent) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                place(root, self.owner, to)?;
                self.open(root, parent)?
            }
            opened => opened?,
        };
        let at = match self.is_many {
            true => self.room(&directory)?,
            false => Arc::clone(&directory),
        };
        let waiting = Place::new(at, &self.new_name())?;
        Ok((Place::new(directory, name)?, waiting))
    }

    fn new_name(&mut self) -> OsString {
        self.count += 1;
        OsString::from(format!(".compose-sync-{:016x}-{}", self.random, self.count))
    }

    fn open(&mut self, root: &Root, parent: &Path) -> io::Result<Arc<OwnedFd>> {
        if let Some(Directory { path, open, .. }) = &self.directory
            && path == parent
        {
            return Ok(Arc::clone(open));
        }
        let open = Arc::new(root.open_dir(parent)?);
        self.directory =
            Some(Directory { path: parent.to_owned(), open: Arc::clone(&open), room: None });
        Ok(open)
    }

    /// Where files wait for their names in `directory`, which is the one that was opened last.
    fn room(&mut self, directory: &Arc<OwnedFd>) -> io::Result<Arc<OwnedFd>> {
        if let Some(room) = self.directory.as_ref().and_then(|last| last.room.as_ref()) {
            return Ok(Arc::clone(room));
        }
        let name = self.new_name();
        let room = self.rooms.of(directory, &name)?;
        if let Some(last) = &mut self.directory {
            last.room = Some(Arc::clone(&room));
        }
        Ok(room)
    }
}

fn exists(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

/// Gives a file its name.
fn put(from: &Path, Staged { waiting, place }: &Staged) -> io::Result<()> {
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    use super::*;

    /// How many were written, and removed.
    fn counts(synced: &Synced) -> (usize, usize) {
        (synced.written, synced.removed)
    }

    struct World {
        folder: tempfile::TempDir,
    }

    impl World {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            fs::create_dir(folder.path().join("host")).unwrap();
            fs::create_dir(folder.path().join("root")).unwrap();
            Self { folder }
        }

        fn host(&self, path: &str) -> PathBuf {
            self.folder.path().join("host").join(path)
        }

        fn inside(&self, path: &str) -> PathBuf {
            self.folder.path().join("root").join(path)
        }

        fn staging(&self) -> Staging {
            let root = Root::open(&self.folder.path().join("root")).unwrap();
            let owner = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
            Staging::new(root, owner).unwrap()
        }

        fn changes(&self, paths: &[&str]) -> BTreeMap<PathBuf, PathBuf> {
            paths.iter().map(|path| (self.host(path), Path::new("/app").join(path))).collect()
        }

        fn sync(&self, paths: &[&str]) -> Result<Synced, SyncError> {
            self.staging().finish(&self.changes(paths))
        }

        fn prepare(&self, staging: &mut Staging, paths: &[&str]) {
            let files: Vec<Pair> = self.changes(paths).into_iter().collect();
            staging.prepare(&files, false);
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
        assert_eq!(counts(&done), (3, 0));
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
        assert_eq!(counts(&world.sync(&["a", "a/file"]).unwrap()), (0, 1));
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
    fn what_was_written_ahead_has_no_name_before_the_end() {
        let world = World::new();
        fs::create_dir(world.inside("app")).unwrap();
        let files = ["changed", "removed", "written"];
        for name in files {
            fs::write(world.host(name), "ahead").unwrap();
        }
        let mut staging = world.staging();
        world.prepare(&mut staging, &files);
        assert_eq!(staging.staged.len(), 3);
        assert!(files.iter().all(|name| !world.inside("app").join(name).exists()));
        fs::write(world.host("changed"), "at the end").unwrap();
        fs::remove_file(world.host("removed")).unwrap();
        for name in ["changed", "removed"] {
            staging.forget(&world.host(name));
        }
        let done = staging.finish(&world.changes(&files)).unwrap();
        assert_eq!(counts(&done), (2, 0));
        assert_eq!(fs::read_to_string(world.inside("app/written")).unwrap(), "ahead");
        assert_eq!(fs::read_to_string(world.inside("app/changed")).unwrap(), "at the end");
        assert!(!world.inside("app/removed").exists());
        world.nothing_is_left_over();
    }

    #[test]
    fn many_files_wait_where_nobody_looks() {
        let world = World::new();
        fs::create_dir_all(world.inside("app/deep")).unwrap();
        fs::create_dir(world.host("deep")).unwrap();
        let names: Vec<String> = (0..MANY).map(|number| format!("deep/{number}")).collect();
        let mut files: Vec<&str> = names.iter().map(String::as_str).collect();
        files.push("top");
        let mut staging = world.staging();
        files.iter().for_each(|name| fs::write(world.host(name), *name).unwrap());
        world.prepare(&mut staging, &files);
        // One directory for both of theirs, and nothing else.
        let entries = |of: &str| fs::read_dir(world.inside(of)).unwrap().count();
        assert_eq!((entries("app"), entries("app/deep")), (1, 1));
        assert_eq!(counts(&staging.finish(&world.changes(&files)).unwrap()), (MANY + 1, 0));
        assert_eq!((entries("app"), entries("app/deep")), (2, MANY));
        assert_eq!(fs::read_to_string(world.inside("app/deep/7")).unwrap(), "deep/7");
        // The container takes it away, with all that waits.
        let mut staging = world.staging();
        world.prepare(&mut staging, &files);
        fs::remove_dir_all(world.inside("app/deep")).unwrap();
        assert_eq!(counts(&staging.finish(&world.changes(&files)).unwrap()), (MANY + 1, 0));
        assert_eq!(fs::read_to_string(world.inside("app/deep/7")).unwrap(), "deep/7");
        assert_eq!((entries("app"), entries("app/deep")), (2, MANY));
    }

    #[test]
    fn two_write_side_by_side() {
        let world = World::new();
        fs::create_dir(world.inside("app")).unwrap();
        let names: Vec<String> = (0..MANY).map(|number| number.to_string()).collect();
        let files: Vec<&str> = names.iter().map(String::as_str).collect();
        let changes = world.changes(&files);
        let pairs: Vec<Pair> = changes.clone().into_iter().collect();
        for turn in ["one", "two"] {
            names.iter().for_each(|name| fs::write(world.host(name), turn).unwrap());
            let mut staging = world.staging();
            staging.prepare(&pairs, true);
            // What each of them has written.
            assert_eq!((staging.writer.count, staging.second.count), (5, 5));
            assert_eq!(staging.staged.len(), MANY);
            assert_eq!(counts(&staging.finish(&changes).unwrap()), (MANY, 0));
            let shown = names.iter().map(|name| fs::read_to_string(world.inside("app").join(name)));
            assert!(shown.map(Result::unwrap).all(|text| text == turn));
            assert_eq!(fs::read_dir(world.inside("app")).unwrap().count(), MANY);
        }
        // One of them alone for a few files, and for one that has been asked to leave room for others.
        let mut staging = world.staging();
        staging.prepare(&pairs[1..], true);
        staging.prepare(&pairs, false);
        assert_eq!(staging.second.count, 0);
        drop(staging);
        assert_eq!(fs::read_dir(world.inside("app")).unwrap().count(), MANY);
    }

    #[test]
    fn what_was_written_ahead_in_vain_leaves_nothing() {
        let world = World::new();
        fs::create_dir_all(world.inside("app/gone")).unwrap();
        fs::create_dir(world.host("gone")).unwrap();
        fs::write(world.host("file"), "new").unwrap();
        fs::write(world.host("gone/file"), "new").unwrap();
        let mut staging = world.staging();
        world.prepare(&mut staging, &["file"]);
        drop(staging);
        world.nothing_is_left_over();
        // The container takes a directory away meanwhile.
        let mut staging = world.staging();
        world.prepare(&mut staging, &["gone/file"]);
        fs::remove_dir_all(world.inside("app/gone")).unwrap();
        let done = staging.finish(&world.changes(&["gone/file"])).unwrap();
        assert_eq!(counts(&done), (1, 0));
        assert_eq!(fs::read_to_string(world.inside("app/gone/file")).unwrap(), "new");
        // A directory is not made before the save is over.
        fs::create_dir(world.host("later")).unwrap();
        fs::write(world.host("later/file"), "new").unwrap();
        let mut staging = world.staging();
        world.prepare(&mut staging, &["later/file"]);
        assert!(staging.staged.is_empty() && !world.inside("app/later").exists());
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
