//! Walks over the entries of a tar archive.
//!
//! Headers are decoded by the `tar` crate; the walk itself is ours. In the crate's own walk a value of an extended
//! header with a newline in it hides the records behind it, sizes included (see `pax`), and extension headers of
//! any size are read into memory. Here every number has one meaning or the archive is refused, and memory is bounded.

use std::io::{self, BufRead, Read};

use rustix::fs::Timespec;
use tar::{EntryType, GnuExtSparseHeader, Header};

use super::pax::{self, Extensions};
use super::sparse::{Piece, SparseMap};

const BLOCK: usize = 512;

/// Bytes of extended headers that one entry may have. Linux limits a path to 4096 and an attribute to 65536 bytes.
const MOST_EXTENSIONS: u64 = 4 << 20;

/// An archive that cannot be read, or not with certainty.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The input does not begin as an archive does.
    #[error("it is not a tar archive")]
    NotAnArchive,
    /// The input ends in the middle.
    #[error("it is truncated")]
    Truncated,
    /// Something in the archive is damaged or has no single meaning.
    #[error("it has {0}")]
    Malformed(&'static str),
    /// The input cannot be read or decompressed.
    #[error("it cannot be read")]
    Read(#[source] io::Error),
}

impl ArchiveError {
    /// Sorts a failed read.
    pub(crate) fn from_read(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::UnexpectedEof {
            Self::Truncated
        } else {
            Self::Read(error)
        }
    }
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    File(Option<SparseMap>),
    Directory,
    Symlink { target: Vec<u8> },
    HardLink { target: Vec<u8> },
    Character { major: u32, minor: u32 },
    Block { major: u32, minor: u32 },
    Fifo,
}

/// One entry; its data are read from the archive before the next entry is asked for.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) path: Vec<u8>,
    pub(crate) kind: Kind,
    /// Bytes of the file with its holes; 0 for all that are not files.
    pub(crate) size: u64,
    pub(crate) mode: u32,
    pub(crate) uid: u64,
    pub(crate) gid: u64,
    pub(crate) mtime: Timespec,
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Headers that describe the entry behind them.
#[derive(Default)]
struct Pending {
    long_path: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
    extensions: Option<Extensions>,
    bytes: u64,
}

impl Pending {
    fn is_empty(&self) -> bool {
        self.long_path.is_none() && self.long_link.is_none() && self.extensions.is_none()
    }
}

/// An archive that is read from its beginning to its end. Reading from it gives the stored data of the last entry.
#[derive(Debug)]
pub(crate) struct Archive<R> {
    source: R,
    /// Data of the last entry that have not been read, and the zeros behind them.
    left: u64,
    padding: u64,
    started: bool,
    ended: bool,
}

impl<R: BufRead> Archive<R> {
    pub(crate) fn new(source: R) -> Self {
        Self { source, left: 0, padding: 0, started: false, ended: false }
    }

    /// Whether the mark of the end has been seen.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended
    }

    pub(crate) fn into_source(self) -> R {
        self.source
    }

    /// The next entry, or `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<Entry>, ArchiveError> {
        self.skip()?;
        let mut pending = Pending::default();
        loop {
            let Some(header) = self.header()? else {
                return if pending.is_empty() { Ok(None) } else { Err(ArchiveError::Truncated) };
            };
            if !self.extension(&header, &mut pending)? {
                return self.entry(&header, pending).map(Some);
            }
        }
    }

    /// Passes over what is left of the last entry.
    fn skip(&mut self) -> Result<(), ArchiveError> {
        let mut rest = self.left + self.padding;
        (self.left, self.padding) = (0, 0);
        while rest > 0 {
            let buffered = self.source.fill_buf().map_err(ArchiveError::from_read)?.len();
            if buffered == 0 {
                return Err(ArchiveError::Truncated);
            }
            let step = usize::try_from(rest).map_or(buffered, |rest| rest.min(buffered));
            self.source.consume(step);
            rest -= step as u64;
        }
        Ok(())
    }

    /// Reads a header; `None` is the end, marked by a block of zeros or by nothing.
    fn header(&mut self) -> Result<Option<Header>, ArchiveError> {
        let mut header = Header::new_old();
        let bytes = header.as_mut_bytes();
        let mut filled = 0;
        while filled < BLOCK {
            match self.source.read(&mut bytes[filled..]).map_err(ArchiveError::from_read)? {
                0 if filled == 0 && self.started => return Ok(None),
                0 if self.started => return Err(ArchiveError::Truncated),
                0 => return Err(ArchiveError::NotAnArchive),
                read => filled += read,
            }
        }
        if bytes.iter().all(|byte| *byte == 0) {
            self.ended = true;
            return Ok(None);
        }
        if !is_sum_right(&header) {
            let damaged = ArchiveError::Malformed("a header whose checksum is wrong");
            return Err(if self.started { damaged } else { ArchiveError::NotAnArchive });
        }
        self.started = true;
        Ok(Some(header))
    }

    /// Takes in a header that describes the next entry. Returns whether it was one.
    fn extension(&mut self, header: &Header, pending: &mut Pending) -> Result<bool, ArchiveError> {
        const TWICE: ArchiveError =
            ArchiveError::Malformed("two headers of one kind for one entry");
        match header.entry_type() {
            EntryType::GNULongName if pending.long_path.is_some() => Err(TWICE),
            EntryType::GNULongLink if pending.long_link.is_some() => Err(TWICE),
            EntryType::XHeader if pending.extensions.is_some() => Err(TWICE),
            EntryType::GNULongName => {
                pending.long_path = Some(until_zero(self.document(header, pending)?));
                Ok(true)
            }
            EntryType::GNULongLink => {
                pending.long_link = Some(until_zero(self.document(header, pending)?));
                Ok(true)
            }
            EntryType::XHeader => {
                pending.extensions = Some(Extensions::parse(&self.document(header, pending)?)?);
                Ok(true)
            }
            EntryType::XGlobalHeader => {
                pax::check_global(&self.document(header, pending)?)?;
                Ok(true)
            }
            // The label of a GNU archive.
            label if label.as_byte() == b'V' => {
                self.document(header, pending)?;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// Reads all data of an extension header.
    fn document(
        &mut self,
        header: &Header,
        pending: &mut Pending,
    ) -> Result<Vec<u8>, ArchiveError> {
        let size = header_size(header)?;
        pending.bytes = pending.bytes.saturating_add(size);
        if pending.bytes > MOST_EXTENSIONS {
            return Err(ArchiveError::Malformed(
                "extended headers of more than 4 MiB for one entry",
            ));
        }
        self.start(size);
        let mut document = Vec::new();
        self.read_to_end(&mut document).map_err(ArchiveError::from_read)?;
        self.skip()?;
        Ok(document)
    }

    fn start(&mut self, size: u64) {
        self.left = size;
        self.padding = size.next_multiple_of(BLOCK as u64) - size;
    }

    fn entry(&mut self, header: &Header, pending: Pending) -> Result<Entry, ArchiveError> {
        let mut extensions = pending.extensions.unwrap_or_default();
        let stored = extensions.size.map_or_else(|| header_size(header), Ok)?;
        // Adding the padding must not overflow.
        if stored > u64::MAX / 2 {
            return Err(ArchiveError::Malformed("an entry larger than any file"));
        }
        let named = one_of(pending.long_path, extensions.path.take())?;
        let named = extensions.sparse.name.clone().or(named);
        let path = named.unwrap_or_else(|| header.path_bytes().into_owned());
        let target = one_of(pending.long_link, extensions.link.take())?;
        let target =
            target.unwrap_or_else(|| header.link_name_bytes().unwrap_or_default().into_owned());
        let kind = match header.entry_type() {
            // Before directories had a type of their own, they were files whose name ends so.
            EntryType::Regular if path.ends_with(b"/") && stored == 0 => Kind::Directory,
            EntryType::Regular | EntryType::Continuous => {
                self.start(stored);
                Kind::File(self.pax_map(&extensions, stored)?)
            }
            EntryType::GNUSparse => Kind::File(Some(self.gnu_map(header, stored)?)),
            other => kind_without_data(other, header, target, stored)?,
        };
        let size = match &kind {
            Kind::File(Some(map)) => map.size,
            Kind::File(None) => stored,
            _ => 0,
        };
        let old = header.as_old();
        let mode = number(header.mode().map(u64::from), &old.mode)? & 0o7777;
        Ok(Entry {
            path,
            kind,
            size,
            mode: u32::try_from(mode).unwrap_or_default(),
            uid: extensions.uid.map_or_else(|| number(header.uid(), &old.uid), Ok)?,
            gid: extensions.gid.map_or_else(|| number(header.gid(), &old.gid), Ok)?,
            mtime: extensions.mtime.map_or_else(|| header_time(header), Ok)?,
            xattrs: extensions.xattrs,
        })
    }

    /// The map of a file with holes that PAX records announce.
    fn pax_map(
        &mut self,
        extensions: &Extensions,
        stored: u64,
    ) -> Result<Option<SparseMap>, ArchiveError> {
        if !extensions.sparse.is_sparse() {
            return Ok(None);
        }
        let (map, _) = extensions.sparse.map(stored, &mut *self)?;
        Ok(Some(map))
    }

    /// The map of GNU tar's own entry type: four pieces in the header, and 21 in each further block.
    fn gnu_map(&mut self, header: &Header, stored: u64) -> Result<SparseMap, ArchiveError> {
        const BAD: ArchiveError = ArchiveError::Malformed("a file with holes whose map is damaged");
        let gnu = header.as_gnu().ok_or(BAD)?;
        let mut pieces = Vec::new();
        let mut add = |blocks: &[tar::GnuSparseHeader]| -> Result<(), ArchiveError> {
            for block in blocks.iter().filter(|block| !block.is_empty()) {
                let offset = block.offset().map_err(|_| BAD)?;
                pieces.push(Piece { offset, length: block.length().map_err(|_| BAD)? });
            }
            Ok(())
        };
        add(&gnu.sparse)?;
        let mut more = gnu.is_extended();
        let mut bytes = 0;
        while more {
            let mut extension = GnuExtSparseHeader::new();
            self.source.read_exact(extension.as_mut_bytes()).map_err(ArchiveError::from_read)?;
            add(extension.sparse())?;
            more = extension.is_extended();
            bytes += BLOCK as u64;
            if bytes > MOST_EXTENSIONS {
                return Err(BAD);
            }
        }
        self.start(stored);
        SparseMap::new(gnu.real_size().map_err(|_| BAD)?, pieces, stored)
    }
}

impl<R: BufRead> Read for Archive<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let count = available.len().min(buffer.len());
        buffer[..count].copy_from_slice(&available[..count]);
        self.consume(count);
        Ok(count)
    }
}

impl<R: BufRead> BufRead for Archive<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.left == 0 {
            return Ok(&[]);
        }
        let available = self.source.fill_buf()?;
        if available.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let count =
            usize::try_from(self.left).map_or(available.len(), |left| left.min(available.len()));
        Ok(&available[..count])
    }

    fn consume(&mut self, count: usize) {
        self.source.consume(count);
        self.left -= count as u64;
    }
}

/// The kind of an entry that is no file.
fn kind_without_data(
    of: EntryType,
    header: &Header,
    target: Vec<u8>,
    stored: u64,
) -> Result<Kind, ArchiveError> {
    let device = || -> Result<(u32, u32), ArchiveError> {
        let major = header.device_major().ok().flatten();
        let both = major.zip(header.device_minor().ok().flatten());
        both.ok_or(ArchiveError::Malformed("a device without numbers"))
    };
    match of {
        // Some writers say how large the file behind a link is; others have data there.
        EntryType::Link | EntryType::Symlink if stored > 0 => {
            Err(ArchiveError::Malformed("a link with a size"))
        }
        EntryType::Link => Ok(Kind::HardLink { target }),
        EntryType::Symlink => Ok(Kind::Symlink { target }),
        // What its size says is a hint for the allocation (POSIX, pax, "ustar Interchange Format").
        EntryType::Directory => Ok(Kind::Directory),
        EntryType::Fifo => Ok(Kind::Fifo),
        EntryType::Char => device().map(|(major, minor)| Kind::Character { major, minor }),
        EntryType::Block => device().map(|(major, minor)| Kind::Block { major, minor }),
        _ => Err(ArchiveError::Malformed("an entry of an unknown kind")),
    }
}

/// The same thing said by a GNU header and by a PAX header.
fn one_of(gnu: Option<Vec<u8>>, pax: Option<Vec<u8>>) -> Result<Option<Vec<u8>>, ArchiveError> {
    match (gnu, pax) {
        (Some(gnu), Some(pax)) if gnu != pax => {
            Err(ArchiveError::Malformed("two names for one entry"))
        }
        (gnu, pax) => Ok(gnu.or(pax)),
    }
}

fn header_time(header: &Header) -> Result<Timespec, ArchiveError> {
    let seconds = number(header.mtime(), &header.as_old().mtime)?;
    Ok(Timespec { tv_sec: i64::try_from(seconds).unwrap_or(0), tv_nsec: 0 })
}

/// A number in a header; a field of zeros or blanks is 0, as old writers leave it.
fn number(parsed: io::Result<u64>, field: &[u8]) -> Result<u64, ArchiveError> {
    match parsed {
        Ok(number) => Ok(number),
        Err(_) if field.iter().all(|byte| matches!(byte, 0 | b' ')) => Ok(0),
        Err(_) => Err(ArchiveError::Malformed("a header with a number that is none")),
    }
}

fn header_size(header: &Header) -> Result<u64, ArchiveError> {
    number(header.entry_size(), &header.as_old().size)
}

/// The sum over the header with its own field taken as blanks. Some old writers add up signed bytes.
fn is_sum_right(header: &Header) -> bool {
    let Ok(expected) = header.cksum() else { return false };
    let bytes = header.as_bytes();
    let summed = || bytes[..148].iter().chain(&bytes[156..]);
    let blanks = 8 * u32::from(b' ');
    let unsigned = summed().map(|byte| u32::from(*byte)).sum::<u32>() + blanks;
    let signed =
        summed().map(|byte| i64::from(byte.cast_signed())).sum::<i64>() + i64::from(blanks);
    unsigned == expected || signed == i64::from(expected)
}

fn until_zero(mut name: Vec<u8>) -> Vec<u8> {
    let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
    name.truncate(end);
    name
}
