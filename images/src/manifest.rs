//! Manifests, indexes and configurations, read with suspicion.
//!
//! A document is what its descriptor says and nothing else: bytes that are a manifest to one reader and an index to
//! another are refused (CVE-2021-41190).

use oci_spec::image::{Descriptor, ImageConfiguration, ImageIndex, ImageManifest, MediaType};
use serde_json::Value;

use crate::digest::{Digest, DigestError};
use crate::image::HealthCheck;

/// Bytes that a manifest, index or configuration may have. Source: containerd and registries limit them to 4 to 8 MiB.
pub(crate) const LARGEST_DOCUMENT: u64 = 8 << 20;

const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
const DOCKER_LAYERS: [&str; 3] = [
    "application/vnd.docker.image.rootfs.diff.tar",
    "application/vnd.docker.image.rootfs.diff.tar.gzip",
    "application/vnd.docker.image.rootfs.diff.tar.zstd",
];
const DOCKER_FOREIGN_LAYER: &str = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";

/// What a registry may answer to the question for an image.
pub(crate) const ACCEPTED: [&str; 4] = [
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
    DOCKER_INDEX,
    DOCKER_MANIFEST,
];

/// A document of an image is not what it should be.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// Not the JSON that it should be.
    #[error("it is malformed")]
    Json {
        /// Where and why.
        source: serde_json::Error,
    },
    /// The document says that it is something else than its descriptor says.
    #[error("its descriptor says `{declared}`, the document itself `{found}`")]
    MediaType {
        /// The media type in the descriptor.
        declared: String,
        /// The media type in the document.
        found: String,
    },
    /// The document has the keys of a manifest and of an index.
    #[error("it is a manifest and an index at once")]
    Ambiguous,
    /// Something that is no image, such as a chart or a signature.
    #[error("`{0}` is not the media type of a container image")]
    NotAnImage(String),
    /// An artifact of another kind than the one that is wanted.
    #[error("it is `{found}`, not `{wanted}`")]
    Kind {
        /// The kind that is wanted.
        wanted: String,
        /// The kind that it is.
        found: String,
    },
    /// A layer that is to be downloaded from elsewhere.
    #[error(
        "layer {digest} is a foreign one, which has to be downloaded from elsewhere: `{media_type}`"
    )]
    ForeignLayer {
        /// The layer.
        digest: String,
        /// Its media type.
        media_type: String,
    },
    /// A layer that is no archive.
    #[error("layer {digest} has an unknown media type: `{media_type}`")]
    LayerType {
        /// The layer.
        digest: String,
        /// Its media type.
        media_type: String,
    },
    /// Manifest and configuration disagree.
    #[error("the manifest has {layers} layers, the configuration {diff_ids}")]
    LayerCount {
        /// Layers in the manifest.
        layers: usize,
        /// Layers in the configuration.
        diff_ids: usize,
    },
    /// A digest in the document is no digest.
    #[error("a digest in it is not usable")]
    Digest(#[source] DigestError),
}

impl From<serde_json::Error> for DocumentError {
    fn from(source: serde_json::Error) -> Self {
        Self::Json { source }
    }
}

/// A configuration with what the OCI type has no room for.
#[derive(Debug, Clone)]
pub(crate) struct Configuration {
    pub(crate) typed: ImageConfiguration,
    /// The document as it is.
    pub(crate) json: Value,
    /// Digests of the uncompressed layers, the lowest first.
    pub(crate) diff_ids: Vec<Digest>,
}

impl Configuration {
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, DocumentError> {
        let json: Value = serde_json::from_slice(bytes)?;
        let mut typed: ImageConfiguration = serde_json::from_slice(bytes)?;
        let parsed = typed.rootfs().diff_ids().iter().map(|text| text.parse());
        let diff_ids = parsed.collect::<Result<_, _>>().map_err(DocumentError::Digest)?;
        // The type reads these sets in random order.
        if let Some(mut execution) = typed.config().clone() {
            execution.set_exposed_ports(execution.exposed_ports().clone().map(sorted));
            execution.set_volumes(execution.volumes().clone().map(sorted));
            typed.set_config(Some(execution));
        }
        Ok(Self { typed, json, diff_ids })
    }

    pub(crate) fn health_check(&self) -> Option<HealthCheck> {
        HealthCheck::from_json(self.json.get("config")?.get("Healthcheck")?)
    }
}

fn sorted(mut words: Vec<String>) -> Vec<String> {
    words.sort();
    words
}

/// What a descriptor in an index leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Manifest,
    Index,
}

/// Says what a media type stands for.
pub(crate) fn kind(media_type: &MediaType) -> Result<Kind, DocumentError> {
    match media_type.as_ref() {
        DOCKER_INDEX => Ok(Kind::Index),
        DOCKER_MANIFEST => Ok(Kind::Manifest),
        _ if *media_type == MediaType::ImageIndex => Ok(Kind::Index),
        _ if *media_type == MediaType::ImageManifest => Ok(Kind::Manifest),
        other => Err(DocumentError::NotAnImage(other.to_owned())),
    }
}

/// Reads a manifest, and checks that it is one of an image with layers that can be unpacked.
pub(crate) fn parse_manifest(
    bytes: &[u8],
    declared: &MediaType,
) -> Result<ImageManifest, DocumentError> {
    check_document(bytes, declared, &["manifests"])?;
    let manifest: ImageManifest = serde_json::from_slice(bytes)?;
    let config = manifest.config().media_type();
    if *config != MediaType::ImageConfig && config.as_ref() != DOCKER_CONFIG {
        return Err(DocumentError::NotAnImage(config.to_string()));
    }
    manifest.layers().iter().try_for_each(check_layer)?;
    Ok(manifest)
}

/// Reads an index.
pub(crate) fn parse_index(bytes: &[u8], declared: &MediaType) -> Result<ImageIndex, DocumentError> {
    check_document(bytes, declared, &["config", "layers"])?;
    Ok(serde_json::from_slice(bytes)?)
}

pub(crate) fn check_document(
    bytes: &[u8],
    declared: &MediaType,
    foreign: &[&str],
) -> Result<(), DocumentError> {
    let json: Value = serde_json::from_slice(bytes)?;
    if foreign.iter().any(|key| json.get(key).is_some()) {
        return Err(DocumentError::Ambiguous);
    }
    match json.get("mediaType").and_then(Value::as_str) {
        Some(found) if found != declared.as_ref() => Err(DocumentError::MediaType {
            declared: declared.to_string(),
            found: found.to_owned(),
        }),
        _ => Ok(()),
    }
}

/// Which compression a layer has is not taken from its media type but from its first bytes: Docker's own archives
/// are wrong about it, and the digests decide in the end.
fn check_layer(layer: &Descriptor) -> Result<(), DocumentError> {
    let (digest, media_type) = (layer.digest().to_string(), layer.media_type().to_string());
    match layer.media_type() {
        MediaType::ImageLayer | MediaType::ImageLayerGzip | MediaType::ImageLayerZstd => Ok(()),
        MediaType::Other(docker) if DOCKER_LAYERS.contains(&docker.as_str()) => Ok(()),
        MediaType::ImageLayerNonDistributable
        | MediaType::ImageLayerNonDistributableGzip
        | MediaType::ImageLayerNonDistributableZstd => {
            Err(DocumentError::ForeignLayer { digest, media_type })
        }
        MediaType::Other(docker) if docker == DOCKER_FOREIGN_LAYER => {
            Err(DocumentError::ForeignLayer { digest, media_type })
        }
        _ => Err(DocumentError::LayerType { digest, media_type }),
    }
}

/// The digest in a descriptor.
pub(crate) fn digest_of(descriptor: &Descriptor) -> Result<Digest, DocumentError> {
    descriptor.digest().as_ref().parse().map_err(DocumentError::Digest)
}

/// Writes a document with its keys in order, so that equal content has an equal digest: the OCI types keep labels in
/// a map of random order.
pub(crate) fn canonical(document: Value) -> Vec<u8> {
    ordered(document).to_string().into_bytes()
}

fn ordered(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> =
                map.into_iter().map(|(key, value)| (key, ordered(value))).collect();
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            Value::Object(entries.into_iter().collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(ordered).collect()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const OCI: &str = "application/vnd.oci.image.manifest.v1+json";

    fn manifest(change: impl FnOnce(&mut Value)) -> Result<ImageManifest, DocumentError> {
        let digest = Digest::of(b"").to_string();
        let mut document = json!({
            "schemaVersion": 2, "mediaType": OCI,
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest, "size": 1},
            "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": digest, "size": 1}],
        });
        change(&mut document);
        parse_manifest(document.to_string().as_bytes(), &MediaType::ImageManifest)
    }

    #[test]
    fn a_manifest_is_only_a_manifest() {
        manifest(|_| {}).unwrap();
        manifest(|doc| doc["mediaType"] = Value::Null).unwrap();
        let refused = manifest(|doc| doc["manifests"] = json!([])).unwrap_err();
        assert!(matches!(refused, DocumentError::Ambiguous), "{refused}");
        let refused = manifest(|doc| doc["mediaType"] = json!(DOCKER_INDEX)).unwrap_err();
        assert!(matches!(refused, DocumentError::MediaType { .. }), "{refused}");
        let helm = "application/vnd.cncf.helm.config.v1+json";
        let refused = manifest(|doc| doc["config"]["mediaType"] = json!(helm)).unwrap_err();
        assert!(matches!(refused, DocumentError::NotAnImage(_)), "{refused}");
        let refused = parse_index(
            br#"{"schemaVersion":2,"manifests":[],"layers":[]}"#,
            &MediaType::ImageIndex,
        );
        assert!(matches!(refused, Err(DocumentError::Ambiguous)));
    }

    #[test]
    fn foreign_and_unknown_layers_are_refused() {
        for foreign in
            [DOCKER_FOREIGN_LAYER, "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"]
        {
            let refused =
                manifest(|doc| doc["layers"][0]["mediaType"] = json!(foreign)).unwrap_err();
            assert!(matches!(refused, DocumentError::ForeignLayer { .. }), "{refused}");
        }
        let refused =
            manifest(|doc| doc["layers"][0]["mediaType"] = json!("text/plain")).unwrap_err();
        assert!(matches!(refused, DocumentError::LayerType { .. }), "{refused}");
    }

    #[test]
    fn equal_documents_have_equal_bytes() {
        let one = canonical(json!({"b": [{"y": 1, "x": 2}], "a": null}));
        assert_eq!(one, br#"{"a":null,"b":[{"x":2,"y":1}]}"#);
    }

    #[test]
    fn reads_the_health_check_that_oci_leaves_out() {
        let config = br#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]},
            "config":{"ExposedPorts":{"b":{},"a":{}},"Healthcheck":{"Test":["CMD","x"],"Interval":5000000000}}}"#;
        let config = Configuration::parse(config).unwrap();
        let check = config.health_check().unwrap();
        assert_eq!(check.test, ["CMD", "x"]);
        assert_eq!(
            (check.interval, check.timeout),
            (Some(std::time::Duration::from_secs(5)), None)
        );
        let execution = config.typed.config().clone().unwrap();
        assert_eq!(execution.exposed_ports().clone().unwrap(), ["a", "b"]);
    }
}
