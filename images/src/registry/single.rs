//! Images of which layers come one by one, when somebody needs them: the caches of builds.

use bytes::Bytes;
use oci_spec::image::Descriptor;

use super::artifact::{MANIFEST, tag};
use super::body::Content;
use super::cancel::Cancel;
use super::client::Registry;
use super::fetch::Blob;
use super::message::Place;
use super::pull::{Layer, Pull, PullError};
use super::push::{Push, PushError, Target};
use crate::build::CachedLayer;
use crate::digest::Digest;
use crate::platform::Platform;
use crate::reference::Reference;
use crate::store::Store;
use crate::store::workspace::{StagedBlob, Workspace};

/// An image at a registry, of which nothing is in the store yet.
#[derive(Debug)]
pub(crate) struct Remote {
    place: Place,
    reference: Reference,
    platform: Platform,
    layers: Vec<(Layer, Descriptor)>,
    /// Its configuration.
    pub(crate) config: Vec<u8>,
}

impl Remote {
    /// Its layers as its manifest has them, by the digests that they have uncompressed.
    pub(crate) fn layers(&self) -> Vec<(Digest, Descriptor)> {
        self.layers.iter().map(|(layer, found)| (layer.diff_id, found.clone())).collect()
    }
}

/// What says what an image is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Documents<'a> {
    pub(crate) config: &'a [u8],
    pub(crate) manifest: &'a [u8],
}

impl Registry {
    /// Looks at an image without fetching its layers. Mirrors are asked first.
    pub(crate) fn look(
        &self,
        reference: &Reference,
        platform: &Platform,
        cancel: &Cancel,
    ) -> Result<Remote, PullError> {
        let pull = Pull { reference, platform: Some(platform), cancel, report: &|_| {} };
        self.anywhere(reference, cancel, |place| {
            let described = self.describe(place, &pull)?;
            let (config, layers) = self.configuration(place, &described, &pull)?;
            let layers = layers.into_iter().zip(described.parsed.layers().iter().cloned());
            let (place, reference, platform) = (place.clone(), reference.clone(), platform.clone());
            Ok(Remote { place, reference, platform, layers: layers.collect(), config })
        })
    }

    /// Brings the layer of an image that is called `diff_id` into the store, if the image has it.
    pub(crate) fn fetch_one(
        &self,
        workspace: &Workspace<'_>,
        remote: &Remote,
        diff_id: Digest,
        cancel: &Cancel,
    ) -> Result<(), PullError> {
        let mut layers = remote.layers.iter().map(|(layer, _)| layer);
        let Some(layer) = layers.find(|layer| layer.diff_id == diff_id) else { return Ok(()) };
        let store = workspace.store();
        let Remote { place, reference, platform, .. } = remote;
        let pull = Pull { reference, platform: Some(platform), cancel, report: &|_| {} };
        self.fetch_all(place, workspace, &[*layer], &pull)?;
        let prepared: Vec<_> = store.prepared(diff_id)?.into_iter().collect();
        let Layer { blob, .. } = layer;
        let path = store.partial(blob.digest);
        let blob = StagedBlob { digest: blob.digest, path, size: blob.size };
        workspace.keep(&prepared, &[blob])?;
        prepared.iter().for_each(|layer| store.forget_prepared(layer.diff_id));
        Ok(())
    }

    /// Gives an image away that has no name in the store: its two documents, and layers that the store has.
    pub(crate) fn give(
        &self,
        store: &Store,
        reference: &Reference,
        documents: Documents<'_>,
        layers: &[CachedLayer],
        cancel: &Cancel,
    ) -> Result<(), PushError> {
        if reference.digest().is_some() {
            return Err(PushError::Digest(reference.clone()));
        }
        // What is being sent is not deleted.
        let _held = store.hold()?;
        let mut blobs = Vec::new();
        for layer in layers {
            if !store.has_blob(layer.blob) {
                let image = reference.familiar();
                return Err(PushError::BlobMissing { image, layer: layer.blob });
            }
            blobs.push(Blob { digest: layer.blob, size: layer.blob_size });
        }
        let target = Target {
            place: self.upstream(reference.domain(), reference.path(), cancel)?,
            elsewhere: store.repositories(reference)?,
            push: Push { reference, cancel, report: &|_| {} },
            cancel: Cancel::default(),
        };
        self.send_bytes(&target, documents.config)?;
        self.send_all(store, &target, blobs)?;
        let manifest = Content::Bytes(Bytes::copy_from_slice(documents.manifest));
        self.name(&target, tag(reference), MANIFEST, manifest)
    }
}
