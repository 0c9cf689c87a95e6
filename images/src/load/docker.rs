//! The form of archive that Docker had before OCI: `manifest.json`, a list of images.
//!
//! Source: moby `image/spec/v1.2.md`, "Combined Image JSON + Filesystem Changeset Format".

use std::fs::File;
use std::io::Read;

use oci_spec::image::{Descriptor, MediaType};
use serde::Deserialize;

use super::staged::{Staged, document};
use super::{Candidate, LoadError};
use crate::import::{layer_type, manifest_of};
use crate::layer::ArchiveError;
use crate::layer::stream::Compression;
use crate::manifest::{Configuration, DocumentError};
use crate::store::StoreError;
use crate::store::index::descriptor;
use crate::store::workspace::{StagedBlob, Workspace};

const MANIFEST: &str = "manifest.json";

/// One image in `manifest.json`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Item {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Option<Vec<String>>,
}

/// All images in the list, with manifests made for them, or `None` if there is no list.
pub(super) fn candidates(
    workspace: &Workspace<'_>,
    staged: &Staged,
) -> Result<Option<Vec<Candidate>>, LoadError> {
    let Some(list) = staged.find(MANIFEST) else { return Ok(None) };
    let items: Vec<Item> = serde_json::from_slice(&document(MANIFEST, list)?)
        .map_err(|error| wrong(MANIFEST, error.into()))?;
    items
        .into_iter()
        .map(|item| candidate(workspace, staged, item))
        .collect::<Result<_, _>>()
        .map(Some)
}

fn candidate(
    workspace: &Workspace<'_>,
    staged: &Staged,
    item: Item,
) -> Result<Candidate, LoadError> {
    let config = staged.file(&item.config)?.clone();
    let parsed = Configuration::parse(&document(&item.config, &config)?)
        .map_err(|error| wrong(&item.config, error))?;
    let files = item.layers.unwrap_or_default();
    let (layers, diff_ids) = (files.len(), parsed.diff_ids.len());
    if layers != diff_ids {
        return Err(wrong(MANIFEST, DocumentError::LayerCount { layers, diff_ids }));
    }
    let found = files
        .iter()
        .zip(parsed.diff_ids)
        .map(|(name, diff_id)| Ok((staged.file(name)?.clone(), diff_id)));
    let layers: Vec<_> = found.collect::<Result<_, LoadError>>()?;
    let descriptors = layers.iter().map(|(blob, _)| describe(blob)).collect::<Result<_, _>>()?;
    let manifest = workspace.stage_document(&manifest_of(&config, descriptors))?;
    let tags = item.repo_tags.unwrap_or_default();
    let names = tags.iter().map(|tag| tag.parse()).collect::<Result<_, _>>()?;
    Ok(Candidate { names, manifest, media_type: MediaType::ImageManifest, config, layers })
}

/// The descriptor of a layer, with the media type that its content has.
fn describe(blob: &StagedBlob) -> Result<Descriptor, LoadError> {
    let mut start = Vec::new();
    let read = File::open(&blob.path)
        .and_then(|file| file.take(Compression::START as u64).read_to_end(&mut start));
    read.map_err(StoreError::access("read", &blob.path))?;
    let compression = Compression::of(&start).map_err(ArchiveError::Read)?;
    Ok(descriptor(layer_type(compression), blob.size, blob.digest))
}

fn wrong(name: &str, source: DocumentError) -> LoadError {
    LoadError::Document { name: name.to_owned(), source }
}
