//! From a reference to an image in the store.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use hyper::header::{ACCEPT, CONTENT_TYPE};
use jiff::Timestamp;
use oci_spec::image::{Descriptor, ImageManifest, MediaType};

use super::cancel::Cancel;
use super::client::{Call, Place, Registry, shown};
use super::connect::{ConnectError, lock};
use super::error::RegistryError;
use super::fetch::{Blob, Fetch};
use super::progress::{LayerStatus, Progress};
use crate::digest::Digest;
use crate::image::Image;
use crate::layer::{LayerError, unpack};
use crate::manifest::{
    ACCEPTED, Configuration, DocumentError, Kind, LARGEST_DOCUMENT, digest_of, kind, parse_index,
    parse_manifest,
};
use crate::platform::Platform;
use crate::reference::Reference;
use crate::select::{DEEPEST, best};
use crate::store::index::Entry;
use crate::store::partial::Partial;
use crate::store::workspace::{StagedBlob, StagedLayer, Workspace};
use crate::store::{Store, StoreError};

/// Layers that overlayfs can stack: one page of options divided by what a layer takes there is less, its own limit is
/// this. Source: Linux, fs/overlayfs/params.h, `OVL_MAX_STACK`.
const MOST_LAYERS: usize = 500;

/// How long somebody else who fetches the same layer is left alone between two looks. flock(2) has no event that could
/// be waited for together with others.
const LOOK: Duration = Duration::from_millis(50);

/// An image to be fetched.
#[derive(Clone, Copy)]
pub struct Pull<'a> {
    /// Its name.
    pub reference: &'a Reference,
    /// For which machine it should be; `None` for this one.
    pub platform: Option<&'a Platform>,
    /// Gives it up.
    pub cancel: &'a Cancel,
    /// Hears how far it is; called by several threads.
    pub report: &'a (dyn Fn(Progress) + Sync),
}

impl std::fmt::Debug for Pull<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pull").field("reference", self.reference).finish_non_exhaustive()
    }
}

/// An image that is there.
#[derive(Debug, Clone)]
pub struct Pulled {
    /// The image.
    pub image: Image,
    /// Whether another image had the name before, or none.
    pub is_new: bool,
}

/// An image could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// The registry does not give it.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The registry has it for other machines.
    #[error("{reference} is there for {}, not for {wanted}", available.join(", "))]
    Platform {
        /// The image.
        reference: String,
        /// The platform looked for.
        wanted: String,
        /// The platforms there are.
        available: Vec<String>,
    },
    /// A layer cannot be unpacked.
    #[error("cannot unpack layer {layer}")]
    Layer {
        /// The digest of the layer as it travels.
        layer: Digest,
        /// Why not.
        source: LayerError,
    },
    /// A layer is not the one that the configuration names.
    #[error("layer {layer} unpacks to {found}, and the configuration says {expected}")]
    DiffId {
        /// The digest of the layer as it travels.
        layer: Digest,
        /// The digest of the uncompressed layer in the configuration.
        expected: Digest,
        /// The one it has.
        found: Digest,
    },
    /// More layers than can be used.
    #[error("the image has {0} layers, and at most {MOST_LAYERS} can be used")]
    TooManyLayers(usize),
    /// It does not fit.
    #[error("{needed} bytes are to be fetched, and the file system of the store has {free} left")]
    NoRoom {
        /// Bytes of all layers, compressed.
        needed: u64,
        /// Bytes that are free.
        free: u64,
    },
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl PullError {
    /// Whether it is only that nobody wants it any more.
    pub fn is_cancelled(&self) -> bool {
        matches!(self, Self::Registry(error) if error.is_cancelled())
    }

    /// Whether another place may have what this one has not, or not in order.
    fn is_of_the_place(&self) -> bool {
        matches!(self, Self::Registry(error) if !error.is_cancelled())
    }
}

/// A document as a registry has given it.
struct Document {
    bytes: Vec<u8>,
    digest: Digest,
    media_type: MediaType,
}

/// An image as a registry describes it.
struct Described {
    /// What the name leads to there.
    source: Digest,
    manifest: Document,
    parsed: ImageManifest,
}

/// A layer that is to be there.
#[derive(Debug, Clone, Copy)]
struct Layer {
    blob: Blob,
    diff_id: Digest,
}

impl Registry {
    /// Fetches an image, unless the store has exactly what its name leads to.
    ///
    /// Mirrors are asked first. Layers that the store has are not fetched; the others are fetched and unpacked side by
    /// side. A pull that is cut off, however hard, is taken up by the next one.
    ///
    /// # Errors
    ///
    /// [`PullError`]; the names in the store are then as before.
    pub fn pull(&self, store: &Store, pull: &Pull<'_>) -> Result<Pulled, PullError> {
        let reference = pull.reference;
        for mirror in self.mirrors(reference.domain(), reference.path()) {
            match self.pull_from(&mirror, store, pull) {
                Err(error) if error.is_of_the_place() => {}
                answer => return answer,
            }
        }
        let place = self.upstream(reference.domain(), reference.path(), pull.cancel)?;
        self.pull_from(&place, store, pull)
    }

    fn pull_from(
        &self,
        place: &Place,
        store: &Store,
        pull: &Pull<'_>,
    ) -> Result<Pulled, PullError> {
        let described = self.describe(place, pull)?;
        let reference = match pull.reference.digest() {
            Some(digest) => pull.reference.at(digest),
            None => pull.reference.clone(),
        };
        let entry = Entry {
            reference: Some(reference.clone()),
            source: Some(described.source),
            named: Some(Timestamp::now()),
            manifest: described.manifest.digest,
            media_type: described.manifest.media_type.clone(),
            size: described.manifest.bytes.len() as u64,
        };
        let workspace = Workspace::begin(store)?;
        if let Ok(Some(known)) = store.find_entry(&reference.to_string())
            && known.manifest == entry.manifest
            && store.is_whole(&known)
        {
            let mut images = workspace.commit(&[], &[], vec![entry])?;
            return Ok(Pulled { image: images.remove(0), is_new: false });
        }
        let (config, layers) = self.configuration(place, &described, pull)?;
        check_room(store, &layers)?;
        self.fetch_all(place, &workspace, &layers, pull)?;
        let manifest = workspace.stage_document(&described.manifest.bytes)?;
        let config = workspace.stage_document(&config)?;
        let mut blobs = vec![manifest, config];
        let mut prepared = Vec::new();
        for Layer { blob: Blob { digest, size }, diff_id } in layers {
            blobs.push(StagedBlob { digest, path: store.partial(digest), size });
            prepared.extend(store.prepared(diff_id)?);
        }
        let mut images = workspace.commit(&prepared, &blobs, vec![entry])?;
        prepared.iter().for_each(|layer| store.forget_prepared(layer.diff_id));
        Ok(Pulled { image: images.remove(0), is_new: true })
    }

    /// Finds the manifest that the name leads to, through indexes if need be.
    fn describe(&self, place: &Place, pull: &Pull<'_>) -> Result<Described, PullError> {
        let host = Platform::host();
        let platform = pull.platform.unwrap_or(&host);
        let reference = pull.reference;
        let wanted = match (reference.digest(), reference.tag()) {
            (Some(digest), _) => digest.to_string(),
            (None, tag) => tag.unwrap_or("latest").to_owned(),
        };
        let mut document =
            self.document(place, &wanted, reference.digest().map(|one| (one, None)), pull)?;
        let source = document.digest;
        for _ in 0..=DEEPEST {
            let what = format!("manifest {}", document.digest);
            let wrong = |source| self.wrong(place, &what, source);
            match kind(&document.media_type).map_err(wrong)? {
                Kind::Manifest => {
                    let parsed =
                        parse_manifest(&document.bytes, &document.media_type).map_err(wrong)?;
                    return Ok(Described { source, manifest: document, parsed });
                }
                Kind::Index => {
                    let index =
                        parse_index(&document.bytes, &document.media_type).map_err(wrong)?;
                    let chosen = best(platform, index.manifests()).map_err(|available| {
                        PullError::Platform {
                            reference: reference.familiar(),
                            wanted: platform.to_string(),
                            available,
                        }
                    })?;
                    let digest = digest_of(chosen).map_err(wrong)?;
                    let declared = Some((digest, Some(chosen)));
                    document = self.document(place, &digest.to_string(), declared, pull)?;
                }
            }
        }
        let what = format!("manifest {source}");
        Err(self.wrong(place, &what, DocumentError::Ambiguous))
    }

    /// Fetches a manifest or index; `declared` is what is known about it.
    fn document(
        &self,
        place: &Place,
        wanted: &str,
        declared: Option<(Digest, Option<&Descriptor>)>,
        pull: &Pull<'_>,
    ) -> Result<Document, PullError> {
        let what = format!("{}:{wanted}", pull.reference.familiar_repository())
            .replace(":sha256", "@sha256");
        let address = place.address(&format!("manifests/{wanted}"));
        let call = Call::get(address, scope(place), what.clone()).with(ACCEPT, ACCEPTED.join(", "));
        let reply = self.ask(place, &call, pull.cancel)?;
        let media_type = reply.header(CONTENT_TYPE).unwrap_or_default();
        let media_type = media_type.split(';').next().unwrap_or_default().trim().to_owned();
        let promised = reply.header("docker-content-digest").and_then(|text| text.parse().ok());
        let mismatch = |expected: String, found: String| {
            PullError::from(RegistryError::Mismatch {
                registry: place.name().to_owned(),
                what: what.clone(),
                expected,
                found,
            })
        };
        let bytes = reply.read(LARGEST_DOCUMENT, pull.cancel).map_err(RegistryError::from)?;
        let bytes = bytes.ok_or_else(|| RegistryError::TooLarge {
            registry: place.name().to_owned(),
            what: what.clone(),
            limit: LARGEST_DOCUMENT,
        })?;
        let digest = Digest::of(&bytes);
        let expected = declared.map(|(digest, _)| digest).or(promised);
        if let Some(expected) = expected.filter(|expected| *expected != digest) {
            return Err(mismatch(expected.to_string(), digest.to_string()));
        }
        if let Some((_, Some(descriptor))) = declared {
            if descriptor.size() != bytes.len() as u64 {
                let expected = format!("{} bytes", descriptor.size());
                return Err(mismatch(expected, bytes.len().to_string()));
            }
            let expected = descriptor.media_type().to_string();
            if expected != media_type {
                return Err(mismatch(format!("the media type {expected}"), shown(&media_type)));
            }
        }
        Ok(Document { bytes, digest, media_type: media_type.as_str().into() })
    }

    /// Fetches the configuration, and pairs the layers with the digests that they have uncompressed.
    fn configuration(
        &self,
        place: &Place,
        described: &Described,
        pull: &Pull<'_>,
    ) -> Result<(Vec<u8>, Vec<Layer>), PullError> {
        let name = format!("manifest {}", described.manifest.digest);
        let in_manifest = |source| self.wrong(place, &name, source);
        let descriptor = described.parsed.config();
        let digest = digest_of(descriptor).map_err(in_manifest)?;
        let what = format!("configuration {}", digest.short());
        let bytes =
            self.small_blob(place, Blob { digest, size: descriptor.size() }, &what, pull)?;
        let wrong = |source| self.wrong(place, &what, source);
        let config = Configuration::parse(&bytes).map_err(wrong)?;
        self.check_platform(&config, pull)?;
        let (layers, diff_ids) = (described.parsed.layers().len(), config.diff_ids.len());
        if layers != diff_ids {
            return Err(in_manifest(DocumentError::LayerCount { layers, diff_ids }));
        }
        if layers > MOST_LAYERS {
            return Err(PullError::TooManyLayers(layers));
        }
        let pair = |(descriptor, diff_id): (&Descriptor, &Digest)| -> Result<Layer, PullError> {
            let digest = digest_of(descriptor).map_err(in_manifest)?;
            Ok(Layer { blob: Blob { digest, size: descriptor.size() }, diff_id: *diff_id })
        };
        let layers = described.parsed.layers().iter().zip(&config.diff_ids).map(pair);
        Ok((bytes, layers.collect::<Result<_, _>>()?))
    }

    /// An image that stands in no index says only in its configuration what it is for.
    fn check_platform(&self, config: &Configuration, pull: &Pull<'_>) -> Result<(), PullError> {
        let host = Platform::host();
        let wanted = pull.platform.unwrap_or(&host);
        let found = Platform::of(&config.typed);
        if found.is_known() && !wanted.accepts(&found) {
            return Err(PullError::Platform {
                reference: pull.reference.familiar(),
                wanted: wanted.to_string(),
                available: vec![found.to_string()],
            });
        }
        Ok(())
    }

    /// A blob that is a document.
    fn small_blob(
        &self,
        place: &Place,
        blob: Blob,
        what: &str,
        pull: &Pull<'_>,
    ) -> Result<Vec<u8>, PullError> {
        let registry = || place.name().to_owned();
        let too_large = || RegistryError::TooLarge {
            registry: registry(),
            what: what.to_owned(),
            limit: LARGEST_DOCUMENT.min(blob.size),
        };
        if blob.size > LARGEST_DOCUMENT {
            return Err(too_large().into());
        }
        let address = place.address(&format!("blobs/{}", blob.digest));
        let reply = self.ask(place, &Call::get(address, scope(place), what), pull.cancel)?;
        let bytes = reply.read(blob.size, pull.cancel).map_err(RegistryError::from)?;
        let bytes = bytes.ok_or_else(too_large)?;
        let found = Digest::of(&bytes);
        if found != blob.digest {
            return Err(RegistryError::Mismatch {
                registry: registry(),
                what: what.to_owned(),
                expected: blob.digest.to_string(),
                found: found.to_string(),
            }
            .into());
        }
        Ok(bytes)
    }

    /// Brings all layers into the store, several at a time.
    fn fetch_all(
        &self,
        place: &Place,
        workspace: &Workspace<'_>,
        layers: &[Layer],
        pull: &Pull<'_>,
    ) -> Result<(), PullError> {
        // One that is there twice is fetched once.
        let distinct: BTreeMap<Digest, Layer> =
            layers.iter().map(|layer| (layer.blob.digest, *layer)).collect();
        // In the order of the image: the first ones are the largest, as a rule.
        let mut waiting: Vec<Layer> = Vec::new();
        for layer in layers {
            let is_listed = waiting.iter().any(|one| one.blob.digest == layer.blob.digest);
            if !is_listed {
                waiting.push(distinct[&layer.blob.digest]);
                (pull.report)(Progress { layer: layer.blob.digest, status: LayerStatus::Waiting });
            }
        }
        let workers = waiting.len().min(self.slots.count());
        let queue = Mutex::new(waiting.into_iter());
        // The first failure stops the others, but not the whole command.
        let own = Cancel::default();
        let first: Mutex<Option<PullError>> = Mutex::default();
        let work = || {
            while let Some(layer) = next(&queue) {
                if let Err(error) = self.fetch_layer(place, workspace, layer, pull, &own) {
                    let mut first = lock(&first);
                    if first.is_none() {
                        *first = Some(error);
                    }
                    own.cancel();
                    return;
                }
            }
        };
        thread::scope(|scope| {
            let threads: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
            let followed = scope.spawn(|| pull.cancel.passed_on_to(&own));
            for thread in threads {
                thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            }
            own.cancel();
            let _ = followed.join();
        });
        match first.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner) {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// Brings one layer into the store, or waits until somebody else has.
    fn fetch_layer(
        &self,
        place: &Place,
        workspace: &Workspace<'_>,
        layer: Layer,
        pull: &Pull<'_>,
        cancel: &Cancel,
    ) -> Result<(), PullError> {
        let store = workspace.store();
        let Layer { blob, diff_id } = layer;
        let tell = |status| (pull.report)(Progress { layer: blob.digest, status });
        let mut partial = loop {
            if store.has_blob(blob.digest) && is_unpacked(store, diff_id)? {
                tell(LayerStatus::Present);
                return Ok(());
            }
            match store.take_partial(blob.digest)? {
                Some(partial) => break partial,
                None => self.rest(LOOK, cancel).map_err(RegistryError::from)?,
            }
        };
        let _slot = self.slots.take();
        if store.has_blob(blob.digest) {
            // Its bytes are here and its files are not, as after a crash in between.
            return self.unpack_blob(workspace, layer, partial, &tell);
        }
        let scope = scope(place);
        let mut is_second = false;
        loop {
            let mut fetch = Fetch::new(self, place, &scope, blob, &mut partial, cancel, &tell)?;
            let is_resumed = fetch.is_resumed();
            match unpack_fetched(workspace, layer, &mut fetch) {
                Ok(()) => {
                    drop(fetch);
                    tell(LayerStatus::Complete);
                    return Ok(());
                }
                Err(error) => {
                    let room = matches!(&error, PullError::Store(StoreError::Full { .. }))
                        || matches!(
                            &error,
                            PullError::Layer { source: LayerError::Full { .. }, .. }
                        );
                    let lied =
                        matches!(&error, PullError::Registry(RegistryError::Mismatch { .. }));
                    drop(fetch);
                    if lied && is_resumed && !is_second {
                        // What an earlier process left may be what is wrong.
                        partial.restart()?;
                        is_second = true;
                        continue;
                    }
                    if room || lied {
                        partial.delete();
                    }
                    return Err(error);
                }
            }
        }
    }

    /// Unpacks a layer whose bytes are in the store already.
    fn unpack_blob(
        &self,
        workspace: &Workspace<'_>,
        layer: Layer,
        partial: Partial,
        tell: &dyn Fn(LayerStatus),
    ) -> Result<(), PullError> {
        let store = workspace.store();
        partial.delete();
        if !is_unpacked(store, layer.diff_id)? {
            let path = store.blob(layer.blob.digest);
            let file = std::fs::File::open(&path).map_err(StoreError::access("read", &path))?;
            unpack_layer(workspace, layer, file)?;
        }
        tell(LayerStatus::Present);
        Ok(())
    }

    fn wrong(&self, place: &Place, what: &str, source: DocumentError) -> PullError {
        RegistryError::Document { registry: place.name().to_owned(), what: what.to_owned(), source }
            .into()
    }
}

fn next(queue: &Mutex<std::vec::IntoIter<Layer>>) -> Option<Layer> {
    lock(queue).next()
}

/// What is to be allowed for a pull.
pub(super) fn scope(place: &Place) -> String {
    format!("repository:{}:pull", place.repository)
}

/// Unpacks what is being fetched; the failure of either is that of both.
fn unpack_fetched(
    workspace: &Workspace<'_>,
    layer: Layer,
    fetch: &mut Fetch<'_>,
) -> Result<(), PullError> {
    if is_unpacked(workspace.store(), layer.diff_id)? {
        return fetch.finish();
    }
    let unpacked = stage_layer(workspace, layer, &mut *fetch);
    if let Some(failure) = fetch.failure() {
        return Err(failure);
    }
    // An archive that cannot be unpacked may be one that is not what was asked for.
    fetch.finish()?;
    workspace.store().prepare(&unpacked?)?;
    Ok(())
}

fn unpack_layer(
    workspace: &Workspace<'_>,
    layer: Layer,
    source: impl std::io::Read + Send,
) -> Result<(), PullError> {
    Ok(workspace.store().prepare(&stage_layer(workspace, layer, source)?)?)
}

fn stage_layer(
    workspace: &Workspace<'_>,
    layer: Layer,
    source: impl std::io::Read + Send,
) -> Result<StagedLayer, PullError> {
    let Layer { blob, diff_id } = layer;
    let path = workspace.fresh_layer(&format!("layer-{}", blob.digest.hex()))?;
    let unpacked =
        unpack(source, &path).map_err(|source| PullError::Layer { layer: blob.digest, source })?;
    if unpacked.diff_id != diff_id {
        let (expected, found) = (diff_id, unpacked.diff_id);
        return Err(PullError::DiffId { layer: blob.digest, expected, found });
    }
    Ok(StagedLayer { diff_id, path, size: unpacked.size })
}

/// Whether the files of a layer are here, for all to see or waiting for an image.
fn is_unpacked(store: &Store, diff_id: Digest) -> Result<bool, StoreError> {
    Ok(store.find_layer(diff_id)?.is_some() || store.prepared(diff_id)?.is_some())
}

/// Refuses what cannot fit before anything of it is fetched.
fn check_room(store: &Store, layers: &[Layer]) -> Result<(), PullError> {
    let mut needed = 0u64;
    for Layer { blob, .. } in layers {
        if !store.has_blob(blob.digest) {
            needed = needed.saturating_add(blob.size);
        }
    }
    let free = store.free()?;
    if needed > free { Err(PullError::NoRoom { needed, free }) } else { Ok(()) }
}

impl Cancel {
    /// Waits until one of the two is given up, and gives the other up as well.
    pub(super) fn passed_on_to(&self, other: &Self) {
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().build() else { return };
        runtime.block_on(async {
            tokio::select! {
                () = self.cancelled() => other.cancel(),
                () = other.cancelled() => {}
            }
        });
    }
}

impl From<ConnectError> for PullError {
    fn from(error: ConnectError) -> Self {
        Self::Registry(error.into())
    }
}
