//! From an archive of images to images: what `docker save`, `podman save`, `skopeo` and `buildx` write.
//!
//! An archive may follow the OCI image layout (`index.json`), Docker's older form (`manifest.json`), or both. It is
//! read once: every file in it goes to the workspace with its digest. Then the documents say what the files are, and
//! the layers are unpacked side by side.

mod docker;
mod oci;
mod staged;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::sync::Mutex;
use std::thread;

use oci_spec::image::MediaType;

use crate::digest::{Digest, DigestError};
use crate::image::Image;
use crate::layer::{ArchiveError, LayerError, unpack};
use crate::manifest::DocumentError;
use crate::platform::Platform;
use crate::reference::Reference;
use crate::store::index::Entry;
use crate::store::workspace::{StagedBlob, StagedLayer, Workspace};
use crate::store::{Store, StoreError};
use staged::Staged;

/// An archive of images could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The archive cannot be read.
    #[error("the archive of images cannot be used")]
    Archive(#[from] ArchiveError),
    /// It is an archive, but not one of images.
    #[error("the archive has neither index.json nor manifest.json: it is not an archive of images")]
    NoImages,
    /// The layout has a version that we do not know.
    #[error("the archive has layout version `{0}`, only 1.x is known")]
    Version(String),
    /// A file that a document names is not in the archive.
    #[error("`{0}` is missing from the archive")]
    Missing(String),
    /// A file has not the content that its name or a document promises.
    #[error("`{name}` should have {expected} and has {found}")]
    Mismatch {
        /// The file, or layer.
        name: String,
        /// The digest or size it should have.
        expected: String,
        /// The one it has.
        found: String,
    },
    /// A document is not what it should be.
    #[error("`{name}` cannot be used")]
    Document {
        /// The file.
        name: String,
        /// What is wrong.
        source: DocumentError,
    },
    /// A document is too large to be one.
    #[error("`{name}` is no document: it has {size} bytes")]
    TooLarge {
        /// The file.
        name: String,
        /// Its size.
        size: u64,
    },
    /// A name in the archive is no name of a file.
    #[error("the archive has the name `{0}`, which leads out of it")]
    Name(String),
    /// The image is not there for this machine.
    #[error("the archive has no image for {wanted}, only for {}", available.join(", "))]
    Platform {
        /// The platform looked for.
        wanted: String,
        /// The platforms in the archive.
        available: Vec<String>,
    },
    /// A name of an image is not valid.
    #[error("the archive has an image with an invalid name")]
    Reference(#[from] crate::reference::ReferenceError),
    /// A layer cannot be unpacked.
    #[error("cannot unpack layer {layer}")]
    Layer {
        /// The digest of the uncompressed layer.
        layer: Digest,
        /// Why not.
        source: LayerError,
    },
    /// A digest in a document is no digest.
    #[error("`{name}` has an invalid digest")]
    Digest {
        /// The file.
        name: String,
        /// What is wrong.
        source: DigestError,
    },
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// An image found in the archive, with all its files.
#[derive(Debug)]
struct Candidate {
    names: Vec<Reference>,
    manifest: StagedBlob,
    media_type: MediaType,
    config: StagedBlob,
    /// Each layer as it came, with the digest that it has uncompressed; the lowest first.
    layers: Vec<(StagedBlob, Digest)>,
}

impl Store {
    /// Loads all images of an archive: plain, or compressed with gzip, zstd, bzip2 or xz.
    ///
    /// Of an image that is there for several platforms, the one for `platform` is taken. An image without a name
    /// is loaded without a name.
    ///
    /// # Errors
    ///
    /// [`LoadError`]; the store is then as before.
    pub fn load(
        &self,
        reader: impl Read + Send,
        platform: &Platform,
    ) -> Result<Vec<Image>, LoadError> {
        let workspace = Workspace::begin(self)?;
        let staged = Staged::read(&workspace, reader)?;
        let mut candidates = oci::candidates(&staged, platform)?.unwrap_or_default();
        match docker::candidates(&workspace, &staged)? {
            Some(older) => merge(&mut candidates, older),
            None if candidates.is_empty() => return Err(LoadError::NoImages),
            None => {}
        }
        let layers = unpack_missing(&workspace, &candidates)?;
        let mut blobs = Vec::new();
        let mut entries = Vec::new();
        for candidate in candidates {
            let Candidate { names, manifest, media_type, config, layers } = candidate;
            let entry = Entry::local(None, manifest.digest, media_type, manifest.size);
            if names.is_empty() {
                entries.push(entry.clone());
            }
            entries.extend(names.into_iter().map(|name| entry.renamed(Some(name))));
            blobs.extend([manifest, config]);
            blobs.extend(layers.into_iter().map(|(blob, _)| blob));
        }
        Ok(workspace.commit(&layers, &blobs, entries)?)
    }
}

/// Adds what only the older form says: in an archive with both forms it is the one with all names.
fn merge(candidates: &mut Vec<Candidate>, older: Vec<Candidate>) {
    for image in older {
        match candidates.iter_mut().find(|known| known.config.digest == image.config.digest) {
            Some(known) => {
                known.names.extend(image.names);
                known.names.sort();
                known.names.dedup();
            }
            None => candidates.push(image),
        }
    }
}

/// Unpacks all layers that the store does not have, several at a time.
fn unpack_missing(
    workspace: &Workspace<'_>,
    candidates: &[Candidate],
) -> Result<Vec<StagedLayer>, LoadError> {
    let mut missing = BTreeMap::new();
    for (blob, diff_id) in candidates.iter().flat_map(|candidate| &candidate.layers) {
        if workspace.store().find_layer(*diff_id)?.is_none() {
            missing.insert(*diff_id, blob);
        }
    }
    let workers = thread::available_parallelism().map_or(1, usize::from).min(missing.len());
    let queue = Mutex::new(missing.into_iter());
    let next = || queue.lock().ok().and_then(|mut queue| queue.next());
    let work = || -> Result<Vec<StagedLayer>, LoadError> {
        let mut done = Vec::new();
        while let Some((diff_id, blob)) = next() {
            let layer = unpack_layer(workspace, diff_id, blob);
            if layer.is_err() {
                // The others stop after the layer they are at.
                while next().is_some() {}
            }
            done.push(layer?);
        }
        Ok(done)
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        let mut layers = Vec::new();
        for thread in threads {
            layers.extend(thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?);
        }
        Ok(layers)
    })
}

fn unpack_layer(
    workspace: &Workspace<'_>,
    diff_id: Digest,
    blob: &StagedBlob,
) -> Result<StagedLayer, LoadError> {
    let file = File::open(&blob.path).map_err(StoreError::access("read", &blob.path))?;
    let path = workspace.new_layer(&format!("layer-{}", diff_id.hex()))?;
    let unpacked =
        unpack(file, &path).map_err(|source| LoadError::Layer { layer: diff_id, source })?;
    if unpacked.diff_id != diff_id {
        return Err(LoadError::Mismatch {
            name: format!("uncompressed layer {}", blob.digest),
            expected: diff_id.to_string(),
            found: unpacked.diff_id.to_string(),
        });
    }
    Ok(StagedLayer { diff_id, path, size: unpacked.size })
}
