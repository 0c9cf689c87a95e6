//! Control groups: where a container is counted, limited, frozen and killed.
//!
//! A container has one directory below the top of each hierarchy that it needs, all with the same name
//! (`compose/PROJECT/ID`, below a parent that somebody else may have made). Three layouts exist:
//!
//! | layout | limits | kill, freeze, "is it empty" |
//! |---|---|---|
//! | unified (version 2) | the one tree | the one tree |
//! | hybrid | version 1, a tree for each controller | the version 2 tree, which has no controllers |
//! | legacy (version 1) | a tree for each controller | `freezer`, signals, pidfds |
//!
//! Limits are computed as a list of files and values (`v1`, `v2`) before anything is written, so that tests can read it.
//! Nothing here acts on a bare pid unless the process is frozen, and nothing sleeps where the kernel has an event.
//!
//! ```no_run
//! use runtime::cgroup::{self, Limits};
//! let limits = Limits { memory: Some(64 << 20), pids: Some(100), ..Limits::default() };
//! let place = cgroup::create(&cgroup::name(None, "shop", "0123abcd"), &limits)?;
//! place.join_self()?;
//! # Ok::<(), cgroup::CgroupError>(())
//! ```

mod devices;
mod error;
mod events;
mod file;
mod limits;
mod place;
mod setting;
mod stats;
#[cfg(test)]
mod tests;
mod tree;
mod v1;
mod v2;

pub use error::CgroupError;
pub use events::OomWatch;
pub use limits::{Blkio, DeviceRate, Devices, Limits, MINIMUM_MEMORY, Swap};
pub use place::Place;
pub use stats::Stats;

use serde::{Deserialize, Serialize};

/// How a machine mounts its control groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Hierarchy {
    /// Version 2 alone.
    Unified,
    /// The controllers in version 1 trees, beside a version 2 tree without them.
    Hybrid,
    /// Version 1 alone.
    Legacy,
}

/// How this machine mounts its control groups.
///
/// # Errors
/// [`CgroupError::NotMounted`].
pub fn detect() -> Result<Hierarchy, CgroupError> {
    tree::Tree::host().map(|tree| tree.hierarchy)
}

/// The name of a container's place: `compose/PROJECT/ID`, where `COMPOSE_CGROUP_ROOT` may rename the first part, below
/// `parent` if there is one: a path below the top, or a slice of systemd by its name alone (systemd.slice(5)).
///
/// The parent is made if it is missing. It stays when the container goes: who has made it, and set its limits, is not known.
pub fn name(parent: Option<&str>, project: &str, id: &str) -> String {
    let root =
        std::env::var("COMPOSE_CGROUP_ROOT").ok().filter(|root| !root.trim_matches('/').is_empty());
    let root = root.as_deref().map_or("compose", |root| root.trim_matches('/'));
    let own = format!("{root}/{project}/{id}");
    match parent.map(|parent| parent.trim_matches('/')).filter(|parent| !parent.is_empty()) {
        Some(parent) => format!("{}/{own}", slice(parent)),
        None => own,
    }
}

/// `a-b.slice` lies in `a.slice`.
fn slice(name: &str) -> String {
    let Some(stem) = name.strip_suffix(".slice").filter(|stem| !stem.contains('/')) else {
        return name.to_owned();
    };
    let ends = stem.match_indices('-').map(|(at, _)| at).chain([stem.len()]);
    ends.map(|end| format!("{}.slice", &stem[..end])).collect::<Vec<_>>().join("/")
}

/// Finds limits, and parents, that cannot be, or that this machine cannot give, without making anything.
///
/// # Errors
/// [`CgroupError::Limit`].
pub fn check(parent: Option<&str>, limits: &Limits) -> Result<(), CgroupError> {
    limits.check()?;
    tree::check_name("cgroup_parent", &name(parent, "project", "id"))?;
    tree::Tree::host()?.check_cpuset(limits)
}

/// Makes the place of a container and sets its limits.
///
/// Directories of the same name that a dead container has left behind are replaced.
///
/// # Errors
/// [`CgroupError::Limit`] for a limit that cannot be, [`CgroupError::Occupied`] if processes are inside,
/// and the kernel's refusals by file and value. Nothing is left behind then.
pub fn create(name: &str, limits: &Limits) -> Result<Place, CgroupError> {
    tree::Tree::host()?.create(name, limits)
}

/// Says that processes are about to be moved, so that the first of them need not wait.
///
/// On version 1 a process can only be moved, not born where it belongs, and the first move in a while waits for a grace
/// period of the kernel (`rcu_sync_enter` in its sources): ten milliseconds and more. This call moves the caller to where
/// it is already and takes as long; moves that follow within the next grace period find the way open. Nothing happens on
/// version 2.
///
/// # Errors
/// [`CgroupError::NotMounted`], or the kernel's refusal.
pub fn expect_moves() -> Result<(), CgroupError> {
    tree::Tree::host()?.expect_moves()
}

/// The place of this name as far as it exists, for who was not there when it was made; `None` if no hierarchy has it.
///
/// # Errors
/// [`CgroupError::NotMounted`], and [`CgroupError::Limit`] for a name that cannot be.
pub fn existing(name: &str) -> Result<Option<Place>, CgroupError> {
    tree::Tree::host()?.existing(name)
}
