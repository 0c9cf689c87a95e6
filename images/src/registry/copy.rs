//! Images that go from one repository to another, with all their platforms, and the index that keeps them together.
//!
//! Blobs that the other registry has, or that can be mounted there, are not moved. The others pass through the store's
//! folder for what is on its way.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use oci_spec::image::{Descriptor, ImageManifest};
use serde_json::{Value, json};

use super::artifact::{MANIFEST, plain, tag};
use super::body::Content;
use super::cancel::Cancel;
use super::client::Registry;
use super::describe::Document;
use super::error::RegistryError;
use super::fetch::{Blob, Fetch};
use super::message::Place;
use super::pull::{PullError, scope};
use super::push::{Push, PushError, Pushed, Target};
use crate::digest::Digest;
use crate::manifest::{DocumentError, Kind, check_document, digest_of, kind, parse_index};
use crate::reference::Reference;
use crate::select::DEEPEST;
use crate::store::{Store, StoreError};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// How long somebody else who fetches the same layer is left alone between two looks.
const LOOK: Duration = Duration::from_millis(50);

/// Images that belong to an artifact.
#[derive(Debug, Clone, Copy)]
pub struct Companions<'a> {
    /// The name of the artifact, in whose repository they are to be.
    pub reference: &'a Reference,
    /// The artifact.
    pub subject: Pushed,
    /// Its kind.
    pub artifact_type: &'a str,
    /// The images.
    pub images: &'a [Reference],
    /// What else is said about them.
    pub annotations: &'a BTreeMap<String, String>,
    /// Gives it up.
    pub cancel: &'a Cancel,
}

/// An image could not be brought to another repository.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// It is not given.
    #[error("cannot fetch image {image}")]
    Fetch {
        /// The image.
        image: String,
        /// Why not.
        source: Box<PullError>,
    },
    /// It is not taken.
    #[error(transparent)]
    Push(#[from] PushError),
}

/// From where to where.
struct Way<'a> {
    store: &'a Store,
    image: &'a Reference,
    from: Place,
    to: Target<'a>,
}

impl Way<'_> {
    fn fetching(&self, source: impl Into<PullError>) -> CopyError {
        CopyError::Fetch { image: self.image.familiar(), source: Box::new(source.into()) }
    }
}

impl Registry {
    /// Copies images into the repository of an artifact, and leaves an index of them there that refers to it.
    ///
    /// # Errors
    ///
    /// [`CopyError`]; what has arrived by then stays there without a name.
    pub fn accompany(
        &self,
        store: &Store,
        companions: &Companions<'_>,
    ) -> Result<Pushed, CopyError> {
        let Companions { reference, subject, artifact_type, images, annotations, cancel } =
            *companions;
        let mut manifests = Vec::new();
        for image in images {
            manifests.push(self.copy(store, image, reference, cancel)?);
        }
        let index = json!({
            "schemaVersion": 2, "mediaType": INDEX, "artifactType": artifact_type, "manifests": manifests,
            "subject": { "mediaType": MANIFEST, "digest": subject.digest.to_string(), "size": subject.size },
            "annotations": annotations,
        });
        let bytes = index.to_string().into_bytes();
        let pushed = Pushed { digest: Digest::of(&bytes), size: bytes.len() as u64 };
        let to = self.target(reference, cancel, BTreeMap::new())?;
        self.name(&to, &pushed.digest.to_string(), INDEX, Content::Bytes(bytes.into()))?;
        Ok(pushed)
    }

    /// Copies an image, and returns the descriptor of what its name leads to.
    fn copy(
        &self,
        store: &Store,
        image: &Reference,
        reference: &Reference,
        cancel: &Cancel,
    ) -> Result<Value, CopyError> {
        let from = self.upstream(image.domain(), image.path(), cancel).map_err(|source| {
            CopyError::Fetch { image: image.familiar(), source: Box::new(source.into()) }
        })?;
        let to = self.target(reference, cancel, BTreeMap::new())?;
        let way = Way { store, image, from, to };
        let declared = image.digest().map(|digest| (digest, None));
        let name = image.digest().map_or_else(|| tag(image).to_owned(), |one| one.to_string());
        let document = self
            .document(&way.from, &name, declared, &plain(image, cancel))
            .map_err(|error| way.fetching(error))?;
        self.copy_document(&way, &document, 0)?;
        Ok(json!({
            "mediaType": document.media_type.as_ref(),
            "digest": document.digest.to_string(),
            "size": document.bytes.len(),
        }))
    }

    fn target<'a>(
        &self,
        reference: &'a Reference,
        cancel: &'a Cancel,
        elsewhere: BTreeMap<Digest, String>,
    ) -> Result<Target<'a>, PushError> {
        let place = self.upstream(reference.domain(), reference.path(), cancel)?;
        let push = Push { reference, cancel, report: &|_| {} };
        Ok(Target { place, elsewhere, push, cancel: cancel.clone() })
    }

    /// Copies what a manifest or index names, and then the document itself, by its digest.
    fn copy_document(
        &self,
        way: &Way<'_>,
        document: &Document,
        depth: usize,
    ) -> Result<(), CopyError> {
        let what = format!("manifest {}", document.digest);
        let wrong = |source| way.fetching(self.wrong(&way.from, &what, source));
        let media_type = &document.media_type;
        match kind(media_type).map_err(wrong)? {
            Kind::Index if depth >= DEEPEST => return Err(wrong(DocumentError::Ambiguous)),
            Kind::Index => {
                let index = parse_index(&document.bytes, media_type).map_err(wrong)?;
                let pull = plain(way.image, way.to.push.cancel);
                for child in index.manifests() {
                    let digest = digest_of(child).map_err(wrong)?;
                    let declared = Some((digest, Some(child)));
                    let child = self
                        .document(&way.from, &digest.to_string(), declared, &pull)
                        .map_err(|error| way.fetching(error))?;
                    self.copy_document(way, &child, depth + 1)?;
                }
            }
            Kind::Manifest => {
                check_document(&document.bytes, media_type, &["manifests"]).map_err(wrong)?;
                let manifest: ImageManifest =
                    serde_json::from_slice(&document.bytes).map_err(|error| wrong(error.into()))?;
                // What has to be downloaded from elsewhere stays there.
                let is_here = |one: &&Descriptor| one.urls().as_ref().is_none_or(Vec::is_empty);
                for blob in manifest.layers().iter().filter(is_here).chain([manifest.config()]) {
                    let digest = digest_of(blob).map_err(wrong)?;
                    self.copy_blob(way, Blob { digest, size: blob.size() })?;
                }
            }
        }
        let content = Content::Bytes(document.bytes.clone().into());
        Ok(self.name(&way.to, &document.digest.to_string(), media_type.as_ref(), content)?)
    }

    fn copy_blob(&self, way: &Way<'_>, blob: Blob) -> Result<(), CopyError> {
        let Way { store, image, from, to } = way;
        let is_neighbour = image.domain() == to.push.reference.domain();
        let elsewhere = is_neighbour.then(|| (blob.digest, image.path().to_owned()));
        let target =
            self.target(to.push.reference, to.push.cancel, elsewhere.into_iter().collect())?;
        let Some(upload) = self.offer(&target, blob)? else { return Ok(()) };
        let send = |path: PathBuf| {
            self.upload(&target, blob, upload, &|offset, length| Content::File {
                path: path.clone(),
                offset,
                length,
            })
        };
        if store.has_blob(blob.digest) {
            return Ok(send(store.blob(blob.digest))?);
        }
        let fetching = |error: StoreError| way.fetching(error);
        let mut partial = loop {
            match store.take_partial(blob.digest).map_err(fetching)? {
                Some(partial) => break partial,
                None => self
                    .rest(LOOK, &target.cancel)
                    .map_err(|error| way.fetching(RegistryError::from(error)))?,
            }
        };
        let scope = scope(from);
        let fetched = Fetch::new(self, from, &scope, blob, &mut partial, &target.cancel, &|_| {})
            .map_err(PullError::from)
            .and_then(|mut fetch| fetch.finish());
        let sent = match fetched {
            Ok(()) => send(partial.path.clone()).map_err(CopyError::from),
            Err(error) => Err(way.fetching(error)),
        };
        partial.delete();
        sent
    }
}
