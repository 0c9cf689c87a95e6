//! `index.json` of the layout: which images there are and what they are called.
//!
//! One descriptor per name, and one without a name for an image that has lost its last one. Names are complete
//! references, in the annotation that containerd and Docker use, and in that of the OCI specification for all
//! others.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::Path;

use jiff::Timestamp;
use oci_spec::image::{Descriptor, ImageIndex, MediaType};

use super::durable::replace_file;
use super::error::StoreError;
use crate::digest::Digest;
use crate::reference::Reference;

/// The annotation with a complete reference. Source: containerd `images/annotations.go`.
pub(crate) const CONTAINERD_NAME: &str = "io.containerd.image.name";
/// The annotation with a reference of any kind. Source: OCI image-spec 1.1, annotations.md.
pub(crate) const OCI_NAME: &str = "org.opencontainers.image.ref.name";

/// The annotation with the digest that a registry had under the name: that of an index, if there is one.
const SOURCE: &str = "io.compose.image.source";
/// The annotation that says when the image got, or was confirmed to have, its name.
const NAMED: &str = "io.compose.image.named";

/// One line of the index.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) reference: Option<Reference>,
    /// What the registry has under the name, when it came from one.
    pub(crate) source: Option<Digest>,
    /// When the name was given, or confirmed by its registry.
    pub(crate) named: Option<Timestamp>,
    pub(crate) manifest: Digest,
    pub(crate) media_type: MediaType,
    pub(crate) size: u64,
}

/// The content of `index.json`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Index {
    pub(crate) entries: Vec<Entry>,
}

impl Index {
    /// Reads the index; a store that has none yet is empty.
    pub(crate) fn read(path: &Path) -> Result<Self, StoreError> {
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(StoreError::access("read", path)(error)),
        };
        let index: ImageIndex = serde_json::from_slice(&bytes)
            .map_err(|source| StoreError::Damaged { path: path.to_owned(), source })?;
        let entries =
            index.manifests().iter().map(|descriptor| Entry::from_descriptor(path, descriptor));
        Ok(Self { entries: entries.collect::<Result<_, _>>()? })
    }

    /// Replaces the index on disk, durably.
    pub(crate) fn write(&self, path: &Path) -> Result<(), StoreError> {
        let mut index = ImageIndex::default();
        index.set_schema_version(2);
        index.set_media_type(Some(MediaType::ImageIndex));
        index.set_manifests(self.entries.iter().map(Entry::to_descriptor).collect());
        let json = serde_json::to_vec_pretty(&index)
            .map_err(|source| StoreError::Damaged { path: path.to_owned(), source })?;
        replace_file(path, &json).map_err(StoreError::access("replace", path))
    }

    /// Gives `entry` its name, which is taken from the image that had it. An image left without any name stays, as
    /// Docker's `<none>`, because a container may use it.
    pub(crate) fn insert(&mut self, entry: Entry) {
        let displaced = match &entry.reference {
            Some(name) => self.take(name),
            None if self.has(entry.manifest) => return,
            None => None,
        };
        let manifest = entry.manifest;
        self.entries.push(entry);
        // A nameless line is dropped as soon as the image has a name.
        if self.entries.iter().any(|entry| entry.manifest == manifest && entry.reference.is_some())
        {
            self.entries.retain(|entry| entry.manifest != manifest || entry.reference.is_some());
        }
        if let Some(displaced) = displaced.filter(|displaced| !self.has(displaced.manifest)) {
            self.entries.push(displaced.renamed(None));
        }
    }

    /// Removes the line with this name.
    pub(crate) fn take(&mut self, name: &Reference) -> Option<Entry> {
        let at = self.entries.iter().position(|entry| entry.reference.as_ref() == Some(name))?;
        Some(self.entries.remove(at))
    }

    /// Whether any line names this manifest.
    pub(crate) fn has(&self, manifest: Digest) -> bool {
        self.entries.iter().any(|entry| entry.manifest == manifest)
    }
}

impl Entry {
    /// An image made or loaded here, under a name or none.
    pub(crate) fn local(
        reference: Option<Reference>,
        manifest: Digest,
        media_type: MediaType,
        size: u64,
    ) -> Self {
        let named = reference.is_some().then(Timestamp::now);
        Self { reference, source: None, named, manifest, media_type, size }
    }

    /// The same image with another name.
    pub(crate) fn renamed(&self, reference: Option<Reference>) -> Self {
        let named = reference.is_some().then(Timestamp::now);
        Self { reference, named, source: None, ..self.clone() }
    }

    /// What a person can call it by.
    pub(super) fn name(&self) -> String {
        self.reference.as_ref().map_or_else(|| self.manifest.to_string(), Reference::familiar)
    }

    fn from_descriptor(path: &Path, descriptor: &Descriptor) -> Result<Self, StoreError> {
        let invalid = |reason: String| StoreError::Invalid { path: path.to_owned(), reason };
        let manifest = descriptor
            .digest()
            .as_ref()
            .parse::<Digest>()
            .map_err(|error| invalid(error.to_string()))?;
        let annotation = |key: &str| descriptor.annotations().as_ref().and_then(|all| all.get(key));
        let name = annotation(CONTAINERD_NAME);
        let reference = name.map(|name| name.parse()).transpose();
        Ok(Self {
            reference: reference
                .map_err(|error: crate::ReferenceError| invalid(error.to_string()))?,
            // Both only say more; an older store has neither.
            source: annotation(SOURCE).and_then(|text| text.parse().ok()),
            named: annotation(NAMED).and_then(|text| text.parse().ok()),
            manifest,
            media_type: descriptor.media_type().clone(),
            size: descriptor.size(),
        })
    }

    fn to_descriptor(&self) -> Descriptor {
        let mut descriptor = descriptor(self.media_type.clone(), self.size, self.manifest);
        let name = self.reference.as_ref().map(Reference::to_string);
        let annotations = [
            (CONTAINERD_NAME, name.clone()),
            (OCI_NAME, name),
            (SOURCE, self.source.map(|digest| digest.to_string())),
            (NAMED, self.named.map(|named| named.to_string())),
        ];
        let annotations: HashMap<String, String> = annotations
            .into_iter()
            .filter_map(|(key, value)| Some((key.to_owned(), value?)))
            .collect();
        if !annotations.is_empty() {
            descriptor.set_annotations(Some(annotations));
        }
        descriptor
    }
}

/// A descriptor with one of our digests.
pub(crate) fn descriptor(media_type: MediaType, size: u64, digest: Digest) -> Descriptor {
    let digest: oci_spec::image::Digest =
        digest.to_string().parse().expect("sha256 and 64 hexadecimal digits are a valid digest");
    Descriptor::new(media_type, size, digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: Option<&str>, content: &str) -> Entry {
        let name = name.map(|name| name.parse().unwrap());
        Entry::local(name, Digest::of(content.as_bytes()), MediaType::ImageManifest, 1)
    }

    fn lines(index: &Index) -> Vec<(String, String)> {
        let name = |entry: &Entry| {
            entry.reference.as_ref().map_or("<none>".to_owned(), Reference::familiar)
        };
        index.entries.iter().map(|entry| (name(entry), entry.manifest.short())).collect()
    }

    #[test]
    fn a_name_moves_and_its_old_image_stays() {
        let mut index = Index::default();
        let short = |content: &str| Digest::of(content.as_bytes()).short();
        index.insert(entry(Some("app"), "one"));
        index.insert(entry(Some("app:v1"), "one"));
        index.insert(entry(Some("app"), "two"));
        assert_eq!(
            lines(&index),
            [("app:v1".into(), short("one")), ("app:latest".into(), short("two"))]
        );
        index.insert(entry(Some("app"), "three"));
        assert_eq!(lines(&index)[2], ("<none>".into(), short("two")));
        index.insert(entry(None, "two"));
        assert_eq!(lines(&index).len(), 3);
        index.insert(entry(Some("old"), "two"));
        assert_eq!(lines(&index).iter().filter(|line| line.0 == "<none>").count(), 0);
    }

    #[test]
    fn is_read_as_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("index.json");
        assert!(Index::read(&path).unwrap().entries.is_empty());
        let mut index = Index::default();
        index.insert(entry(Some("localhost:5000/a/b:c"), "one"));
        index.insert(entry(None, "two"));
        index.write(&path).unwrap();
        assert_eq!(lines(&Index::read(&path).unwrap()), lines(&index));
        fs::write(&path, "{").unwrap();
        assert!(matches!(Index::read(&path), Err(StoreError::Damaged { .. })));
    }
}
