//! What is remembered of an unpacked layer.

use std::fs;
use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Store;
use super::error::StoreError;
use crate::digest::Digest;

/// The content of `layers/HEX.json`. It is written before the layer gets its name and says nothing without it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LayerRecord {
    pub(crate) version: u32,
    /// Bytes of all files in the layer.
    pub(crate) size: u64,
}

impl LayerRecord {
    pub(crate) const VERSION: u32 = 1;
}

impl Store {
    pub(super) fn layer_record(&self, diff_id: Digest) -> PathBuf {
        self.layers().join(format!("{}.json", diff_id.hex()))
    }

    /// What is known of an unpacked layer; `None` when there is no such layer.
    pub(crate) fn find_layer(&self, diff_id: Digest) -> Result<Option<LayerRecord>, StoreError> {
        if !self.layer(diff_id).is_dir() {
            return Ok(None);
        }
        let path = self.layer_record(diff_id);
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map(Some)
                .map_err(|source| StoreError::Damaged { path, source }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StoreError::access("read", &path)(error)),
        }
    }
}
