//! What is sent: nothing, a few bytes, or a part of a file.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Frame, SizeHint};

/// Bytes that are read from a file at once.
const PIECE: usize = 128 << 10;

/// What is to be sent; it can be sent more than once.
#[derive(Debug, Clone)]
pub(crate) enum Content {
    Nothing,
    Bytes(Bytes),
    File { path: PathBuf, offset: u64, length: u64 },
}

/// What is being sent.
#[derive(Debug)]
pub(crate) struct Body {
    source: Source,
    left: u64,
    sent: Arc<AtomicU64>,
}

#[derive(Debug)]
enum Source {
    Bytes(Bytes),
    File(File),
}

impl Content {
    /// Opens the content for one time of sending. `sent` counts the bytes that have been taken.
    pub(crate) fn open(&self, sent: Arc<AtomicU64>) -> io::Result<Body> {
        let (source, left) = match self {
            Self::Nothing => (Source::Bytes(Bytes::new()), 0),
            Self::Bytes(bytes) => (Source::Bytes(bytes.clone()), bytes.len() as u64),
            Self::File { path, offset, length } => {
                let mut file = File::open(path)?;
                file.seek(SeekFrom::Start(*offset))?;
                (Source::File(file), *length)
            }
        };
        Ok(Body { source, left, sent })
    }

    pub(crate) fn length(&self) -> Option<u64> {
        match self {
            Self::Nothing => None,
            Self::Bytes(bytes) => Some(bytes.len() as u64),
            Self::File { length, .. } => Some(*length),
        }
    }
}

impl Body {
    /// The counter of the bytes that have been taken.
    pub(crate) fn progress(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.sent)
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let piece = match &mut self.source {
            Source::Bytes(bytes) => std::mem::take(bytes),
            // Local files are always ready, and nobody else waits in this event loop.
            Source::File(file) => {
                let mut piece = Vec::with_capacity(PIECE);
                match file.by_ref().take(PIECE as u64).read_to_end(&mut piece) {
                    Ok(0) => return Poll::Ready(Some(Err(io::ErrorKind::UnexpectedEof.into()))),
                    Ok(_) => {}
                    Err(error) => return Poll::Ready(Some(Err(error))),
                }
                Bytes::from(piece)
            }
        };
        let piece = match usize::try_from(self.left) {
            Ok(left) if left < piece.len() => piece.slice(..left),
            _ => piece,
        };
        self.left -= piece.len() as u64;
        self.sent.fetch_add(piece.len() as u64, Ordering::Relaxed);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
