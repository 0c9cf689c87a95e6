//! fanotify(7): the directories for which inotify(7) has no watches left.
//!
//! # Why directory by directory
//!
//! A mark on the whole file system (`FAN_MARK_FILESYSTEM`) is one call, and tells then of all that is written on it: the logs
//! and the upper directories of all containers mostly lie there as well. Measured with one log of 1,000 lines in a second that
//! nobody follows: it woke the watcher 1,056 times in a second, 1.4 % of a processor before one of these events was even looked
//! at. With a mark on each directory nobody is woken by others. root may have as many of them as there is memory
//! (`FAN_UNLIMITED_MARKS`), anybody else `fs.fanotify.max_user_marks`, which are none of inotify's watches.
//!
//! An event says in which directory it was by the handle that the file system knows it by. The handle is asked for when the
//! directory is marked, so that nothing has to be opened, and no right is needed, to know its path.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use nix::sys::fanotify::{EventFFlags, Fanotify, InitFlags, MarkFlags, MaskFlags};
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;

use super::batch::Stage;

/// Bytes for events: a few hundred at once.
const ROOM: usize = 64 << 10;

/// A directory as events name it: the bytes of the file system, and of the handle there.
type Key = Vec<u8>;

/// Directories that are marked.
#[derive(Debug)]
pub struct Marks {
    fanotify: Arc<Fanotify>,
    keys: BTreeMap<PathBuf, Key>,
    /// The other way round, for the thread that reads.
    paths: Arc<Mutex<HashMap<Key, PathBuf>>>,
    stop: Arc<OwnedFd>,
    reader: Option<JoinHandle<()>>,
}

/// Something that was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// An entry of a directory was touched, or the directory.
    Touched(PathBuf, Stage),
    /// Events were lost.
    Lost,
}

impl Marks {
    /// None; `tell` is called, from another thread, with all that happens.
    ///
    /// # Errors
    ///
    /// What fanotify_init(2) says, which knows names since Linux 5.9, and lets everybody in since 5.13.
    pub fn new(tell: impl Fn(Vec<Told>) + Send + 'static) -> io::Result<Self> {
        let fanotify = Arc::new(init()?);
        let paths = Arc::new(Mutex::new(HashMap::new()));
        let stop = Arc::new(eventfd(0, EventfdFlags::CLOEXEC)?);
        let reader = {
            let (fanotify, paths, stop) =
                (Arc::clone(&fanotify), Arc::clone(&paths), Arc::clone(&stop));
            let read = move || read(&fanotify, &paths, &stop, &tell);
            std::thread::Builder::new().name("fanotify".to_owned()).spawn(read)?
        };
        Ok(Self { fanotify, keys: BTreeMap::new(), paths, stop, reader: Some(reader) })
    }

    /// Marks the directory that `path` leads to now. Returns whether there is one.
    ///
    /// # Errors
    ///
    /// What the kernel says: a file system may have no handles (`EOPNOTSUPP`), or no number of its own (`ENODEV`).
    pub fn add(&mut self, path: &Path) -> io::Result<bool> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = match rustix::fs::openat(CWD, path, flags, Mode::empty()) {
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(false),
            opened => opened?,
        };
        let key = key(&directory)?;
        // What happens from the mark on is told under the path.
        lock(&self.paths).insert(key.clone(), path.to_owned());
        let before = self.keys.insert(path.to_owned(), key.clone());
        if let Some(before) = before.filter(|before| *before != key) {
            lock(&self.paths).remove(&before);
        }
        let add = MarkFlags::FAN_MARK_ADD | MarkFlags::FAN_MARK_ONLYDIR;
        let marked = self.fanotify.mark(add, mask(), &directory, None::<&Path>);
        if let Err(error) = marked {
            self.forget(path);
            return Err(error.into());
        }
        Ok(true)
    }

    /// Tells no longer of the directory under this path. The mark goes with the directory, or stays and is not heeded if that
    /// has only another name now.
    pub fn forget(&mut self, path: &Path) {
        let Some(key) = self.keys.remove(path) else { return };
        let mut paths = lock(&self.paths);
        // It may be known under its new name already.
        if paths.get(&key).is_some_and(|known| known == path) {
            paths.remove(&key);
        }
    }
}

impl Drop for Marks {
    fn drop(&mut self) {
        // An eventfd that nothing was written to takes a number.
        let _ = rustix::io::write(&*self.stop, &1_u64.to_ne_bytes());
        if let Some(reader) = self.reader.take() {
            // One that has panicked has said so.
            let _ = reader.join();
        }
    }
}

/// Nothing is marked yet. As root there is no limit to marks and to events that wait.
///
/// # Errors
///
/// What fanotify_init(2) says.
pub fn init() -> nix::Result<Fanotify> {
    let flags = InitFlags::FAN_CLASS_NOTIF
        | InitFlags::FAN_CLOEXEC
        | InitFlags::FAN_NONBLOCK
        | InitFlags::from_bits_retain(libc::FAN_REPORT_DFID_NAME);
    let unlimited = InitFlags::FAN_UNLIMITED_MARKS | InitFlags::FAN_UNLIMITED_QUEUE;
    let of_events = EventFFlags::O_RDONLY | EventFFlags::O_CLOEXEC;
    match Fanotify::init(flags | unlimited, of_events) {
        Err(nix::errno::Errno::EPERM) => Fanotify::init(flags, of_events),
        answer => answer,
    }
}

/// What is to be told of a directory and its entries.
fn mask() -> MaskFlags {
    MaskFlags::FAN_CREATE
        | MaskFlags::FAN_DELETE
        | MaskFlags::FAN_DELETE_SELF
        | MaskFlags::FAN_MOVED_FROM
        | MaskFlags::FAN_MOVED_TO
        | MaskFlags::FAN_MOVE_SELF
        | MaskFlags::FAN_ATTRIB
        | MaskFlags::FAN_MODIFY
        | MaskFlags::FAN_CLOSE_WRITE
        | MaskFlags::FAN_ONDIR
        | MaskFlags::FAN_EVENT_ON_CHILD
}

/// Laid out as in an event.
fn key(directory: &OwnedFd) -> io::Result<Key> {
    // Two numbers, which statvfs(3) has as one: the first is the lower half.
    let system = rustix::fs::fstatvfs(directory)?.f_fsid;
    #[expect(clippy::cast_possible_truncation, reason = "a half of it")]
    let system = [system as u32, (system >> 32) as u32];
    let handle = sys::handle::of(directory.as_fd())?;
    let length = u32::try_from(handle.bytes.len()).unwrap_or(u32::MAX);
    let mut key = Key::new();
    key.extend(system.iter().flat_map(|half| half.to_ne_bytes()));
    key.extend(length.to_ne_bytes());
    key.extend(handle.kind.to_ne_bytes());
    key.extend(handle.bytes);
    Ok(key)
}

fn lock(paths: &Mutex<HashMap<Key, PathBuf>>) -> std::sync::MutexGuard<'_, HashMap<Key, PathBuf>> {
    paths.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Tells of events until `stop` can be read.
fn read(
    fanotify: &Fanotify,
    paths: &Mutex<HashMap<Key, PathBuf>>,
    stop: &OwnedFd,
    tell: &impl Fn(Vec<Told>),
) {
    let mut room = vec![0; ROOM];
    loop {
        let mut descriptors =
            [PollFd::new(fanotify, PollFlags::IN), PollFd::new(stop, PollFlags::IN)];
        match poll(&mut descriptors, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return tracing::warn!(%error, "fanotify"),
        }
        if !descriptors[1].revents().is_empty() {
            return;
        }
        let length = match rustix::io::read(fanotify, &mut *room) {
            Ok(length) => length,
            Err(Errno::AGAIN | Errno::INTR) => continue,
            Err(error) => return tracing::warn!(%error, "fanotify"),
        };
        let told = {
            let paths = lock(paths);
            events(&room[..length]).filter_map(|event| event.told(&paths)).collect::<Vec<_>>()
        };
        if !told.is_empty() {
            tell(told);
        }
    }
}

/// One event: what has happened, in which directory, to which of its names; `.` is the directory.
#[derive(Debug, PartialEq, Eq)]
struct Event<'b> {
    what: MaskFlags,
    directory: &'b [u8],
    name: &'b OsStr,
}

impl Event<'_> {
    /// None if the directory is not known, or not any more.
    fn told(&self, paths: &HashMap<Key, PathBuf>) -> Option<Told> {
        if self.what.contains(MaskFlags::FAN_Q_OVERFLOW) {
            return Some(Told::Lost);
        }
        let directory = paths.get(self.directory)?;
        let path = match self.name.as_bytes() {
            b"." | b"" => directory.clone(),
            _ => directory.join(self.name),
        };
        Some(Told::Touched(path, stage(self.what)))
    }
}

/// Events of one name that nobody has read are one, in no order: what is said to be whole may be written to again, and is told
/// of once more when it is closed.
fn stage(what: MaskFlags) -> Stage {
    let over = MaskFlags::FAN_CLOSE_WRITE
        | MaskFlags::FAN_DELETE
        | MaskFlags::FAN_MOVED_FROM
        | MaskFlags::FAN_MOVED_TO;
    let begun = MaskFlags::FAN_CREATE | MaskFlags::FAN_MODIFY;
    match what.intersects(begun) && !what.intersects(over) {
        true => Stage::Writing,
        false => Stage::Whole,
    }
}

/// The events in `bytes`, as read(2) gives them: `struct fanotify_event_metadata`, and then, of `event_len` bytes in all, records
/// with what else is known (`linux/fanotify.h`). What is cut off or unknown is left out.
fn events(mut bytes: &[u8]) -> impl Iterator<Item = Event<'_>> {
    std::iter::from_fn(move || {
        let length = usize::try_from(u32::from_ne_bytes(at(bytes, 0)?)).ok()?;
        let records = usize::from(u16::from_ne_bytes(at(bytes, 6)?));
        let what = MaskFlags::from_bits_truncate(u64::from_ne_bytes(at(bytes, 8)?));
        // No event is without its head: it would be read again and again.
        let rest = bytes.get(records.max(size_of::<libc::fanotify_event_metadata>())..length)?;
        bytes = &bytes[length..];
        let (directory, name) = place(rest).unwrap_or_default();
        Some(Event { what, directory, name: OsStr::from_bytes(name) })
    })
}

/// The directory and the name that `records` tell of.
fn place(mut records: &[u8]) -> Option<(&[u8], &[u8])> {
    /// The kind, a byte that means nothing, and the length of the record.
    const HEAD: usize = 4;
    /// The number of the file system, and the length and kind of the handle.
    const FIXED: usize = 16;
    loop {
        let [kind, ..] = at::<HEAD>(records, 0)?;
        let length = usize::from(u16::from_ne_bytes(at(records, 2)?));
        let record = records.get(HEAD..length)?;
        if kind == libc::FAN_EVENT_INFO_TYPE_DFID_NAME {
            let handle = usize::try_from(u32::from_ne_bytes(at(record, 8)?)).ok()?;
            let (directory, name) = record.split_at_checked(FIXED.checked_add(handle)?)?;
            let end = name.iter().position(|byte| *byte == 0)?;
            return Some((directory, &name[..end]));
        }
        records = &records[length..];
    }
}

/// So many bytes, if there are.
fn at<const N: usize>(bytes: &[u8], offset: usize) -> Option<[u8; N]> {
    bytes.get(offset..)?.first_chunk().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An event with these records.
    fn event(what: u64, records: &[(u8, &[u8])]) -> Vec<u8> {
        let mut rest = Vec::new();
        for (kind, content) in records {
            rest.extend([*kind, 0]);
            rest.extend(u16::try_from(content.len() + 4).unwrap().to_ne_bytes());
            rest.extend(*content);
        }
        let mut event = Vec::new();
        event.extend(u32::try_from(rest.len() + 24).unwrap().to_ne_bytes());
        event.extend([3, 0]);
        event.extend(24_u16.to_ne_bytes());
        event.extend(what.to_ne_bytes());
        event.extend([0xff; 8]);
        event.extend(rest);
        event
    }

    /// A directory and a name in it, padded as the kernel does.
    fn named(name: &str) -> Vec<u8> {
        let mut record = directory();
        record.extend(name.as_bytes());
        record.extend([0; 3]);
        record
    }

    fn directory() -> Vec<u8> {
        let mut key = vec![7; 8];
        key.extend(4_u32.to_ne_bytes());
        key.extend(1_i32.to_ne_bytes());
        key.extend(*b"hand");
        key
    }

    #[test]
    fn events_are_read_as_the_kernel_writes_them() {
        let (create, close) = (libc::FAN_CREATE, libc::FAN_CLOSE_WRITE);
        let bytes = [
            event(create, &[(libc::FAN_EVENT_INFO_TYPE_DFID_NAME, &named("new"))]),
            event(libc::FAN_Q_OVERFLOW, &[]),
            event(
                close,
                &[(200, b"what is to come"), (libc::FAN_EVENT_INFO_TYPE_DFID_NAME, &named("."))],
            ),
        ]
        .concat();
        let key = directory();
        let none: &[u8] = &[];
        let wanted =
            [(create, &*key, "new"), (libc::FAN_Q_OVERFLOW, none, ""), (close, &*key, ".")];
        let wanted = wanted.map(|(what, directory, name)| Event {
            what: MaskFlags::from_bits_retain(what),
            directory,
            name: OsStr::new(name),
        });
        assert_eq!(events(&bytes).collect::<Vec<_>>(), wanted);
        let paths = HashMap::from([(key.clone(), PathBuf::from("/src"))]);
        let told: Vec<Told> = wanted.iter().filter_map(|event| event.told(&paths)).collect();
        let touched = |path: &str, stage| Told::Touched(path.into(), stage);
        assert_eq!(
            told,
            [touched("/src/new", Stage::Writing), Told::Lost, touched("/src", Stage::Whole)]
        );
        assert_eq!(wanted[0].told(&HashMap::new()), None);
    }

    #[test]
    fn what_is_cut_off_is_no_event() {
        let whole =
            event(libc::FAN_CREATE, &[(libc::FAN_EVENT_INFO_TYPE_DFID_NAME, &named("new"))]);
        for length in 0..whole.len() {
            assert_eq!(events(&whole[..length]).count(), 0, "{length}");
        }
        // Lengths that are none.
        let mut endless = whole.clone();
        endless[0..4].fill(0);
        assert_eq!(events(&endless).count(), 0);
        let mut broken = whole;
        broken[26..28].fill(0);
        assert!(events(&broken).all(|event| event.directory.is_empty()));
    }

    #[test]
    fn a_name_is_being_written_until_it_is_closed() {
        use MaskFlags as Mask;
        for (what, is) in [
            (Mask::FAN_CREATE, Stage::Writing),
            (Mask::FAN_MODIFY | Mask::FAN_ATTRIB, Stage::Writing),
            (Mask::FAN_CREATE | Mask::FAN_MODIFY | Mask::FAN_CLOSE_WRITE, Stage::Whole),
            (Mask::FAN_CREATE | Mask::FAN_MOVED_TO, Stage::Whole),
            (Mask::FAN_DELETE, Stage::Whole),
            (Mask::FAN_ATTRIB, Stage::Whole),
        ] {
            assert_eq!(stage(what), is, "{what:?}");
        }
    }
}
