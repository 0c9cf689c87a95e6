//! Removing containers, what is left of half-made ones, and images.

use std::fs;
use std::io;
use std::path::PathBuf;

use runtime::cgroup;
use runtime::foreign;
use runtime::quota;
use tokio::task::spawn_blocking;

use super::run::Walk;
use crate::event::Change;
use crate::record::{RecordError, StartRecord, labels, names};
use crate::supervisor::{Live, Supervisor, exit, start};

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
    /// The volumes.
    #[error(transparent)]
    Volumes(#[from] volumes::StoreError),
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
    let Some(_gate) = start::at_rest(&live).await else { return Err(RemoveError::Running) };
    if supervisor.container(id).is_none() {
        return Ok(());
    }
    // One that ended by itself a moment ago may wait to be started again.
    exit::want_stop(supervisor, &live).await;
    if !volumes.is_empty() {
        let unfinished = live.paths.unfinished();
        fs::write(&unfinished, volumes.join("\n"))
            .map_err(|source| RemoveError::Folder { path: unfinished, source })?;
    }
    let record = live.paths.record();
    match fs::remove_file(&record) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            return Err(RemoveError::Folder { path: record, source });
        }
        _ => {}
    }
    names::release(&supervisor.roots, &live.record().name, id)?;
    exit::remove_cgroup(&live);
    exit::forget(&live).await;
    supervisor.forget(id);
    give_back_name(supervisor, &live.record().name);
    supervisor.tell(&live, Change::Removed);
    for volume in volumes {
        supervisor.volumes.remove(volume, &supervisor.users_of_volume(volume))?;
    }
    remove_garbage(supervisor, id).await?;
    release_addresses(supervisor, &live);
    Ok(())
}

/// Gives the name to the container in whose place another one was that is no more.
fn give_back_name(supervisor: &Supervisor, name: &str) {
    let Some(heir) = supervisor.all().into_iter().find(|live| live.record().name == name) else {
        return;
    };
    let claimed =
        names::claim(&supervisor.roots, name, &supervisor.project, &heir.record().id, None);
    if let Err(error) = claimed {
        tracing::debug!(container = name, %error, "its name");
    }
}

/// Gives its addresses back, unless the container in its place has them now.
fn release_addresses(supervisor: &Supervisor, live: &Live) {
    for endpoint in &live.record().networks {
        let kept = supervisor.all().iter().any(|other| {
            other.record().networks.iter().any(|other| other.lease_key == endpoint.lease_key)
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

/// Removes what a creation or a removal that was cut off has left: control groups, name and folder, and the anonymous
/// volumes that were made for it, or were to go with it.
///
/// # Errors
///
/// [`RemoveError`].
pub async fn remove_cut_off(supervisor: &Supervisor, id: &str) -> Result<(), RemoveError> {
    let paths = supervisor.roots.container(&supervisor.project, id);
    if let Ok(named) = fs::read_to_string(paths.unfinished()) {
        for volume in supervisor.volumes.list()? {
            let name = volume.name.to_string();
            let made_for = volume.labels.get(labels::CONTAINER).map(String::as_str);
            if !named.lines().any(|named| named == name) && made_for != Some(id) {
                continue;
            }
            let users = supervisor.users_of_volume(&name);
            if users.is_empty() {
                supervisor.volumes.remove(&name, &users)?;
            }
        }
    }
    let name = StartRecord::cgroup_name(&paths, &supervisor.project, id);
    if let Ok(Some(place)) = cgroup::existing(&name) {
        let removed = place.kill().and_then(|()| place.remove());
        if let Err(error) = removed {
            tracing::warn!(container = id, %error, "cgroup");
        }
    }
    if let Ok(Some(StartRecord { foreign: Some(runtime), .. })) = StartRecord::read(&paths) {
        let container = id.to_owned();
        let deleted = spawn_blocking(move || foreign::delete(&runtime, &container)).await;
        if let Ok(Err(error)) = deleted {
            tracing::warn!(container = id, %error, "runtime");
        }
    }
    names::release_all(&supervisor.roots, id)?;
    remove_garbage(supervisor, id).await
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
    let paths = supervisor.roots.container(&supervisor.project, id);
    let path = paths.folder().to_owned();
    let removed = spawn_blocking(move || {
        quota::remove(&paths.limited())?;
        sys::remove::remove_tree(paths.folder())
    });
    let removed = removed.await;
    removed
        .unwrap_or_else(|error| Err(error.into()))
        .map_err(|source| RemoveError::Folder { path, source })
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
