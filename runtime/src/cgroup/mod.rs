//! Control groups: where a container is counted, limited, frozen and killed.

mod limits;
mod place;

pub use limits::{Blkio, DeviceRate, Devices, Limits, MINIMUM_MEMORY, Swap};
pub use place::Place;

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
