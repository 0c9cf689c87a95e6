//! Compose files that lie in registries: `oci://REGISTRY/REPOSITORY[:TAG]`, made by `publish`.
//!
//! What its name leads to is asked each time; each digest is fetched once.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use images::registry::{Cancel, Environment, PullError, Registry, RegistryError, SettingsError};
use images::{Reference, ReferenceError};

use super::super::artifact::{self, LayoutError, MAIN};
use super::whole;
use crate::registry;

/// An artifact that cannot be read.
#[derive(Debug, thiserror::Error)]
pub(in crate::file) enum ArtifactError {
    /// Its name is none.
    #[error(transparent)]
    Name(#[from] ReferenceError),
    /// The settings of registries.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The registry does not give it.
    #[error(transparent)]
    Registry(#[from] PullError),
    /// It is not laid out as it should be.
    #[error("{artifact} is no compose project")]
    Layout {
        artifact: String,
        #[source]
        source: LayoutError,
    },
    /// The cache folder does not work.
    #[error("cannot keep the artifact in {}", path.display())]
    Cache {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

impl ArtifactError {
    /// What to do about it.
    pub(super) fn help(&self) -> String {
        let text = match self {
            Self::Name(_) => "write `oci://REGISTRY/REPOSITORY:TAG`",
            Self::Registry(PullError::Registry(RegistryError::Document { .. }))
            | Self::Layout { .. } => {
                "`compose publish` makes artifacts that are compose projects; is this the right name?"
            }
            Self::Registry(PullError::Registry(error)) => {
                return registry::help(error).unwrap_or_default();
            }
            Self::Registry(_) => "check the name",
            Self::Settings(error) => return registry::settings(error).help.unwrap_or_default(),
            Self::Cache { .. } => "make room there, or set XDG_CACHE_HOME to another folder",
        };
        text.to_owned()
    }
}

/// The compose file of the artifact `name`, in a copy of it below `cache`.
pub(super) fn fetch(name: &str, cache: &Path) -> Result<PathBuf, ArtifactError> {
    let reference: Reference = name.parse()?;
    let registry = Registry::new(Environment::of_process())?;
    let cancel = Cancel::default();
    let digest = registry.digest(&reference, &cancel)?;
    let folder = cache.join(digest.hex());
    if !folder.is_dir() {
        let found = registry.artifact(&reference.at(digest), artifact::KIND, &cancel)?;
        let files = artifact::files(&found.parts)
            .map_err(|source| ArtifactError::Layout { artifact: reference.familiar(), source })?;
        let cannot = |source| ArtifactError::Cache { path: cache.to_owned(), source };
        whole(&folder, cannot, |scratch| {
            let mut write = files.iter().map(|(name, bytes)| fs::write(scratch.join(name), bytes));
            write.try_for_each(|written| written.map_err(cannot))
        })?;
    }
    Ok(folder.join(MAIN))
}
