//! How much room the store takes, and for what.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::Path;

use super::Store;
use super::error::StoreError;
use crate::digest::Digest;
use crate::image::Image;
use crate::manifest::digest_of;

/// Something in the store that takes room and may belong to several images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    /// A document, or a layer as it came.
    Blob(Digest),
    /// The files of a layer.
    Layer(Digest),
}

/// What takes how much room: bytes of layers as they came and of their files.
#[derive(Debug, Default)]
pub struct Usage {
    /// The images, one for each name, as [`Store::list`] has them.
    pub images: Vec<Image>,
    parts: BTreeMap<Digest, BTreeMap<Part, u64>>,
}

impl Usage {
    /// Bytes of all images for which `counts` holds, each part counted once.
    pub fn size(&self, counts: impl Fn(Digest) -> bool) -> u64 {
        let counted = self.parts.iter().filter(|(id, _)| counts(**id));
        let all: BTreeMap<Part, u64> = counted.flat_map(|(_, parts)| parts.clone()).collect();
        all.values().sum()
    }

    /// Bytes of the image `id` alone, and how many of them other images have as well.
    pub fn of(&self, id: Digest) -> (u64, u64) {
        let Some(own) = self.parts.get(&id) else { return (0, 0) };
        let others = || self.parts.iter().filter(|(other, _)| **other != id);
        let is_shared = |part: &Part| others().any(|(_, parts)| parts.contains_key(part));
        let shared = own.iter().filter(|(part, _)| is_shared(part)).map(|(_, size)| size).sum();
        (own.values().sum(), shared)
    }

    /// Whether an image has this part.
    pub(crate) fn has(&self, part: Part) -> bool {
        self.parts.values().any(|parts| parts.contains_key(&part))
    }
}

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

    /// What the images need. One that is damaged needs nothing.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the index cannot be read.
    pub fn image_usage(&self) -> Result<Usage, StoreError> {
        let mut usage = Usage { images: self.list()?.images, parts: BTreeMap::new() };
        for entry in self.entries()? {
            let Ok(manifest) = self.manifest(&entry) else { continue };
            let Ok(id) = digest_of(manifest.config()) else { continue };
            let Ok(config) = self.configuration(id) else { continue };
            let layers = manifest.layers().iter().filter_map(|layer| digest_of(layer).ok());
            let blobs: BTreeSet<Digest> = layers.chain([entry.manifest, id]).collect();
            let parts = usage.parts.entry(id).or_default();
            for blob in blobs {
                parts.insert(Part::Blob(blob), self.part_size(Part::Blob(blob))?);
            }
            for layer in config.diff_ids {
                parts.insert(Part::Layer(layer), self.part_size(Part::Layer(layer))?);
            }
        }
        Ok(usage)
    }

    /// Bytes of a part; what is not there takes none.
    pub(crate) fn part_size(&self, part: Part) -> Result<u64, StoreError> {
        match part {
            Part::Blob(digest) => Ok(fs::metadata(self.blob(digest)).map_or(0, |file| file.len())),
            Part::Layer(diff_id) => Ok(self.find_layer(diff_id)?.map_or(0, |layer| layer.size)),
        }
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
        if let Some(_alone) = self.write_alone()? {
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
