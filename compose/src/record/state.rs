//! The state of a container: replaced whole at every change.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use jiff::Timestamp;
use runtime::exit::ExitStatus;
use serde::{Deserialize, Serialize};

use super::exits::Exits;
use super::liveness::{BootId, ProcessName};
use super::replace::{RecordError, read_record, replace_volatile_record};
use super::{ContainerPaths, RECORD_VERSION, check_version};
use crate::model::{MacAddress, Protocol};

/// Where a container is in its life, and what it last did.
///
/// | phase | process | entered by |
/// |---|---|---|
/// | created | none, never had one | creation |
/// | running | alive | a start |
/// | restarting | none, will have one | an exit that the restart policy answers |
/// | paused | alive, frozen | pause |
/// | exited | none, had one | an exit, a stop |
/// | dead | none | a start that failed |
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ContainerState {
    /// Version of this record's layout.
    pub version: u32,
    /// Where in its life.
    pub phase: Phase,
    /// PID 1 of the container, as the host sees it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<ProcessName>,
    /// The last start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<Timestamp>,
    /// The last exit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished: Option<Timestamp>,
    /// How the last run ended; `None` while it runs, and when nobody saw it
    /// end (the machine lost power).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<ExitStatus>,
    /// The kernel killed a process of it for lack of memory during the last run.
    #[serde(default)]
    pub oom: bool,
    /// Why the last start failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// How often the restart policy has started it.
    #[serde(default)]
    pub restarts: u32,
    /// Ends in a row that came soon after the start: decides how long the next restart waits.
    #[serde(default)]
    pub early_ends: u32,
    /// How often the restart policy has started it since a run that counted as a success.
    #[serde(default)]
    pub attempts: u32,
    /// When it will be started again, while it is [`Phase::Restarting`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_start: Option<Timestamp>,
    /// It stands aside for another container in its place, which is there already or still: nobody finds it by its
    /// names, and its ports are not its own.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub aside: bool,
    /// Somebody asked for the last stop: `unless-stopped` leaves it alone.
    #[serde(default)]
    pub stop_requested: bool,
    /// The result of its health check, if it has one and runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
    /// Its addresses.
    #[serde(default)]
    pub endpoints: Vec<EndpointState>,
    /// Its published ports, with the host ports that were found.
    #[serde(default)]
    pub published: Vec<PublishedPort>,
}

impl Default for ContainerState {
    /// A container that was never started.
    fn default() -> Self {
        Self {
            version: RECORD_VERSION,
            phase: Phase::Created,
            process: None,
            started: None,
            finished: None,
            exit: None,
            oom: false,
            error: None,
            restarts: 0,
            early_ends: 0,
            attempts: 0,
            next_start: None,
            aside: false,
            stop_requested: false,
            health: None,
            endpoints: Vec::new(),
            published: Vec::new(),
        }
    }
}

impl ContainerState {
    /// Reads the state in the folder `paths`. A container without one, or with
    /// a damaged one, counts as never started: states are not synced, and what
    /// ran before a power loss does not run after it.
    ///
    /// # Errors
    ///
    /// When the state is newer than this binary, or unreadable.
    pub fn read(paths: &ContainerPaths) -> Result<Self, RecordError> {
        let path = paths.state();
        let state = match read_record::<Self>(&path) {
            Ok(state) => state.unwrap_or_default(),
            Err(RecordError::Damaged { .. }) => Self::default(),
            Err(error) => return Err(error),
        };
        check_version(&path, state.version)?;
        Ok(state)
    }

    /// Replaces the state in the folder `paths`.
    ///
    /// # Errors
    ///
    /// When the record cannot be replaced.
    pub fn write(&self, paths: &ContainerPaths) -> Result<(), RecordError> {
        replace_volatile_record(&paths.state(), self)
    }

    /// The state as it is in truth: a record that says "running" of a process
    /// that is gone becomes an exit, with the status from the journal if the
    /// keeper saw it and unknown if nobody did. A process of whose exit its keeper
    /// has not heard is not gone.
    #[must_use]
    pub fn settled(mut self, id: &str, boot: &BootId, exits: &Exits) -> Self {
        if !matches!(self.phase, Phase::Running | Phase::Paused) {
            return self;
        }
        if self.process.as_ref().is_some_and(|process| process.is_known(boot)) {
            return self;
        }
        let exit = self.process.take().and_then(|process| exits.of(id, process.pid, self.started));
        self.phase = Phase::Exited;
        self.health = None;
        self.exit = exit.map(|exit| exit.status);
        self.finished = exit.map(|exit| exit.at);
        self
    }
}

/// Where a container is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Never started.
    Created,
    /// Its process lives.
    Running,
    /// Its process exited and will be started again.
    Restarting,
    /// Its process is frozen.
    Paused,
    /// Its process exited.
    Exited,
    /// Its last start failed.
    Dead,
}

impl Phase {
    /// Whether it has a process or is about to get one without being asked.
    #[must_use]
    pub fn is_up(self) -> bool {
        matches!(self, Self::Running | Self::Restarting | Self::Paused)
    }

    /// The word that `ps` shows.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Restarting => "restarting",
            Self::Paused => "paused",
            Self::Exited => "exited",
            Self::Dead => "dead",
        }
    }
}

/// What the probes of a container said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// The verdict.
    pub status: HealthStatus,
    /// Failures in a row.
    pub failing_streak: u32,
    /// The last probes, the oldest first; at most five, as Docker keeps.
    #[serde(default)]
    pub log: Vec<ProbeRecord>,
}

/// The verdict over a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HealthStatus {
    /// No verdict yet.
    Starting,
    /// The last probe succeeded, or too few have failed since one did.
    Healthy,
    /// As many probes in a row failed as the file allows.
    Unhealthy,
}

/// One probe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeRecord {
    /// When it began.
    pub start: Timestamp,
    /// When it was over.
    pub end: Timestamp,
    /// Its exit code; `None` if it was killed at its timeout.
    pub code: Option<i32>,
    /// The first 4096 bytes of what it said.
    pub output: String,
}

/// A place on a network that is in use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointState {
    /// The network's real name.
    pub network: String,
    /// The interface in the container.
    pub interface: String,
    /// The container's address, where the network has IPv4.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<Ipv4Addr>,
    /// Bits of the network part of the address.
    #[serde(default)]
    pub prefix: u8,
    /// The router, unless the network is internal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<Ipv4Addr>,
    /// The container's IPv6 address, where the network has them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6: Option<Ipv6Addr>,
    /// Bits of the network part of the IPv6 address.
    #[serde(default)]
    pub ipv6_prefix: u8,
    /// The router for IPv6, unless the network is internal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6_gateway: Option<Ipv6Addr>,
    /// The hardware address.
    pub mac: MacAddress,
}

impl EndpointState {
    /// Its addresses, that of IPv4 first.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + use<> {
        self.address.map(IpAddr::V4).into_iter().chain(self.ipv6.map(IpAddr::V6))
    }
}

/// A published port with the host port that it got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishedPort {
    /// Where the host listens.
    pub host: SocketAddr,
    /// The port inside.
    pub target: u16,
    /// Which protocol.
    pub protocol: Protocol,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::exits::Exit;

    fn running(process: ProcessName) -> ContainerState {
        ContainerState {
            phase: Phase::Running,
            process: Some(process),
            started: Some("2026-01-01T00:00:00Z".parse().unwrap()),
            ..ContainerState::default()
        }
    }

    #[test]
    fn a_process_that_is_gone_has_exited() {
        let boot = BootId::current().unwrap();
        let alive = ProcessName::of(i32::try_from(std::process::id()).unwrap()).unwrap();
        let gone = ProcessName { started_ticks: 1, ..alive.clone() };
        let seen = Exit {
            key: "ab".to_owned(),
            pid: gone.pid,
            status: ExitStatus::exited(3),
            at: "2026-01-01T00:01:00Z".parse().unwrap(),
        };
        let journal: Exits = [seen.clone()].into_iter().collect();

        let state = running(alive.clone()).settled("ab", &boot, &journal);
        assert_eq!(state, running(alive), "the journal speaks of an earlier run");

        let state = running(gone.clone()).settled("ab", &boot, &journal);
        assert_eq!((state.phase, state.exit), (Phase::Exited, Some(seen.status)));
        assert_eq!(state.finished, Some(seen.at));

        let state = running(gone).settled("ab", &boot, &Exits::default());
        assert_eq!((state.phase, state.exit, state.finished), (Phase::Exited, None, None));
    }
}
