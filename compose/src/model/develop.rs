//! `develop.watch`.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Hook;

/// What to do when files change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchRule {
    /// The file or directory to watch, absolute.
    pub path: PathBuf,
    /// What to do.
    pub action: WatchAction,
    /// Where files go inside the container.
    pub target: Option<PathBuf>,
    /// Patterns of files that do not count.
    pub ignore: Vec<String>,
    /// Patterns of the only files that count.
    pub include: Vec<String>,
    /// What to run after a copy.
    pub exec: Option<Hook>,
    /// Copy everything once when the watch starts.
    pub initial_sync: bool,
}

/// What to do when files change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum WatchAction {
    /// Copy them.
    Sync,
    /// Build the image again and replace the containers.
    Rebuild,
    /// Restart the containers.
    Restart,
    /// Copy them, then restart the containers.
    SyncRestart,
    /// Copy them, then run a command.
    SyncExec,
}
