//! Making and removing named volumes.

use volumes::{VolumeName, Wanted};

use super::run::Walk;
use crate::model::VolumeKey;
use crate::record::labels;

/// A volume could not be made or removed.
#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    /// A name that no volume can have.
    #[error(transparent)]
    Name(#[from] volumes::NameError),
    /// It could not be made.
    #[error(transparent)]
    Create(#[from] volumes::CreateError),
    /// It could not be removed.
    #[error(transparent)]
    Remove(#[from] volumes::RemoveError),
}

/// Makes the volume of the project under `key`.
pub fn create(walk: &Walk, key: &VolumeKey) -> Result<(), VolumeError> {
    let Some(project) = &walk.job.project else { return Ok(()) };
    let Some(wanted) = project.volumes.get(key) else { return Ok(()) };
    let mut wish = Wanted::named(VolumeName::parse(&wanted.name)?);
    wish.driver = wanted.driver.clone().unwrap_or(wish.driver);
    wish.driver_opts = wanted.driver_opts.clone();
    wish.labels = wanted.labels.clone();
    wish.labels.insert(labels::PROJECT.to_owned(), project.name.to_string());
    wish.labels.insert(labels::VOLUME.to_owned(), key.to_string());
    wish.labels.insert(labels::CONFIG_HASH.to_owned(), crate::hash::volume(wanted).hash());
    walk.supervisor.volumes.create(&wish)?;
    Ok(())
}

/// Removes the volume called `name`. The plan has made sure that no container of the project uses it.
pub fn remove(walk: &Walk, name: &str) -> Result<(), VolumeError> {
    let users = walk.supervisor.users_of_volume(name);
    Ok(walk.supervisor.volumes.remove(name, &users)?)
}
