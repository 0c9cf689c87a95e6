//! The processes that a keeper looks after, and the descriptors it holds.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;

use jiff::Timestamp;

use super::journal::Exit;
use super::message::Running;
use crate::container::Starting;
use crate::exit::ExitStatus;

/// What a process is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// It is PID 1 of its container.
    Container,
    /// It was asked for by an exec.
    Exec,
}

/// How far a process has come.
#[derive(Debug)]
pub(super) enum Phase {
    /// It has been cloned.
    Starting(Starting),
    /// It runs its program; we are its parent.
    Running(OwnedFd),
    /// It runs its program, and another process is its parent.
    Adopted(OwnedFd),
    /// It has failed to start, and that has been said.
    Failed,
}

/// A process that a keeper looks after.
#[derive(Debug)]
pub(super) struct Process {
    pub key: String,
    pub purpose: Purpose,
    pub running: Running,
    pub phase: Phase,
}

impl Process {
    /// The pidfd, while it runs.
    pub(super) fn pidfd(&self) -> Option<&OwnedFd> {
        match &self.phase {
            Phase::Starting(starting) => Some(&starting.child.pidfd),
            Phase::Running(pidfd) | Phase::Adopted(pidfd) => Some(pidfd),
            Phase::Failed => None,
        }
    }

    /// Whether it runs its program.
    pub(super) fn has_started(&self) -> bool {
        matches!(self.phase, Phase::Running(_) | Phase::Adopted(_))
    }

    /// The entry for the journal.
    pub(super) fn exit(&self, status: Option<ExitStatus>) -> Exit {
        Exit {
            key: self.key.clone(),
            ticket: self.running.ticket,
            pid: self.running.pid,
            pid_started: self.running.pid_started,
            status,
            at: Timestamp::now(),
        }
    }
}

/// All that a keeper has.
#[derive(Debug, Default)]
pub(super) struct Table {
    pub processes: Vec<Process>,
    pub held: BTreeMap<String, Vec<OwnedFd>>,
}

impl Table {
    /// The container with this key, while it runs.
    pub(super) fn container(&self, key: &str) -> Option<&Process> {
        let of_key =
            |process: &&Process| process.purpose == Purpose::Container && process.key == key;
        self.processes.iter().filter(|process| process.has_started()).find(of_key)
    }

    /// Whether a container is on its way to its program.
    pub(super) fn is_starting(&self) -> bool {
        self.processes.iter().any(|process| {
            process.purpose == Purpose::Container && matches!(process.phase, Phase::Starting(_))
        })
    }

    /// All keys that are held or run.
    pub(super) fn keys(&self) -> Vec<String> {
        let containers =
            self.processes.iter().filter(|process| process.purpose == Purpose::Container);
        let running =
            containers.filter(|process| process.has_started()).map(|process| process.key.clone());
        let mut keys: Vec<String> = self.held.keys().cloned().chain(running).collect();
        keys.sort();
        keys.dedup();
        keys
    }
}
