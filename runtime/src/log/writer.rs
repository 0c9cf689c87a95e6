//! From the pipes of a container to the files, inside of the kernel.

use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use rustix::io::Errno;
use rustix::pipe::SpliceFlags;

use super::record::{Kind, Record, SIZE};
use super::segment::{FIRST, Segment, numbers, remove};
use super::{Rotation, Stream};

/// The most that one call of splice(2) is asked for: the size that our pipes have.
const PIECE: u64 = 1 << 20;

/// What a terminal gives out at a time (tty_io.c).
const TERMINAL_BUFFER: usize = 4096;

/// The most that one turn takes, so that one container does not keep the others waiting.
const TURN: u64 = 8 << 20;

/// The least that is asked for at the end of a segment, so that a line is not cut into single bytes.
const LEAST: u64 = 4096;

/// The writing side of a log. One at a time: the caller holds the project's lock.
#[derive(Debug)]
pub struct Writer {
    folder: PathBuf,
    rotation: Rotation,
    segment: Segment,
    /// Bytes in the files, by [`Stream::index`].
    ends: [u64; 2],
    /// Bytes in the index.
    index_end: u64,
    /// Bytes that were read from a terminal and could not be written yet, by [`Stream::index`].
    taken: [Vec<u8>; 2],
}

/// What one turn has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pumped {
    /// Bytes that were moved; none means that the pipe is empty for now.
    pub bytes: u64,
    /// Whether every writing end of the pipe is closed, and nothing will come any more.
    pub closed: bool,
}

impl Writer {
    /// Opens the log in `folder`, or begins one. What an earlier writer has moved and not indexed is indexed first.
    ///
    /// # Errors
    ///
    /// What opening or reading the files says.
    pub fn open(folder: &Path, rotation: Rotation) -> io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let number = numbers(folder)?.last().copied().unwrap_or(FIRST);
        let segment = Segment::create(folder, number)?;
        let mut writer = Self {
            folder: folder.to_owned(),
            rotation,
            segment,
            ends: [0; 2],
            index_end: 0,
            taken: <[Vec<u8>; 2]>::default(),
        };
        writer.recover()?;
        Ok(writer)
    }

    /// Moves what is in the pipe to the log: one bounded turn, which does not wait. The pipe is one that does not block.
    ///
    /// When the disk is full, older segments of this log are given up for it.
    ///
    /// # Errors
    ///
    /// What the kernel says; nothing that was taken out of the pipe is lost, and the call may be repeated.
    pub fn pump(&mut self, stream: Stream, pipe: BorrowedFd<'_>) -> io::Result<Pumped> {
        let mut bytes = 0;
        while bytes < TURN {
            match self.piece(stream, pipe) {
                Ok(0) => {
                    self.record(Record::now(stream, Kind::End))?;
                    return Ok(Pumped { bytes, closed: true });
                }
                Ok(moved) => bytes += moved,
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => {}
                Err(Errno::NOSPC | Errno::DQUOT) if self.give_up_oldest()? => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Pumped { bytes, closed: false })
    }

    /// Moves one piece, which may end the segment.
    fn piece(&mut self, stream: Stream, pipe: BorrowedFd<'_>) -> Result<u64, Errno> {
        let most = self.rotation.segment_bytes.unwrap_or(u64::MAX);
        if self.used() >= most {
            self.rotate().map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
        }
        let room = most.saturating_sub(self.used());
        let length = usize::try_from(room.clamp(LEAST, PIECE)).unwrap_or_default();
        let end = &mut self.ends[stream.index()];
        let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
        let file = self.segment.stream(stream);
        let moved = match rustix::pipe::splice(pipe, None, file, Some(end), length, flags) {
            // Neither end is a pipe: it is the master of a pseudo-terminal.
            Err(Errno::INVAL) => self.copy(stream, pipe)?,
            moved => moved?,
        };
        if moved > 0 {
            let record = Record::now(stream, Kind::Bytes(u32::try_from(moved).unwrap_or(u32::MAX)));
            self.record(record)
                .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
        }
        Ok(moved as u64)
    }

    /// Moves one piece out of the master of a pseudo-terminal, which splice(2) does not take. What was read and cannot be
    /// written is kept for the next call; only a kill between the two calls loses it.
    fn copy(&mut self, stream: Stream, terminal: BorrowedFd<'_>) -> Result<usize, Errno> {
        let taken = &mut self.taken[stream.index()];
        if taken.is_empty() {
            let mut buffer = [0; TERMINAL_BUFFER];
            let count = match rustix::io::read(terminal, &mut buffer) {
                // The last process with the other end has closed it (pts(4)).
                Err(Errno::IO) => 0,
                count => count?,
            };
            taken.extend_from_slice(&buffer[..count]);
        }
        let end = &mut self.ends[stream.index()];
        let written = self.segment.stream(stream).write_all_at(taken, *end);
        written.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
        let count = taken.len();
        *end += count as u64;
        taken.clear();
        Ok(count)
    }

    /// Bytes in the three files of the segment: a chatty container has an index larger than what it says.
    fn used(&self) -> u64 {
        self.index_end + self.ends.iter().sum::<u64>()
    }

    /// Adds a record to the index.
    fn record(&mut self, record: Record) -> io::Result<()> {
        let write =
            |writer: &Self| writer.segment.index.write_all_at(&record.encode(), writer.index_end);
        while let Err(error) = write(self) {
            if error.kind() != io::ErrorKind::StorageFull || !self.give_up_oldest()? {
                return Err(error);
            }
        }
        self.index_end += SIZE as u64;
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        self.segment = Segment::create(&self.folder, self.segment.number + 1)?;
        (self.ends, self.index_end) = ([0; 2], 0);
        let Some(kept) = self.rotation.segments else { return Ok(()) };
        let all = numbers(&self.folder)?;
        let surplus = all.len().saturating_sub(usize::try_from(kept.max(1)).unwrap_or(usize::MAX));
        all.into_iter().take(surplus).try_for_each(|number| remove(&self.folder, number))
    }

    /// Removes the oldest segment, unless it is the one being written; says whether it did.
    fn give_up_oldest(&mut self) -> io::Result<bool> {
        match numbers(&self.folder)?.first() {
            Some(oldest) if *oldest != self.segment.number => {
                remove(&self.folder, *oldest).map(|()| true)
            }
            _ => Ok(false),
        }
    }

    /// Makes index and files agree: bytes beyond the index (the writer was killed between the two) get a record, records
    /// beyond the bytes (the machine went down before these were on disk) are dropped.
    fn recover(&mut self) -> io::Result<()> {
        let mut lengths = [0; 2];
        let mut changed = [0; 2];
        for stream in Stream::BOTH {
            let metadata = self.segment.stream(stream).metadata()?;
            lengths[stream.index()] = metadata.len();
            let since = metadata.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
            changed[stream.index()] = u64::try_from(since.as_nanos()).unwrap_or_default();
        }
        let mut kept = 0;
        for record in self.segment.records()? {
            let end = self.ends[record.stream.index()] + record.length();
            if end > lengths[record.stream.index()] {
                break;
            }
            self.ends[record.stream.index()] = end;
            kept += SIZE as u64;
        }
        self.segment.index.set_len(kept)?;
        self.index_end = kept;
        for stream in Stream::BOTH {
            let index = stream.index();
            while self.ends[index] < lengths[index] {
                let missing = u32::try_from(lengths[index] - self.ends[index]).unwrap_or(u32::MAX);
                self.record(Record {
                    time_ns: changed[index],
                    stream,
                    kind: Kind::Bytes(missing),
                })?;
                self.ends[index] += u64::from(missing);
            }
        }
        Ok(())
    }
}
