//! Where the commands of a build run: control groups with their attendant, and a network.
//!
//! Each of these takes longer to make and to remove than many a command runs. So a command that has ended leaves its
//! cell to the next one of the build: no process of it is left in there, and it had no right to change the network.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex};

use runtime::cgroup;
use runtime::once::Attendant;

use super::run::{RunError, random_id};
use super::{Foreign, RunNetwork, Sandbox, Surroundings};

/// What a cell has to be like.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Kind {
    pub(super) network: RunNetwork,
    pub(super) limits: cgroup::Limits,
}

/// A place for one command at a time. When it is dropped, what runs in it is killed.
pub(super) struct Cell {
    kind: Kind,
    pub(super) attendant: Arc<Attendant>,
    sandbox: Option<Box<dyn Sandbox>>,
}

/// A cell cannot be made.
#[derive(Debug, thiserror::Error)]
pub(super) enum CellError {
    #[error(transparent)]
    Run(#[from] RunError),
    /// Its network.
    #[error(transparent)]
    Network(Foreign),
}

impl Cell {
    fn new(kind: Kind, surroundings: &dyn Surroundings) -> Result<Self, CellError> {
        // The attendant enters the control groups while the network is made.
        let attendant = Arc::new(attendant(&kind.limits)?);
        let sandbox = match kind.network {
            RunNetwork::Host => None,
            network => Some(surroundings.network(network).map_err(CellError::Network)?),
        };
        Ok(Self { kind, attendant, sandbox })
    }

    /// The network, unless it is that of the machine.
    pub(super) fn sandbox(&self) -> Option<&dyn Sandbox> {
        self.sandbox.as_deref()
    }

    pub(super) fn limits(&self) -> &cgroup::Limits {
        &self.kind.limits
    }

    pub(super) fn namespace(&self) -> Option<BorrowedFd<'_>> {
        self.sandbox.as_ref().map(|sandbox| sandbox.namespace().as_fd())
    }
}

/// Control groups of their own, with an attendant.
pub(super) fn attendant(limits: &cgroup::Limits) -> Result<Attendant, RunError> {
    let place = cgroup::create(&cgroup::name(None, "build", &random_id()?), limits)?;
    Ok(Attendant::begin(place)?)
}

/// The cells of a build in which nothing runs.
#[derive(Default)]
pub(super) struct Cells(Mutex<Vec<Cell>>);

impl Cells {
    /// A cell of this kind: one that is free, or a new one.
    pub(super) fn take(
        &self,
        kind: Kind,
        surroundings: &dyn Surroundings,
    ) -> Result<Cell, CellError> {
        let mut free = self.0.lock().expect("nobody panics with it");
        let known = free.iter().position(|cell| cell.kind == kind);
        let found = known.map(|index| free.swap_remove(index));
        drop(free);
        found.map_or_else(|| Cell::new(kind, surroundings), Ok)
    }

    /// Takes back a cell whose command has ended.
    pub(super) fn give(&self, cell: Cell) {
        self.0.lock().expect("nobody panics with it").push(cell);
    }
}
