//! From the archive of a root file system to an image.

use std::io::{self, Read};

use jiff::Timestamp;
use oci_spec::image::{Arch, Descriptor, History, ImageConfiguration, MediaType, Os};
use serde_json::{Value, json};

use crate::change::{self, Change, ChangeError};
use crate::image::Image;
use crate::layer::stream::{Compression, as_layer};
use crate::layer::{ArchiveError, LayerError, unpack};
use crate::manifest::{Configuration, canonical, digest_of};
use crate::record::Recorder;
use crate::reference::Reference;
use crate::store::index::{Entry, descriptor};
use crate::store::workspace::{StagedBlob, StagedLayer, Workspace};
use crate::store::{DIRECTORY, FindError, Store, StoreError};

/// How a root file system becomes an image.
#[derive(Debug, Clone, Default)]
pub struct Import<'a> {
    /// What the image is called; without a name it is found by its id.
    pub reference: Option<Reference>,
    /// What is written into its configuration.
    pub changes: &'a [Change],
    /// An image on whose layers the archive is put as one more, with its configuration as the beginning.
    pub base: Option<&'a str>,
    /// Who made it.
    pub author: Option<&'a str>,
    /// What is said about it in the history (default: where it comes from).
    pub comment: Option<&'a str>,
}

/// A root file system could not be imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The archive cannot be unpacked.
    #[error("cannot import the archive")]
    Layer(#[from] LayerError),
    /// The base image is not in the store.
    #[error("no such base image: {0}")]
    BaseNotFound(String),
    /// A directory of the host has no layers to build on.
    #[error("{0} is a directory, not an image that can be built on")]
    BaseIsDirectory(String),
    /// The name of the base image.
    #[error("cannot use the base image")]
    Base(#[source] FindError),
    /// The new name has a digest, which an image has and is not given.
    #[error("cannot give the name `{0}` with a digest to an image")]
    Digest(Reference),
    /// An instruction that cannot be followed.
    #[error("cannot change the configuration")]
    Change(#[from] ChangeError),
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What the new layer is put on.
struct Base {
    config: Configuration,
    layers: Vec<Descriptor>,
}

impl Store {
    /// Makes an image of the archive of a root file system: plain, or compressed with gzip, zstd, bzip2 or xz.
    ///
    /// The archive is read once, from beginning to end. It may be killed at any point: the store is then as before.
    ///
    /// # Errors
    ///
    /// [`ImportError`]; the store is then as before.
    pub fn import(
        &self,
        reader: impl Read + Send,
        import: &Import<'_>,
    ) -> Result<Image, ImportError> {
        if let Some(reference) =
            import.reference.as_ref().filter(|reference| reference.digest().is_some())
        {
            return Err(ImportError::Digest(reference.clone()));
        }
        let workspace = Workspace::begin(self)?;
        let base = import.base.map(|name| self.base(name)).transpose()?;
        // Found wrong before the archive is read, which takes long.
        let execution = execution(base.as_ref(), import.changes)?;

        let (layer, blob, media_type) = stage_layer(&workspace, reader)?;
        let words = (import.author, import.comment);
        let (config, manifest) =
            documents(base.as_ref(), execution, words, &layer, &blob, media_type);
        let config = workspace.stage_document(&config)?;
        let manifest = manifest_of(&config, manifest);
        let manifest = workspace.stage_document(&manifest)?;
        let entry = Entry::local(
            import.reference.clone(),
            manifest.digest,
            MediaType::ImageManifest,
            manifest.size,
        );
        let mut images = workspace.commit(&[layer], &[blob, config, manifest], vec![entry])?;
        Ok(images.remove(0))
    }

    /// The image to build on. The workspace of the caller keeps its content from being deleted.
    fn base(&self, name: &str) -> Result<Base, ImportError> {
        if name.starts_with(DIRECTORY) {
            return Err(ImportError::BaseIsDirectory(name.to_owned()));
        }
        let found = self.find_entry(name).map_err(ImportError::Base)?;
        let entry = found.ok_or_else(|| ImportError::BaseNotFound(name.to_owned()))?;
        let manifest = self.manifest(&entry)?;
        let id = digest_of(manifest.config()).map_err(self.invalid(entry.manifest))?;
        Ok(Base { config: self.configuration(id)?, layers: manifest.layers().clone() })
    }
}

/// What the image will run. Keys that the OCI type does not know, such as `Healthcheck`, are kept.
fn execution(base: Option<&Base>, changes: &[Change]) -> Result<Value, ChangeError> {
    let before = base.and_then(|base| base.config.typed.config().clone());
    let mut execution = before.unwrap_or_default();
    change::apply(changes, &mut execution)?;
    let mut after = serde_json::to_value(&execution).unwrap_or_default();
    let known = [
        "User",
        "ExposedPorts",
        "Env",
        "Entrypoint",
        "Cmd",
        "Volumes",
        "WorkingDir",
        "Labels",
        "StopSignal",
    ];
    let original = base.and_then(|base| base.config.json.get("config")?.as_object());
    for (key, value) in
        original.into_iter().flatten().filter(|(key, _)| !known.contains(&key.as_str()))
    {
        after[key] = value.clone();
    }
    Ok(after)
}

/// Unpacks the archive and keeps it as a blob, both at once.
fn stage_layer(
    workspace: &Workspace<'_>,
    reader: impl Read + Send,
) -> Result<(StagedLayer, StagedBlob, MediaType), ImportError> {
    let path = workspace.new_layer("layer")?;
    let (blob, file) = workspace.new_blob("blob")?;
    let plain = as_layer(reader).map_err(StoreError::access("read", &blob))?;
    let mut recorder = Recorder::new(plain, file);
    let unpacked = unpack(&mut recorder, &path)?;
    // What stands behind the end of a compressed stream belongs to the blob.
    io::copy(&mut recorder, &mut io::sink()).map_err(StoreError::access("read", &blob))?;
    if !unpacked.has_ended {
        return Err(LayerError::Archive {
            after: "the last one".to_owned(),
            source: ArchiveError::Truncated,
        }
        .into());
    }
    let (compression, digest, size) =
        recorder.finish().map_err(StoreError::access("write", &blob))?;
    let layer = StagedLayer { diff_id: unpacked.diff_id, path, size: unpacked.size };
    Ok((layer, StagedBlob { digest, path: blob, size }, layer_type(compression)))
}

/// The configuration, and the layers of the manifest.
fn documents(
    base: Option<&Base>,
    execution: Value,
    (author, comment): (Option<&str>, Option<&str>),
    layer: &StagedLayer,
    blob: &StagedBlob,
    media_type: MediaType,
) -> (Vec<u8>, Vec<Descriptor>) {
    let now = Timestamp::now().to_string();
    let mut config =
        base.map_or_else(ImageConfiguration::default, |base| base.config.typed.clone());
    if base.is_none() {
        config.set_architecture(Arch::default());
        config.set_os(Os::default());
    }
    config.set_created(Some(now.clone()));
    config.rootfs_mut().diff_ids_mut().push(layer.diff_id.to_string());
    let mut step = History::default();
    step.set_created(Some(now));
    step.set_comment(Some(comment.unwrap_or("imported by compose").to_owned()));
    if let Some(author) = author {
        step.set_author(Some(author.to_owned()));
        config.set_author(Some(author.to_owned()));
    }
    let mut history = config.history().clone().unwrap_or_default();
    history.push(step);
    config.set_history(Some(history));
    config.set_config(None);
    let mut document = serde_json::to_value(&config).unwrap_or_default();
    document["config"] = execution;
    let mut layers = base.map_or_else(Vec::new, |base| base.layers.clone());
    layers.push(descriptor(media_type, blob.size, blob.digest));
    (canonical(document), layers)
}

/// The manifest of a configuration and its layers.
pub(crate) fn manifest_of(config: &StagedBlob, layers: Vec<Descriptor>) -> Vec<u8> {
    canonical(json!({
        "schemaVersion": 2,
        "mediaType": MediaType::ImageManifest,
        "config": descriptor(MediaType::ImageConfig, config.size, config.digest),
        "layers": layers,
    }))
}

/// The media type of a layer that is compressed so.
pub(crate) fn layer_type(compression: Compression) -> MediaType {
    match compression {
        Compression::None => MediaType::ImageLayer,
        Compression::Gzip => MediaType::ImageLayerGzip,
        Compression::Zstd => MediaType::ImageLayerZstd,
    }
}
