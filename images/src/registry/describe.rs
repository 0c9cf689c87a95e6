//! The documents of an image at a registry: index, manifest, configuration.

use hyper::header::{ACCEPT, CONTENT_TYPE};
use oci_spec::image::{Descriptor, ImageConfiguration, ImageManifest, MediaType};

use super::client::Registry;
use super::error::RegistryError;
use super::fetch::Blob;
use super::message::{Call, Place};
use super::pull::{Layer, MOST_LAYERS, Pull, PullError, scope};
use super::refusal::shown;
use crate::digest::Digest;
use crate::manifest::{
    ACCEPTED, Configuration, DocumentError, Kind, LARGEST_DOCUMENT, digest_of, kind, parse_index,
    parse_manifest,
};
use crate::platform::Platform;
use crate::select::{DEEPEST, best};

/// A document as a registry has given it.
pub(super) struct Document {
    pub(super) bytes: Vec<u8>,
    pub(super) digest: Digest,
    pub(super) media_type: MediaType,
}

/// An image as a registry describes it.
pub(super) struct Described {
    /// What the name leads to there.
    pub(super) source: Digest,
    pub(super) manifest: Document,
    pub(super) parsed: ImageManifest,
}

impl Registry {
    /// Finds the manifest that the name leads to, through indexes if need be.
    pub(super) fn describe(&self, place: &Place, pull: &Pull<'_>) -> Result<Described, PullError> {
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
    pub(super) fn document(
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
    pub(super) fn configuration(
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
        self.check_platform(&config.typed, pull)?;
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
    pub(super) fn check_platform(
        &self,
        config: &ImageConfiguration,
        pull: &Pull<'_>,
    ) -> Result<(), PullError> {
        let host = Platform::host();
        let wanted = pull.platform.unwrap_or(&host);
        let found = Platform::of(config);
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
    pub(super) fn small_blob(
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

    pub(super) fn wrong(&self, place: &Place, what: &str, source: DocumentError) -> PullError {
        RegistryError::Document { registry: place.name().to_owned(), what: what.to_owned(), source }
            .into()
    }
}
