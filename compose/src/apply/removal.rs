//! Removing containers, what is left of half-made ones, and images.

use std::fs;
use std::io;
use std::path::PathBuf;

use tokio::task::spawn_blocking;

use super::run::Walk;
use crate::event::Change;
use crate::record::{RecordError, names};
use crate::supervisor::{Live, Supervisor, exit};

/// Something could not be removed.
#[derive(Debug, thiserror::Error)]
pub enum RemoveError {
    /// It runs.
    #[error("it is running: stop it first")]
    Running,
    /// Its folder.
    #[error("cannot remove {}", path.display())]
    Folder {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// An anonymous volume of it.
    #[error(transparent)]
    Volume(#[from] volumes::RemoveError),
    /// Its name.
    #[error(transparent)]
    Name(#[from] names::NameError),
    /// Its records.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// An image.
    #[error(transparent)]
    Image(#[from] images::RemoveError),
}

/// Removes the container with this id, and these anonymous volumes of it. One that is gone already is no error.
///
/// # Errors
///
/// [`RemoveError`]; the record goes first, so that whatever resists is garbage and no container.
pub async fn remove(
    supervisor: &std::rc::Rc<Supervisor>,
    id: &str,
    volumes: &[String],
) -> Result<(), RemoveError> {
    let Some(live) = supervisor.container(id) else { return Ok(()) };
    let _gate = live.gate.lock().await;
    if live.is_running() {
        return Err(RemoveError::Running);
    }
    let record = live.paths.record();
    match fs::remove_file(&record) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            return Err(RemoveError::Folder { path: record, source });
        }
        _ => {}
    }
    names::release(&supervisor.roots, &live.record.name, id)?;
    exit::remove_cgroup(&live);
    supervisor.forget(id);
    supervisor.tell(&live, Change::Removed);
    remove_garbage(supervisor, id).await?;
    release_addresses(supervisor, &live);
    for volume in volumes {
        supervisor.volumes.remove(volume, &supervisor.users_of_volume(volume))?;
    }
    Ok(())
}

/// Gives its addresses back, unless the container in its place has them now.
fn release_addresses(supervisor: &Supervisor, live: &Live) {
    for endpoint in &live.record.networks {
        let kept = supervisor.all().iter().any(|other| {
            other.record.networks.iter().any(|other| other.lease_key == endpoint.lease_key)
        });
        if kept {
            continue;
        }
        // An address that stays leased is only one less in the pool.
        if let Ok(network) = supervisor.network(&endpoint.network)
            && let Err(error) = network.release(&endpoint.lease_key)
        {
            tracing::warn!(network = endpoint.network, %error, "lease");
        }
    }
}

/// Removes the folder of a container that has no record.
///
/// In a thread for each, a few at a time: a file system that tells its disk of every freed block at once (ext4 without
/// a journal, mounted with `discard`) waits for the disk at each file.
///
/// # Errors
///
/// [`RemoveError::Folder`].
pub async fn remove_garbage(supervisor: &Supervisor, id: &str) -> Result<(), RemoveError> {
    let folder = supervisor.roots.container(&supervisor.project, id).folder().to_owned();
    let path = folder.clone();
    let removed = spawn_blocking(move || fs::remove_dir_all(folder)).await;
    match removed.unwrap_or_else(|error| Err(error.into())) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(RemoveError::Folder { path, source })
        }
        _ => Ok(()),
    }
}

/// Removes an image, unless a container still uses it.
///
/// # Errors
///
/// [`RemoveError::Image`].
pub fn remove_image(walk: &Walk, reference: &str) -> Result<(), RemoveError> {
    let supervisor = &walk.supervisor;
    let used = |image: &images::Image| supervisor.user_of_image(&image.id.to_string());
    supervisor.images.remove(reference, images::Force::No, used)?;
    Ok(())
}
