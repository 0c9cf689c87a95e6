//! Records on disk: replaced whole, read with tolerance.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{Mode, OFlags};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::runtime::Handle;

/// A record could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// A step of the replacement failed; the record is the old one.
    #[error("cannot write the record {}", path.display())]
    Replace {
        /// The record.
        path: PathBuf,
        /// The kernel's or the serialiser's words.
        source: io::Error,
    },
    /// The record, or the folder that holds records, could not be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The record or folder.
        path: PathBuf,
        /// The kernel's words.
        source: io::Error,
    },
    /// The record is not what we write; nothing of ours produces this.
    #[error("{} is damaged", path.display())]
    Damaged {
        /// The record.
        path: PathBuf,
        /// What the reader stumbled over.
        source: serde_json::Error,
    },
    /// A newer `compose` wrote the record, and it is not ours to interpret.
    #[error("{} was written by a newer compose (record version {found}, known up to {known})", path.display())]
    Newer {
        /// The record.
        path: PathBuf,
        /// The version in the record.
        found: u32,
        /// The newest version that this binary understands.
        known: u32,
    },
}

/// Replaces the record at `path` so that a reader, or a reboot, finds the old
/// record or the new one and never a part of either.
///
/// The caller holds the store lock; this function orders the writes: content
/// to disk, then the name, then the directory that holds the name
/// (rename(2), fsync(2), and <https://lwn.net/Articles/457667/>).
///
/// # Errors
///
/// [`RecordError::Replace`] when a step fails. The record is then the old one,
/// or the new one if only the last sync failed; it is never a mixture.
pub fn replace_record<T: Serialize>(path: &Path, record: &T) -> Result<(), RecordError> {
    replace(path, record, Durability::PowerLoss)
        .map_err(|source| RecordError::Replace { path: path.to_owned(), source })
}

/// Replaces the record at `path` so that a reader finds the old record or the
/// new one, without waiting for the disk.
///
/// For what can be made again: after a power loss the record may be empty or
/// gone. Readers count such a record as missing (see [`super::list`]).
///
/// # Errors
///
/// [`RecordError::Replace`] when a step fails; the record is then the old one.
pub fn replace_volatile_record<T: Serialize>(path: &Path, record: &T) -> Result<(), RecordError> {
    replace(path, record, Durability::Process)
        .map_err(|source| RecordError::Replace { path: path.to_owned(), source })
}

/// What a replaced record survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Durability {
    /// The death of any process.
    Process,
    /// The death of the machine.
    PowerLoss,
}

fn replace<T: Serialize>(path: &Path, record: &T, durability: Durability) -> io::Result<()> {
    let dir = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let next = Temporary::beside(path)?;
    let mut writer = BufWriter::new(&next.file);
    serde_json::to_writer(&mut writer, record)?;
    writer.write_all(b"\n")?;
    writer.flush()?;
    drop(writer);
    if durability == Durability::PowerLoss {
        next.file.sync_all()?;
    }
    let old = held(path);
    next.rename_to(path)?;
    if let Some(old) = old {
        let_go(old);
    }
    if durability == Durability::PowerLoss {
        File::open(dir)?.sync_all()?;
    }
    Ok(())
}

/// What is at `path`, held.
///
/// The file system forgets a file when it has neither a name nor anybody who holds it. That waits for its journal, ext4 for one for
/// milliseconds while somebody else writes, and would be a part of the rename that takes the name away.
fn held(path: &Path) -> Option<OwnedFd> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).ok()
}

/// Lets go of a file beside whatever is done next, where there is an event loop that would stand still meanwhile.
fn let_go(file: OwnedFd) {
    if let Ok(here) = Handle::try_current() {
        here.spawn_blocking(move || drop(file));
    }
}

/// A file that disappears unless it is given its name.
struct Temporary {
    path: PathBuf,
    file: File,
}

impl Temporary {
    /// Creates a hidden file in the folder of `path`, under a name that no
    /// other thread or live process uses.
    fn beside(path: &Path) -> io::Result<Self> {
        static SERIAL: AtomicU64 = AtomicU64::new(0);
        let mut name = std::ffi::OsString::from(".");
        name.push(path.file_name().ok_or(io::ErrorKind::InvalidInput)?);
        name.push(format!(".{}.{}", process::id(), SERIAL.fetch_add(1, Ordering::Relaxed)));
        let path = path.with_file_name(name);
        // Truncating: a file of that name belongs to a dead process of our pid.
        let file = OpenOptions::new().write(true).create(true).truncate(true).open(&path)?;
        Ok(Self { path, file })
    }

    fn rename_to(self, target: &Path) -> io::Result<()> {
        fs::rename(&self.path, target)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // After a rename there is nothing of that name any more.
        let _ = fs::remove_file(&self.path);
    }
}

/// Reads the record at `path`; `None` if there is none.
///
/// # Errors
///
/// [`RecordError::Read`] and [`RecordError::Damaged`].
pub fn read_record<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, RecordError> {
    match fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|source| RecordError::Damaged { path: path.to_owned(), source }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(RecordError::Read { path: path.to_owned(), source }),
    }
}

#[cfg(test)]
mod tests {
    use serde::ser::{Error, SerializeSeq, Serializer};

    use super::*;

    /// Fails in the middle, as a full disk would.
    struct HalfWay;

    impl Serialize for HalfWay {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let mut list = serializer.serialize_seq(None)?;
            list.serialize_element(&"half")?;
            Err(S::Error::custom("half-way"))
        }
    }

    #[test]
    fn a_failed_replacement_leaves_the_old_record_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("record.json");
        for durability in [Durability::Process, Durability::PowerLoss] {
            replace(&path, &"old", durability).unwrap();
            replace(&path, &HalfWay, durability).unwrap_err();
            assert_eq!(fs::read_to_string(&path).unwrap(), "\"old\"\n");
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        }
    }

    #[test]
    fn reading_tells_missing_from_damaged() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("record.json");
        assert!(read_record::<String>(&path).unwrap().is_none());
        fs::write(&path, "").unwrap();
        assert!(matches!(read_record::<String>(&path), Err(RecordError::Damaged { .. })));
        replace_record(&path, &"new").unwrap();
        assert_eq!(read_record::<String>(&path).unwrap().as_deref(), Some("new"));
    }
}
