//! Whether the store is what it says: every blob, every layer, every name.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::Path;

use super::Store;
use super::error::StoreError;
use crate::digest::{Digest, Hasher};
use crate::layer::stream::decompress;
use crate::manifest::digest_of;

/// What a look at everything has found.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Verified {
    /// Images that were looked at.
    pub images: usize,
    /// Blobs that were read.
    pub blobs: usize,
    /// What is wrong, a sentence each.
    pub faults: Vec<String>,
}

impl Store {
    /// Reads everything that a name leads to, and compares it with its digest: blobs as they are, and layers
    /// uncompressed. Of what is unpacked it is only seen that it is there.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the index cannot be read. What is wrong with an image is in the answer.
    pub fn verify(&self) -> Result<Verified, StoreError> {
        // Nobody deletes meanwhile.
        let _held = self.hold()?;
        let mut verified = Verified::default();
        let mut seen = BTreeSet::new();
        for entry in self.entries()? {
            verified.images += 1;
            let name = entry.name();
            let mut fault = |what: String| verified.faults.push(format!("{name}: {what}"));
            let manifest = match self.manifest(&entry) {
                Ok(manifest) => manifest,
                Err(error) => {
                    fault(error.to_string());
                    continue;
                }
            };
            let parts = manifest.layers().iter().chain([manifest.config()]);
            let digests = parts.map(digest_of).collect::<Result<Vec<Digest>, _>>();
            let config = digest_of(manifest.config()).ok();
            let config = config.and_then(|id| self.configuration(id).ok());
            let (Ok(mut digests), Some(config)) = (digests, config) else {
                fault("its documents cannot be read".to_owned());
                continue;
            };
            digests.push(entry.manifest);
            for (position, digest) in digests.into_iter().enumerate() {
                let diff_id = config.diff_ids.get(position).copied();
                if !seen.insert((digest, diff_id)) {
                    continue;
                }
                verified.blobs += 1;
                verified.faults.extend(
                    self.fault_of_blob(digest, diff_id).map(|what| format!("{name}: {what}")),
                );
            }
            for diff_id in config.diff_ids {
                verified
                    .faults
                    .extend(self.fault_of_layer(diff_id).map(|what| format!("{name}: {what}")));
            }
        }
        Ok(verified)
    }

    fn fault_of_blob(&self, digest: Digest, diff_id: Option<Digest>) -> Option<String> {
        let path = self.blob(digest);
        let read = |path: &Path| Hasher::default().read_all(File::open(path)?);
        match read(&path) {
            Err(error) => return Some(format!("blob {digest} cannot be read: {error}")),
            Ok((found, _)) if found != digest => {
                return Some(format!("blob {digest} has the digest {found}"));
            }
            Ok(_) => {}
        }
        let diff_id = diff_id?;
        let plain = File::open(&path)
            .and_then(decompress)
            .and_then(|(_, plain)| Hasher::default().read_all(plain));
        match plain {
            Ok((found, _)) if found == diff_id => None,
            Ok((found, _)) => Some(format!("layer {digest} unpacks to {found}, not {diff_id}")),
            Err(error) => Some(format!("layer {digest} cannot be unpacked: {error}")),
        }
    }

    fn fault_of_layer(&self, diff_id: Digest) -> Option<String> {
        match self.find_layer(diff_id) {
            Ok(Some(_)) => None,
            Ok(None) => Some(format!("layer {diff_id} is not unpacked")),
            Err(error) => Some(error.to_string()),
        }
    }
}
