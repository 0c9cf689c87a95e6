//! Where a container is in the hierarchies: the handle that everything else works on.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Hierarchy;

/// The directories of one container, as absolute paths; outlives the process that made it by being written to a record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// How the machine mounts its hierarchies.
    pub hierarchy: Hierarchy,
    /// Directory in the version 2 tree: the target of `CLONE_INTO_CGROUP`; absent on a legacy machine.
    pub unified: Option<PathBuf>,
    /// Directories in the version 1 trees by controller; empty on a unified machine.
    pub controllers: BTreeMap<String, PathBuf>,
}

impl Place {
    /// Every directory of the place once, the version 2 one first.
    pub fn directories(&self) -> impl Iterator<Item = &Path> {
        self.unified.iter().chain(self.controllers.values()).map(PathBuf::as_path)
    }
}
