//! How far a pull or push is.

use crate::digest::Digest;

/// Something that has happened to one layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// The digest of the layer as it travels.
    pub layer: Digest,
    /// How it stands.
    pub status: LayerStatus,
}

/// How a layer stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LayerStatus {
    /// It waits for its turn, or for somebody else who has it in hand.
    Waiting,
    /// So many of its bytes are here, or there. What is fetched is unpacked at the same time.
    Moving {
        /// Bytes that have gone.
        done: u64,
        /// Bytes that there are.
        total: u64,
    },
    /// It is complete; everything of it is verified.
    Complete,
    /// It was there before.
    Present,
}
