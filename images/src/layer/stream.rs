//! Bytes on their way from an archive to files: recognised, decompressed, and shared between threads.
//!
//! One thread reads and decompresses, one computes the digest, one writes files. Pieces travel through bounded
//! channels and are used again when all have finished with them, so memory stays small and the slowest thread sets
//! the pace.

use std::io::{self, BufRead, BufReader, Cursor, Read, Write};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use bzip2::read::MultiBzDecoder;
use flate2::read::MultiGzDecoder;
use lzma_rust2::XzReader;

/// Bytes in a piece.
const PIECE: usize = 256 << 10;
/// Pieces that may wait in a channel.
const WAITING: usize = 8;
/// KiB of memory that an archive compressed with xz may ask for: `xz -9` needs half of it, and its format allows 4 GiB.
const XZ_MEMORY: u32 = 128 << 10;

/// How a layer is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compression {
    None,
    Gzip,
    Zstd,
}

/// How archives may be compressed that are no layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Foreign {
    Bzip2,
    Xz,
}

impl Foreign {
    fn of(start: &[u8]) -> Option<Self> {
        match start {
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Some(Self::Xz),
            [b'B', b'Z', b'h', b'1'..=b'9', ..] => Some(Self::Bzip2),
            _ => None,
        }
    }
}

impl Compression {
    /// How many of the first bytes it takes to recognise all of them.
    pub(crate) const START: usize = 6;

    /// Recognises the compression by the first bytes.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::Unsupported`], with advice, for compressions that container images do not use.
    pub(crate) fn of(start: &[u8]) -> io::Result<Self> {
        let unsupported = |name: &str, tool: &str| {
            let advice = format!("it is compressed with {name}: decompress it with `{tool}` first");
            Err(io::Error::new(io::ErrorKind::Unsupported, advice))
        };
        match Foreign::of(start) {
            Some(Foreign::Xz) => return unsupported("xz", "xz -dc"),
            Some(Foreign::Bzip2) => return unsupported("bzip2", "bzip2 -dc"),
            None => {}
        }
        match start {
            [0x1f, 0x8b, ..] => Ok(Self::Gzip),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Ok(Self::Zstd),
            // A skippable frame, in front of the first one.
            [low, 0x2a, 0x4d, 0x18, ..] if low & 0xf0 == 0x50 => Ok(Self::Zstd),
            _ => Ok(Self::None),
        }
    }
}

/// Decompresses `source`, recognising how it is compressed.
pub(crate) fn decompress<'a>(
    mut source: impl Read + Send + 'a,
) -> io::Result<(Compression, Box<dyn Read + Send + 'a>)> {
    let start = start_of(&mut source)?;
    let compression = Compression::of(&start)?;
    let whole = Cursor::new(start).chain(source);
    let reader: Box<dyn Read + Send> = match compression {
        Compression::None => Box::new(whole),
        Compression::Gzip => Box::new(MultiGzDecoder::new(whole)),
        Compression::Zstd => Box::new(zstd::Decoder::new(whole)?),
    };
    Ok((compression, reader))
}

/// Decompresses what is compressed as layers are not, with bzip2 or xz, and leaves everything else as it is.
///
/// Contexts, what `ADD` unpacks and what is imported may be such archives; a registry has none.
pub(crate) fn as_layer<'a>(
    mut source: impl Read + Send + 'a,
) -> io::Result<Box<dyn Read + Send + 'a>> {
    let start = start_of(&mut source)?;
    let foreign = Foreign::of(&start);
    let whole = Cursor::new(start).chain(source);
    Ok(match foreign {
        None => Box::new(whole),
        Some(Foreign::Bzip2) => Box::new(MultiBzDecoder::new(whole)),
        Some(Foreign::Xz) => {
            Box::new(XzReader::new_mem_limit(BufReader::new(whole), true, XZ_MEMORY))
        }
    })
}

fn start_of(source: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut start = Vec::new();
    source.take(Compression::START as u64).read_to_end(&mut start)?;
    Ok(start)
}

type Piece = Arc<Vec<u8>>;

/// The sending end of a channel of bytes.
#[derive(Debug)]
pub(crate) struct Sink(SyncSender<io::Result<Piece>>);

/// The receiving end of a channel of bytes.
#[derive(Debug)]
pub(crate) struct Source {
    pieces: Receiver<io::Result<Piece>>,
    piece: Piece,
    position: usize,
}

/// Makes a channel of bytes.
pub(crate) fn channel() -> (Sink, Source) {
    let (sender, pieces) = sync_channel(WAITING);
    (Sink(sender), Source { pieces, piece: Arc::default(), position: 0 })
}

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let count = available.len().min(buffer.len());
        buffer[..count].copy_from_slice(&available[..count]);
        self.consume(count);
        Ok(count)
    }
}

impl BufRead for Source {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.position == self.piece.len() {
            self.position = 0;
            // A channel whose sender is gone has ended.
            self.piece = self.pieces.recv().unwrap_or_else(|_| Ok(Piece::default()))?;
        }
        Ok(&self.piece[self.position..])
    }

    fn consume(&mut self, count: usize) {
        self.position += count;
    }
}

/// Gives everything that is written to it to two channels.
#[derive(Debug)]
pub(crate) struct Tee {
    sinks: [Sink; 2],
    piece: Vec<u8>,
}

/// Makes a writer of two channels. What is left in it is sent by `flush`.
pub(crate) fn tee(sinks: [Sink; 2]) -> Tee {
    Tee { sinks, piece: Vec::with_capacity(PIECE) }
}

impl Write for Tee {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(PIECE - self.piece.len());
        self.piece.extend_from_slice(&bytes[..count]);
        if self.piece.len() == PIECE {
            self.flush()?;
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let piece = Arc::new(std::mem::replace(&mut self.piece, Vec::with_capacity(PIECE)));
        let gone = |_| io::Error::from(io::ErrorKind::BrokenPipe);
        self.sinks.iter().try_for_each(|sink| sink.0.send(Ok(Arc::clone(&piece))).map_err(gone))
    }
}

/// Reads `source` to its end and gives everything to all `sinks`; a failed read, too. Stops early when one of the
/// receivers is gone, because then the whole has failed.
pub(crate) fn pump(mut source: impl Read, sinks: &[Sink]) {
    let mut used: Vec<Piece> = Vec::new();
    loop {
        let mut piece = spare(&mut used);
        let buffer = Arc::get_mut(&mut piece).expect("a spare piece has no other owner");
        buffer.clear();
        if let Err(error) = source.by_ref().take(PIECE as u64).read_to_end(buffer) {
            for sink in sinks {
                // A receiver that is gone needs no reason.
                let _ = sink.0.send(Err(copy_of(&error)));
            }
            return;
        }
        let is_gone = |sink: &Sink| sink.0.send(Ok(Arc::clone(&piece))).is_err();
        if piece.is_empty() || sinks.iter().any(is_gone) {
            return;
        }
        used.push(piece);
    }
}

/// A piece that all receivers have finished with, or a new one.
fn spare(used: &mut Vec<Piece>) -> Piece {
    match used.iter().position(|piece| Arc::strong_count(piece) == 1) {
        Some(free) => used.swap_remove(free),
        None => Arc::new(Vec::with_capacity(PIECE)),
    }
}

fn copy_of(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(errno) => io::Error::from_raw_os_error(errno),
        None => io::Error::new(error.kind(), error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    fn through(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let (_, mut reader) = decompress(bytes)?;
        let mut out = Vec::new();
        reader.read_to_end(&mut out)?;
        Ok(out)
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn recognises_compressions() {
        assert_eq!(through(b"plain").unwrap(), b"plain");
        assert_eq!(through(b"").unwrap(), b"");
        assert_eq!(through(&gzip(b"text")).unwrap(), b"text");
        assert_eq!(through(&[gzip(b"two "), gzip(b"members")].concat()).unwrap(), b"two members");
        assert_eq!(through(&zstd::encode_all(&b"text"[..], 1).unwrap()).unwrap(), b"text");
        for other in [&b"\xfd7zXZ\0"[..], b"BZh91AY"] {
            assert_eq!(through(other).unwrap_err().kind(), io::ErrorKind::Unsupported);
        }
        let cut = gzip(&[7; 5000]);
        assert_eq!(
            through(&cut[..cut.len() - 9]).unwrap_err().kind(),
            io::ErrorKind::UnexpectedEof
        );
    }

    /// What `printf text | xz` and `printf text | bzip2` say.
    const XZ: &[u8] = b"\xfd\x37\x7a\x58\x5a\x00\x00\x04\xe6\xd6\xb4\x46\x02\x00\x21\x01\x16\x00\x00\x00\x74\x2f\xe5\xa3\x01\x00\x03\x74\x65\x78\x74\x00\x55\xcd\xe8\x33\xff\x4a\x0c\x17\x00\x01\x1c\x04\x6f\x2c\x9c\xc1\x1f\xb6\xf3\x7d\x01\x00\x00\x00\x00\x04\x59\x5a";
    const BZIP2: &[u8] = b"\x42\x5a\x68\x39\x31\x41\x59\x26\x53\x59\xcb\x28\xd3\x2d\x00\x00\x00\x81\x80\x02\x00\x04\x40\x20\x00\x21\x98\x19\x83\x2c\x2e\xe4\x8a\x70\xa1\x21\x96\x51\xa6\x5a";

    #[test]
    fn what_layers_are_not_compressed_with_is_decompressed_and_the_rest_left() {
        let through = |bytes: &[u8]| {
            let mut out = Vec::new();
            as_layer(bytes)?.read_to_end(&mut out).map(|_| out)
        };
        for bytes in [XZ, BZIP2] {
            assert_eq!(through(bytes).unwrap(), b"text");
            assert_eq!(through(&[bytes, bytes].concat()).unwrap(), b"texttext");
            assert!(through(&bytes[..bytes.len() - 1]).is_err(), "one that is cut off");
            let mut damaged = bytes.to_vec();
            damaged[bytes.len() / 2] ^= 1;
            assert!(through(&damaged).is_err());
        }
        for bytes in [&gzip(b"text")[..], b"plain", b""] {
            assert_eq!(through(bytes).unwrap(), bytes);
        }
    }

    #[test]
    fn xz_may_not_ask_for_as_much_memory_as_it_likes() {
        // The size of the dictionary in the header of the block: 4 GiB, and the checksum of the header with that.
        let greedy = &b"\xfd\x37\x7a\x58\x5a\x00\x00\x04\xe6\xd6\xb4\x46\x02\x00\x21\x01\x28\x00\x00\x00\xe6\xa0\x11\xb3\x01\x00\x03\x74\x65\x78\x74\x00"[..];
        let refused = as_layer(greedy).unwrap().read_to_end(&mut Vec::new()).unwrap_err();
        assert!(refused.to_string().contains("mem"), "{refused}");
    }

    #[test]
    fn all_receivers_get_everything() {
        let bytes: Vec<u8> = (0..3_000_000u32).flat_map(u32::to_le_bytes).collect();
        let (first, mut one) = channel();
        let (second, mut two) = channel();
        let (mut a, mut b) = (Vec::new(), Vec::new());
        thread::scope(|scope| {
            scope.spawn(|| pump(&bytes[..], &[first, second]));
            scope.spawn(|| one.read_to_end(&mut a).unwrap());
            two.read_to_end(&mut b).unwrap();
        });
        assert!(a == bytes && b == bytes);
    }

    #[test]
    fn a_failed_read_reaches_all_and_a_lost_receiver_stops_it() {
        struct Failing;
        impl Read for Failing {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::from_raw_os_error(5))
            }
        }
        let (first, mut one) = channel();
        let (second, mut two) = channel();
        pump(Failing, &[first, second]);
        for source in [&mut one, &mut two] {
            assert_eq!(source.read(&mut [0]).unwrap_err().raw_os_error(), Some(5));
        }
        let (sink, source) = channel();
        drop(source);
        pump(io::repeat(0), &[sink]);
    }
}
