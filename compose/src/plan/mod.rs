//! Decides what has to change: `(Project, Observed) -> Plan`, pure.
//!
//! A plan is a list of steps with their causes and their order; `apply` carries
//! it out and decides nothing. Every command that changes a project has its
//! function here, and there is no second path to a change.
//!
//! # How a container is replaced
//!
//! create the new one, stop the old one, then remove the old one and start the
//! new one side by side.
//!
//! # Why
//!
//! The new one is made while the old one still serves, so a creation that fails
//! (a missing bind source, a full disk) leaves the old one running. And the
//! anonymous volumes that pass from one to the other are at every moment named
//! by a record, so that a command which is killed in between loses none.
//! docker compose does the same with a temporary name; our names are links and
//! change hands in one step ([`crate::record::names`]).
//!
//! # What is changed live
//!
//! Limits, restart policy, health check, labels, signal and time for a stop, ports, networks and their
//! aliases are changed on the container as it is, running or not (`live.rs` has the list and the exceptions).
//! The record, and with it the hash, is renewed when everything else is done: a change that is cut off is made again.
//!
//! # Invariants
//!
//! - Planning reads nothing and changes nothing.
//! - A step comes after steps with smaller ids only.
//! - A plan for a world that is as the file says is empty; a plan that is cut
//!   off anywhere leaves a world from which the next plan gets to the same end.

mod command;
mod down;
mod hooks;
mod images;
mod layout;
mod live;
mod refusal;
mod resource;
mod rollout;
mod scope;
mod service;
mod starting;
mod step;
mod stopping;
mod text;
mod up;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

pub use command::{kill, pause, recover, restart, rm, start, stop, unpause};
pub use down::down;
pub use images::{Images, builds, expect_images, images};
pub use refusal::{PlanError, Refusal};
pub use resource::changed_volumes;
pub use scope::scope;
pub use step::{
    Action, Cause, Condition, CreateContainer, Instance, Named, Need, OnFailure, PlannedJoin,
    Rollback, Rollout, Step, StepId, Target, Tolerance, UpdateContainer,
};
pub use up::{run, up};

use crate::model::{Place, ServiceName};

/// What has to change, in an order that leaves as much as possible to be done side by side.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// What the user should know.
    pub warnings: Vec<Warning>,
    /// The steps; the id of each is its position, from 1.
    pub steps: Vec<Step>,
}

impl Plan {
    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Whether a container begins to run in the course of it.
    #[must_use]
    pub fn starts_containers(&self) -> bool {
        let is_start = |step: &Step| {
            matches!(
                step.action,
                Action::StartContainer { .. } | Action::HandOver { .. } | Action::RunHook { .. }
            )
        };
        self.steps.iter().any(is_start)
    }

    /// Whether the container `id`, which exists, is started in the course of it.
    #[must_use]
    pub fn starts(&self, id: &str) -> bool {
        self.steps.iter().any(|step| match &step.action {
            Action::StartContainer { target: Target::Existing(existing), .. } => existing == id,
            _ => false,
        })
    }

    /// The steps with their ids.
    pub fn numbered(&self) -> impl Iterator<Item = (StepId, &Step)> {
        self.steps.iter().enumerate().map(|(index, step)| (StepId::from_index(index), step))
    }

    /// Adds a step that comes when all of `after` have succeeded.
    fn push(&mut self, action: Action, because: Cause, after: BTreeSet<StepId>) -> StepId {
        self.push_step(Step { action, because, after, after_end: BTreeSet::new() })
    }

    fn push_step(&mut self, step: Step) -> StepId {
        self.steps.push(step);
        StepId::from_index(self.steps.len() - 1)
    }

    /// Adds a step that comes when all of `after_end` are over, in whichever way.
    fn push_after_end(
        &mut self,
        action: Action,
        because: Cause,
        after_end: BTreeSet<StepId>,
    ) -> StepId {
        self.push_step(Step { action, because, after: BTreeSet::new(), after_end })
    }
}

/// Something the user should know that stops nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "warning", rename_all = "snake_case")]
pub enum Warning {
    /// Containers of services that the file does not have.
    Orphans {
        /// The project.
        project: String,
        /// Their names.
        containers: Vec<String>,
    },
    /// The new containers of a service cannot run beside the old ones, although it asks for that.
    StopsFirst {
        /// The service.
        service: ServiceName,
        /// Why not.
        obstacle: String,
        /// Where the file names it.
        place: Option<Place>,
    },
    /// A network of that name was not made by this project.
    ForeignNetwork {
        /// Its real name.
        name: String,
        /// Where the file names it.
        place: Option<Place>,
    },
    /// A volume of that name was not made by this project.
    ForeignVolume {
        /// Its real name.
        name: String,
        /// Where the file names it.
        place: Option<Place>,
    },
    /// A volume does not match the file; it is kept.
    ChangedVolume {
        /// Its real name.
        name: String,
        /// Where the file says so.
        place: Option<Place>,
    },
}

#[cfg(test)]
mod tests;
