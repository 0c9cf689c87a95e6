//! `healthcheck`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How to find out whether a container is healthy; what is not set comes from the image.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Healthcheck {
    /// What is run.
    pub test: Option<HealthTest>,
    /// From the end of a probe to the start of the next (30 s by default).
    pub interval: Option<Duration>,
    /// A probe that takes longer has failed (30 s by default).
    pub timeout: Option<Duration>,
    /// Failures in a row that make a container unhealthy (3 by default).
    pub retries: Option<u32>,
    /// Time after the start in which failures do not count (0 by default).
    pub start_period: Option<Duration>,
    /// The interval within `start_period` (5 s by default).
    pub start_interval: Option<Duration>,
}

/// The command of a health check.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum HealthTest {
    /// No check, not even that of the image: `NONE` and `disable: true`.
    Disabled,
    /// A program and its arguments: `CMD`.
    Exec(Vec<String>),
    /// A line for the container's shell: `CMD-SHELL`.
    Shell(String),
}
