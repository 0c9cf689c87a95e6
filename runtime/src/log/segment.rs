//! The three files of one segment.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::Stream;
use super::record::{Record, SIZE};

/// The number of the first segment of a log.
pub(super) const FIRST: u64 = 1;

/// The files of a segment, open.
#[derive(Debug)]
pub(super) struct Segment {
    pub number: u64,
    pub index: File,
    /// By [`Stream::index`].
    pub streams: [File; 2],
}

impl Segment {
    /// Opens a segment for writing, with whatever of its files is missing.
    ///
    /// Not for appending: splice(2) refuses such a target.
    pub(super) fn create(folder: &Path, number: u64) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.create(true).read(true).write(true).truncate(false).mode(0o600);
        let open = |suffix| options.open(path(folder, number, suffix));
        // The index last: a reader takes a segment that has one for whole.
        let streams = [open(suffix(Stream::Stdout))?, open(suffix(Stream::Stderr))?];
        Ok(Self { number, index: open(INDEX)?, streams })
    }

    /// Opens a segment for reading.
    pub(super) fn open(folder: &Path, number: u64) -> io::Result<Self> {
        let open = |suffix| File::open(path(folder, number, suffix));
        Ok(Self {
            number,
            index: open(INDEX)?,
            streams: [open(suffix(Stream::Stdout))?, open(suffix(Stream::Stderr))?],
        })
    }

    pub(super) fn stream(&self, stream: Stream) -> &File {
        &self.streams[stream.index()]
    }

    /// Whether there is a later segment: the one with the next number, or any if this one has been removed.
    pub(super) fn has_successor(&self, folder: &Path) -> io::Result<bool> {
        if path(folder, self.number + 1, INDEX).exists() {
            return Ok(true);
        }
        let removed = self.index.metadata()?.nlink() == 0;
        Ok(removed && numbers(folder)?.iter().any(|other| *other > self.number))
    }

    /// All whole records of the index.
    pub(super) fn records(&self) -> io::Result<Vec<Record>> {
        let length =
            usize::try_from(self.index.metadata()?.len()).unwrap_or_default() / SIZE * SIZE;
        let mut bytes = vec![0; length];
        self.index.read_exact_at(&mut bytes, 0)?;
        Ok(bytes.as_chunks::<SIZE>().0.iter().map(Record::decode).collect())
    }
}

const INDEX: &str = "idx";

fn suffix(stream: Stream) -> &'static str {
    match stream {
        Stream::Stdout => "out",
        Stream::Stderr => "err",
    }
}

fn path(folder: &Path, number: u64, suffix: &str) -> PathBuf {
    folder.join(format!("{number}.{suffix}"))
}

/// The numbers of the segments in a folder, in their order. A folder that does not exist has none.
pub(super) fn numbers(folder: &Path) -> io::Result<Vec<u64>> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut numbers = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        let stem = name.to_str().and_then(|name| name.strip_suffix(INDEX)?.strip_suffix('.'));
        numbers.extend(stem.and_then(|stem| stem.parse::<u64>().ok()));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// Removes a segment. The index goes first: without it there is none.
pub(super) fn remove(folder: &Path, number: u64) -> io::Result<()> {
    for suffix in [INDEX, suffix(Stream::Stdout), suffix(Stream::Stderr)] {
        match std::fs::remove_file(path(folder, number, suffix)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}
