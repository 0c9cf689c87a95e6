//! From images to an archive that `docker load`, `podman load`, `skopeo` and [`Store::load`] read.
//!
//! It is an OCI image layout and, in the same files, the older form of Docker: `index.json` and `manifest.json` name
//! the same blobs. The same images give the same bytes.
//!
//! Source: OCI image-spec 1.1, image-layout.md; moby `image/tarexport/save.go`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;

use oci_spec::image::MediaType;
use serde_json::{Value, json};

use crate::digest::Digest;
use crate::manifest::{canonical, digest_of};
use crate::reference::Reference;
use crate::store::index::{CONTAINERD_NAME, Entry, OCI_NAME};
use crate::store::{FindError, Store, StoreError};

/// Images could not be saved.
#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    /// There is no such image.
    #[error("no such image: {0}")]
    NotFound(String),
    /// A layer is here unpacked only.
    #[error("layer {layer} of {image} is not in the store as it travels")]
    BlobMissing {
        /// The image.
        image: String,
        /// The layer.
        layer: Digest,
    },
    /// The archive cannot be written.
    #[error("cannot write the archive")]
    Write(#[source] io::Error),
    /// The words name no image.
    #[error(transparent)]
    Find(#[from] FindError),
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Store {
    /// Writes the images called `names` into one archive.
    ///
    /// # Errors
    ///
    /// [`SaveError`]; the archive is then of no use.
    pub fn save(&self, names: &[String], writer: impl Write) -> Result<(), SaveError> {
        // What is being read is not deleted.
        let _held = self.hold()?;
        let mut blobs: BTreeMap<Digest, PathBuf> = BTreeMap::new();
        let mut index: Vec<Value> = Vec::new();
        let mut older: BTreeMap<Digest, Value> = BTreeMap::new();
        for name in names {
            let entry = self.find_entry(name)?.ok_or_else(|| SaveError::NotFound(name.clone()))?;
            let manifest = self.manifest(&entry)?;
            let invalid = |error| self.invalid(entry.manifest)(error);
            let config = digest_of(manifest.config()).map_err(invalid)?;
            let mut layers = Vec::new();
            for layer in manifest.layers() {
                let layer = digest_of(layer).map_err(invalid)?;
                if !self.has_blob(layer) {
                    return Err(SaveError::BlobMissing { image: name.clone(), layer });
                }
                layers.push(layer);
            }
            for digest in layers.iter().chain([&config, &entry.manifest]) {
                blobs.insert(*digest, self.blob(*digest));
            }
            // An id that was asked for is not a name that was given.
            let reference = entry.reference.clone().filter(|found| {
                name.parse()
                    .is_ok_and(|wanted: Reference| *found == wanted || wanted.digest().is_some())
            });
            index.push(descriptor(&entry, reference.as_ref()));
            let file = |digest: &Digest| format!("blobs/sha256/{}", digest.hex());
            let line = older.entry(entry.manifest).or_insert_with(|| {
                json!({
                    "Config": file(&config),
                    "RepoTags": [],
                    "Layers": layers.iter().map(file).collect::<Vec<_>>(),
                })
            });
            if let (Some(tags), Some(reference)) = (line["RepoTags"].as_array_mut(), reference)
                && reference.tag().is_some()
            {
                tags.push(reference.familiar().into());
            }
        }
        write(writer, &blobs, index, older).map_err(SaveError::Write)
    }
}

fn descriptor(entry: &Entry, reference: Option<&Reference>) -> Value {
    let mut descriptor = json!({
        "mediaType": entry.media_type,
        "digest": entry.manifest,
        "size": entry.size,
    });
    if let Some(reference) = reference {
        let name = reference.to_string();
        descriptor["annotations"] =
            json!({CONTAINERD_NAME: name, OCI_NAME: reference.tag().unwrap_or(&name)});
    }
    descriptor
}

fn write(
    writer: impl Write,
    blobs: &BTreeMap<Digest, PathBuf>,
    index: Vec<Value>,
    older: BTreeMap<Digest, Value>,
) -> io::Result<()> {
    let mut archive = tar::Builder::new(writer);
    let document = |value: Value| canonical(value);
    let index = json!({
        "schemaVersion": 2,
        "mediaType": MediaType::ImageIndex,
        "manifests": index,
    });
    let documents = [
        ("oci-layout", document(json!({"imageLayoutVersion": "1.0.0"}))),
        ("index.json", document(index)),
        ("manifest.json", document(older.into_values().collect())),
    ];
    for folder in ["blobs/", "blobs/sha256/"] {
        let mut header = header(tar::EntryType::Directory, 0, 0o755);
        archive.append_data(&mut header, folder, io::empty())?;
    }
    for (digest, path) in blobs {
        let file = File::open(path)?;
        let mut header = header(tar::EntryType::Regular, file.metadata()?.len(), 0o644);
        archive.append_data(&mut header, format!("blobs/sha256/{}", digest.hex()), file)?;
    }
    for (name, bytes) in documents {
        let mut header = header(tar::EntryType::Regular, bytes.len() as u64, 0o644);
        archive.append_data(&mut header, name, &bytes[..])?;
    }
    archive.into_inner()?.flush()
}

/// Without times and owners: what is saved twice is equal.
fn header(kind: tar::EntryType, size: u64, mode: u32) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(mode);
    header.set_mtime(0);
    header
}
