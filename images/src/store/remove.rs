//! Giving images further names, and taking names and images away.

use super::Store;
use super::error::StoreError;
use super::find::FindError;
use super::index::{Entry, Index};
use super::lock::Mode;
use crate::digest::Digest;
use crate::image::Image;
use crate::reference::Reference;

/// An image could not be given a name.
#[derive(Debug, thiserror::Error)]
pub enum TagError {
    /// The image to be named is not there.
    #[error("no such image: {0}")]
    NotFound(String),
    /// The new name has a digest, which an image has and is not given.
    #[error("cannot give the name `{0}` with a digest to an image")]
    Digest(Reference),
    /// The words name no image of the store.
    #[error(transparent)]
    Find(#[from] FindError),
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// An image could not be removed.
#[derive(Debug, thiserror::Error)]
pub enum RemoveError {
    /// There is no such image.
    #[error("no such image: {0}")]
    NotFound(String),
    /// A container is made of it.
    #[error("image {name} is used by container {container}")]
    InUse {
        /// The image, as given.
        name: String,
        /// One container that uses it.
        container: String,
    },
    /// An id was given and the image has several names.
    #[error("image {id} has {} names: {}", names.len(), names.join(", "))]
    SeveralNames {
        /// The short id.
        id: String,
        /// All names.
        names: Vec<String>,
    },
    /// The words name no image.
    #[error(transparent)]
    Find(#[from] FindError),
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Whether a removal may take names away that are in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Force {
    /// Refuse when a container uses the image, or an id stands for several names.
    No,
    /// Take all names away. The content of an image that a container uses stays, without a name, because running
    /// programs are in it.
    Yes,
}

/// What a removal has done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Removed {
    /// Names that no longer lead to an image.
    pub untagged: Vec<Reference>,
    /// Id of the image, if it is gone and not only its name.
    pub deleted: Option<Digest>,
}

impl Store {
    /// Gives the image `name` another name, taking it from the image that had it.
    ///
    /// # Errors
    ///
    /// [`TagError`]; the names are then as before.
    pub fn tag(&self, name: &str, target: &Reference) -> Result<Image, TagError> {
        if target.digest().is_some() {
            return Err(TagError::Digest(target.clone()));
        }
        let _lock = self.lock_index(Mode::Exclusive)?;
        let mut index = Index::read(&self.index())?;
        let found = self.select(&index, name)?.cloned();
        let found = found.ok_or_else(|| TagError::NotFound(name.to_owned()))?;
        let entry = found.renamed(Some(target.clone()));
        index.insert(entry.clone());
        index.write(&self.index())?;
        Ok(self.image(&entry)?)
    }

    /// Takes a name away from an image, and deletes the image with its last name.
    ///
    /// `user_of` names a container that is made of the image, if there is one. Names go first, durably; layers and
    /// blobs that no name leads to any more are deleted then, now or, while an import is running, by the next writer.
    ///
    /// # Errors
    ///
    /// [`RemoveError`]. Only [`RemoveError::Store`] may come after names have gone.
    pub fn remove(
        &self,
        name: &str,
        force: Force,
        user_of: impl Fn(&Image) -> Option<String>,
    ) -> Result<Removed, RemoveError> {
        let removed = {
            let _lock = self.lock_index(Mode::Exclusive)?;
            let index = Index::read(&self.index())?;
            let (index, removed) = self.without(index, name, force, user_of)?;
            index.write(&self.index())?;
            removed
        };
        self.collect_garbage()?;
        Ok(removed)
    }

    /// The index after the removal, and what is gone.
    fn without(
        &self,
        mut index: Index,
        name: &str,
        force: Force,
        user_of: impl Fn(&Image) -> Option<String>,
    ) -> Result<(Index, Removed), RemoveError> {
        let not_found = || RemoveError::NotFound(name.to_owned());
        let entry = self.select(&index, name)?.cloned().ok_or_else(not_found)?;
        let Ok(image) = self.image(&entry) else {
            // Damaged: nothing can be made of it, so nothing is asked and its line goes.
            index.entries.retain(|other| {
                other.manifest != entry.manifest || other.reference != entry.reference
            });
            return Ok((
                index,
                Removed { untagged: entry.reference.into_iter().collect(), deleted: None },
            ));
        };
        let names = self.names(&index, image.id);
        let by_name =
            entry.reference.clone().filter(|found| name.parse().is_ok_and(|name| *found == name));
        let leaving: Vec<Reference> = match by_name {
            Some(one) => vec![one],
            None if names.len() > 1 && force == Force::No => {
                let names = names.iter().map(Reference::familiar).collect();
                return Err(RemoveError::SeveralNames { id: image.id.short(), names });
            }
            None => names.clone(),
        };
        let last = leaving.len() == names.len();
        let user = if last { user_of(&image) } else { None };
        if let Some(container) = &user
            && (force == Force::No || leaving.is_empty())
        {
            return Err(RemoveError::InUse { name: name.to_owned(), container: container.clone() });
        }
        for name in &leaving {
            index.take(name);
        }
        let deleted = (last && user.is_none()).then_some(image.id);
        if deleted.is_some() {
            index.entries.retain(|entry| !self.is(entry, image.id));
        } else {
            // Stays without a name if this was the last one.
            index.insert(entry.renamed(None));
        }
        Ok((index, Removed { untagged: leaving, deleted }))
    }

    /// All names of the image with this id.
    pub(super) fn names(&self, index: &Index, id: Digest) -> Vec<Reference> {
        let same = index.entries.iter().filter(|entry| self.is(entry, id));
        same.filter_map(|entry| entry.reference.clone()).collect()
    }

    /// Whether a line is one of the image with this id; one that is damaged is of none.
    fn is(&self, entry: &Entry, id: Digest) -> bool {
        self.id(entry).is_ok_and(|found| found == id)
    }
}
