//! One container as the supervisor knows it: its record, its state, and what it holds of it.

use std::cell::{Cell, Ref, RefCell};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use jiff::Timestamp;
use network::publish::{Reserved, Served};
use runtime::cgroup::Place;
use tokio::sync::{Mutex, watch};
use tokio::task::JoinHandle;

use super::forward::Forwarder;
use super::keeper::Waiting;
use super::transition::{self, Effect, Life};
use crate::record::start::NetworkStart;
use crate::record::{
    ContainerPaths, ContainerRecord, ContainerState, EndpointState, Phase, RecordError, Roots,
    StartRecord, Terms,
};

/// The descriptors of a container that outlive the supervisor in the keeper.
///
/// Their order is that of the fields; which of them are there follows from the container's record alone
/// (see [`Shape`]), so that a bare list of descriptors can be told apart again.
#[derive(Debug, Default)]
pub struct Descriptors {
    /// Where its output is read: a pipe, or the master of its terminal.
    pub output: Option<OwnedFd>,
    /// Where its standard error is read; none with a terminal.
    pub errors: Option<OwnedFd>,
    /// Where its standard input is written; none with a terminal or without `stdin_open`.
    pub input: Option<OwnedFd>,
    /// Its own network namespace.
    pub sandbox: Option<OwnedFd>,
}

/// Which [`Descriptors`] a container has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// It has a terminal: one descriptor for everything that is read and written.
    pub terminal: bool,
    /// Its standard input stays open.
    pub input: bool,
    /// It has a network namespace of its own.
    pub sandbox: bool,
}

impl Descriptors {
    /// Lends them in their order.
    pub fn lend(&self) -> Vec<BorrowedFd<'_>> {
        let Self { output, errors, input, sandbox } = self;
        [output, errors, input, sandbox].into_iter().flatten().map(AsFd::as_fd).collect()
    }

    /// Tells the descriptors of a container with this `shape` apart. One less than all means that the end of its input
    /// has been reached; a list of another length is refused.
    pub fn from_list(list: Vec<OwnedFd>, shape: Shape) -> Option<Self> {
        let has_input = shape.input && !shape.terminal;
        let all =
            1 + [!shape.terminal, has_input, shape.sandbox].map(usize::from).iter().sum::<usize>();
        let open_input = has_input && list.len() == all;
        let mut list = list.into_iter();
        let mut next = |wanted: bool| match wanted {
            true => list.next().map(Some),
            false => Some(None),
        };
        let descriptors = Self {
            output: next(true)?,
            errors: next(!shape.terminal)?,
            input: next(open_input)?,
            sandbox: next(shape.sandbox)?,
        };
        list.next().is_none().then_some(descriptors)
    }

    /// Those that a keeper held for a container: all that it had, or its namespace only, if it waits to be started again
    /// or was adopted without its output.
    pub fn from_held(mut list: Vec<OwnedFd>, shape: Shape) -> Option<Self> {
        match list.len() {
            1 if shape.sandbox => Some(Self { sandbox: list.pop(), ..Self::default() }),
            _ => Self::from_list(list, shape),
        }
    }

    /// Where its input is written.
    pub fn writable(&self, shape: Shape) -> Option<&OwnedFd> {
        if shape.terminal { self.output.as_ref() } else { self.input.as_ref() }
    }
}

/// Tasks that serve a running container and end with it.
#[derive(Debug, Default)]
pub struct Tasks {
    /// Move output into the log until the container closes its end.
    pub pumps: Vec<JoinHandle<()>>,
    /// Sends log lines to somebody else.
    pub forwarder: Option<Forwarder>,
    /// Answer DNS: aborted at the end.
    pub services: Vec<JoinHandle<()>>,
    /// Probes health: aborted at the end.
    pub probe: Option<JoinHandle<()>>,
    /// Published ports.
    pub published: Vec<Served>,
    /// Host ports that are bound and not yet served.
    pub reserved: Vec<Reserved>,
}

impl Tasks {
    /// Ends the tasks of a container that has ended. The pumps have ended with its output; published ports are seen to by
    /// [`super::publish`].
    pub fn end_services(&mut self) {
        for task in self.services.drain(..).chain(self.probe.take()) {
            task.abort();
        }
    }
}

impl Drop for Tasks {
    fn drop(&mut self) {
        self.end_services();
    }
}

/// One container as the supervisor knows it.
#[derive(Debug)]
pub struct Live {
    record: RefCell<Rc<ContainerRecord>>,
    start: RefCell<Rc<StartRecord>>,
    /// Where its files are.
    pub paths: ContainerPaths,
    /// Its places on networks: those of `start`, and what has been changed since.
    pub network: RefCell<NetworkStart>,
    /// Held while it is being started, stopped or seen to its end: these never overlap.
    pub gate: Mutex<()>,
    /// The descriptors of the running container.
    pub descriptors: RefCell<Descriptors>,
    /// Its pidfd while it runs.
    pub pidfd: RefCell<Option<OwnedFd>>,
    /// Its control groups, once they have been asked for; `launch.json` has them too.
    pub place: RefCell<Option<Place>>,
    /// It has come up to its program ahead of its turn and waits there: see [`super::start::prepare`].
    pub waiting: RefCell<Option<Waiting>>,
    /// What serves it while it runs.
    pub tasks: RefCell<Tasks>,
    /// Where it is in its life; what follows from each event is decided by [`super::transition`].
    pub life: Cell<Life>,
    /// Whether control groups of its last start may still be there.
    pub has_cgroup: Cell<bool>,
    /// Whoever stops it is about to start it again.
    pub comes_back: Cell<bool>,
    /// Told by whoever writes its log when that has grown.
    pub grown: watch::Sender<()>,
    state: RefCell<ContainerState>,
    changes: watch::Sender<u64>,
}

impl Live {
    /// Takes up a container from its records.
    pub fn new(
        roots: &Roots,
        record: ContainerRecord,
        start: StartRecord,
        state: ContainerState,
    ) -> Self {
        let paths = record.paths(roots);
        let life = Life::of(&state);
        Self {
            network: RefCell::new(start.network.clone()),
            record: RefCell::new(Rc::new(record)),
            start: RefCell::new(Rc::new(start)),
            paths,
            gate: Mutex::new(()),
            descriptors: RefCell::default(),
            pidfd: RefCell::default(),
            place: RefCell::default(),
            waiting: RefCell::default(),
            tasks: RefCell::default(),
            life: Cell::new(life),
            has_cgroup: Cell::new(true),
            comes_back: Cell::new(false),
            grown: watch::Sender::new(()),
            state: RefCell::new(state),
            changes: watch::Sender::new(0),
        }
    }

    /// What it is.
    pub fn record(&self) -> Rc<ContainerRecord> {
        Rc::clone(&self.record.borrow())
    }

    /// What it takes to start it.
    pub fn start(&self) -> Rc<StartRecord> {
        Rc::clone(&self.start.borrow())
    }

    /// Changes what it is, on disk and in memory. The record comes last: a container whose record says what the file
    /// says has everything that it says.
    ///
    /// # Errors
    ///
    /// When one of the records cannot be written.
    pub fn renew(
        &self,
        roots: &Roots,
        record: ContainerRecord,
        start: StartRecord,
    ) -> Result<(), RecordError> {
        start.write(&self.paths)?;
        self.start.replace(Rc::new(start));
        record.write(roots)?;
        self.record.replace(Rc::new(record));
        Ok(())
    }

    /// Lets `event` happen to it, and says what has to be done.
    pub fn on(&self, event: transition::Event) -> Effect {
        let (life, effect) =
            transition::next(self.life.get(), event, Terms::of(&self.record()), Timestamp::now());
        self.life.set(life);
        effect
    }

    /// Its state.
    pub fn state(&self) -> Ref<'_, ContainerState> {
        self.state.borrow()
    }

    /// Whether its PID 1 runs.
    pub fn is_running(&self) -> bool {
        matches!(self.state().phase, Phase::Running | Phase::Paused)
    }

    /// Changes its state on disk and in memory, and wakes whoever waits for it.
    ///
    /// # Errors
    ///
    /// When the record cannot be written; what is in memory has changed all the same, because it says what is true.
    pub fn change(&self, change: impl FnOnce(&mut ContainerState)) -> Result<(), RecordError> {
        change(&mut self.state.borrow_mut());
        let written = self.state().write(&self.paths);
        self.changes.send_modify(|generation| *generation += 1);
        written
    }

    /// Changes its endpoints in memory; the next [`Live::change`] writes them down.
    pub fn remember_endpoints(&self, endpoints: Vec<EndpointState>) {
        self.state.borrow_mut().endpoints = endpoints;
    }

    /// Tells of each change of its state.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Which descriptors it has.
    pub fn shape(&self) -> Shape {
        Shape {
            terminal: self.record().tty,
            input: self.record().stdin_open,
            sandbox: self.network.borrow().has_sandbox(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn a_bare_list_is_told_apart_again() {
        let descriptor = || OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
        for (terminal, input, sandbox, count) in [
            (false, false, false, 2),
            (false, true, true, 4),
            (true, true, true, 2),
            (true, false, false, 1),
        ] {
            let shape = Shape { terminal, input, sandbox };
            let list: Vec<OwnedFd> = (0..count).map(|_| descriptor()).collect();
            let numbers: Vec<_> = list.iter().map(AsRawFd::as_raw_fd).collect();
            let descriptors = Descriptors::from_list(list, shape).unwrap();
            let lent: Vec<_> = descriptors.lend().iter().map(AsRawFd::as_raw_fd).collect();
            assert_eq!(lent, numbers, "{shape:?}");
            assert_eq!(descriptors.writable(shape).is_some(), input || terminal);
            let short = (1..count).map(|_| descriptor()).collect();
            let ended = Descriptors::from_list(short, shape);
            assert_eq!(ended.is_some(), input && !terminal, "{shape:?}");
        }
    }
}
