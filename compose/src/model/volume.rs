//! Top-level `volumes`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Place;

/// One entry of the top-level `volumes`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// The real name, `PROJECT_KEY` unless the file gives one.
    pub name: String,
    /// Exists before the project and outlives it: never created, never removed.
    pub external: bool,
    /// The driver, if one is named.
    pub driver: Option<String>,
    /// Options of the driver.
    pub driver_opts: BTreeMap<String, String>,
    /// Labels of the volume.
    pub labels: BTreeMap<String, String>,
    /// Where it was written.
    pub place: Option<Place>,
}
