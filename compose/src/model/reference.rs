//! How services refer to each other.

use serde::{Deserialize, Serialize};

use super::ServiceName;

/// One entry of `depends_on`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Dependency {
    /// What must be so before the service starts.
    pub condition: DependencyCondition,
    /// The service is restarted when the other one is restarted or replaced.
    pub restart: bool,
    /// The service does not start without the other one.
    pub required: bool,
}

impl Default for Dependency {
    fn default() -> Self {
        Self { condition: DependencyCondition::Started, restart: false, required: true }
    }
}

/// What must be so before a dependent service starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum DependencyCondition {
    /// `service_started`.
    Started,
    /// `service_healthy`.
    Healthy,
    /// `service_completed_successfully`.
    CompletedSuccessfully,
}

/// One entry of `links`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Link {
    /// The service.
    pub service: ServiceName,
    /// The name under which it is seen; the service's own if none is given.
    pub alias: Option<String>,
}

/// One entry of `external_links`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ExternalLink {
    /// A container outside of the project.
    pub container: String,
    /// The name under which it is seen; the container's own if none is given.
    pub alias: Option<String>,
}
