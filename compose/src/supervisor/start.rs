//! Starting one container: everything outside of it is made ready, then the keeper is asked.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use runtime::cgroup;
use runtime::launch::{Launch, NamespaceKind};
use rustix::fs::OFlags;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use super::keeper::{KeeperError, Started, Waiting};
use super::live::{Descriptors, Live};
use super::transition::{Event, Life};
use super::{Supervisor, bound, forward, hand_over, names, output, probe, publish};
use crate::apply::wishes;
use crate::event::{Change, HealthStatus};
use crate::record::{
    ContainerState, Join, JoinKind, Phase, ProcessName, RecordError, read_record,
    replace_volatile_record,
};

/// Bytes that a log pipe holds: a supervisor that is being replaced does not make writers wait.
const LOG_PIPE_BYTES: usize = 1 << 20;

/// Why a container could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// One of its records.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// A record is not there.
    #[error("{} is missing: remove the container and create it again", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// A container whose namespace is shared does not run.
    #[error("shares a namespace with container {container}, which is not running")]
    NotRunning {
        /// Its id, shortened.
        container: String,
    },
    /// Its control groups.
    #[error("cannot set its limits")]
    Cgroup(#[from] cgroup::CgroupError),
    /// Its places on networks.
    #[error(transparent)]
    Network(#[from] names::AttachError),
    /// Its published ports.
    #[error(transparent)]
    Publish(#[from] network::publish::PublishError),
    /// Whoever is to get its log lines.
    #[error(transparent)]
    Forward(#[from] forward::ForwardError),
    /// Something small on the host's side.
    #[error("{step}")]
    Host {
        /// What was being done.
        step: &'static str,
        /// The kernel's words.
        source: io::Error,
    },
    /// The container's own side, or the keeper.
    #[error(transparent)]
    Keeper(#[from] KeeperError),
}

impl StartError {
    /// The exit code that stands for the failure: 126, 127 or 125 as a shell and `docker run` have it.
    pub fn shell_code(&self) -> i32 {
        match self {
            Self::Keeper(KeeperError::Failed(failure)) => failure.shell_code(),
            _ => 125,
        }
    }
}

/// What asks for a start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Occasion {
    /// A request: the count of restarts begins anew.
    Request,
    /// The restart policy.
    Restart,
}

/// Starts `live` if it does not run, and returns when its program is executed.
///
/// # Errors
///
/// [`StartError`]; nothing of the attempt is left, and the state says why.
pub async fn start(
    supervisor: &Rc<Supervisor>,
    live: &Rc<Live>,
    occasion: Occasion,
) -> Result<(), StartError> {
    let Some(_gate) = at_rest(live).await else { return Ok(()) };
    if occasion == Occasion::Request {
        live.life.set(Life::asked_to_start());
    }
    let generation = supervisor.keeper.generation();
    let mut started = match prepared(supervisor, live).await {
        Some(waiting) => waiting.go_on().await.map_err(StartError::from),
        None => attempt(supervisor, live).await,
    };
    if let Err(error) = &started
        && is_stale(error)
    {
        renew_layer(live)?;
        started = attempt(supervisor, live).await;
    }
    match started {
        Ok(started) => {
            live.on(Event::Started);
            running(supervisor, live, started, live.life.get().restarts)?;
            sweep(live);
            // The keeper that started it was killed before we knew of it, so it was not among what its successor was given.
            if supervisor.keeper.generation() != generation
                && let Err(error) = hand_over(supervisor, live)
            {
                tracing::error!(container = live.record().name, %error, "no keeper watches it");
            }
            Ok(())
        }
        Err(error) => {
            if occasion == Occasion::Request {
                live.on(Event::StartFailed);
            }
            abandon(supervisor, live, &error).await;
            Err(error)
        }
    }
}

/// Brings `live` up to its program ahead of its turn: what takes time is over when [`start`] is asked for. It is not known to run
/// until then. What fails here is left to `start`, which tries again and tells.
pub async fn prepare(supervisor: &Rc<Supervisor>, live: &Rc<Live>) {
    // What it shares with others is there only when those run.
    let shares = live.record().joins.iter().any(|join| namespace_kind(join.kind).is_some());
    let Some(_gate) = at_rest(live).await.filter(|_| !shares) else { return };
    if live.waiting.borrow().is_some() {
        return;
    }
    match begin(supervisor, live).await {
        Ok(waiting) => *live.waiting.borrow_mut() = Some(waiting),
        Err(_) => take_back(supervisor, live).await,
    }
}

/// Takes back what [`prepare`] has made of a container whose turn has not come.
pub async fn unprepare(supervisor: &Rc<Supervisor>, live: &Rc<Live>) {
    // One that has been started may be on its way to its end, which is not waited for.
    if live.waiting.borrow().is_none() {
        return;
    }
    let _gate = live.gate.lock().await;
    if live.waiting.take().is_some() {
        take_back(supervisor, live).await;
    }
}

/// What [`prepare`] has made, if that has come to its program.
async fn prepared(supervisor: &Rc<Supervisor>, live: &Rc<Live>) -> Option<Waiting> {
    let mut waiting = live.waiting.take()?;
    if waiting.is_on_its_way() {
        return Some(waiting);
    }
    drop(waiting);
    take_back(supervisor, live).await;
    None
}

/// Waits until nothing else is done with a container that does not run; `None` if it runs.
pub async fn at_rest(live: &Live) -> Option<tokio::sync::MutexGuard<'_, ()>> {
    let mut changes = live.watch();
    loop {
        let gate = live.gate.lock().await;
        if !live.is_running() {
            return Some(gate);
        }
        let alive = live.state().process.as_ref().is_some_and(ProcessName::is_alive_now);
        if alive {
            return None;
        }
        // It has ended, and the keeper is about to say so.
        drop(gate);
        changes.changed().await.ok()?;
    }
}

/// Whether the kernel refuses the writable layer because the machine went down while the container ran: a volatile
/// overlay is then of unknown content (kernel documentation, overlayfs, "Volatile mount").
fn is_stale(error: &StartError) -> bool {
    const ESTALE: i32 = rustix::io::Errno::STALE.raw_os_error();
    matches!(error, StartError::Keeper(KeeperError::Failed(failure)) if failure.errno == ESTALE)
}

/// Begins the writable layer anew. What is to outlive a power failure is in volumes.
fn renew_layer(live: &Live) -> Result<(), StartError> {
    tracing::warn!(
        container = live.record().name,
        "its writable layer begins anew after a crash of the machine"
    );
    let renew = |path: PathBuf| {
        sys::remove::remove_tree(&path)?;
        fs::create_dir(&path)
    };
    renew(live.paths.work())
        .and_then(|()| renew(live.paths.upper()))
        .map_err(|source| StartError::Host { step: "cannot renew its writable layer", source })
}

/// Removes what the start has put out of its way.
fn sweep(live: &Live) {
    let (work, name) = (live.paths.work(), live.record().name.clone());
    tokio::task::spawn_blocking(move || {
        if let Err(error) = runtime::overlay::sweep(&work) {
            tracing::debug!(container = name, %error, "work folder");
        }
    });
}

/// Opens the way into control groups beside what comes before a start: see [`cgroup::expect_moves`].
pub fn expect() {
    // There a process is born where it belongs, and a thread would be made for nothing.
    if matches!(cgroup::detect(), Ok(cgroup::Hierarchy::Unified)) {
        return;
    }
    tokio::task::spawn_blocking(|| {
        if let Err(error) = cgroup::expect_moves() {
            tracing::debug!(%error, "control groups");
        }
    });
}

async fn attempt(supervisor: &Rc<Supervisor>, live: &Rc<Live>) -> Result<Started, StartError> {
    Ok(begin(supervisor, live).await?.go_on().await?)
}

/// Makes everything ready outside of the container, and has the keeper bring it up to its program.
async fn begin(supervisor: &Rc<Supervisor>, live: &Rc<Live>) -> Result<Waiting, StartError> {
    // It closes again within a few starts.
    expect();
    forward::check(live).await?;
    names::attach(supervisor, live)?;
    write_etc(supervisor, live)?;
    let launch = prepare_launch(supervisor, live)?;
    let memory = sys::fds::sealed("launch", &launch)
        .map_err(|source| StartError::Host { step: "cannot hand over the launch", source })?;
    let (inside, outside) = stdio(live)?;
    {
        let mut descriptors = live.descriptors.borrow_mut();
        descriptors.output = outside.output;
        descriptors.errors = outside.errors;
        descriptors.input = outside.input;
    }
    let joins = joins(supervisor, live)?;
    publish::prepare(supervisor, live)?;
    hold(supervisor, live)?;
    let kinds = joins.iter().map(|(kind, _)| *kind).collect();
    let mut sent: Vec<BorrowedFd<'_>> = vec![memory.as_fd()];
    sent.extend(inside.iter().map(AsFd::as_fd));
    sent.extend(joins.iter().map(|(_, namespace)| namespace.as_fd()));
    Ok(supervisor.keeper.start(&live.record().id, kinds, &sent)?)
}

/// Has the keeper hold what must outlive this process, before the container exists: a supervisor that is killed
/// between the two finds both or neither.
pub fn hold(supervisor: &Supervisor, live: &Live) -> Result<(), KeeperError> {
    let copies: Vec<OwnedFd> = {
        let descriptors = live.descriptors.borrow();
        let copies: io::Result<_> =
            descriptors.lend().iter().map(BorrowedFd::try_clone_to_owned).collect();
        copies.map_err(KeeperError::Unreachable)?
    };
    supervisor.keeper.hold(&live.record().id, &super::keeper::lend(&copies))
}

/// Writes down that it runs, and begins to serve it.
fn running(
    supervisor: &Rc<Supervisor>,
    live: &Rc<Live>,
    started: Started,
    restarts: u32,
) -> Result<(), RecordError> {
    let Started { running, pidfd } = started;
    let process = ProcessName {
        pid: running.pid,
        started_ticks: running.pid_started,
        boot_id: supervisor.boot.clone(),
    };
    *live.pidfd.borrow_mut() = Some(pidfd);
    if let Err(error) = names::open(live) {
        tracing::error!(container = live.record().name, %error, "names");
    }
    output::take_terminal(supervisor, live);
    output::begin(live);
    forward::begin(live);
    let published = publish::begin(supervisor, live);
    let health = probe::initial(live);
    let written = live.change(|state| {
        *state = ContainerState {
            phase: Phase::Running,
            process: Some(process),
            started: Some(running.started),
            restarts,
            early_ends: live.life.get().early_ends,
            attempts: live.life.get().attempts,
            health,
            endpoints: std::mem::take(&mut state.endpoints),
            aside: state.aside,
            published,
            ..ContainerState::default()
        };
    });
    probe::begin(supervisor, live);
    bound::begin(supervisor, live);
    supervisor.tell(live, Change::Started { restarts });
    if live.state().health.is_some() {
        supervisor.tell(live, Change::Health { status: HealthStatus::Starting });
    }
    written
}

/// Takes back what an attempt has made, and writes down why it failed.
async fn abandon(supervisor: &Rc<Supervisor>, live: &Rc<Live>, error: &StartError) {
    take_back(supervisor, live).await;
    let message = crate::event::Failure::new(error).message;
    let written = live.change(|state| {
        state.phase = Phase::Exited;
        state.process = None;
        state.health = None;
        state.published = Vec::new();
        state.exit = Some(runtime::exit::ExitStatus::exited(error.shell_code()));
        state.finished = Some(jiff::Timestamp::now());
        state.error = Some(message);
    });
    if let Err(error) = written {
        tracing::warn!(%error, "state");
    }
}

/// Takes back what an attempt has made.
async fn take_back(supervisor: &Rc<Supervisor>, live: &Rc<Live>) {
    live.tasks.borrow_mut().end_services();
    publish::end(live).await;
    names::detach(supervisor, live);
    *live.descriptors.borrow_mut() = Descriptors::default();
    supervisor.keeper.release(&live.record().id);
    // A keeper that died before it answered may have brought the process to its program.
    super::exit::kill(live);
    super::exit::remove_cgroup(live);
    super::exit::forget(live).await;
}

/// Fills the control groups of this start into the launch, in memory and on disk (`exec` joins them).
fn prepare_launch(supervisor: &Supervisor, live: &Live) -> Result<Vec<u8>, StartError> {
    let path = live.paths.launch();
    let mut launch: Launch =
        read_record(&path)?.ok_or_else(|| StartError::Missing { path: path.clone() })?;
    let mut limits = wishes::limits(&live.start().limits, live.start().oom_kill_disable);
    limits.devices = cgroup::Devices::of(&launch.spec);
    let start = live.start();
    let name = cgroup::name(start.cgroup_parent.as_deref(), &supervisor.project, &live.record().id);
    live.has_cgroup.set(true);
    launch.cgroup = Some(cgroup::create(&name, &limits)?);
    live.place.borrow_mut().clone_from(&launch.cgroup);
    replace_volatile_record(&path, &launch)?;
    Ok(serde_json::to_vec(&launch).expect("a launch has string keys only"))
}

/// Standard input, output and error for the container, and the other ends for us.
fn stdio(live: &Live) -> Result<([OwnedFd; 3], Descriptors), StartError> {
    let made = match (live.record().tty, live.start().foreign.is_some()) {
        (true, true) => output::terminal_to_come(),
        (true, false) => terminal(),
        (false, _) => pipes(live.record().stdin_open),
    };
    made.map_err(|source| StartError::Host { step: "cannot make its standard streams", source })
}

fn terminal() -> io::Result<([OwnedFd; 3], Descriptors)> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let master = openpt(flags)?;
    grantpt(&master)?;
    unlockpt(&master)?;
    let name = ptsname(&master, Vec::new())?;
    let slave = rustix::fs::open(
        name,
        OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC,
        rustix::fs::Mode::empty(),
    )?;
    rustix::io::ioctl_fionbio(&master, true)?;
    let inside = [slave.try_clone()?, slave.try_clone()?, slave];
    Ok((inside, Descriptors { output: Some(master), ..Descriptors::default() }))
}

fn pipes(keep_input: bool) -> io::Result<([OwnedFd; 3], Descriptors)> {
    let (output, output_inside) = log_pipe()?;
    let (errors, errors_inside) = log_pipe()?;
    let (input_inside, input) = if keep_input {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
        rustix::io::ioctl_fionbio(&write, true)?;
        (read, Some(write))
    } else {
        (OwnedFd::from(File::open("/dev/null")?), None)
    };
    let outside = Descriptors { output: Some(output), errors: Some(errors), input, sandbox: None };
    Ok(([input_inside, output_inside, errors_inside], outside))
}

/// A large pipe whose reading end does not block.
fn log_pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
    // Without CAP_SYS_RESOURCE a user may hold only so many pages in pipes (pipe(7)): a smaller pipe serves as well.
    let _ = rustix::pipe::fcntl_setpipe_size(&write, LOG_PIPE_BYTES);
    rustix::io::ioctl_fionbio(&read, true)?;
    Ok((read, write))
}

/// The namespaces to join: its own sandbox, and those of others.
fn joins(
    supervisor: &Supervisor,
    live: &Live,
) -> Result<Vec<(NamespaceKind, OwnedFd)>, StartError> {
    let mut joins = Vec::new();
    if let Some(sandbox) = &live.descriptors.borrow().sandbox {
        joins.push((NamespaceKind::Network, clone(sandbox)?));
    }
    for Join { kind, container } in &live.record().joins {
        let Some(kind) = namespace_kind(*kind) else { continue };
        joins.push((kind, supervisor.namespace_of(container, kind)?));
        if kind == NamespaceKind::Ipc {
            let mounts = NamespaceKind::Mount;
            joins.push((mounts, supervisor.namespace_of(container, mounts)?));
        }
    }
    Ok(joins)
}

fn clone(descriptor: &OwnedFd) -> Result<OwnedFd, StartError> {
    descriptor
        .try_clone()
        .map_err(|source| StartError::Host { step: "cannot duplicate a descriptor", source })
}

const fn namespace_kind(kind: JoinKind) -> Option<NamespaceKind> {
    match kind {
        JoinKind::Network => Some(NamespaceKind::Network),
        JoinKind::Pid => Some(NamespaceKind::Pid),
        JoinKind::Ipc => Some(NamespaceKind::Ipc),
        JoinKind::Uts => Some(NamespaceKind::Uts),
        JoinKind::Volumes => None,
    }
}

/// Writes the three files that are bind-mounted over those of the image.
///
/// # Errors
///
/// [`StartError::Host`].
pub fn write_etc(supervisor: &Supervisor, live: &Live) -> Result<(), StartError> {
    let write = |name: &str, text: String| {
        let path = live.paths.etc().join(name);
        // Mostly nothing has changed since the last start, and to cut a file takes as long as to remove it.
        if has(&path, &text) {
            return Ok(());
        }
        fs::write(&path, text)
            .map_err(|source| StartError::Host { step: "cannot write its /etc files", source })
    };
    write("hostname", format!("{}\n", live.start().hostname))?;
    write("hosts", names::hosts(supervisor, live))?;
    write("resolv.conf", names::resolv_conf(live))
}

/// Whether the file says just that. The container may have written to it as much as it likes.
fn has(path: &Path, text: &str) -> bool {
    let length = fs::metadata(path).map(|found| found.len());
    length.is_ok_and(|length| length == text.len() as u64)
        && fs::read(path).is_ok_and(|known| known == text.as_bytes())
}
