//! Caches in a folder: an OCI image layout, with one image for each tag.
//!
//! Source: OCI image-spec 1.1, image-layout.md.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use oci_spec::image::{Descriptor, ImageIndex, ImageManifest, MediaType};
use serde_json::{Value, json};

use super::{Cache, Layers};
use crate::digest::{Digest, Hasher};
use crate::layer::{LayerError, unpack};
use crate::manifest::{
    Configuration, DocumentError, LARGEST_DOCUMENT, canonical, digest_of, parse_index,
    parse_manifest,
};
use crate::store::index::OCI_NAME;
use crate::store::workspace::{StagedBlob, StagedLayer, Workspace};
use crate::store::{Store, StoreError};

/// A folder with caches cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// It has none that is called so.
    #[error("it has no cache called `{0}`")]
    Tag(String),
    /// A document in it.
    #[error("{name} in it cannot be used")]
    Document {
        /// The file.
        name: String,
        /// Why not.
        source: DocumentError,
    },
    /// A file has not the content that its name promises.
    #[error("{0} in it is not what its name says")]
    Mismatch(Digest),
    /// A layer.
    #[error("layer {layer} in it cannot be unpacked")]
    Layer {
        /// The digest of the layer as it travels.
        layer: Digest,
        /// Why not.
        source: LayerError,
    },
    /// The file system.
    #[error("cannot {action} {}", path.display())]
    Access {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn access(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FolderError {
    let path = path.to_owned();
    move |source| FolderError::Access { action, path, source }
}

fn document(path: &Path, name: &str) -> Result<Vec<u8>, FolderError> {
    let file = File::open(path).map_err(access("read", path))?;
    let mut bytes = Vec::new();
    file.take(LARGEST_DOCUMENT + 1).read_to_end(&mut bytes).map_err(access("read", path))?;
    if bytes.len() as u64 > LARGEST_DOCUMENT {
        let source = serde::de::Error::custom("it is too large to be a document");
        return Err(wrong(name)(DocumentError::Json { source }));
    }
    Ok(bytes)
}

fn wrong(name: &str) -> impl FnOnce(DocumentError) -> FolderError {
    let name = name.to_owned();
    move |source| FolderError::Document { name, source }
}

fn blob(folder: &Path, digest: Digest) -> PathBuf {
    folder.join("blobs/sha256").join(digest.hex())
}

/// A document by its digest.
fn verified(folder: &Path, descriptor: &Descriptor) -> Result<(String, Vec<u8>), FolderError> {
    let digest = digest_of(descriptor).map_err(wrong("index.json"))?;
    let name = digest.to_string();
    let bytes = document(&blob(folder, digest), &name)?;
    if Digest::of(&bytes) != digest {
        return Err(FolderError::Mismatch(digest));
    }
    Ok((name, bytes))
}

/// The configuration of a cache, and its layers.
pub(super) fn read(folder: &Path, tag: &str) -> Result<(Vec<u8>, Layers), FolderError> {
    let path = folder.join("index.json");
    let index = document(&path, "index.json")?;
    let index = parse_index(&index, &MediaType::ImageIndex).map_err(wrong("index.json"))?;
    let found = index.manifests().iter().find(|one| named(one) == Some(tag));
    let found = found.ok_or_else(|| FolderError::Tag(tag.to_owned()))?;
    let (name, manifest) = verified(folder, found)?;
    let manifest: ImageManifest =
        parse_manifest(&manifest, &MediaType::ImageManifest).map_err(wrong(&name))?;
    let (config_name, config) = verified(folder, manifest.config())?;
    let parsed = Configuration::parse(&config).map_err(wrong(&config_name))?;
    let (layers, diff_ids) = (manifest.layers().len(), parsed.diff_ids.len());
    if layers != diff_ids {
        return Err(wrong(&name)(DocumentError::LayerCount { layers, diff_ids }));
    }
    Ok((config, parsed.diff_ids.into_iter().zip(manifest.layers().iter().cloned()).collect()))
}

fn named(descriptor: &Descriptor) -> Option<&str> {
    descriptor.annotations().as_ref()?.get(OCI_NAME).map(String::as_str)
}

/// Brings a layer into the store.
pub(super) fn fetch(
    folder: &Path,
    workspace: &Workspace<'_>,
    layer: Digest,
    diff_id: Digest,
) -> Result<(), FolderError> {
    let from = blob(folder, layer);
    let name = format!("shared-{}-{:?}", layer.hex(), std::thread::current().id());
    let (path, mut file) = workspace.new_blob(&name)?;
    let mut source = File::open(&from).map_err(access("read", &from))?;
    io::copy(&mut source, &mut file).map_err(access("copy", &from))?;
    let copied = File::open(&path).map_err(access("read", &path))?;
    let (digest, size) = Hasher::default().read_all(&copied).map_err(access("read", &path))?;
    if digest != layer {
        return Err(FolderError::Mismatch(layer));
    }
    let tree = workspace.fresh_layer(&format!("{name}-files"))?;
    let archive = File::open(&path).map_err(access("read", &path))?;
    let unpacked = unpack(archive, &tree).map_err(|source| FolderError::Layer { layer, source })?;
    if unpacked.diff_id != diff_id {
        return Err(FolderError::Mismatch(diff_id));
    }
    let staged = StagedLayer { diff_id, path: tree, size: unpacked.size };
    Ok(workspace.keep(&[staged], &[StagedBlob { digest, path, size }])?)
}

/// Writes a cache: its blobs, and then the index that names it. Other tags stay.
pub(super) fn write(
    folder: &Path,
    tag: &str,
    cache: &Cache,
    store: &Store,
) -> Result<(), FolderError> {
    let blobs = folder.join("blobs/sha256");
    fs::create_dir_all(&blobs).map_err(access("create", &blobs))?;
    for layer in &cache.layers {
        let to = blob(folder, layer.blob);
        if !to.exists() {
            let from = store.blob(layer.blob);
            put(&to, &mut File::open(&from).map_err(access("read", &from))?)?;
        }
    }
    for bytes in [&cache.config, &cache.manifest] {
        put(&blob(folder, Digest::of(bytes)), &mut &bytes[..])?;
    }
    put(&folder.join("oci-layout"), &mut &br#"{"imageLayoutVersion":"1.0.0"}"#[..])?;
    let path = folder.join("index.json");
    // One that cannot be read has no tag that would be lost.
    let known = document(&path, "index.json").ok();
    let known = known.and_then(|bytes| parse_index(&bytes, &MediaType::ImageIndex).ok());
    let others = known.as_ref().map(ImageIndex::manifests).into_iter().flatten();
    let mut manifests: Vec<Value> =
        others.filter(|one| named(one) != Some(tag)).map(|one| json!(one)).collect();
    manifests.push(json!({
        "mediaType": MediaType::ImageManifest,
        "digest": Digest::of(&cache.manifest),
        "size": cache.manifest.len(),
        "annotations": { OCI_NAME: tag },
    }));
    let index = json!({
        "schemaVersion": 2,
        "mediaType": MediaType::ImageIndex,
        "manifests": manifests,
    });
    put(&path, &mut &canonical(index)[..])
}

/// Writes a file whole or not at all. Everybody may read it: whoever carries the folder on need not be root.
fn put(path: &Path, content: &mut dyn Read) -> Result<(), FolderError> {
    let next = path.with_extension("next");
    let mut write = || -> io::Result<()> {
        io::copy(content, &mut File::create(&next)?)?;
        fs::rename(&next, path)
    };
    write().map_err(access("write", path))
}
