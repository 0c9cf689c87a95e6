//! How much room the store takes.

use std::fs;
use std::io;
use std::path::Path;

use super::Store;
use super::error::StoreError;
use super::lock::Lock;
use crate::digest::Digest;
use crate::image::Image;

impl Store {
    /// Bytes of the files in each layer of an image, the lowest first.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when a layer is not there.
    pub fn layer_sizes(&self, image: &Image) -> Result<Vec<u64>, StoreError> {
        let mut sizes = Vec::new();
        for text in image.config.rootfs().diff_ids() {
            // The image was read with these digests.
            let Ok(layer) = text.parse::<Digest>() else { continue };
            let missing = || StoreError::LayerMissing { layer, image: image.id };
            sizes.push(self.find_layer(layer)?.ok_or_else(missing)?.size);
        }
        Ok(sizes)
    }

    /// Bytes of all blobs, of all files in layers, and of what is on its way.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the store cannot be read.
    pub fn usage(&self) -> Result<u64, StoreError> {
        let mut sum = 0u64;
        for folder in [self.root.join("blobs/sha256"), self.partials()] {
            for (_, length) in files(&folder)? {
                sum = sum.saturating_add(length);
            }
        }
        for (name, _) in files(&self.layers())? {
            let layer = name.strip_suffix(".json").and_then(Digest::from_hex);
            if let Some(record) = layer.map(|layer| self.find_layer(layer)).transpose()?.flatten() {
                sum = sum.saturating_add(record.size);
            }
        }
        Ok(sum)
    }

    /// Deletes what no name leads to, and what pulls that were cut off have left. While somebody writes, it stays for
    /// the next time.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when something resists.
    pub fn prune(&self) -> Result<(), StoreError> {
        self.collect_garbage()?;
        if let Some(_alone) = Lock::attempt(&self.writers_lock())? {
            self.sweep_partials(true)?;
        }
        Ok(())
    }
}

/// The files in a folder with their lengths; none if there is no such folder.
fn files(folder: &Path) -> Result<Vec<(String, u64)>, StoreError> {
    let read = || -> io::Result<Vec<(String, u64)>> {
        let mut files = Vec::new();
        let entries = match fs::read_dir(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(files),
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            // What goes meanwhile takes no room.
            let Ok(found) = entry.metadata() else { continue };
            if let (true, Ok(name)) = (found.is_file(), entry.file_name().into_string()) {
                files.push((name, found.len()));
            }
        }
        Ok(files)
    };
    read().map_err(StoreError::access("read", folder))
}
