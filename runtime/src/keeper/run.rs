//! The keeper's loop.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{DumpableBehavior, Pid, Resource, Rlimit, Signal, WaitOptions};

use super::client::LOG;
use super::client::SOCKET;
use super::config::{Config, Origin};
use super::journal::{Exit, Journal};
use super::link::Link;
use super::message::{Reply, Request, Running};
use super::supervisor::Supervisor;
use super::table::{Phase, Process, Purpose, Table};
use crate::container::{self, Progress, Starting};
use crate::exec::ExecProcess;
use crate::exit::ExitStatus;
use crate::failure::Failure;
use crate::init::{self, JoinStandard, Standard};
use crate::launch::NamespaceKind;

/// The file in the project's run folder that says who its keeper is.
const IDENTITY: &str = "keeper.json";

/// How many requests are taken before the other descriptors are looked at.
const BURST: usize = 32;

/// How long nothing happens before memory is given back.
const REST: Duration = Duration::from_secs(1);

/// A keeper could not start, or had to give up.
#[derive(Debug, thiserror::Error)]
pub enum KeeperError {
    /// The command line was not one that [`launch`](super::launch) makes.
    #[error("`keeper` is started by other commands and takes PROJECT DATA RUN")]
    Arguments,
    /// A file of the project cannot be written.
    #[error("cannot write {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The supervisor could not be started.
    #[error("cannot start the supervisor")]
    Supervisor(#[source] io::Error),
    /// The kernel refused something that a keeper cannot be without.
    #[error("{attempt}")]
    Kernel {
        /// The call.
        attempt: &'static str,
        /// Why.
        source: io::Error,
    },
}

/// Is a keeper, until its supervisor says [`Request::Quit`]: what `compose keeper …` does, with the words after that.
///
/// # Errors
///
/// [`KeeperError`] when it cannot start; the containers of a keeper that gives up later live on.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> Result<(), KeeperError> {
    let (config, origin) = Config::parse(arguments).ok_or(KeeperError::Arguments)?;
    let kernel = |attempt| move |source: io::Error| KeeperError::Kernel { attempt, source };
    let link = sys::fds::inherited(SOCKET).map_err(kernel("taking descriptor 3"))?;
    // Nothing in a container that shares a namespace with a child on its way may look into our memory.
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(|error| kernel("prctl(PR_SET_DUMPABLE)")(error.into()))?;
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
        .map_err(|error| kernel("prctl(PR_SET_CHILD_SUBREAPER)")(error.into()))?;
    let signals = sys::process::signal_descriptor(&[libc::SIGCHLD]).map_err(kernel("signalfd"))?;
    let journal = Journal::open(&config.data).map_err(|source| KeeperError::File {
        path: config.data.join(super::journal::NAME),
        source,
    })?;
    let identity = config.run.join(IDENTITY);
    introduce(&identity).map_err(|source| KeeperError::File { path: identity.clone(), source })?;
    let (supervisor, link) = match origin {
        Origin::Fresh => Supervisor::first(&config, link).map_err(KeeperError::Supervisor)?,
        Origin::Replacement => (Supervisor::foreign(), Link::new(link)),
    };
    let mut keeper = Loop {
        config,
        signals,
        journal,
        supervisor,
        link: Some(link),
        table: Table::default(),
        listing: false,
        files: raise_open_files(),
        stirred: true,
        done: false,
    };
    while !keeper.done {
        keeper.turn().map_err(kernel("poll"))?;
    }
    // A project that was taken down leaves nothing; the log of one that is only stopped may still be asked for.
    let forgotten = !keeper.config.data.exists();
    if forgotten {
        let _ = std::fs::remove_file(keeper.config.run.join(LOG));
    } else {
        let synced = keeper.journal.sync();
        keeper.complain_of(&synced);
    }
    // Another keeper may have come in the meantime. A file that is left says nothing: its process is gone.
    if std::fs::read_to_string(&identity)
        .is_ok_and(|text| introduction().is_ok_and(|own| text == own))
    {
        let _ = std::fs::remove_file(identity);
    }
    if forgotten {
        // Refused, as it should be, if another command has begun to use it.
        let _ = std::fs::remove_dir(&keeper.config.run);
    }
    Ok(())
}

/// Raises the soft limit of open files to the hard one, since each container takes a handful; returns what it was.
fn raise_open_files() -> Option<Rlimit> {
    let before = rustix::process::getrlimit(Resource::Nofile);
    let raised = Rlimit { current: before.maximum, maximum: before.maximum };
    rustix::process::setrlimit(Resource::Nofile, raised).is_ok().then_some(before)
}

/// Writes who we are, whole or not at all.
fn introduce(path: &std::path::Path) -> io::Result<()> {
    let next = path.with_extension("json.next");
    std::fs::write(&next, introduction()?)?;
    std::fs::rename(next, path)
}

/// Who we are.
fn introduction() -> io::Result<String> {
    let pid = std::process::id().cast_signed();
    let started = sys::pidfd::start_time(pid)?;
    Ok(format!("{{\"version\":1,\"pid\":{pid},\"pid_started\":{started}}}\n"))
}

/// The keeper's state.
struct Loop {
    config: Config,
    signals: OwnedFd,
    journal: Journal,
    supervisor: Supervisor,
    link: Option<Link>,
    table: Table,
    /// A list was asked for; it is given when nothing is on its way, because what is would be missing in it.
    listing: bool,
    /// The limit of open files before it was raised: what containers get.
    files: Option<Rlimit>,
    /// Something has happened since memory was last given back.
    stirred: bool,
    done: bool,
}

impl Loop {
    /// Waits until something happens, and does what it asks for.
    fn turn(&mut self) -> io::Result<()> {
        self.wait()?;
        // Starts before ends: a process that has ended quickly is reported as started first.
        self.settle_starts();
        self.settle_ends();
        self.take_requests();
        if self.listing && !self.table.is_starting() {
            self.listing = false;
            self.list();
        }
        if let Some(link) = &mut self.link
            && link.flush().is_err()
        {
            self.lose_link();
        }
        if let Some(link) = self.supervisor.start_if_due(&self.config) {
            self.link = Some(link);
        }
        let synced = self.journal.sync_if_due();
        self.complain_of(&synced);
        Ok(())
    }

    fn wait(&mut self) -> io::Result<()> {
        let mut polled = vec![PollFd::new(&self.signals, PollFlags::IN)];
        if let Some(link) = &self.link {
            let events =
                if link.is_behind() { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN };
            polled.push(PollFd::new(link, events));
        }
        for process in &self.table.processes {
            match &process.phase {
                Phase::Starting(starting) => polled.push(PollFd::new(starting, PollFlags::IN)),
                Phase::Adopted(pidfd) => polled.push(PollFd::new(pidfd, PollFlags::IN)),
                Phase::Running(_) | Phase::Failed => {}
            }
        }
        let due = self.supervisor.due_in().into_iter().chain(self.journal.due_in()).min();
        let rest = self.stirred.then_some(REST);
        let limit =
            due.into_iter().chain(rest).min().and_then(|wait| Timespec::try_from(wait).ok());
        let ready = rustix::io::retry_on_intr(|| rustix::event::poll(&mut polled, limit.as_ref()))?;
        if ready == 0 && due.is_none() {
            // Best effort: it only costs memory.
            let _ = sys::memory::give_back();
        }
        self.stirred = ready > 0 || due.is_some();
        Ok(())
    }

    /// Reports every process that has reached its program, or has failed to.
    fn settle_starts(&mut self) {
        for index in 0..self.table.processes.len() {
            self.settle_start(index);
        }
    }

    fn settle_start(&mut self, index: usize) {
        let process = &mut self.table.processes[index];
        let Phase::Starting(starting) = &process.phase else { return };
        let ticket = process.running.ticket;
        match starting.progress() {
            Progress::Underway => {}
            Progress::Failed(failure) => {
                process.phase = Phase::Failed;
                self.say(&Reply::Failed { ticket, failure }, &[]);
            }
            Progress::HandedOver(pid) => match take_over(process, pid) {
                Ok(()) => self.say_started(index),
                Err(error) => {
                    process.phase = Phase::Failed;
                    let failure = Failure::of_call("hand over", &error, "the first process");
                    self.say(&Reply::Failed { ticket, failure }, &[]);
                }
            },
            Progress::Reached => {
                // It may have waited before its program.
                process.running.started = Timestamp::now();
                if let Phase::Starting(starting) =
                    std::mem::replace(&mut process.phase, Phase::Failed)
                {
                    process.phase = Phase::Running(starting.child.pidfd);
                }
                self.say_started(index);
            }
        }
    }

    fn say_started(&mut self, index: usize) {
        let process = &self.table.processes[index];
        let Running { ticket, pid, pid_started, started } = process.running;
        let reply = Reply::Started { ticket, pid, pid_started, started };
        let Some(link) = &mut self.link else { return };
        if link.send(&reply, process.pidfd().map(AsFd::as_fd).as_slice()).is_err() {
            self.lose_link();
        }
    }

    /// Waits for every child that has ended, and looks at the adopted ones; writes all exits and reports them. They are synced
    /// later: that lasts until the disk has all that others have written meanwhile, and what it is for, a machine that
    /// goes down, is nothing that the supervisor could have prevented by waiting.
    fn settle_ends(&mut self) {
        let mut ended = Vec::new();
        if sys::process::pending_signals(self.signals.as_fd())
            .is_ok_and(|signals| !signals.is_empty())
        {
            while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
                self.reap(pid, ExitStatus::from_wait_status(status.as_raw()), &mut ended);
            }
        }
        self.look_at_adopted(&mut ended);
        if ended.is_empty() {
            return;
        }
        let exits: Vec<Exit> = ended
            .iter()
            .filter(|(purpose, _)| *purpose == Purpose::Container)
            .map(|(_, exit)| exit.clone())
            .collect();
        if !exits.is_empty() {
            let written = self.journal.append(&exits);
            self.complain_of(&written);
        }
        for (_, Exit { key, ticket, pid, status, at, .. }) in ended {
            self.say(&Reply::Exited { key, ticket, pid, status, at }, &[]);
        }
    }

    /// Leaves a line about what became of the journal, if that is no success.
    fn complain_of(&self, written: &io::Result<()>) {
        if written.is_err() {
            // A full disk: the supervisor has heard of the exits all the same, and writes its own records.
            self.complain("the journal cannot be written");
        }
    }

    fn reap(&mut self, pid: Pid, status: ExitStatus, ended: &mut Vec<(Purpose, Exit)>) {
        if self.supervisor.ended(pid) {
            return;
        }
        let number = pid.as_raw_nonzero().get();
        let of_number = |process: &Process| {
            process.running.pid == number && !matches!(process.phase, Phase::Adopted(_))
        };
        // An orphan of a container without process numbers of its own.
        let Some(index) = self.table.processes.iter().position(of_number) else { return };
        self.settle_start(index);
        if self.table.processes[index].running.pid != number {
            // It has handed over, and was only waited for.
            return;
        }
        let process = self.table.processes.swap_remove(index);
        if process.has_started() {
            ended.push((process.purpose, process.exit(Some(status))));
        }
    }

    fn look_at_adopted(&mut self, ended: &mut Vec<(Purpose, Exit)>) {
        let mut index = 0;
        while let Some(process) = self.table.processes.get(index) {
            let Phase::Adopted(pidfd) = &process.phase else {
                index += 1;
                continue;
            };
            if !has_ended(pidfd.as_fd()) {
                index += 1;
                continue;
            }
            let word =
                sys::pidfd::last_word(pidfd, process.running.pid, process.running.pid_started);
            let process = self.table.processes.swap_remove(index);
            ended.push((process.purpose, process.exit(word.map(ExitStatus::from_wait_status))));
        }
    }

    fn take_requests(&mut self) {
        for _ in 0..BURST {
            let Some(link) = &self.link else { return };
            match link.receive() {
                Ok(Some((request, descriptors))) => {
                    self.supervisor.served = true;
                    self.obey(request, descriptors);
                }
                Ok(None) => return,
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    self.complain("a request was not understood")
                }
                Err(_) => return self.lose_link(),
            }
        }
    }

    fn obey(&mut self, request: Request, descriptors: Vec<OwnedFd>) {
        match request {
            Request::Start { ticket, key, joins, gated } => {
                let started = start(&joins, gated, self.files, descriptors);
                self.track(key, ticket, Purpose::Container, started);
            }
            Request::Exec { ticket, key } => {
                self.track(key, ticket, Purpose::Exec, exec(self.files, descriptors))
            }
            Request::Kill { ticket } => self.kill(ticket),
            Request::Hold { key } => {
                self.table.held.insert(key, descriptors);
            }
            Request::Release { key } => {
                self.table.held.remove(&key);
            }
            Request::Adopt { key, running } => self.adopt(key, running, descriptors),
            Request::List => self.listing = true,
            Request::Quit => self.done = true,
        }
    }

    /// Looks after a process that has been cloned, or reports that it has not.
    fn track(
        &mut self,
        key: String,
        ticket: u64,
        purpose: Purpose,
        outcome: Result<Starting, Failure>,
    ) {
        match outcome {
            Err(failure) => self.say(&Reply::Failed { ticket, failure }, &[]),
            Ok(starting) => {
                let pid = starting.child.pid.as_raw_nonzero().get();
                // It is our child and has not been waited for, so its entry is there even if it has ended.
                let pid_started = sys::pidfd::start_time(pid).unwrap_or_default();
                let running = Running { ticket, pid, pid_started, started: Timestamp::now() };
                self.table.processes.push(Process {
                    key,
                    purpose,
                    running,
                    phase: Phase::Starting(starting),
                });
            }
        }
    }

    fn kill(&self, ticket: u64) {
        let of_ticket = |process: &&Process| {
            process.purpose == Purpose::Exec && process.running.ticket == ticket
        };
        if let Some(pidfd) = self.table.processes.iter().find(of_ticket).and_then(Process::pidfd) {
            // One that has ended by itself is what was wanted.
            let _ = rustix::process::pidfd_send_signal(pidfd, Signal::KILL);
        }
    }

    fn adopt(&mut self, key: String, running: Running, descriptors: Vec<OwnedFd>) {
        let mut descriptors = descriptors.into_iter();
        let Some(pidfd) = descriptors.next() else { return };
        self.table.held.insert(key.clone(), descriptors.collect());
        if self.table.container(&key).is_none() {
            let phase = Phase::Adopted(pidfd);
            self.table.processes.push(Process { key, purpose: Purpose::Container, running, phase });
        }
    }

    fn list(&mut self) {
        for key in self.table.keys() {
            let Some(link) = &mut self.link else { return };
            let container = self.table.container(&key);
            let running = container.map(|process| process.running.clone());
            let held = self.table.held.get(&key);
            let pidfd = container.and_then(Process::pidfd);
            let descriptors: Vec<BorrowedFd<'_>> =
                pidfd.into_iter().chain(held.into_iter().flatten()).map(AsFd::as_fd).collect();
            if link.send(&Reply::Held { key, running }, &descriptors).is_err() {
                return self.lose_link();
            }
        }
        self.say(&Reply::Listed, &[]);
    }

    fn say(&mut self, reply: &Reply, descriptors: &[BorrowedFd<'_>]) {
        if let Some(link) = &mut self.link
            && link.send(reply, descriptors).is_err()
        {
            self.lose_link();
        }
    }

    /// The supervisor is gone. Another one is started, unless this one never did anything and there is nothing to keep.
    fn lose_link(&mut self) {
        if self.link.take().is_none() {
            return;
        }
        self.listing = false;
        self.supervisor.lost();
        let idle = self.table.processes.is_empty() && self.table.held.is_empty();
        self.done |= idle && !self.supervisor.served;
    }

    /// Leaves a line in the log, which is our standard error.
    fn complain(&self, what: &str) {
        let line = format!("{} keeper of {}: {what}\n", Timestamp::now(), self.config.project);
        // There is nobody left to tell.
        let _ = rustix::io::write(rustix::stdio::stderr(), line.as_bytes());
    }
}

/// Looks after the process `pid` in the place of the one that has had it made, which ends.
///
/// Until then `pid` is a child of that one, which waits for nobody: the number is no other process's.
fn take_over(process: &mut Process, pid: i32) -> io::Result<()> {
    let first = sys::pidfd::open(pid)?;
    let pid_started = sys::pidfd::start_time(pid)?;
    let before = std::mem::replace(&mut process.phase, Phase::Running(first));
    process.running =
        Running { pid, pid_started, started: Timestamp::now(), ..process.running.clone() };
    if let Phase::Starting(starting) = before {
        rustix::process::pidfd_send_signal(&starting.child.pidfd, Signal::KILL)?;
    }
    Ok(())
}

/// Whether the process of a pidfd has ended, without waiting.
fn has_ended(pidfd: BorrowedFd<'_>) -> bool {
    let mut polled = [PollFd::new(&pidfd, PollFlags::IN)];
    rustix::event::poll(&mut polled, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))
        .is_ok_and(|ready| ready > 0)
}

fn start(
    joins: &[NamespaceKind],
    gated: bool,
    files: Option<Rlimit>,
    descriptors: Vec<OwnedFd>,
) -> Result<Starting, Failure> {
    let mut descriptors = descriptors.into_iter();
    let launch = take(&mut descriptors)?;
    let standard = standard(&mut descriptors)?;
    let joins = joins
        .iter()
        .map(|kind| Ok((*kind, take(&mut descriptors)?)))
        .collect::<Result<_, Failure>>()?;
    let gate = gated.then(|| take(&mut descriptors)).transpose()?;
    container::start(launch, standard, files, joins, gate)
}

fn exec(files: Option<Rlimit>, descriptors: Vec<OwnedFd>) -> Result<Starting, Failure> {
    let mut descriptors = descriptors.into_iter();
    let process: ExecProcess = init::read(&take(&mut descriptors)?)?;
    let container = take(&mut descriptors)?;
    let standard = standard(&mut descriptors)?;
    container::exec(process, container, JoinStandard::Given(standard), files)
}

fn standard(descriptors: &mut impl Iterator<Item = OwnedFd>) -> Result<Standard, Failure> {
    Ok(Standard {
        input: take(descriptors)?,
        output: take(descriptors)?,
        error: take(descriptors)?,
    })
}

fn take(descriptors: &mut impl Iterator<Item = OwnedFd>) -> Result<OwnedFd, Failure> {
    descriptors.next().ok_or_else(|| Failure {
        step: "read request".to_owned(),
        errno: 0,
        detail: "a descriptor is missing".to_owned(),
    })
}
