//! The frames that travel over an attached connection, both ways.
//!
//! After the head of the answer (`101 Switching Protocols`, `Upgrade: compose-frames`) each
//! side sends frames: a header of eight bytes (kind, three zero bytes, length of the payload as a
//! big-endian `u32`), then the payload. The header is the one of Docker's attach streams, and so
//! are the first three kinds.
//!
//! The connection starts the container if it has never run; the supervisor ends it with
//! [`Frame::Exit`], after all output. A client that closes the connection detaches: the
//! container runs on and its output goes to the log.

use serde::{Deserialize, Serialize};

use crate::event::Failure;

/// The word for these frames in the `Upgrade` header.
pub const PROTOCOL: &str = "compose-frames";

/// Longest payload that [`Frame::decode`] takes: no sender makes longer ones.
pub const LONGEST: usize = 1 << 20;

const HEADER: usize = 8;

/// One message of an attached connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// Client to container; an empty one is the end of input.
    Stdin(Vec<u8>),
    /// Container to client: standard output, or all of it with a terminal.
    Stdout(Vec<u8>),
    /// Container to client: standard error.
    Stderr(Vec<u8>),
    /// The size of the client's terminal.
    Resize(Size),
    /// Client to container: a signal for PID 1, by number.
    Signal(i32),
    /// Last from the supervisor: the exit code, 128 + n for signal n.
    Exit(i32),
    /// From the supervisor: the container could not be started. An [`Frame::Exit`] with 126 (may not be
    /// executed), 127 (not found) or 125 (anything else) follows.
    Failed(Failure),
}

/// The size of a terminal, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "nothing to add to the names")]
pub struct Size {
    pub rows: u16,
    pub columns: u16,
}

/// Bytes that are no frames.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The first byte of the header.
    #[error("unknown kind of frame {0}")]
    Kind(u8),
    /// The length in the header is above [`LONGEST`].
    #[error("frame of {0} bytes is too long")]
    Length(usize),
    /// The payload is not what its kind says.
    #[error("frame of kind {0} has a bad payload")]
    Payload(u8),
}

impl Frame {
    /// The bytes that stand for the frame.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let (kind, payload) = match self {
            Self::Stdin(bytes) => (0, bytes.clone()),
            Self::Stdout(bytes) => (1, bytes.clone()),
            Self::Stderr(bytes) => (2, bytes.clone()),
            Self::Resize(size) => {
                (3, [size.rows.to_be_bytes(), size.columns.to_be_bytes()].concat())
            }
            Self::Signal(number) => (4, number.to_be_bytes().to_vec()),
            Self::Exit(code) => (5, code.to_be_bytes().to_vec()),
            Self::Failed(failure) => {
                (6, serde_json::to_vec(failure).expect("a failure is plain strings"))
            }
        };
        let length = u32::try_from(payload.len()).expect("payloads are far below 4 GiB");
        let mut bytes = Vec::with_capacity(HEADER + payload.len());
        bytes.extend_from_slice(&[kind, 0, 0, 0]);
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(&payload);
        bytes
    }

    /// Takes one frame from the front of `buffer`; `None` while it is not there as a whole.
    ///
    /// # Errors
    ///
    /// [`FrameError`] for bytes that no frame starts with. The connection is then of no use.
    pub fn decode(buffer: &mut Vec<u8>) -> Result<Option<Self>, FrameError> {
        let Some((header, rest)) = buffer.split_first_chunk::<HEADER>() else { return Ok(None) };
        let [kind, _, _, _, length @ ..] = *header;
        let length = u32::from_be_bytes(length) as usize;
        if length > LONGEST {
            return Err(FrameError::Length(length));
        }
        let Some(payload) = rest.get(..length) else { return Ok(None) };
        let frame = Self::parse(kind, payload)?;
        buffer.drain(..HEADER + length);
        Ok(Some(frame))
    }

    fn parse(kind: u8, payload: &[u8]) -> Result<Self, FrameError> {
        let number =
            || payload.try_into().map(i32::from_be_bytes).map_err(|_| FrameError::Payload(kind));
        Ok(match kind {
            0 => Self::Stdin(payload.to_vec()),
            1 => Self::Stdout(payload.to_vec()),
            2 => Self::Stderr(payload.to_vec()),
            3 => {
                let [r0, r1, c0, c1] = payload.try_into().map_err(|_| FrameError::Payload(kind))?;
                let (rows, columns) = (u16::from_be_bytes([r0, r1]), u16::from_be_bytes([c0, c1]));
                Self::Resize(Size { rows, columns })
            }
            4 => Self::Signal(number()?),
            5 => Self::Exit(number()?),
            6 => Self::Failed(
                serde_json::from_slice(payload).map_err(|_| FrameError::Payload(kind))?,
            ),
            _ => return Err(FrameError::Kind(kind)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_frame_survives_the_way() {
        let frames = [
            Frame::Stdin(Vec::new()),
            Frame::Stdout(b"hello\n".to_vec()),
            Frame::Stderr(vec![0, 255]),
            Frame::Resize(Size { rows: 24, columns: 300 }),
            Frame::Signal(15),
            Frame::Exit(-1),
            Frame::Failed(Failure { message: "no".into(), ..Failure::default() }),
        ];
        let mut buffer: Vec<u8> = frames.iter().flat_map(Frame::encode).collect();
        for frame in frames {
            assert_eq!(Frame::decode(&mut buffer), Ok(Some(frame)));
        }
        assert!(buffer.is_empty());
    }

    #[test]
    fn waits_for_the_rest_and_refuses_nonsense() {
        let whole = Frame::Stdout(b"hello".to_vec()).encode();
        for cut in 0..whole.len() {
            assert_eq!(Frame::decode(&mut whole[..cut].to_vec()), Ok(None));
        }
        assert_eq!(Frame::decode(&mut vec![9, 0, 0, 0, 0, 0, 0, 0]), Err(FrameError::Kind(9)));
        let long = Frame::decode(&mut vec![1, 0, 0, 0, 255, 0, 0, 0]);
        assert!(matches!(long, Err(FrameError::Length(_))));
        assert_eq!(
            Frame::decode(&mut vec![4, 0, 0, 0, 0, 0, 0, 1, 7]),
            Err(FrameError::Payload(4))
        );
    }
}
