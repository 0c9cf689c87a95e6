//! The image that a stage becomes.

use oci_spec::image::MediaType;

use super::error::BuildError;
use super::state::State;
use crate::image::Image;
use crate::import::manifest_of;
use crate::reference::Reference;
use crate::store::index::Entry;
use crate::store::workspace::Workspace;

/// Writes the image and gives it its names. An image that is there as it should be is left alone.
pub(super) fn export(
    workspace: Workspace<'_>,
    state: &State,
    names: &[Reference],
    latest: Option<i64>,
) -> Result<Image, BuildError> {
    let store = workspace.store();
    let config = workspace.stage_document(&state.configuration(latest))?;
    let manifest = manifest_of(&config, state.layers.clone());
    let manifest = workspace.stage_document(&manifest)?;
    let entry = |reference: Option<Reference>| {
        Entry::local(reference, manifest.digest, MediaType::ImageManifest, manifest.size)
    };
    let mut entries: Vec<Entry> = names.iter().cloned().map(|name| entry(Some(name))).collect();
    if entries.is_empty() {
        entries.push(entry(None));
    }
    if let Some(image) = store.image_of_all(&entries)? {
        return Ok(image);
    }
    let mut images = workspace.commit(&[], &[config, manifest], entries)?;
    Ok(images.remove(0))
}
