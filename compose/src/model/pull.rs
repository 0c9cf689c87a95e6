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
    /// When its registry was last asked about the one that is here longer ago than this: `daily`, `weekly`, `every_…`,
    /// and `refresh`, which is `daily` unless `pull_refresh_after` says otherwise.
    Every(Duration),
}
