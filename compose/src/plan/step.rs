//! One change to the world, its cause, and what must come before it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::hash::Change;
use crate::model::{NetworkKey, Place, RolloutOrder, ServiceName, Signal, VolumeKey};
use crate::record::JoinKind;

/// One change to the world. The planner chooses it; `apply` only carries it out.
///
/// Each variant holds everything its execution needs and nothing else, so no
/// choice is left for later and no field can be forgotten. Every action may be
/// repeated: what is there already, or gone already, is no error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum Action {
    /// Fetches an image from its registry.
    PullImage {
        /// A service that needs it.
        service: ServiceName,
        /// Its name.
        image: String,
        /// For which machine, if the file says.
        platform: Option<String>,
        /// What it means if it cannot be had.
        need: Need,
    },
    /// Builds an image from its Dockerfile.
    BuildImage {
        /// The service that says how.
        service: ServiceName,
        /// Its name.
        image: String,
        /// Images that are going to be fetched first: when all of them are here then, nothing is built. Empty: it is built.
        #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
        unless: BTreeSet<String>,
    },
    /// Makes a network, or the live part of one that a reboot has left without.
    CreateNetwork {
        /// Its key in the file.
        key: NetworkKey,
        /// Its real name.
        name: String,
    },
    /// Removes a network and its leases.
    RemoveNetwork {
        /// Its real name.
        name: String,
    },
    /// Makes an empty volume.
    CreateVolume {
        /// Its key in the file.
        key: VolumeKey,
        /// Its real name.
        name: String,
    },
    /// Removes a volume and what is in it.
    RemoveVolume {
        /// Its real name.
        name: String,
    },
    /// Makes a container, without starting it: folder, volumes, records.
    CreateContainer(CreateContainer),
    /// Changes a container as it is, running or not.
    UpdateContainer(UpdateContainer),
    /// Starts a container that exists and does not run; thaws one that is paused.
    StartContainer {
        /// Which replica.
        instance: Instance,
        /// Which container.
        target: Target,
    },
    /// Has a container take the place of another one. If it is to start first: starts it beside that one, waits until it
    /// is ready, and has names and ports lead to it; takes it away if it does not get ready. Else stops the other one,
    /// starts this one and waits until it is ready.
    HandOver {
        /// Which replica.
        instance: Instance,
        /// The container that takes over.
        target: Target,
        /// The one that serves until then, if there is one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<String>,
        /// How long connections to that one may take to end, and it may take to stop.
        grace: Duration,
        /// In which way.
        rollout: Rollout,
    },
    /// Makes a container for a `pre_start` hook, lets it run to its end, and removes it if that was a good one.
    RunHook {
        /// Which hook of its service, from 0.
        index: usize,
        /// Its container.
        create: CreateContainer,
        /// The container that it runs for, whose volumes it has.
        target: Target,
    },
    /// Waits until all containers of a service are so, or cannot get so any more.
    Await {
        /// The service.
        service: ServiceName,
        /// How they are to be.
        condition: Condition,
        /// What it means if they are not.
        need: Need,
    },
    /// Asks a container to stop with `signal`, SIGKILL when `grace` has passed.
    StopContainer {
        /// Which replica.
        instance: Instance,
        /// Its id.
        id: String,
        /// What it is asked with.
        signal: Signal,
        /// How long it may take.
        grace: Duration,
    },
    /// Sends a signal and waits for nothing.
    SignalContainer {
        /// Which replica.
        instance: Instance,
        /// Its id.
        id: String,
        /// The signal.
        signal: Signal,
    },
    /// Freezes all processes of a container.
    PauseContainer {
        /// Which replica.
        instance: Instance,
        /// Its id.
        id: String,
    },
    /// Lets the processes of a frozen container go on.
    UnpauseContainer {
        /// Which replica.
        instance: Instance,
        /// Its id.
        id: String,
    },
    /// Removes a container that does not run, with its log.
    RemoveContainer {
        /// Which replica.
        instance: Instance,
        /// Its id.
        id: String,
        /// Anonymous volumes of it that go as well.
        volumes: Vec<String>,
    },
    /// Removes what a creation or removal that was cut off has left.
    RemoveGarbage {
        /// The id of the container that there would have been.
        id: String,
    },
    /// Removes an image.
    RemoveImage {
        /// Its reference.
        reference: String,
    },
}

/// A container to be made from the definition of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateContainer {
    /// Which replica.
    pub instance: Instance,
    /// Made by `run`.
    pub oneoff: bool,
    /// The image as the file names it.
    pub image: String,
    /// The same by id.
    pub image_id: String,
    /// The hash of [`crate::hash::service`].
    pub config_hash: String,
    /// The container in whose place it comes, which exists until a later step
    /// removes it: name and lease pass from that one to the new one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaces: Option<String>,
    /// It stands aside until a later step hands over to it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub aside: bool,
    /// It and the one in whose place it comes may run side by side, and have an address each.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub beside: bool,
    /// Anonymous volumes that it takes over, by target.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub inherits: BTreeMap<PathBuf, String>,
    /// What it shares with containers of other services of the project.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub joins: Vec<PlannedJoin>,
}

/// A container to be changed to what the definition of its service says, without being made anew.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdateContainer {
    /// Which replica.
    pub instance: Instance,
    /// Its id.
    pub id: String,
    /// The hash of [`crate::hash::service`].
    pub config_hash: String,
    /// The keys of the file that say something else than they did.
    pub keys: Vec<String>,
    /// Networks that it is put on, by real name.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub join: BTreeSet<String>,
    /// Networks that it is taken off, by real name.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub leave: BTreeSet<String>,
}

/// How containers of one service take the place of others, one after the other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollout {
    /// Which goes first, the old or the new container.
    pub order: RolloutOrder,
    /// How long is waited before, when others have gone before this one.
    #[serde(default)]
    pub delay: Duration,
    /// How long the new one is watched for failure once it is ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub monitor: Option<Duration>,
    /// How many of the service may fail.
    #[serde(default)]
    pub tolerance: Tolerance,
    /// What more failures mean for those that have gone before, and for those after.
    pub on_failure: OnFailure,
}

/// What it means for the other containers of a service when too many have failed to take the place of others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnFailure {
    /// They stay as they are.
    Pause,
    /// Nothing.
    Continue,
    /// Those that were replaced are put into their places again.
    Rollback(Rollback),
}

/// How containers are put into their places again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollback {
    /// Which goes first, the container that goes or the one that comes back. One that runs still has nothing to start.
    pub order: RolloutOrder,
    /// How many at the same time; 0 means all.
    pub at_once: u64,
    /// How long is waited between them.
    #[serde(default)]
    pub delay: Duration,
    /// How long one is watched for failure once it is ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub monitor: Option<Duration>,
    /// How many may fail.
    #[serde(default)]
    pub tolerance: Tolerance,
    /// It goes on, however many fail.
    #[serde(default)]
    pub goes_on: bool,
}

/// The share of containers that may fail.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Tolerance(pub f64);

/// It is a number.
impl Eq for Tolerance {}

impl Tolerance {
    /// Whether it is more than tolerated that `failed` of `all` have failed.
    #[must_use]
    pub fn is_exceeded(self, failed: u32, all: u32) -> bool {
        f64::from(failed) > self.0 * f64::from(all)
    }
}

/// Something that a container is to have from another one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedJoin {
    /// What.
    pub kind: JoinKind,
    /// From which container.
    pub target: Target,
}

/// Which container is meant, when it need not exist yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// The one with this id.
    Existing(String),
    /// The one that this step makes.
    Created(StepId),
}

/// One replica of a service, or a one-off.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Instance {
    /// The service.
    pub service: ServiceName,
    /// Which replica, from 1.
    pub number: u32,
    /// The name of the container.
    pub name: String,
}

impl fmt::Display for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// How the containers of a service can be waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// They have been started (`service_started`).
    Started,
    /// Their health checks succeed (`service_healthy`).
    Healthy,
    /// They have exited with 0 (`service_completed_successfully`).
    Completed,
    /// For `--wait`: healthy if they have a health check, else running.
    Ready,
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Started => "started",
            Self::Healthy => "healthy",
            Self::Completed => "completed",
            Self::Ready => "ready",
        })
    }
}

/// What it means if a condition cannot be met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Need {
    /// The step fails.
    Required,
    /// A warning, and the step succeeds (`required: false`).
    Optional,
}

/// Why a step is in the plan. Shown to the user, compared in tests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "cause", rename_all = "snake_case")]
pub enum Cause {
    /// It is not there.
    Missing,
    /// It is there, up to date, and does not run.
    NotRunning,
    /// It is there, and its registry was asked about it too long ago.
    OutOfDate,
    /// The file says something else than it did.
    Changed {
        /// What.
        change: Change,
        /// Where the file says so.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        place: Option<Place>,
    },
    /// The file says something else about a network or volume than it did.
    DefinitionChanged {
        /// Where the file says so.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        place: Option<Place>,
    },
    /// The same reference stands for another image.
    ImageUpdated,
    /// It is not on this network, on which it should be.
    NotOnNetwork(Named),
    /// It lacks this volume.
    LacksVolume(Named),
    /// This network is made anew.
    NetworkReplaced(Named),
    /// This volume is made anew.
    VolumeReplaced(Named),
    /// It shares something with a container of this service, which is made anew.
    PartnerReplaced(Named),
    /// It shares something with a container of this service, which is restarted.
    PartnerRestarted(Named),
    /// It depends, with `restart: true`, on this service, which is made anew or restarted.
    DependencyRestarted(Named),
    /// The image of this service is built on it.
    BuiltUpon(Named),
    /// This service waits for it.
    NeededBy(Named),
    /// The user asked for it.
    Requested,
    /// There are more replicas than the file says.
    ScaledDown,
    /// Another container is in its place.
    Superseded,
    /// The file does not have its service, network or volume.
    Orphan,
    /// An earlier command was cut off.
    CutOff,
}

/// A name inside a cause.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Named {
    /// The name.
    pub name: String,
}

impl Named {
    /// Wraps a name.
    pub fn new(name: impl ToString) -> Self {
        Self { name: name.to_string() }
    }
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// The number of a step in its plan, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StepId(usize);

impl StepId {
    /// The position in [`super::Plan::steps`].
    #[must_use]
    pub fn index(self) -> usize {
        self.0 - 1
    }

    pub(super) fn from_index(index: usize) -> Self {
        Self(index + 1)
    }
}

impl fmt::Display for StepId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// An action with its cause and its place in the order of things.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// What to do.
    #[serde(flatten)]
    pub action: Action,
    /// Why.
    pub because: Cause,
    /// Steps that must succeed first. Always smaller ids: a plan cannot cycle.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub after: BTreeSet<StepId>,
    /// Steps that must be over first, whether they succeeded, failed or were
    /// skipped because another one failed. Always smaller ids.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub after_end: BTreeSet<StepId>,
}
