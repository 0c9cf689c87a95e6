//! One blob on its way into the store: read once, by whoever unpacks it.
//!
//! What comes is kept in its partial file at once. A connection that breaks is replaced by another that goes on where
//! it stopped, and so is a process. The digest is verified before the last byte is given away, and a blob is never read
//! beyond the size that its manifest says.

use std::io::{self, Read, Seek, SeekFrom, Write};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{CONTENT_RANGE, RANGE};

use super::cancel::Cancel;
use super::client::Registry;
use super::error::RegistryError;
use super::message::{Call, Place, Reply};
use super::progress::LayerStatus;
use super::pull::PullError;
use crate::digest::{Digest, Hasher};
use crate::store::StoreError;
use crate::store::partial::Partial;

/// How often is told how far it is.
const PACE: Duration = Duration::from_millis(100);

/// A blob as its descriptor has it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Blob {
    pub(super) digest: Digest,
    pub(super) size: u64,
}

/// Reads a blob from a registry through its partial file.
pub(super) struct Fetch<'a> {
    registry: &'a Registry,
    place: &'a Place,
    scope: &'a str,
    blob: Blob,
    cancel: &'a Cancel,
    report: &'a (dyn Fn(LayerStatus) + Sync),
    partial: &'a mut Partial,
    /// Bytes that have been given away.
    position: u64,
    /// Bytes that were here at the beginning and are given away first.
    here: u64,
    hasher: Option<Hasher>,
    reply: Option<Reply<'a>>,
    piece: Bytes,
    failures: u32,
    reported: Option<Instant>,
    /// Why it cannot go on: what the reader is told is only that it cannot.
    failure: Option<PullError>,
}

impl<'a> Fetch<'a> {
    pub(super) fn new(
        registry: &'a Registry,
        place: &'a Place,
        scope: &'a str,
        blob: Blob,
        partial: &'a mut Partial,
        cancel: &'a Cancel,
        report: &'a (dyn Fn(LayerStatus) + Sync),
    ) -> Result<Self, StoreError> {
        let mut here = partial.length()?;
        if here > blob.size {
            partial.restart()?;
            here = 0;
        }
        partial.file.seek(SeekFrom::Start(0)).map_err(StoreError::access("read", &partial.path))?;
        Ok(Self {
            registry,
            place,
            scope,
            blob,
            cancel,
            report,
            partial,
            position: 0,
            here,
            hasher: Some(Hasher::default()),
            reply: None,
            piece: Bytes::new(),
            failures: 0,
            reported: None,
            failure: None,
        })
    }

    /// Whether some of it was here before.
    pub(super) const fn is_resumed(&self) -> bool {
        self.here > 0
    }

    /// Why it stopped, if it did.
    pub(super) fn failure(&mut self) -> Option<PullError> {
        self.failure.take()
    }

    /// Reads what nobody has asked for: the digest is that of the whole.
    pub(super) fn finish(&mut self) -> Result<(), PullError> {
        let drained = io::copy(&mut *self, &mut io::sink());
        match (self.failure.take(), drained) {
            (Some(failure), _) => Err(failure),
            (None, Ok(_)) => Ok(()),
            (None, Err(error)) => Err(StoreError::access("read", &self.partial.path)(error).into()),
        }
    }

    fn read_on(&mut self, buffer: &mut [u8]) -> Result<usize, PullError> {
        loop {
            if self.position == self.blob.size {
                return self.verify().map(|()| 0);
            }
            if self.cancel.is_cancelled() {
                return Err(RegistryError::from(super::ConnectError::Cancelled).into());
            }
            if self.position < self.here {
                let most = usize::try_from(self.here - self.position).unwrap_or(usize::MAX);
                let most = most.min(buffer.len());
                let read = self.partial.file.read(&mut buffer[..most]);
                let count = read.map_err(StoreError::access("read", &self.partial.path))?;
                if count == 0 {
                    // Shorter than it was: somebody cut it.
                    return Err(self.mismatch(self.blob.size, self.position));
                }
                self.hash(&buffer[..count])?;
                self.position += count as u64;
                self.tell();
                return Ok(count);
            }
            if self.piece.is_empty() {
                match self.receive() {
                    Ok(piece) => self.keep(piece)?,
                    Err(error) => self.recover(error)?,
                }
                continue;
            }
            let count = self.piece.len().min(buffer.len());
            buffer[..count].copy_from_slice(&self.piece.split_to(count));
            self.position += count as u64;
            self.tell();
            return Ok(count);
        }
    }

    /// The next piece from the registry.
    fn receive(&mut self) -> Result<Bytes, PullError> {
        let reply = match &mut self.reply {
            Some(reply) => reply,
            None => {
                let reply = self.open()?;
                self.reply.insert(reply)
            }
        };
        let left = self.blob.size - self.position;
        let piece = reply.next(self.cancel).map_err(RegistryError::from)?;
        match piece {
            Some(piece) if piece.len() as u64 > left => {
                Err(self.mismatch(self.blob.size, self.position + piece.len() as u64))
            }
            Some(piece) => Ok(piece),
            None => Err(self.mismatch(self.blob.size, self.position)),
        }
    }

    /// Asks for what is missing.
    fn open(&self) -> Result<Reply<'a>, PullError> {
        let address = self.place.address(&format!("blobs/{}", self.blob.digest));
        let what = format!("layer {}", self.blob.digest.short());
        let mut call = Call::get(address, self.scope.to_owned(), what);
        if self.position > 0 {
            call = call.with(RANGE, format!("bytes={}-", self.position));
        }
        let mut reply = self.registry.ask(self.place, &call, self.cancel)?;
        if reply.status == StatusCode::PARTIAL_CONTENT {
            let expected =
                format!("bytes {}-{}/{}", self.position, self.blob.size - 1, self.blob.size);
            let found = reply.header(CONTENT_RANGE).unwrap_or_default().to_owned();
            let any_total = expected.rsplit_once('/').map(|(range, _)| format!("{range}/*"));
            if found == expected || Some(&found) == any_total.as_ref() {
                return Ok(reply);
            }
            return Err(self.wrong(&expected, &super::refusal::shown(&found)));
        }
        if let Some(length) = reply.length().filter(|length| *length != self.blob.size) {
            return Err(self.mismatch(self.blob.size, length));
        }
        // It does not know how to begin in the middle.
        let mut skipped = 0;
        while skipped < self.position {
            let piece = reply.next(self.cancel).map_err(RegistryError::from)?;
            let piece = piece.ok_or_else(|| self.mismatch(self.blob.size, skipped))?;
            skipped += piece.len() as u64;
            if skipped > self.position {
                // The rest of this piece is asked for again, by a connection that is thrown away.
                return Err(self.wrong("pieces that can be skipped", "one that cannot"));
            }
        }
        Ok(reply)
    }

    /// Writes a piece down.
    fn keep(&mut self, piece: Bytes) -> Result<(), PullError> {
        self.failures = 0;
        self.partial
            .file
            .write_all(&piece)
            .map_err(StoreError::access("write", &self.partial.path))?;
        self.hash(&piece)?;
        self.piece = piece;
        Ok(())
    }

    fn hash(&mut self, bytes: &[u8]) -> Result<(), PullError> {
        let Some(hasher) = &mut self.hasher else { return Ok(()) };
        hasher
            .write_all(bytes)
            .map_err(|error| StoreError::access("read", &self.partial.path)(error).into())
    }

    /// Rests before the next connection, unless that would not help.
    fn recover(&mut self, error: PullError) -> Result<(), PullError> {
        self.reply = None;
        self.failures += 1;
        let is_passing = match &error {
            PullError::Registry(RegistryError::Connect(error)) => error.is_passing(),
            _ => false,
        };
        if !is_passing || self.failures >= self.registry.tries() {
            return Err(error);
        }
        let pause = self.registry.pause(self.failures);
        self.registry.rest(pause, self.cancel).map_err(|error| RegistryError::from(error).into())
    }

    /// Compares the digest, once, and looks whether more comes than there should be.
    fn verify(&mut self) -> Result<(), PullError> {
        let Some(hasher) = self.hasher.take() else { return Ok(()) };
        if let Some(mut reply) = self.reply.take()
            && let Ok(Some(more)) = reply.next(self.cancel)
        {
            return Err(self.mismatch(self.blob.size, self.blob.size + more.len() as u64));
        }
        let (digest, _) = hasher.finish();
        if digest != self.blob.digest {
            return Err(self.wrong(&self.blob.digest.to_string(), &digest.to_string()));
        }
        Ok(())
    }

    fn tell(&mut self) {
        let is_due = self.reported.is_none_or(|last| last.elapsed() >= PACE);
        if is_due || self.position == self.blob.size {
            self.reported = Some(Instant::now());
            (self.report)(LayerStatus::Moving { done: self.position, total: self.blob.size });
        }
    }

    fn mismatch(&self, expected: u64, found: u64) -> PullError {
        self.wrong(&format!("{expected} bytes"), &found.to_string())
    }

    fn wrong(&self, expected: &str, found: &str) -> PullError {
        PullError::Registry(RegistryError::Mismatch {
            registry: self.place.name().to_owned(),
            what: format!("layer {}", self.blob.digest),
            expected: expected.to_owned(),
            found: found.to_owned(),
        })
    }
}

impl Read for Fetch<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.failure.is_some() {
            return Err(io::ErrorKind::Other.into());
        }
        self.read_on(buffer).map_err(|failure| {
            self.failure = Some(failure);
            io::ErrorKind::Other.into()
        })
    }
}
