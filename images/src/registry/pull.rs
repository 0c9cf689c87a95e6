//! From a reference to an image in the store.

use jiff::Timestamp;

use super::cancel::Cancel;
use super::client::Registry;
use super::connect::ConnectError;
use super::error::RegistryError;
use super::fetch::Blob;
use super::message::Place;
use super::progress::Progress;
use crate::digest::Digest;
use crate::image::Image;
use crate::layer::LayerError;
use crate::platform::Platform;
use crate::reference::Reference;
use crate::store::index::Entry;
use crate::store::workspace::{StagedBlob, Workspace};
use crate::store::{Store, StoreError};

/// Layers that overlayfs can stack: one page of options divided by what a layer takes there is less, its own limit is
/// this. Source: Linux, fs/overlayfs/params.h, `OVL_MAX_STACK`.
pub(super) const MOST_LAYERS: usize = 500;

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
    pub(super) fn is_of_the_place(&self) -> bool {
        matches!(self, Self::Registry(error) if !error.is_cancelled())
    }
}

/// A layer that is to be there.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layer {
    pub(super) blob: Blob,
    pub(super) diff_id: Digest,
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
            let image = workspace.commit(&[], &[], vec![entry])?.remove(0);
            // It may be here for another machine.
            self.check_platform(&image.config, pull)?;
            return Ok(Pulled { image, is_new: false });
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
}

/// What is to be allowed for a pull.
pub(super) fn scope(place: &Place) -> String {
    format!("repository:{}:pull", place.repository)
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
