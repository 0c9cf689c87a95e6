//! What supervisor and keeper say to each other: one JSON value in one datagram, with descriptors beside it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::exit::ExitStatus;
use crate::failure::Failure;
use crate::launch::NamespaceKind;

/// What the supervisor asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case")]
pub enum Request {
    /// Start a container.
    ///
    /// Descriptors: the sealed memfd with the [`Launch`](crate::launch::Launch), standard input, output and error (the
    /// slave of a pseudo-terminal thrice if `process.terminal` is set; with another runtime, which makes the terminal, a socket
    /// on which it is sent in the place of the input), one namespace for each of `joins`, then, if it is
    /// `gated`, the reading end of a pipe.
    Start {
        /// Repeated in the answers.
        ticket: u64,
        /// The container's id.
        key: String,
        /// Namespaces of others that it is to share.
        joins: Vec<NamespaceKind>,
        /// Whether it waits before its program until something can be read from the pipe. It gives up when the pipe is
        /// closed before.
        gated: bool,
    },
    /// Run one more process in a running container.
    ///
    /// Descriptors: the sealed memfd with the [`ExecProcess`](crate::exec::ExecProcess), the pidfd of the container's
    /// PID 1, standard input, output and error.
    Exec {
        /// Repeated in the answers.
        ticket: u64,
        /// The container's id.
        key: String,
    },
    /// Kill the process of an earlier [`Request::Exec`], which has taken too long.
    Kill {
        /// The ticket of that request.
        ticket: u64,
    },
    /// Hold these descriptors under this key, in the place of those held under it before.
    Hold {
        /// The container's id.
        key: String,
    },
    /// Forget the descriptors under this key.
    Release {
        /// The container's id.
        key: String,
    },
    /// Watch a container that another keeper started.
    ///
    /// Descriptors: its pidfd, then those to hold under its key.
    Adopt {
        /// The container's id.
        key: String,
        /// What was running.
        running: Running,
    },
    /// Say all that is held: a [`Reply::Held`] for each key, then [`Reply::Listed`].
    List,
    /// Exit, and do not start the supervisor again.
    Quit,
}

/// What the keeper answers, and what it says unasked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "snake_case")]
pub enum Reply {
    /// The process has reached its own program. Descriptor: its pidfd.
    Started {
        /// That of the request.
        ticket: u64,
        /// Its number in the keeper's namespace.
        pid: i32,
        /// Its start time in clock ticks since boot: with the pid, its identity (proc_pid_stat(5), field 22).
        pid_started: u64,
        /// When it was started.
        started: Timestamp,
    },
    /// The process did not reach its own program, and is gone.
    Failed {
        /// That of the request.
        ticket: u64,
        /// What went wrong.
        failure: Failure,
    },
    /// A container's PID 1, or the process of an [`Request::Exec`], has ended. For a container this is in the journal already.
    Exited {
        /// The container's id.
        key: String,
        /// That of the request which started it.
        ticket: u64,
        /// Its number.
        pid: i32,
        /// How it ended; absent when it was adopted and the kernel cannot tell (before Linux 6.15).
        status: Option<ExitStatus>,
        /// When.
        at: Timestamp,
    },
    /// One key. Descriptors: the pidfd if it is running, then those held.
    Held {
        /// The container's id.
        key: String,
        /// The container, while it runs.
        running: Option<Running>,
    },
    /// The end of the answer to [`Request::List`].
    Listed,
}

/// A container that runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    /// That of the request which started it.
    pub ticket: u64,
    /// Its number in the keeper's namespace.
    pub pid: i32,
    /// Its start time in clock ticks since boot.
    pub pid_started: u64,
    /// When it was started.
    pub started: Timestamp,
}
