//! What every process of a container is given, PID 1 and one that joins later alike.

use std::os::fd::OwnedFd;

use rustix::process::{Pid, Rlimit};
use sys::root::Root;

use super::identity::Identity;
use crate::exec::ExecProcess;

/// Standard input, output and error.
#[derive(Debug)]
pub(crate) struct Standard {
    /// Standard input.
    pub input: OwnedFd,
    /// Standard output.
    pub output: OwnedFd,
    /// Standard error.
    pub error: OwnedFd,
}

/// Which of the two processes this is, after the one fork of `init: true`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// The one that executes the program.
    Program,
    /// PID 1, which waits for it.
    Reaper(Pid),
}

/// A process on its way into its program.
#[derive(Debug)]
pub(super) struct Entry {
    /// What it is to be.
    pub process: ExecProcess,
    /// Where its standard streams lead, until they are installed.
    pub standard: Option<Standard>,
    /// Whether they are a terminal which it is to control.
    pub terminal: bool,
    /// The limit of open files, if the parent has another one.
    pub files: Option<Rlimit>,
    /// A pipe that it waits at, with all that takes time behind it.
    pub gate: Option<OwnedFd>,
    /// Whether our own reaper is to be PID 1.
    pub init: bool,
    /// Who it is to be, once that was looked up.
    pub identity: Option<Identity>,
    /// Whether it has come into its working directory with the rights of root.
    pub arrived: bool,
    /// Which process this is.
    pub role: Role,
}

impl Entry {
    /// The beginning: nothing is done yet.
    pub fn new(
        process: ExecProcess,
        standard: impl Into<Option<Standard>>,
        terminal: bool,
    ) -> Self {
        Self {
            process,
            standard: standard.into(),
            terminal,
            files: None,
            gate: None,
            init: false,
            identity: None,
            arrived: false,
            role: Role::Program,
        }
    }
}

/// The container's root, from within.
pub(super) fn own_root() -> std::io::Result<Root> {
    Root::open(std::path::Path::new("/"))
}
