//! What is written down about projects and containers, and how it is read back.
//!
//! One small JSON file per object, each with a `version`, replaced whole. The
//! supervisor of a project writes; `ps`, `ls`, `logs` and `exec` read without
//! asking it. There is no index and no database: a listing is a walk over the
//! files, and truth about processes comes from the kernel ([`liveness`]).
//!
//! # Invariants
//!
//! - A container exists if and only if its `container.json` is whole. It is the
//!   last file of a creation and the first to go in a removal, so that a process
//!   which is killed in between leaves garbage that [`list`] recognises.
//! - Container records are not synced: a container can be made again. Volumes,
//!   images and exits are synced by the rooms that own them.

pub mod container;
pub mod events;
pub mod exits;
pub mod labels;
pub mod list;
pub mod liveness;
pub mod lock;
pub mod logging;
pub mod names;
pub mod project;
pub mod replace;
pub mod roots;
pub mod socket;
pub mod start;
pub mod state;
pub mod terms;

use std::path::Path;

pub use container::{ContainerRecord, EndpointRecord, Join, JoinKind, MountRecord, MountSource};
pub use exits::Exits;
pub use list::{Container, Garbage, Listing, new_id};
pub use liveness::{BootId, ProcessName};
pub use lock::{LockError, ProjectLock};
pub use project::ProjectRecord;
pub use replace::{RecordError, read_record, replace_record, replace_volatile_record};
pub use roots::{ContainerPaths, ProjectPaths, Roots};
pub use start::StartRecord;
pub use state::{
    ContainerState, EndpointState, Health, HealthStatus, Phase, ProbeRecord, PublishedPort,
};
pub use terms::Terms;

/// The version of the records that this binary writes.
pub const RECORD_VERSION: u32 = 1;

/// Refuses a record that a newer binary wrote.
pub(crate) fn check_version(path: &Path, found: u32) -> Result<(), RecordError> {
    if found <= RECORD_VERSION {
        return Ok(());
    }
    Err(RecordError::Newer { path: path.to_owned(), found, known: RECORD_VERSION })
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use super::*;
    use crate::hash::Definition;
    use crate::model::{RestartPolicy, Signal};

    /// A container that was made from nothing in particular.
    pub(crate) fn container_record(project: &str, service: &str, number: u32) -> ContainerRecord {
        ContainerRecord {
            version: RECORD_VERSION,
            id: format!("{service}{number}"),
            name: format!("{project}-{service}-{number}"),
            project: project.to_owned(),
            service: service.parse().unwrap(),
            number,
            oneoff: false,
            image: "app:1".to_owned(),
            image_id: "sha256:1".to_owned(),
            config_hash: String::new(),
            definition: Definition::default(),
            depends_on: BTreeMap::new(),
            created: jiff::Timestamp::UNIX_EPOCH,
            labels: BTreeMap::new(),
            command: vec!["sleep".to_owned()],
            tty: false,
            stdin_open: false,
            stop_signal: Signal::TERM,
            stop_grace: Duration::from_secs(10),
            restart: RestartPolicy::No,
            restart_details: Default::default(),
            healthcheck: None,
            networks: Vec::new(),
            ports: Vec::new(),
            expose: Vec::new(),
            mounts: Vec::new(),
            joins: Vec::new(),
        }
    }
}
