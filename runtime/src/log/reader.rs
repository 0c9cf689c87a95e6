//! From the files to lines.

use std::collections::VecDeque;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::record::{Kind, Record, SIZE};
use super::segment::{Segment, numbers};
use super::{LONGEST_LINE, Line, Stream};

/// How much of a piece is read at a time.
const CHUNK: usize = 64 << 10;

/// The reading side of a log: begins at its oldest line, goes on where the writer does.
#[derive(Debug)]
pub struct Reader {
    pub(super) folder: PathBuf,
    pub(super) position: Option<Position>,
    /// The beginnings of lines, by [`Stream::index`].
    pub(super) begun: [Begun; 2],
    /// Lines that are not wanted, before the first one that is.
    pub(super) surplus: usize,
    ready: VecDeque<Line>,
    buffer: Vec<u8>,
}

/// Where in a segment the reader is.
#[derive(Debug)]
pub(super) struct Position {
    pub segment: Segment,
    /// The offset of the next record.
    pub index: u64,
    /// The offset of the next byte, by [`Stream::index`].
    pub bytes: [u64; 2],
    /// The record that is being read, and how much of it is left.
    pub current: Option<(Record, u64)>,
}

impl Position {
    /// The beginning of a segment.
    pub(super) fn start_of(segment: Segment) -> Self {
        Self { segment, index: 0, bytes: [0; 2], current: None }
    }
}

/// The beginning of a line whose end has not come.
#[derive(Debug, Default)]
pub(super) struct Begun {
    pub bytes: Vec<u8>,
    pub at: Timestamp,
    /// Whether the line began before what is wanted, and goes to nobody.
    pub skipped: bool,
}

impl Reader {
    /// Opens the log in `folder`. One that does not exist yet is empty, for now.
    ///
    /// # Errors
    ///
    /// What opening the files says.
    pub fn open(folder: &Path) -> io::Result<Self> {
        let mut reader = Self {
            folder: folder.to_owned(),
            position: None,
            begun: <[Begun; 2]>::default(),
            surplus: 0,
            ready: VecDeque::new(),
            buffer: Vec::new(),
        };
        reader.enter_after(0)?;
        Ok(reader)
    }

    /// The next line, `None` when there is none yet: after the end of a stream its last line needs no newline.
    ///
    /// # Errors
    ///
    /// What reading the files says.
    pub fn next_line(&mut self) -> io::Result<Option<Line>> {
        loop {
            while let Some(line) = self.ready.pop_front() {
                if self.surplus == 0 {
                    return Ok(Some(line));
                }
                self.surplus -= 1;
            }
            if !self.advance()? {
                return Ok(None);
            }
        }
    }

    /// The next bytes as they came, whole lines or not; `None` when there are none yet. Not to be mixed with
    /// [`Reader::next_line`] on one reader.
    ///
    /// # Errors
    ///
    /// What reading the files says.
    pub fn next_bytes(&mut self) -> io::Result<Option<(Stream, Vec<u8>)>> {
        loop {
            let current = self.position.as_ref().and_then(|position| position.current);
            if let Some((record, left)) = current {
                self.read_chunk(record, left)?;
                self.ready.clear();
                self.begun = <[Begun; 2]>::default();
                return Ok(Some((record.stream, self.buffer.clone())));
            }
            if !self.advance()? {
                return Ok(None);
            }
        }
    }

    /// Reads one chunk of the current record, or goes to the next record, or to the next segment; `false` at the end.
    fn advance(&mut self) -> io::Result<bool> {
        let Some(position) = &mut self.position else { return self.enter_after(0) };
        if let Some((record, left)) = position.current {
            return self.read_chunk(record, left).map(|()| true);
        }
        match next_record(position)? {
            Some(record) => self.begin(record),
            None => return self.next_segment(),
        }
        Ok(true)
    }

    fn begin(&mut self, record: Record) {
        match (record.kind, &mut self.position) {
            (Kind::Bytes(length), Some(position)) => {
                position.current = Some((record, u64::from(length)))
            }
            (Kind::Bytes(_), None) => {}
            (Kind::End, _) => self.end(record.stream),
        }
    }

    /// Goes to the next segment, if there is one. The writer goes there only after the last record of this one, which may
    /// have come since it was looked for.
    fn next_segment(&mut self) -> io::Result<bool> {
        let Some(position) = &mut self.position else { return Ok(false) };
        let number = position.segment.number;
        if !position.segment.has_successor(&self.folder)? {
            return Ok(false);
        }
        if let Some(record) = next_record(position)? {
            self.begin(record);
            return Ok(true);
        }
        self.enter_after(number)
    }

    /// Goes to the oldest segment that is newer than this one.
    fn enter_after(&mut self, number: u64) -> io::Result<bool> {
        for next in numbers(&self.folder)?.into_iter().filter(|next| *next > number) {
            match Segment::open(&self.folder, next) {
                // Removed by the writer, or not whole yet, between the two calls.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                segment => {
                    self.position = Some(Position::start_of(segment?));
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    fn read_chunk(&mut self, record: Record, left: u64) -> io::Result<()> {
        let Some(position) = &mut self.position else { return Ok(()) };
        let length = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
        let offset = &mut position.bytes[record.stream.index()];
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.resize(length, 0);
        position.segment.stream(record.stream).read_exact_at(&mut buffer, *offset)?;
        *offset += length as u64;
        let left = left - length as u64;
        position.current = (left > 0).then_some((record, left));
        self.feed(record, &buffer);
        self.buffer = buffer;
        Ok(())
    }

    /// Joins bytes to what has begun, and cuts it into lines.
    fn feed(&mut self, record: Record, bytes: &[u8]) {
        let begun = &mut self.begun[record.stream.index()];
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            if begun.bytes.is_empty() {
                begun.at = record.at();
            }
            let (mut text, whole) =
                piece.strip_suffix(b"\n").map_or((piece, false), |text| (text, true));
            while begun.bytes.len() + text.len() > LONGEST_LINE {
                let (now, later) = text.split_at(LONGEST_LINE - begun.bytes.len());
                begun.bytes.extend_from_slice(now);
                self.ready.extend(begun.take(record.stream));
                begun.at = record.at();
                text = later;
            }
            begun.bytes.extend_from_slice(text);
            if whole {
                self.ready.extend(begun.take(record.stream));
                begun.skipped = false;
            }
        }
    }

    /// The stream has ended: what has begun is a line.
    fn end(&mut self, stream: Stream) {
        let begun = &mut self.begun[stream.index()];
        if !begun.bytes.is_empty() {
            self.ready.extend(begun.take(stream));
        }
        begun.skipped = false;
    }
}

impl Begun {
    /// The line, if anybody wants it.
    fn take(&mut self, stream: Stream) -> Option<Line> {
        let bytes = std::mem::take(&mut self.bytes);
        (!self.skipped).then_some(Line { at: self.at, stream, bytes })
    }
}

/// Takes the next record from the index, if it has come as a whole.
fn next_record(position: &mut Position) -> io::Result<Option<Record>> {
    let mut bytes = [0; SIZE];
    match position.segment.index.read_exact_at(&mut bytes, position.index) {
        Ok(()) => {
            position.index += SIZE as u64;
            Ok(Some(Record::decode(&bytes)))
        }
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}
