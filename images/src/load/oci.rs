//! The OCI image layout: `index.json` and what it leads to.
//!
//! Source: OCI image-spec 1.1, image-layout.md and image-index.md.

use oci_spec::image::{Descriptor, MediaType, OciLayout};

use super::staged::{Staged, blob_name, document};
use super::{Candidate, LoadError};
use crate::manifest::{
    Configuration, DocumentError, Kind, digest_of, kind, parse_index, parse_manifest,
};
use crate::platform::Platform;
use crate::reference::Reference;
use crate::select::{DEEPEST, best, fits, is_image, platforms};
use crate::store::index::{CONTAINERD_NAME, OCI_NAME};

const LAYOUT: &str = "oci-layout";
const INDEX: &str = "index.json";

/// All images in the layout, or `None` if there is no layout.
pub(super) fn candidates(
    staged: &Staged,
    platform: &Platform,
) -> Result<Option<Vec<Candidate>>, LoadError> {
    let (Some(layout), Some(index)) = (staged.find(LAYOUT), staged.find(INDEX)) else {
        return Ok(None);
    };
    let layout: OciLayout =
        serde_json::from_slice(&document(LAYOUT, layout)?).map_err(|e| wrong(LAYOUT, e.into()))?;
    if !layout.image_layout_version().starts_with("1.") {
        return Err(LoadError::Version(layout.image_layout_version().clone()));
    }
    let index = parse_index(&document(INDEX, index)?, &MediaType::ImageIndex)
        .map_err(|e| wrong(INDEX, e))?;
    let images: Vec<&Descriptor> = index.manifests().iter().filter(|one| is_image(one)).collect();
    let fitting: Vec<&Descriptor> =
        images.iter().copied().filter(|one| fits(platform, one)).collect();
    if fitting.is_empty() && !images.is_empty() {
        return Err(no_platform(platform, platforms(images.into_iter())));
    }
    let candidates = fitting.into_iter().map(|one| candidate(staged, platform, one, DEEPEST));
    candidates.collect::<Result<_, _>>().map(Some)
}

/// The image that a descriptor leads to, through indexes if need be.
fn candidate(
    staged: &Staged,
    platform: &Platform,
    descriptor: &Descriptor,
    depth: usize,
) -> Result<Candidate, LoadError> {
    let digest = digest_of(descriptor).map_err(|source| wrong(INDEX, source))?;
    let name = blob_name(digest);
    let blob = staged.blob(digest, descriptor.size())?;
    let bytes = document(&name, blob)?;
    let media_type = descriptor.media_type();
    if kind(media_type).map_err(|source| wrong(&name, source))? == Kind::Index {
        let depth = depth.checked_sub(1).ok_or_else(|| wrong(&name, DocumentError::Ambiguous))?;
        let index = parse_index(&bytes, media_type).map_err(|source| wrong(&name, source))?;
        let best = best(platform, index.manifests())
            .map_err(|available| no_platform(platform, available))?;
        let mut found = candidate(staged, platform, best, depth)?;
        found.names.extend(names(descriptor));
        return Ok(found);
    }
    let manifest = parse_manifest(&bytes, media_type).map_err(|source| wrong(&name, source))?;
    let find = |one: &Descriptor| -> Result<_, LoadError> {
        let digest = digest_of(one).map_err(|source| wrong(&name, source))?;
        Ok(staged.blob(digest, one.size())?.clone())
    };
    let config = find(manifest.config())?;
    let config_name = blob_name(config.digest);
    let parsed = Configuration::parse(&document(&config_name, &config)?)
        .map_err(|source| wrong(&config_name, source))?;
    let (layers, diff_ids) = (manifest.layers().len(), parsed.diff_ids.len());
    if layers != diff_ids {
        return Err(wrong(&name, DocumentError::LayerCount { layers, diff_ids }));
    }
    let layers = manifest
        .layers()
        .iter()
        .zip(parsed.diff_ids)
        .map(|(one, diff_id)| Ok((find(one)?, diff_id)));
    Ok(Candidate {
        names: names(descriptor).into_iter().collect(),
        manifest: blob.clone(),
        media_type: media_type.clone(),
        config,
        layers: layers.collect::<Result<_, LoadError>>()?,
    })
}

fn wrong(name: &str, source: DocumentError) -> LoadError {
    LoadError::Document { name: name.to_owned(), source }
}

fn no_platform(platform: &Platform, available: Vec<String>) -> LoadError {
    LoadError::Platform { wanted: platform.to_string(), available }
}

/// The name in the annotations. One that is only a tag, as buildx writes it, names nothing.
fn names(descriptor: &Descriptor) -> Option<Reference> {
    let annotations = descriptor.annotations().as_ref()?;
    let complete = annotations.get(CONTAINERD_NAME);
    let name =
        complete.or_else(|| annotations.get(OCI_NAME).filter(|name| name.contains(['/', ':'])))?;
    name.parse().ok().filter(|name: &Reference| name.digest().is_none())
}
