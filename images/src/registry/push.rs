//! From an image in the store to a registry.
//!
//! What the registry has is not sent again, what it has in another repository is mounted from there, what somebody else
//! is sending is waited for. A large blob goes in chunks, so that one that breaks is continued and not begun anew.
//!
//! Source: OCI distribution-spec 1.1, "Push".

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::thread;

use hyper::header::{CONTENT_RANGE, CONTENT_TYPE, LOCATION, RANGE};
use hyper::{Method, StatusCode, Uri};

use super::body::Content;
use super::cancel::Cancel;
use super::client::Registry;
use super::connect::lock;
use super::error::RegistryError;
use super::fetch::Blob;
use super::message::{Call, Place, Reply};
use super::progress::{LayerStatus, Progress};
use super::refusal::shown;
use super::send::resolve;
use crate::digest::Digest;
use crate::manifest::digest_of;
use crate::reference::Reference;
use crate::store::index::Entry;
use crate::store::{DIRECTORY, FindError, Store, StoreError};

/// Bytes that are sent at once. Less is sent as a whole.
const CHUNK: u64 = 32 << 20;

/// An image to be given away.
#[derive(Clone, Copy)]
pub struct Push<'a> {
    /// Its name, here and there.
    pub reference: &'a Reference,
    /// Gives it up.
    pub cancel: &'a Cancel,
    /// Hears how far it is; called by several threads.
    pub report: &'a (dyn Fn(Progress) + Sync),
}

impl std::fmt::Debug for Push<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Push").field("reference", self.reference).finish_non_exhaustive()
    }
}

/// What a registry has been given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pushed {
    /// The digest of the manifest.
    pub digest: Digest,
    /// Its size.
    pub size: u64,
}

/// An image could not be given away.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// The registry does not take it.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// There is no such image.
    #[error("no such image: {0}")]
    NotFound(String),
    /// A name with a digest, which an image has and is not given.
    #[error("cannot push to the digest {0}")]
    Digest(Reference),
    /// A layer is here unpacked only.
    #[error("layer {layer} of {image} is not in the store as it travels")]
    BlobMissing {
        /// The image.
        image: String,
        /// The layer.
        layer: Digest,
    },
    /// The name.
    #[error(transparent)]
    Find(#[from] FindError),
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl PushError {
    /// Whether it is only that nobody wants it any more.
    pub fn is_cancelled(&self) -> bool {
        matches!(self, Self::Registry(error) if error.is_cancelled())
    }
}

/// Where a push goes, and where its layers may be already.
pub(super) struct Target<'a> {
    pub(super) place: Place,
    /// Other repositories of the same registry by the blobs that they have.
    pub(super) elsewhere: BTreeMap<Digest, String>,
    pub(super) push: Push<'a>,
    pub(super) cancel: Cancel,
}

/// A part of a blob: where it begins, and how many bytes it has.
pub(super) type Section<'a> = &'a dyn Fn(u64, u64) -> Content;

impl Registry {
    /// Gives an image away under the name that it has.
    ///
    /// # Errors
    ///
    /// [`PushError`]; what has arrived by then stays there without a name.
    pub fn push(&self, store: &Store, push: &Push<'_>) -> Result<Pushed, PushError> {
        let reference = push.reference;
        if reference.digest().is_some() {
            return Err(PushError::Digest(reference.clone()));
        }
        // What is being sent is not deleted.
        let _held = store.hold()?;
        let entry = find(store, reference)?;
        let manifest = store.manifest(&entry)?;
        let invalid = |error| store.invalid(entry.manifest)(error);
        let mut blobs = Vec::new();
        for descriptor in manifest.layers().iter().chain([manifest.config()]) {
            let digest = digest_of(descriptor).map_err(invalid)?;
            if !store.has_blob(digest) {
                return Err(PushError::BlobMissing { image: reference.familiar(), layer: digest });
            }
            if !blobs.iter().any(|blob: &Blob| blob.digest == digest) {
                blobs.push(Blob { digest, size: descriptor.size() });
            }
        }
        let place = self.upstream(reference.domain(), reference.path(), push.cancel)?;
        let elsewhere = store.repositories(reference)?;
        let target = Target { place, elsewhere, push: *push, cancel: Cancel::default() };
        self.send_all(store, &target, blobs)?;
        self.send_manifest(store, &target, &entry)?;
        Ok(Pushed { digest: entry.manifest, size: entry.size })
    }

    pub(super) fn send_all(
        &self,
        store: &Store,
        target: &Target<'_>,
        blobs: Vec<Blob>,
    ) -> Result<(), PushError> {
        let report = target.push.report;
        for blob in &blobs {
            report(Progress { layer: blob.digest, status: LayerStatus::Waiting });
        }
        let workers = blobs.len().min(self.slots.count());
        let queue = Mutex::new(blobs.into_iter());
        let first: Mutex<Option<PushError>> = Mutex::default();
        let take = || lock(&queue).next();
        let work = || {
            while let Some(blob) = take() {
                // The turn first: who has a slot waits for nobody.
                let _turn = self.sending.take(&target.place, blob.digest);
                let _slot = self.slots.take();
                match self.send_blob(store, target, blob) {
                    Ok(status) => report(Progress { layer: blob.digest, status }),
                    Err(error) => {
                        lock(&first).get_or_insert(error);
                        target.cancel.cancel();
                        return;
                    }
                }
            }
        };
        thread::scope(|scope| {
            let threads: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
            let followed = scope.spawn(|| target.push.cancel.passed_on_to(&target.cancel));
            for thread in threads {
                thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            }
            target.cancel.cancel();
            let _ = followed.join();
        });
        match lock(&first).take() {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// Sends one blob unless it is there.
    fn send_blob(
        &self,
        store: &Store,
        target: &Target<'_>,
        blob: Blob,
    ) -> Result<LayerStatus, PushError> {
        let Some(upload) = self.offer(target, blob)? else { return Ok(LayerStatus::Present) };
        let path = store.blob(blob.digest);
        self.upload(target, blob, upload, &|offset, length| Content::File {
            path: path.clone(),
            offset,
            length,
        })?;
        Ok(LayerStatus::Complete)
    }

    /// Where a blob is to be sent; `None` if it is there, or could be mounted from elsewhere.
    pub(super) fn offer(
        &self,
        target: &Target<'_>,
        blob: Blob,
    ) -> Result<Option<String>, PushError> {
        let Target { place, cancel, .. } = target;
        let what = format!("layer {}", blob.digest.short());
        let mut call =
            Call::get(place.address(&format!("blobs/{}", blob.digest)), scope(place, None), &*what);
        call.method = Method::HEAD;
        match self.ask(place, &call, cancel) {
            Ok(_) => return Ok(None),
            Err(RegistryError::NotFound { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        let from = target.elsewhere.get(&blob.digest).map(String::as_str);
        let query = from.map_or_else(String::new, |from| {
            let from = super::token::escaped(from);
            format!("?mount={}&from={from}", super::token::escaped(&blob.digest.to_string()))
        });
        let mut call =
            Call::get(place.address(&format!("blobs/uploads/{query}")), scope(place, from), &*what);
        call.method = Method::POST;
        let reply = match self.ask(place, &call, cancel) {
            // One that may not look there is not told so, or fails.
            Err(RegistryError::Denied { .. }) if from.is_some() => {
                let address = place.address("blobs/uploads/");
                let plain = Call { address, scope: scope(place, None), ..call };
                self.ask(place, &plain, cancel)?
            }
            answer => answer?,
        };
        if reply.status == StatusCode::CREATED {
            return Ok(None);
        }
        Ok(Some(self.location(target, &reply, &what)?))
    }

    /// Sends the bytes of a blob to `upload`: all at once, or in chunks and then their end.
    pub(super) fn upload(
        &self,
        target: &Target<'_>,
        blob: Blob,
        mut upload: String,
        section: Section<'_>,
    ) -> Result<(), PushError> {
        let Target { place, cancel, push, .. } = target;
        let what = format!("layer {}", blob.digest.short());
        let tell = |done| {
            let status = LayerStatus::Moving { done, total: blob.size };
            (push.report)(Progress { layer: blob.digest, status });
        };
        let call = |method: Method, address: String, content: Content| {
            let mut call = Call::get(address, scope(place, None), &*what)
                .with(CONTENT_TYPE, "application/octet-stream");
            (call.method, call.content) = (method, content);
            call
        };
        let mut offset = 0;
        let mut failures = 0;
        tell(0);
        while blob.size > CHUNK && offset < blob.size {
            let length = CHUNK.min(blob.size - offset);
            let patch = call(Method::PATCH, upload.clone(), section(offset, length))
                .with(CONTENT_RANGE, format!("{offset}-{}", offset + length - 1));
            match self.ask_once(place, &patch, cancel) {
                Ok(reply) => {
                    upload = self.location(target, &reply, &what)?;
                    offset += length;
                    failures = 0;
                    tell(offset);
                }
                Err(error) => {
                    failures += 1;
                    if error.is_cancelled() || failures >= self.tries() {
                        return Err(error.into());
                    }
                    self.rest(self.pause(failures), cancel).map_err(RegistryError::from)?;
                    // How much of it has arrived, the registry knows best.
                    let status = Call::get(upload.clone(), scope(place, None), &*what);
                    let reply = self.ask(place, &status, cancel)?;
                    upload = self.location(target, &reply, &what)?;
                    offset = received(&reply).min(blob.size);
                }
            }
        }
        let joint = if upload.contains('?') { '&' } else { '?' };
        let digest = super::token::escaped(&blob.digest.to_string());
        let content = match blob.size - offset {
            0 if offset > 0 => Content::Nothing,
            length => section(offset, length),
        };
        let put = call(Method::PUT, format!("{upload}{joint}digest={digest}"), content);
        self.ask(place, &put, cancel)?;
        Ok(())
    }

    fn send_manifest(
        &self,
        store: &Store,
        target: &Target<'_>,
        entry: &Entry,
    ) -> Result<(), PushError> {
        let tag = target.push.reference.tag().unwrap_or("latest");
        let content =
            Content::File { path: store.blob(entry.manifest), offset: 0, length: entry.size };
        self.name(target, tag, entry.media_type.as_ref(), content)
    }

    /// Gives a manifest a name: a tag, or its digest.
    pub(super) fn name(
        &self,
        target: &Target<'_>,
        name: &str,
        media_type: &str,
        content: Content,
    ) -> Result<(), PushError> {
        let Target { place, push, .. } = target;
        let what = push.reference.familiar();
        let mut put =
            Call::get(place.address(&format!("manifests/{name}")), scope(place, None), what)
                .with(CONTENT_TYPE, media_type);
        (put.method, put.content) = (Method::PUT, content);
        self.ask(place, &put, push.cancel)?;
        Ok(())
    }

    /// Where the registry wants to have what follows.
    fn location(
        &self,
        target: &Target<'_>,
        reply: &Reply<'_>,
        what: &str,
    ) -> Result<String, RegistryError> {
        let found = reply.header(LOCATION).unwrap_or_default();
        let refused = || RegistryError::Redirect {
            registry: target.place.name().to_owned(),
            what: what.to_owned(),
            target: shown(found),
        };
        let base: Uri = target.place.address("blobs/uploads/").parse().map_err(|_| refused())?;
        Ok(resolve(&base, found).ok_or_else(refused)?.to_string())
    }
}

fn find(store: &Store, reference: &Reference) -> Result<Entry, PushError> {
    let name = reference.to_string();
    if name.starts_with(DIRECTORY) {
        return Err(PushError::NotFound(name));
    }
    store.find_entry(&name)?.ok_or_else(|| PushError::NotFound(reference.familiar()))
}

/// How many bytes have arrived: `Range: 0-LAST`.
fn received(reply: &Reply<'_>) -> u64 {
    let last = reply.header(RANGE).and_then(|range| range.rsplit_once('-')?.1.parse::<u64>().ok());
    // `0-0` says nothing as well as one byte.
    last.filter(|last| *last > 0).map_or(0, |last| last + 1)
}

/// What is to be allowed: pushing here, and reading in the repository that is mounted from.
fn scope(place: &Place, from: Option<&str>) -> String {
    let own = format!("repository:{}:pull,push", place.repository);
    from.map_or_else(|| own.clone(), |from| format!("{own} repository:{from}:pull"))
}

impl Store {
    /// Other repositories of the registry of `reference`, by the blobs of their images.
    pub(super) fn repositories(
        &self,
        reference: &Reference,
    ) -> Result<BTreeMap<Digest, String>, StoreError> {
        let mut found = BTreeMap::new();
        for entry in self.entries()? {
            let Some(name) = &entry.reference else { continue };
            if name.domain() != reference.domain() || name.path() == reference.path() {
                continue;
            }
            // A damaged one has nothing that could be mounted.
            let Ok(manifest) = self.manifest(&entry) else { continue };
            for digest in manifest.layers().iter().filter_map(|layer| digest_of(layer).ok()) {
                found.insert(digest, name.path().to_owned());
            }
        }
        Ok(found)
    }
}
