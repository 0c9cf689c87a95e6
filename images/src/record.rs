//! Keeping an archive as a blob while it is read.

use std::fs::File;
use std::io::{self, Read, Write};

use crate::digest::{Digest, Hasher};
use crate::layer::stream::Compression;

/// The fastest level: a root file system shrinks to less than half, faster than a disk would take the whole.
const LEVEL: i32 = 1;

/// Keeps what is read through it in a file: as it is if it is compressed, else compressed with zstd, because its
/// files are unpacked beside it and nobody needs it often.
pub(crate) struct Recorder<R> {
    source: R,
    /// The first bytes, which say what it is.
    start: Vec<u8>,
    blob: Blob,
}

enum Blob {
    Undecided(Counted),
    AsIs(Counted),
    Packed(zstd::Encoder<'static, Counted>),
    /// Only while one becomes another.
    Moved,
}

impl<R: Read> Recorder<R> {
    pub(crate) fn new(source: R, file: File) -> Self {
        let counted = Counted { file, hasher: Hasher::default() };
        Self { source, start: Vec::new(), blob: Blob::Undecided(counted) }
    }

    /// How the blob is compressed, its digest and its size.
    pub(crate) fn finish(mut self) -> io::Result<(Compression, Digest, u64)> {
        self.decide()?;
        let packed = matches!(self.blob, Blob::Packed(_));
        let counted = match self.blob {
            Blob::Packed(encoder) => encoder.finish()?,
            Blob::AsIs(counted) | Blob::Undecided(counted) => counted,
            Blob::Moved => return Err(io::ErrorKind::BrokenPipe.into()),
        };
        let compression = if packed { Compression::Zstd } else { Compression::of(&self.start)? };
        let (digest, size) = counted.hasher.finish();
        Ok((compression, digest, size))
    }

    fn record(&mut self, read: &[u8]) -> io::Result<()> {
        let (start, rest) = read.split_at(read.len().min(Compression::START - self.start.len()));
        self.start.extend_from_slice(start);
        if self.start.len() == Compression::START {
            self.decide()?;
        }
        match &mut self.blob {
            Blob::Packed(encoder) => encoder.write_all(rest),
            Blob::AsIs(counted) => counted.write_all(rest),
            Blob::Undecided(_) | Blob::Moved => Ok(()),
        }
    }

    /// Decides by the first bytes, once.
    fn decide(&mut self) -> io::Result<()> {
        self.blob = match std::mem::replace(&mut self.blob, Blob::Moved) {
            Blob::Undecided(mut counted) => {
                if Compression::of(&self.start)
                    .is_ok_and(|compression| compression == Compression::None)
                {
                    let mut encoder = zstd::Encoder::new(counted, LEVEL)?;
                    encoder.write_all(&self.start)?;
                    Blob::Packed(encoder)
                } else {
                    counted.write_all(&self.start)?;
                    Blob::AsIs(counted)
                }
            }
            decided => decided,
        };
        Ok(())
    }
}

impl<R: Read> Read for Recorder<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(buffer)?;
        self.record(&buffer[..count])?;
        Ok(count)
    }
}

/// A file whose digest is computed while it is written.
struct Counted {
    file: File,
    hasher: Hasher,
}

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write(bytes)?;
        self.hasher.write_all(&bytes[..count])?;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// The blob that becomes of `bytes`, read in small parts.
    fn recorded(bytes: &[u8]) -> (Compression, Vec<u8>) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("blob");
        let mut recorder = Recorder::new(bytes, File::create(&path).unwrap());
        while recorder.read(&mut [0; 4]).unwrap() > 0 {}
        let (compression, digest, size) = recorder.finish().unwrap();
        let blob = fs::read(path).unwrap();
        assert_eq!((digest, size), (Digest::of(&blob), blob.len() as u64));
        (compression, blob)
    }

    #[test]
    fn plain_archives_are_compressed_and_others_kept() {
        let plain = vec![7; 100_000];
        let (compression, blob) = recorded(&plain);
        assert_eq!(compression, Compression::Zstd);
        assert!(blob.len() < 1000);
        assert_eq!(zstd::decode_all(&blob[..]).unwrap(), plain);
        assert_eq!(recorded(&blob), (Compression::Zstd, blob));
        let gzip = b"\x1f\x8b\x08 and more".to_vec();
        assert_eq!(recorded(&gzip), (Compression::Gzip, gzip));
        let (_, short) = recorded(b"abc");
        assert_eq!(zstd::decode_all(&short[..]).unwrap(), b"abc");
    }
}
