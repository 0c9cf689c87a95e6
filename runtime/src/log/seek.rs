//! Beginning a log somewhere else than at its beginning, without reading it from there.

use std::io;
use std::os::unix::fs::FileExt;

use jiff::Timestamp;

use super::reader::{Begun, Position, Reader};
use super::record::{Kind, Record, SIZE};
use super::segment::{Segment, numbers};
use super::{LONGEST_LINE, Stream};

/// How much is read at a time on the way back.
const BLOCK: u64 = 64 << 10;

/// A segment with its whole index.
struct Indexed {
    segment: Segment,
    records: Vec<Record>,
}

impl Indexed {
    /// The segments of a reader's log, oldest first.
    fn all(reader: &Reader) -> io::Result<Vec<Self>> {
        let mut all = Vec::new();
        for number in numbers(&reader.folder)? {
            match Segment::open(&reader.folder, number) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                segment => {
                    let segment = segment?;
                    all.push(Self { records: segment.records()?, segment });
                }
            }
        }
        Ok(all)
    }

    /// Bytes of a stream before the record with this number.
    fn offset(&self, before: usize, stream: Stream) -> u64 {
        self.records[..before]
            .iter()
            .filter(|record| record.stream == stream)
            .map(|record| record.length())
            .sum()
    }
}

impl Reader {
    /// Goes to the first line that began at `since` or later.
    ///
    /// # Errors
    ///
    /// What reading the files says.
    pub fn since(&mut self, since: Timestamp) -> io::Result<()> {
        let since = u64::try_from(since.as_nanosecond()).unwrap_or_default();
        let all = Indexed::all(self)?;
        let first = all.iter().enumerate().find_map(|(number, indexed)| {
            Some((number, indexed.records.iter().position(|record| record.time_ns >= since)?))
        });
        let end = || (all.len().saturating_sub(1), all.last().map_or(0, |last| last.records.len()));
        let (number, record) = first.unwrap_or_else(end);
        self.enter(all, number, record, 0, Before::Skip)
    }

    /// Goes to the last `count` lines that are whole.
    ///
    /// # Errors
    ///
    /// What reading the files says.
    pub fn tail(&mut self, count: usize) -> io::Result<()> {
        let all = Indexed::all(self)?;
        let mut found = 0;
        let mut start = (0, 0);
        let end = (all.len().saturating_sub(1), all.last().map_or(0, |last| last.records.len()));
        if count == 0 {
            return self.enter(all, end.0, end.1, 0, Before::Skip);
        }
        'search: for (number, indexed) in all.iter().enumerate().rev() {
            let mut ends = Stream::BOTH.map(|stream| indexed.offset(indexed.records.len(), stream));
            for (index, record) in indexed.records.iter().enumerate().rev() {
                let end = &mut ends[record.stream.index()];
                let begin = *end - record.length();
                found += match record.kind {
                    Kind::Bytes(_) => newlines(&indexed.segment, record.stream, begin, *end)?,
                    Kind::End => usize::from(
                        !begun(&all, number, index, record.stream, *end)?.bytes.is_empty(),
                    ),
                };
                *end = begin;
                if found >= count {
                    start = (number, index);
                    break 'search;
                }
            }
        }
        self.enter(all, start.0, start.1, found.saturating_sub(count), Before::Keep)
    }

    /// Stands before a record of a segment, with what of its lines came before it.
    fn enter(
        &mut self,
        mut all: Vec<Indexed>,
        number: usize,
        record: usize,
        surplus: usize,
        before: Before,
    ) -> io::Result<()> {
        let Some(indexed) = all.get(number) else { return Ok(()) };
        let bytes = Stream::BOTH.map(|stream| indexed.offset(record, stream));
        for stream in Stream::BOTH {
            let begun = begun(&all, number, record, stream, bytes[stream.index()])?;
            let skipped = before == Before::Skip && !begun.bytes.is_empty();
            self.begun[stream.index()] = Begun { skipped, ..begun };
        }
        self.surplus = surplus;
        let segment = all.swap_remove(number).segment;
        self.position =
            Some(Position { segment, index: (record * SIZE) as u64, bytes, current: None });
        Ok(())
    }
}

/// What becomes of a line that has begun before the place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Before {
    Keep,
    Skip,
}

/// Counts the newlines between two offsets.
fn newlines(segment: &Segment, stream: Stream, begin: u64, end: u64) -> io::Result<usize> {
    let mut count = 0;
    let mut at = begin;
    while at < end {
        let block = read(segment, stream, at, end.min(at + BLOCK))?;
        count += block.iter().filter(|byte| **byte == b'\n').count();
        at += block.len() as u64;
    }
    Ok(count)
}

fn read(segment: &Segment, stream: Stream, begin: u64, end: u64) -> io::Result<Vec<u8>> {
    let mut block = vec![0; usize::try_from(end - begin).unwrap_or_default()];
    segment.stream(stream).read_exact_at(&mut block, begin)?;
    Ok(block)
}

/// The line of a stream that has begun before the record with the number `before` of a segment, at `offset` of its file,
/// and has not ended there: back to the newline before it, the end of the stream before it, or [`LONGEST_LINE`] bytes.
fn begun(
    all: &[Indexed],
    number: usize,
    before: usize,
    stream: Stream,
    offset: u64,
) -> io::Result<Begun> {
    let mut begun = Begun::default();
    let (mut number, mut before, mut end) = (number, before, offset);
    loop {
        let indexed = &all[number];
        for record in
            indexed.records[..before].iter().rev().filter(|record| record.stream == stream)
        {
            let begin = match record.kind {
                Kind::End => return Ok(begun),
                Kind::Bytes(_) => end.saturating_sub(record.length()),
            };
            let from = begin.max(end.saturating_sub(LONGEST_LINE as u64));
            let mut piece = read(&indexed.segment, stream, from, end)?;
            let newline = piece.iter().rposition(|byte| *byte == b'\n');
            let rest = piece.split_off(newline.map_or(0, |index| index + 1));
            if !rest.is_empty() {
                begun.at = record.at();
            }
            begun.bytes.splice(0..0, rest);
            if newline.is_some() || begun.bytes.len() >= LONGEST_LINE {
                return Ok(begun);
            }
            end = begin;
        }
        let Some(earlier) = number.checked_sub(1) else { return Ok(begun) };
        number = earlier;
        before = all[number].records.len();
        end = all[number].offset(before, stream);
    }
}
