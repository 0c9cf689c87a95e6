//! Commands that run around the life of a container.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// One entry of `post_start` or `pre_stop`, or the `exec` of a watch rule: runs in the container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hook {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// As whom; nothing means as the service.
    pub user: Option<String>,
    /// With all rights.
    pub privileged: bool,
    /// Where; nothing means where the service runs.
    pub working_dir: Option<PathBuf>,
    /// On top of the environment of the service.
    pub environment: BTreeMap<String, Option<String>>,
}

/// One entry of `pre_start`: a container of its own that runs before the first one starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreStart {
    /// The image; nothing means that of the service.
    pub image: Option<String>,
    /// The program and its arguments; nothing means those of the image.
    pub command: Option<Vec<String>>,
    /// As whom.
    pub user: Option<String>,
    /// With all rights.
    pub privileged: bool,
    /// Where.
    pub working_dir: Option<PathBuf>,
    /// On top of the environment of the service.
    pub environment: BTreeMap<String, Option<String>>,
    /// Before each replica instead of once.
    pub per_replica: bool,
}
