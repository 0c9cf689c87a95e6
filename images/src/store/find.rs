//! From a name, an id or a directory to an image.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::Store;
use super::error::StoreError;
use super::index::{Entry, Index};
use super::lock::Mode;
use crate::digest::Digest;
use crate::image::{Image, Origin};
use crate::manifest::{Configuration, digest_of, parse_manifest};
use crate::reference::{Reference, ReferenceError};

use crate::layer::OPAQUE;
use oci_spec::image::{Descriptor, ImageManifest};

/// What is written in front of a directory that is to be an image.
pub(crate) const DIRECTORY: &str = "rootfs:";

/// An image could not be looked up.
#[derive(Debug, thiserror::Error)]
pub enum FindError {
    /// The words name no image.
    #[error(transparent)]
    Name(#[from] ReferenceError),
    /// Several ids begin like this.
    #[error("`{prefix}` is the beginning of {count} image ids")]
    Ambiguous {
        /// The digits given.
        prefix: String,
        /// How many ids begin with them.
        count: usize,
    },
    /// The directory behind `rootfs:` cannot be used.
    #[error("cannot use {} as an image", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What is in the store.
#[derive(Debug, Default)]
pub struct Listing {
    /// The images.
    pub images: Vec<Image>,
    /// The names that lead to no image any more.
    pub damaged: Vec<Damaged>,
}

/// A name that leads to an image which cannot be used.
#[derive(Debug)]
pub struct Damaged {
    /// The name, or the digest of the manifest of an image without one.
    pub name: String,
    /// What is wrong.
    pub error: StoreError,
}

impl Store {
    /// Finds an image by what a person writes.
    ///
    /// In this order: `rootfs:/dir` is that directory of the host; a reference, with a tag or a digest; an id, whole
    /// or its beginning, with or without `sha256:`.
    ///
    /// # Errors
    ///
    /// [`FindError`]; an image that is not there is `None`.
    pub fn find(&self, name: &str) -> Result<Option<Image>, FindError> {
        if let Some(directory) = name.strip_prefix(DIRECTORY) {
            return Ok(Some(directory_image(name, Path::new(directory))?));
        }
        if !self.index().exists() {
            // What is no name is refused here as well.
            return Ok(self
                .select(&Index::default(), name)?
                .map(|entry| self.image(entry))
                .transpose()?);
        }
        let _lock = self.lock_index(Mode::Shared)?;
        let index = Index::read(&self.index())?;
        let found = self.select(&index, name)?;
        Ok(found.map(|entry| self.image(entry)).transpose()?)
    }

    /// The line of the index that `name` means, unless it is a directory.
    pub(crate) fn find_entry(&self, name: &str) -> Result<Option<Entry>, FindError> {
        let _lock = self.lock_index(Mode::Shared)?;
        let index = Index::read(&self.index())?;
        Ok(self.select(&index, name)?.cloned())
    }

    /// The layers of the image with this manifest, the lowest first.
    pub(crate) fn layers_of(
        &self,
        manifest: Digest,
    ) -> Result<Option<Vec<Descriptor>>, StoreError> {
        let _lock = self.lock_index(Mode::Shared)?;
        let index = Index::read(&self.index())?;
        let Some(entry) = index.entries.iter().find(|entry| entry.manifest == manifest) else {
            return Ok(None);
        };
        Ok(Some(self.manifest(entry)?.layers().clone()))
    }

    /// The image that all these lines are about, if the index has all of them.
    pub(crate) fn image_of_all(&self, entries: &[Entry]) -> Result<Option<Image>, StoreError> {
        let _lock = self.lock_index(Mode::Shared)?;
        let index = Index::read(&self.index())?;
        let same = |one: &Entry, other: &Entry| {
            one.manifest == other.manifest
                && (one.reference.is_none() || one.reference == other.reference)
        };
        let has = |wanted: &Entry| index.entries.iter().any(|entry| same(wanted, entry));
        match entries.first() {
            Some(first) if entries.iter().all(has) => self.image(first).map(Some),
            _ => Ok(None),
        }
    }

    /// All lines of the index.
    pub(crate) fn entries(&self) -> Result<Vec<Entry>, StoreError> {
        let _lock = self.lock_index(Mode::Shared)?;
        Ok(Index::read(&self.index())?.entries)
    }

    /// All images, one for each name, those without a name last; and those that are damaged, apart, because they
    /// must not keep the others from being seen.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the index is damaged or cannot be read.
    pub fn list(&self) -> Result<Listing, StoreError> {
        let _lock = self.lock_index(Mode::Shared)?;
        let index = Index::read(&self.index())?;
        let mut listing = Listing::default();
        for entry in &index.entries {
            match self.image(entry) {
                Ok(image) => listing.images.push(image),
                Err(error) => listing.damaged.push(Damaged { name: entry.name(), error }),
            }
        }
        listing.images.sort_by_key(|image| (image.reference.is_none(), image.reference.clone()));
        Ok(listing)
    }

    /// The line of the index that `name` means.
    pub(super) fn select<'a>(
        &self,
        index: &'a Index,
        name: &str,
    ) -> Result<Option<&'a Entry>, FindError> {
        let prefix = name.strip_prefix("sha256:");
        if prefix.is_none() {
            match name.parse::<Reference>() {
                Ok(reference) => {
                    if let Some(entry) =
                        index.entries.iter().find(|entry| is_named(entry, &reference))
                    {
                        return Ok(Some(entry));
                    }
                }
                Err(ReferenceError::LooksLikeId(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.select_by_id(index, prefix.unwrap_or(name))
    }

    fn select_by_id<'a>(
        &self,
        index: &'a Index,
        prefix: &str,
    ) -> Result<Option<&'a Entry>, FindError> {
        let digit = |c: u8| matches!(c, b'0'..=b'9' | b'a'..=b'f');
        if prefix.is_empty() || prefix.len() > 64 || !prefix.bytes().all(digit) {
            return Ok(None);
        }
        let mut found = None;
        let mut ids = BTreeSet::new();
        for entry in &index.entries {
            // One that is damaged has no id; it is found by its name.
            let Ok(id) = self.id(entry) else { continue };
            if id.hex().starts_with(prefix) || entry.manifest.hex() == prefix {
                ids.insert(id);
                found = found.or(Some(entry));
            }
        }
        match ids.len() {
            0 | 1 => Ok(found),
            count => Err(FindError::Ambiguous { prefix: prefix.to_owned(), count }),
        }
    }

    /// The id of the image on a line: the digest of its configuration.
    pub(super) fn id(&self, entry: &Entry) -> Result<Digest, StoreError> {
        let manifest = self.manifest(entry)?;
        digest_of(manifest.config()).map_err(self.invalid(entry.manifest))
    }

    /// The image on a line, complete. The caller holds the index lock, so that nothing of it is deleted meanwhile.
    pub(super) fn image(&self, entry: &Entry) -> Result<Image, StoreError> {
        let id = self.id(entry)?;
        let config = self.configuration(id)?;
        let mut layers = Vec::new();
        let mut size = 0;
        for diff_id in config.diff_ids.iter().rev() {
            let missing = || StoreError::LayerMissing { layer: *diff_id, image: id };
            size += self.find_layer(*diff_id)?.ok_or_else(missing)?.size;
            let path = self.layer(*diff_id);
            // Overlayfs refuses the same directory twice, and the lower one of two equal layers changes nothing.
            if !layers.contains(&path) {
                let hides_all = is_opaque(&path);
                layers.push(path);
                // Overlayfs does not look at this mark on the root of a layer.
                if hides_all {
                    break;
                }
            }
        }
        Ok(Image {
            reference: entry.reference.clone(),
            named: entry.named,
            source: entry.source,
            id,
            manifest: entry.manifest,
            health_check: config.health_check(),
            created: config.typed.created().as_ref().and_then(|created| created.parse().ok()),
            config: config.typed,
            layers,
            size,
            origin: Origin::Store,
        })
    }

    /// Whether everything that the image on a line needs is there, its blobs included.
    pub(crate) fn is_whole(&self, entry: &Entry) -> bool {
        let blobs = || -> Result<bool, StoreError> {
            let manifest = self.manifest(entry)?;
            let mut layers = manifest.layers().iter();
            Ok(layers.all(|layer| digest_of(layer).is_ok_and(|digest| self.has_blob(digest))))
        };
        self.image(entry).is_ok() && blobs().unwrap_or(false)
    }

    pub(crate) fn manifest(&self, entry: &Entry) -> Result<ImageManifest, StoreError> {
        let bytes = self.read_blob(entry.manifest)?;
        parse_manifest(&bytes, &entry.media_type).map_err(self.invalid(entry.manifest))
    }

    pub(crate) fn configuration(&self, id: Digest) -> Result<Configuration, StoreError> {
        let bytes = self.read_blob(id)?;
        Configuration::parse(&bytes).map_err(self.invalid(id))
    }

    fn read_blob(&self, digest: Digest) -> Result<Vec<u8>, StoreError> {
        let path = self.blob(digest);
        fs::read(&path).map_err(StoreError::access("read", &path))
    }

    pub(crate) fn invalid<E: std::error::Error>(
        &self,
        digest: Digest,
    ) -> impl FnOnce(E) -> StoreError {
        let path = self.blob(digest);
        move |error| StoreError::Invalid { path, reason: error.to_string() }
    }
}

/// Whether the root of a layer hides everything in lower layers.
fn is_opaque(layer: &Path) -> bool {
    let mut value = [0; 1];
    rustix::fs::lgetxattr(layer, OPAQUE, &mut value).is_ok_and(|length| value[..length] == *b"y")
}

fn is_named(entry: &Entry, wanted: &Reference) -> bool {
    let Some(name) = &entry.reference else { return false };
    match wanted.digest() {
        Some(digest) => {
            let digests = [Some(entry.manifest), entry.source];
            name.same_repository(wanted) && digests.contains(&Some(digest))
        }
        None => name == wanted,
    }
}

fn directory_image(name: &str, path: &Path) -> Result<Image, FindError> {
    let refuse = |source| FindError::Directory { path: path.to_owned(), source };
    if !path.is_absolute() {
        return Err(refuse(io::Error::new(
            io::ErrorKind::InvalidInput,
            "the path is not absolute",
        )));
    }
    let directory = fs::canonicalize(path).map_err(refuse)?;
    if !directory.is_dir() {
        return Err(refuse(io::ErrorKind::NotADirectory.into()));
    }
    Ok(Image::from_directory(name, directory))
}
