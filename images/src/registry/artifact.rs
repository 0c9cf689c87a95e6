//! Artifacts that are no images: a manifest whose layers are small documents, each with its own media type.
//!
//! Source: OCI image-spec 1.1, `manifest.md`, "Guidelines for Artifact Usage".
//!
//! # Why
//!
//! A published manifest has no time in it: the same documents are the same artifact, whenever they are published.

use std::collections::BTreeMap;

use bytes::Bytes;
use hyper::Method;
use hyper::header::ACCEPT;
use oci_spec::image::{Descriptor, ImageManifest};
use serde_json::{Value, json};

use super::body::Content;
use super::cancel::Cancel;
use super::client::Registry;
use super::describe::Document;
use super::error::RegistryError;
use super::fetch::Blob;
use super::message::{Call, Place};
use super::pull::{Pull, PullError, scope};
use super::push::{Push, PushError, Pushed, Target};
use crate::digest::Digest;
use crate::manifest::{
    ACCEPTED, DocumentError, Kind, check_document, digest_of, kind, parse_index,
};
use crate::reference::Reference;

/// Bytes that the documents of an artifact may have together: they are held in memory.
const LARGEST: u64 = 32 << 20;

pub(super) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const EMPTY: &str = "application/vnd.oci.empty.v1+json";
/// The whole configuration of an artifact that has none.
const NOTHING: &[u8] = b"{}";

/// One document of an artifact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// What it is.
    pub media_type: String,
    /// What else is said about it.
    pub annotations: BTreeMap<String, String>,
    /// The document.
    pub bytes: Vec<u8>,
}

/// The kind of an artifact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArtifactKind<'a> {
    /// Its `artifactType`, which manifests have since version 1.1 of their specification.
    pub artifact: &'a str,
    /// The media type of its configuration, which stands for the kind in older manifests.
    pub config: &'a str,
}

/// An artifact as a registry has given it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    /// What its name leads to there: the digest of a manifest or of an index.
    pub digest: Digest,
    /// Its documents, in their order.
    pub parts: Vec<Part>,
}

/// How a manifest says of which kind it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ManifestVersion {
    /// By the media type of its configuration.
    V1_0,
    /// By its `artifactType`.
    V1_1,
}

/// An artifact to be given away.
#[derive(Debug, Clone, Copy)]
pub struct Publication<'a> {
    /// Its name.
    pub reference: &'a Reference,
    /// Its kind.
    pub kind: ArtifactKind<'a>,
    /// Its documents.
    pub parts: &'a [Part],
    /// How the manifest is written; `None` for the newer version, or the older one if the registry refuses that.
    pub version: Option<ManifestVersion>,
    /// Gives it up.
    pub cancel: &'a Cancel,
}

impl Registry {
    /// What the name of an image or artifact leads to: the digest of a manifest or index. Mirrors are asked first.
    ///
    /// # Errors
    ///
    /// [`PullError::Registry`].
    pub fn digest(&self, reference: &Reference, cancel: &Cancel) -> Result<Digest, PullError> {
        if let Some(digest) = reference.digest() {
            return Ok(digest);
        }
        self.anywhere(reference, cancel, |place| self.digest_at(place, reference, cancel))
    }

    fn digest_at(
        &self,
        place: &Place,
        reference: &Reference,
        cancel: &Cancel,
    ) -> Result<Digest, PullError> {
        let address = place.address(&format!("manifests/{}", tag(reference)));
        let mut call = Call::get(address, scope(place), reference.familiar())
            .with(ACCEPT, ACCEPTED.join(", "));
        call.method = Method::HEAD;
        let reply = self.ask(place, &call, cancel)?;
        let told = reply.header("docker-content-digest").and_then(|text| text.parse().ok());
        drop(reply);
        match told {
            Some(digest) => Ok(digest),
            // A registry need not say so; then it is reckoned.
            None => {
                Ok(self.document(place, tag(reference), None, &plain(reference, cancel))?.digest)
            }
        }
    }

    /// Fetches an artifact of this kind, by its own name or out of the index that the name leads to.
    ///
    /// # Errors
    ///
    /// [`PullError::Registry`].
    pub fn artifact(
        &self,
        reference: &Reference,
        wanted: ArtifactKind<'_>,
        cancel: &Cancel,
    ) -> Result<Artifact, PullError> {
        let pull = plain(reference, cancel);
        self.anywhere(reference, cancel, |place| self.artifact_at(place, wanted, &pull))
    }

    fn artifact_at(
        &self,
        place: &Place,
        wanted: ArtifactKind<'_>,
        pull: &Pull<'_>,
    ) -> Result<Artifact, PullError> {
        let by_digest = pull.reference.digest();
        let name = by_digest.map_or_else(|| tag(pull.reference).to_owned(), |one| one.to_string());
        let declared = by_digest.map(|digest| (digest, None));
        let first = self.document(place, &name, declared, pull)?;
        let digest = first.digest;
        let manifest = self.manifest_of_kind(place, first, wanted, pull)?;
        let what = format!("manifest {}", manifest.digest);
        let wrong = |source| self.wrong(place, &what, source);
        let parsed = parse(&manifest, wanted).map_err(wrong)?;
        let whole = parsed.layers().iter().fold(0, |sum: u64, one| sum.saturating_add(one.size()));
        if whole > LARGEST {
            let registry = place.name().to_owned();
            return Err(RegistryError::TooLarge { registry, what, limit: LARGEST }.into());
        }
        let part = |descriptor: &Descriptor| -> Result<Part, PullError> {
            let digest = digest_of(descriptor).map_err(wrong)?;
            let blob = Blob { digest, size: descriptor.size() };
            let what = format!("layer {}", digest.short());
            let annotations = descriptor.annotations().clone().unwrap_or_default();
            Ok(Part {
                media_type: descriptor.media_type().to_string(),
                annotations: annotations.into_iter().collect(),
                bytes: self.small_blob(place, blob, &what, pull)?,
            })
        };
        let parts = parsed.layers().iter().map(part).collect::<Result<_, _>>()?;
        Ok(Artifact { digest, parts })
    }

    /// The document itself, or the one of the wanted kind that it lists.
    fn manifest_of_kind(
        &self,
        place: &Place,
        document: Document,
        wanted: ArtifactKind<'_>,
        pull: &Pull<'_>,
    ) -> Result<Document, PullError> {
        let what = format!("manifest {}", document.digest);
        let wrong = |source| self.wrong(place, &what, source);
        if kind(&document.media_type).map_err(wrong)? == Kind::Manifest {
            return Ok(document);
        }
        let index = parse_index(&document.bytes, &document.media_type).map_err(wrong)?;
        let is_wanted = |one: &&Descriptor| {
            one.artifact_type().as_ref().is_some_and(|found| found.as_ref() == wanted.artifact)
        };
        let chosen = index.manifests().iter().find(is_wanted).ok_or_else(|| {
            let found = "an index of other things".to_owned();
            wrong(DocumentError::Kind { wanted: wanted.artifact.to_owned(), found })
        })?;
        let digest = digest_of(chosen).map_err(wrong)?;
        self.document(place, &digest.to_string(), Some((digest, Some(chosen))), pull)
    }

    /// Gives an artifact away under its name.
    ///
    /// # Errors
    ///
    /// [`PushError`]; what has arrived by then stays there without a name.
    pub fn publish(&self, publication: &Publication<'_>) -> Result<Pushed, PushError> {
        let Publication { reference, version, cancel, .. } = *publication;
        if reference.digest().is_some() {
            return Err(PushError::Digest(reference.clone()));
        }
        let target = Target {
            place: self.upstream(reference.domain(), reference.path(), cancel)?,
            elsewhere: BTreeMap::new(),
            push: Push { reference, cancel, report: &|_| {} },
            cancel: cancel.clone(),
        };
        for bytes in publication.parts.iter().map(|part| &*part.bytes).chain([NOTHING]) {
            self.send_bytes(&target, bytes)?;
        }
        let send = |version| -> Result<Pushed, PushError> {
            let bytes = manifest(publication, version).to_string().into_bytes();
            let pushed = Pushed { digest: Digest::of(&bytes), size: bytes.len() as u64 };
            self.name(&target, tag(reference), MANIFEST, Content::Bytes(bytes.into()))?;
            Ok(pushed)
        };
        match send(version.unwrap_or(ManifestVersion::V1_1)) {
            // An old registry does not know the newer manifests.
            Err(PushError::Registry(RegistryError::Answer { status: 400..=499, .. }))
                if version.is_none() =>
            {
                send(ManifestVersion::V1_0)
            }
            answer => answer,
        }
    }

    /// Sends a small blob unless it is there.
    pub(super) fn send_bytes(&self, target: &Target<'_>, bytes: &[u8]) -> Result<(), PushError> {
        let blob = Blob { digest: Digest::of(bytes), size: bytes.len() as u64 };
        let Some(upload) = self.offer(target, blob)? else { return Ok(()) };
        let bytes = Bytes::copy_from_slice(bytes);
        self.upload(target, blob, upload, &|offset, length| {
            let part = usize::try_from(offset)
                .and_then(|from| Ok(bytes.slice(from..).slice(..usize::try_from(length)?)));
            Content::Bytes(part.expect("a section of what is in memory has an end there"))
        })
    }

    /// Asks the mirrors of a repository, and then its registry.
    pub(super) fn anywhere<T>(
        &self,
        reference: &Reference,
        cancel: &Cancel,
        ask: impl Fn(&Place) -> Result<T, PullError>,
    ) -> Result<T, PullError> {
        for mirror in self.mirrors(reference.domain(), reference.path()) {
            match ask(&mirror) {
                Err(error) if error.is_of_the_place() => {}
                answer => return answer,
            }
        }
        ask(&self.upstream(reference.domain(), reference.path(), cancel)?)
    }
}

/// A pull of documents only, of which nobody hears.
pub(super) fn plain<'a>(reference: &'a Reference, cancel: &'a Cancel) -> Pull<'a> {
    Pull { reference, platform: None, cancel, report: &|_| {} }
}

pub(super) fn tag(reference: &Reference) -> &str {
    reference.tag().unwrap_or("latest")
}

/// Reads a manifest, and checks that it is one of the wanted kind.
fn parse(document: &Document, wanted: ArtifactKind<'_>) -> Result<ImageManifest, DocumentError> {
    check_document(&document.bytes, &document.media_type, &["manifests"])?;
    let manifest: ImageManifest = serde_json::from_slice(&document.bytes)?;
    let config = manifest.config().media_type();
    let (found, wanted) = match manifest.artifact_type() {
        Some(found) => (found, wanted.artifact),
        None => (config, wanted.config),
    };
    if found.as_ref() != wanted {
        let (wanted, found) = (wanted.to_owned(), super::refusal::shown(found.as_ref()));
        return Err(DocumentError::Kind { wanted, found });
    }
    Ok(manifest)
}

fn manifest(publication: &Publication<'_>, version: ManifestVersion) -> Value {
    let ArtifactKind { artifact, config } = publication.kind;
    let describe = |media_type: &str, bytes: &[u8]| json!({ "mediaType": media_type, "digest": Digest::of(bytes).to_string(), "size": bytes.len() });
    let layer = |part: &Part| {
        let mut layer = describe(&part.media_type, &part.bytes);
        layer["annotations"] = json!(part.annotations);
        layer
    };
    let mut manifest = json!({ "schemaVersion": 2, "mediaType": MANIFEST });
    manifest["config"] = match version {
        ManifestVersion::V1_0 => describe(config, NOTHING),
        ManifestVersion::V1_1 => {
            manifest["artifactType"] = json!(artifact);
            describe(EMPTY, NOTHING)
        }
    };
    manifest["layers"] = publication.parts.iter().map(layer).collect();
    manifest
}
