//! The layers of an image on their way from a registry into the store, several at a time.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use super::cancel::Cancel;
use super::client::Registry;
use super::connect::lock;
use super::error::RegistryError;
use super::fetch::Fetch;
use super::message::Place;
use super::progress::{LayerStatus, Progress};
use super::pull::{Layer, Pull, PullError, scope};
use crate::digest::Digest;
use crate::layer::{LayerError, unpack};
use crate::store::partial::Partial;
use crate::store::workspace::{StagedLayer, Workspace};
use crate::store::{Store, StoreError};

/// How long somebody else who fetches the same layer is left alone between two looks. flock(2) has no event that could
/// be waited for together with others.
const LOOK: Duration = Duration::from_millis(50);

impl Registry {
    /// Brings all layers into the store, several at a time.
    pub(super) fn fetch_all(
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
}

fn next(queue: &Mutex<std::vec::IntoIter<Layer>>) -> Option<Layer> {
    lock(queue).next()
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
