//! Exits, written down before anybody hears of them: one JSON line each.
//!
//! A line outlives every process at once, and the machine a moment later: the disk takes milliseconds, in which whoever restarts
//! a container would wait for its keeper.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::exit::ExitStatus;

/// The file's name in the project's data folder.
pub(super) const NAME: &str = "exits.journal";

/// A journal larger than this is shortened when a keeper starts.
const LARGE: u64 = 1 << 20;

/// How much of a large one is kept.
const KEPT: u64 = 1 << 18;

/// How long exits may be missing on the disk: what follows at once upon an end is over by then.
const DELAY: Duration = Duration::from_millis(50);

/// One exit of a container's PID 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// The container's id.
    pub key: String,
    /// That of the request which started it.
    pub ticket: u64,
    /// Its number.
    pub pid: i32,
    /// Its start time in clock ticks since boot.
    pub pid_started: u64,
    /// How it ended; absent when the kernel cannot tell.
    pub status: Option<ExitStatus>,
    /// When.
    pub at: Timestamp,
}

/// Reads the exits of a project, in their order. A line that is not whole, because the machine went down while it was
/// written, is left out; a project without a journal has none.
///
/// # Errors
///
/// What reading the file says.
pub fn read_exits(data: &Path) -> io::Result<Vec<Exit>> {
    let file = match File::open(data.join(NAME)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        file => file?,
    };
    let mut exits = Vec::new();
    for line in BufReader::new(file).split(b'\n') {
        exits.extend(serde_json::from_slice::<Exit>(&line?).ok());
    }
    Ok(exits)
}

/// The journal, open for appending.
#[derive(Debug)]
pub(super) struct Journal {
    file: File,
    /// When what was appended is to be on disk, if it may not be yet.
    due: Option<Instant>,
}

impl Journal {
    pub(super) fn open(data: &Path) -> io::Result<Self> {
        let path = data.join(NAME);
        shorten(&path)?;
        let mut file = OpenOptions::new().create(true).append(true).read(true).open(&path)?;
        // A line that was cut off must not swallow the one after it.
        if file.metadata()?.len() > 0 {
            let mut last = [0];
            file.seek(SeekFrom::End(-1))?;
            file.read_exact(&mut last)?;
            if last != *b"\n" {
                file.write_all(b"\n")?;
            }
        }
        Ok(Self { file, due: None })
    }

    /// Appends the exits: whoever is killed from here on, they are known.
    pub(super) fn append(&mut self, exits: &[Exit]) -> io::Result<()> {
        let mut lines = Vec::new();
        for exit in exits {
            serde_json::to_writer(&mut lines, exit)?;
            lines.push(b'\n');
        }
        self.due.get_or_insert_with(|| Instant::now() + DELAY);
        self.file.write_all(&lines)
    }

    /// How long it is until something has to be on disk.
    pub(super) fn due_in(&self) -> Option<Duration> {
        self.due.map(|due| due.saturating_duration_since(Instant::now()))
    }

    /// Waits until all that was appended is on disk, if it is time for that.
    pub(super) fn sync_if_due(&mut self) -> io::Result<()> {
        match self.due_in() {
            Some(Duration::ZERO) => self.sync(),
            _ => Ok(()),
        }
    }

    /// Waits until all that was appended is on disk.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        match self.due.take() {
            Some(_) => self.file.sync_data(),
            None => Ok(()),
        }
    }
}

/// Keeps the end of a large journal: its exits are long in the records of the containers.
fn shorten(path: &Path) -> io::Result<()> {
    let Ok(mut file) = File::open(path) else { return Ok(()) };
    if file.metadata()?.len() <= LARGE {
        return Ok(());
    }
    file.seek(SeekFrom::End(-KEPT.cast_signed()))?;
    let mut end = Vec::new();
    file.read_to_end(&mut end)?;
    let first = end.iter().position(|byte| *byte == b'\n').map_or(end.len(), |index| index + 1);
    let next = PathBuf::from(format!("{}.next", path.display()));
    let mut shorter = File::create(&next)?;
    shorter.write_all(&end[first..])?;
    shorter.sync_data()?;
    std::fs::rename(next, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exit(ticket: u64) -> Exit {
        let status = Some(ExitStatus::exited(3));
        Exit {
            key: "k".repeat(64),
            ticket,
            pid: 7,
            pid_started: 9,
            status,
            at: Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn exits_are_read_back_without_a_torn_line() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(read_exits(folder.path()).unwrap(), []);
        Journal::open(folder.path()).unwrap().append(&[exit(1), exit(2)]).unwrap();
        let path = folder.path().join(NAME);
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() - 20]).unwrap();
        Journal::open(folder.path()).unwrap().append(&[exit(3)]).unwrap();
        assert_eq!(read_exits(folder.path()).unwrap(), [exit(1), exit(3)]);
    }

    #[test]
    fn exits_are_synced_once_and_soon() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = Journal::open(folder.path()).unwrap();
        assert_eq!(journal.due_in(), None);
        journal.append(&[exit(1)]).unwrap();
        let first = journal.due;
        assert!(journal.due_in().unwrap() <= DELAY);
        journal.append(&[exit(2)]).unwrap();
        assert_eq!(journal.due, first, "the first one waits no longer for the second");
        journal.due = Some(Instant::now());
        journal.sync_if_due().unwrap();
        assert_eq!(journal.due_in(), None);
    }

    #[test]
    fn a_large_journal_keeps_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let many: Vec<Exit> = (0..8000).map(exit).collect();
        Journal::open(folder.path()).unwrap().append(&many).unwrap();
        Journal::open(folder.path()).unwrap().append(&[exit(8000)]).unwrap();
        let left = read_exits(folder.path()).unwrap();
        assert!(left.len() > 100 && left.len() < 8000);
        assert_eq!(left.last().unwrap().ticket, 8000);
    }
}
