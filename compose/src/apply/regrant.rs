//! Secrets and configs of a container that exists: what it gets at its next start, and what it has mounted while it runs.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use images::Image;
use runtime::failure::Failure;
use runtime::launch::{GrantedFile, Launch};
use runtime::spec::{Bind, MountWish};

use super::mounts::{MountError, Mounts, Sources};
use super::run::Walk;
use crate::model::{Grant, Project, Service};
use crate::record::{MountRecord, RecordError, read_record, replace_volatile_record};
use crate::supervisor::Live;
use crate::supervisor::bound::{self, NamespaceError};

/// Secrets and configs cannot be put in the place of those that a container has.
#[derive(Debug, thiserror::Error)]
pub enum RegrantError {
    /// One of them cannot be made.
    #[error(transparent)]
    Mount(#[from] MountError),
    /// The container's mounts cannot be looked at.
    #[error(transparent)]
    Namespace(#[from] NamespaceError),
    /// What is mounted cannot be replaced.
    #[error(transparent)]
    Runtime(#[from] Failure),
    /// It cannot be written down.
    #[error(transparent)]
    Record(#[from] RecordError),
}

/// The secrets and configs that a container is to have.
#[derive(Debug)]
pub struct Regrant {
    /// Where their bytes are, by target.
    sources: BTreeMap<PathBuf, PathBuf>,
    files: Vec<GrantedFile>,
    /// Those that are not as they were.
    changed: BTreeSet<PathBuf>,
    /// All mounts of the container, for its record.
    pub records: Vec<MountRecord>,
}

/// Whether one of `keys`, in which a container is changed, is about secrets or configs.
pub fn is_asked_for(keys: &[String]) -> bool {
    keys.iter().any(|key| key.starts_with("secrets") || key.starts_with("configs"))
}

/// Makes the secrets and configs ready that `service` says; `keys` are the keys of the file in which it has changed.
///
/// # Errors
///
/// [`RegrantError::Mount`].
pub fn prepare(
    walk: &Walk,
    live: &Live,
    (project, service): (&Project, &Service),
    image: &Image,
    keys: &[String],
) -> Result<Regrant, RegrantError> {
    let record = live.record();
    let mut mounts = Mounts::default();
    let sources = Sources {
        walk,
        volumes: &walk.supervisor.volumes,
        project,
        service,
        image,
        id: &record.id,
        paths: &live.paths,
        etc: &live.paths.etc(),
        inherited: &BTreeMap::new(),
        others: &[],
    };
    sources.granted(&mut mounts)?;
    let binds = mounts.wishes.into_iter().filter_map(|wish| match wish {
        MountWish::Bind(Bind { source, target, .. }) => Some((spelled(&target), source)),
        _ => None,
    });
    let sources: BTreeMap<PathBuf, PathBuf> = binds.collect();
    let changed = changed("secrets", &service.secrets, keys)
        .chain(changed("configs", &service.configs, keys))
        .collect();
    let stays = |one: &&MountRecord| !sources.contains_key(&spelled(&one.target));
    let records = record.mounts.iter().filter(stays).cloned().chain(mounts.records).collect();
    Ok(Regrant { sources, files: mounts.granted, changed, records })
}

/// Where those of `grants` are that one of `keys` is about.
fn changed<'g, K: ToString>(
    kind: &'g str,
    grants: &'g [Grant<K>],
    keys: &'g [String],
) -> impl Iterator<Item = PathBuf> {
    let is_changed = move |grant: &&Grant<K>| {
        let source = format!("{kind}.{}", grant.source.to_string());
        let content = format!("{source}.content");
        keys.iter().any(|key| *key == kind || *key == source || *key == content)
    };
    grants.iter().filter(is_changed).map(|grant| spelled(&grant.target))
}

/// As the spec spells the destination of a mount.
fn spelled(target: &Path) -> PathBuf {
    target.components().collect()
}

impl Regrant {
    /// Puts them in the place of those that `live` has: for its next start, and while it runs.
    ///
    /// # Errors
    ///
    /// [`RegrantError`]. It may be done again.
    pub fn carry_out(&self, live: &Live) -> Result<(), RegrantError> {
        let path = live.paths.launch();
        let Some(mut launch) = read_record::<Launch>(&path)? else { return Ok(()) };
        let mut mounts = launch.spec.mounts().clone().unwrap_or_default();
        for mount in &mut mounts {
            if let Some(source) = self.sources.get(mount.destination()) {
                mount.set_source(Some(source.clone()));
            }
        }
        launch.spec.set_mounts(Some(mounts));
        launch.grants.files.clone_from(&self.files);
        replace_volatile_record(&path, &launch)?;
        // One that has ended meanwhile has nothing to be replaced: the next start finds all of it.
        let Some(namespace) = bound::namespace(live)? else { return Ok(()) };
        let targets: Vec<&Path> = self.changed.iter().map(PathBuf::as_path).collect();
        Ok(runtime::renew(&launch, &targets, namespace.as_fd())?)
    }
}
