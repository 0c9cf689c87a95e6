//! `pull_policy`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// When an image is fetched from its registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum PullPolicy {
    /// Each time.
    Always,
    /// Never: it must be here.
    Never,
    /// When it is not here.
    Missing,
    /// Never: it is built.
    Build,
    /// When the one that is here is older than this.
    Every(Duration),
    /// When it is older than `pull_refresh_after` says.
    Refresh,
}
