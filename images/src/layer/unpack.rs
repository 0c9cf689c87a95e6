//! Unpacking a layer: three threads, and what may go wrong.

use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::thread;

use super::archive::ArchiveError;
use super::path::PathError;
use super::read::Writer;
use super::stream::{as_layer, channel, decompress, pump};
use crate::digest::{Digest, Hasher};
use crate::store::error::is_full;

/// What one layer may have.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) entries: u64,
    pub(crate) bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { entries: 1_000_000, bytes: 1 << 40 }
    }
}

/// A layer could not be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    /// The archive cannot be read.
    #[error("the archive cannot be used{}", place(after))]
    Archive {
        /// The last entry before the trouble; empty at the beginning.
        after: String,
        /// What is wrong.
        source: ArchiveError,
    },
    /// An entry has an impossible name, or leads to one.
    #[error("entry `{path}` is refused")]
    Path {
        /// The name.
        path: String,
        /// What is wrong with it.
        source: PathError,
    },
    /// An entry says what no entry of an image may say.
    #[error("entry `{path}` {reason}")]
    Entry {
        /// The name.
        path: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The file system refused an entry.
    #[error("cannot create `{path}` in the layer")]
    Create {
        /// The name.
        path: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// No room for the files.
    #[error("no space left on the file system of {}", directory.display())]
    Full {
        /// Where they were to go.
        directory: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// More entries, or more bytes, than any image has.
    #[error("it has more than {limit} {what}")]
    TooMuch {
        /// Entries or bytes.
        what: &'static str,
        /// How many are allowed.
        limit: u64,
    },
}

fn place(entry: &str) -> String {
    if entry.is_empty() { String::new() } else { format!(", after entry `{entry}`") }
}

/// What was unpacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unpacked {
    /// The digest of the uncompressed archive.
    pub(crate) diff_id: Digest,
    /// Bytes of all files.
    pub(crate) size: u64,
    /// Whether the archive has the mark of its end. Without it nobody can tell whether entries are missing, unless
    /// the digest is known.
    pub(crate) has_ended: bool,
}

/// Unpacks the archive `source`, compressed or not, into the empty directory `into`.
///
/// The archive is read to the end of `source`. Nothing is synced.
pub(crate) fn unpack(source: impl Read + Send, into: &Path) -> Result<Unpacked, LayerError> {
    unpack_within(source, into, Limits::default())
}

/// As [`unpack`], for an archive that is no layer: it may be compressed with bzip2 or xz as well.
pub(crate) fn unpack_foreign(
    source: impl Read + Send,
    into: &Path,
) -> Result<Unpacked, LayerError> {
    unpack(opened(source)?, into)
}

/// Unpacks an archive that is no layer below a directory that may have files already: a name with `.wh.` is a name.
pub(crate) fn unpack_below(
    source: impl Read + Send,
    directory: OwnedFd,
    owner: Option<(u32, u32)>,
) -> Result<Unpacked, LayerError> {
    let writer = Writer::below(directory, owner);
    unpack_with(opened(source)?, Path::new("the target"), || Ok(writer))
}

fn opened<'a>(source: impl Read + Send + 'a) -> Result<Box<dyn Read + Send + 'a>, LayerError> {
    as_layer(source).map_err(|error| at_start(ArchiveError::from_read(error)))
}

fn at_start(source: ArchiveError) -> LayerError {
    LayerError::Archive { after: String::new(), source }
}

/// Whether a file is an archive, compressed or not.
pub(crate) fn is_archive(file: impl Read + Send) -> io::Result<bool> {
    // Compressed with something, by its first bytes, and something else after all: here and below.
    let Ok((_, mut plain)) = decompress(as_layer(file)?) else { return Ok(false) };
    let mut block = [0; 512];
    let mut length = 0;
    while length < block.len() {
        match plain.read(&mut block[length..]) {
            Ok(0) => return Ok(false),
            Ok(count) => length += count,
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Ok(false),
            Err(_) => {}
        }
    }
    // The sum of the header, with blanks in place of itself (ustar).
    let field = String::from_utf8_lossy(&block[148..156]).into_owned();
    let wanted = u64::from_str_radix(field.trim_matches(['\0', ' ']), 8);
    let sum =
        |range: std::ops::Range<usize>| block[range].iter().copied().map(u64::from).sum::<u64>();
    Ok(wanted == Ok(sum(0..148) + 8 * u64::from(b' ') + sum(156..512)))
}

/// As [`unpack`], for a layer that may have so many entries and bytes.
#[cfg(fuzzing)]
pub(crate) fn unpack_limited(
    source: impl Read + Send,
    into: &Path,
    entries: u64,
    bytes: u64,
) -> Result<Unpacked, LayerError> {
    unpack_within(source, into, Limits { entries, bytes })
}

pub(crate) fn unpack_within(
    source: impl Read + Send,
    into: &Path,
    limits: Limits,
) -> Result<Unpacked, LayerError> {
    unpack_with(source, into, || Writer::new(into, limits))
}

fn unpack_with(
    source: impl Read + Send,
    into: &Path,
    writer: impl FnOnce() -> Result<Writer, LayerError>,
) -> Result<Unpacked, LayerError> {
    let (_, plain) =
        decompress(source).map_err(|error| at_start(ArchiveError::from_read(error)))?;
    let (to_files, files) = channel();
    let (to_hash, hash) = channel();
    thread::scope(|scope| {
        scope.spawn(move || pump(plain, &[to_files, to_hash]));
        let digest = scope.spawn(move || Hasher::default().read_all(hash));
        let written = writer().and_then(|writer| writer.write_all(files));
        let digest = digest.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        // Why the files could not be written comes first: the digest of an archive that was not read to its end is
        // of no use.
        let (size, has_ended) = written?;
        let (diff_id, _) = digest.map_err(|error| at_start(ArchiveError::from_read(error)))?;
        Ok(Unpacked { diff_id, size, has_ended })
    })
    .map_err(|error| match error {
        // A source that keeps what it reads has no room for it.
        LayerError::Archive { source: ArchiveError::Read(source), .. } if is_full(&source) => {
            LayerError::Full { directory: into.to_owned(), source }
        }
        other => other,
    })
}
