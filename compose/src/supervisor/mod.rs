//! The process that decides for a project, for as long as the project is up.
//!
//! One thread, one event loop. It carries out the requests of the command line (observe, plan, apply), and between
//! them it serves the running containers: output into logs, exits and restarts, health, names, published ports. It may
//! be killed at any moment: the keeper starts the next one, which takes everything up again ([`Supervisor::take_up`]).
//! It leaves when nothing of the project runs and nobody is connected.

mod attach;
pub mod bound;
mod command;
pub mod connect;
mod converge;
mod deaf;
mod dependents;
pub mod exit;
mod follow;
pub mod forward;
pub mod health;
pub mod hook;
pub mod keeper;
mod live;
pub mod names;
mod output;
pub mod pause;
pub mod probe;
pub mod provider;
pub mod publish;
mod readiness;
mod requests;
mod server;
pub mod start;
mod stores;
mod take_up;
pub mod transition;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use jiff::Timestamp;
use runtime::keeper::{Config, Keeper, LaunchError};
use runtime::launch::NamespaceKind;
use tokio::net::UnixListener;
use tokio::sync::{Mutex, Notify, broadcast, watch};
use tokio::task::{AbortHandle, LocalSet, spawn_local};
use tokio::time::{Instant, sleep, timeout};

use crate::event::{Change, ContainerEvent, Event};
use crate::record::events::EventLog;
use crate::record::socket::reach;
use crate::record::{
    BootId, LockError, MountSource, ProjectLock, RecordError, Roots, labels, list,
};
pub use converge::refused;
use keeper::{Link, News};
pub use live::Live;
pub use names::AttachError;
pub use stores::{OnDisk, StoresError};

/// Events that a slow listener may be behind before it loses some.
const EVENT_BACKLOG: usize = 4096;

/// How many folders are removed side by side.
const REMOVERS: usize = 8;

/// How long a thread that has nothing more to remove stays.
const THREAD_REST: Duration = Duration::from_secs(1);

/// How long a supervisor without anything to do waits for its first client.
const FIRST_CLIENT: Duration = Duration::from_secs(2);

/// How long a predecessor that was killed may take to let go of the project.
const PREDECESSOR: Duration = Duration::from_secs(1);

/// The wait between two looks at whether it has.
const PACE: Duration = Duration::from_millis(2);

/// Why the supervisor could not begin.
#[derive(Debug, thiserror::Error)]
pub enum SupervisorError {
    /// The command line was not one that a keeper makes.
    #[error("`supervisor` is started by the keeper and takes PROJECT")]
    Arguments,
    /// Another one is there.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// Its records.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The image store.
    #[error(transparent)]
    Images(#[from] images::StoreError),
    /// The volume store.
    #[error(transparent)]
    Volumes(#[from] volumes::StoreError),
    /// The network store.
    #[error(transparent)]
    Networks(#[from] network::StoreError),
    /// Its socket, its event loop.
    #[error("{step}")]
    Host {
        /// What was being done.
        step: &'static str,
        /// The kernel's words.
        source: io::Error,
    },
    /// The keeper.
    #[error(transparent)]
    Keeper(#[from] keeper::KeeperError),
    /// A keeper in the place of one that has died.
    #[error("cannot start another keeper")]
    Launch(#[from] LaunchError),
}

/// The process that decides for a project.
#[derive(Debug)]
pub struct Supervisor {
    /// The project's name.
    pub project: String,
    /// Where everything is.
    pub roots: Roots,
    /// This boot of the machine.
    pub boot: BootId,
    /// The keeper of this project.
    pub keeper: Link,
    /// Networks of the machine.
    pub networks: network::Store,
    /// Volumes of the machine.
    pub volumes: volumes::Store,
    /// Images of the machine.
    pub images: images::Store,
    /// Names and addresses of the containers.
    pub names: names::Directory,
    /// Host ports that are taken for containers which do not run yet.
    pub ports: publish::Reservations,
    /// Single files of the host that are mounted into the containers.
    pub bound: bound::BoundFiles,
    /// Counts the requests that cut others short.
    pub interrupts: watch::Sender<u64>,
    /// Held by the request that is being carried out.
    pub work: Mutex<()>,
    events: broadcast::Sender<Event>,
    history: RefCell<EventLog>,
    containers: RefCell<BTreeMap<String, Rc<Live>>>,
    clients: Cell<usize>,
    idle: Notify,
    taken_up: watch::Sender<bool>,
    /// Follows the files of the project.
    following: RefCell<Option<AbortHandle>>,
}

/// What a supervisor is started with.
#[derive(Debug)]
pub struct Beginning {
    /// The project.
    pub project: String,
    /// Where everything is.
    pub roots: Roots,
    /// The connection to the keeper.
    pub keeper: Keeper,
}

/// Is a supervisor: what `compose supervisor PROJECT` does, with the words after that.
///
/// # Errors
///
/// As [`run`].
pub fn main(mut words: impl Iterator<Item = OsString>) -> Result<(), SupervisorError> {
    let project = words.next().and_then(|word| word.into_string().ok());
    let (Some(project), None) = (project, words.next()) else {
        return Err(SupervisorError::Arguments);
    };
    let keeper = Keeper::inherited()
        .map_err(|source| SupervisorError::Host { step: "cannot reach the keeper", source })?;
    let log = tracing_subscriber::fmt().with_writer(io::stderr).with_ansi(false).finish();
    // Whatever was set before logs as well.
    let _ = tracing::subscriber::set_global_default(log);
    run(Beginning { project, roots: Roots::from_env(), keeper })
}

/// Serves the project until nothing of it runs and nobody is connected.
///
/// # Errors
///
/// [`SupervisorError`] when it cannot begin. What goes wrong later is told to those who asked.
pub fn run(beginning: Beginning) -> Result<(), SupervisorError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(REMOVERS)
        .thread_keep_alive(THREAD_REST)
        .build()
        .map_err(|source| SupervisorError::Host { step: "cannot make an event loop", source })?;
    runtime.block_on(LocalSet::new().run_until(serve(beginning)))
}

async fn serve(beginning: Beginning) -> Result<(), SupervisorError> {
    let Beginning { project, roots, keeper } = beginning;
    // Most supervisors are there because containers are to be started.
    start::expect();
    let _lock = lock(&roots, &project).await?;
    let socket = roots.project(&project).socket();
    let supervisor = Rc::new(Supervisor::new(project, roots, keeper)?);
    let news = spawn_local(listen_to_keeper(Rc::clone(&supervisor)));
    supervisor.take_up().await?;
    supervisor.taken_up.send_replace(true);
    let listener = listen(&socket)?;
    runtime::keeper::announce_ready()
        .map_err(|source| SupervisorError::Host { step: "cannot say that it is ready", source })?;
    spawn_local(names::follow_others(Rc::clone(&supervisor)));
    let server = spawn_local(server::serve(listener, Rc::clone(&supervisor)));
    follow::resume(&supervisor);
    supervisor.until_idle().await;
    let _ = std::fs::remove_file(&socket);
    server.abort();
    news.abort();
    if supervisor.is_empty() {
        supervisor.forget_project();
    }
    supervisor.keeper.quit().await;
    Ok(())
}

/// Takes the lock of the project. A predecessor that was killed a moment ago may still be on its way out of the kernel,
/// which says nothing when the lock of a file becomes free to whoever does not wait for it without bound.
async fn lock(roots: &Roots, project: &str) -> Result<ProjectLock, LockError> {
    let deadline = Instant::now() + PREDECESSOR;
    loop {
        match ProjectLock::acquire(roots, project) {
            Err(LockError::Held { .. }) if Instant::now() < deadline => sleep(PACE).await,
            outcome => return outcome,
        }
    }
}

fn listen(socket: &PathBuf) -> Result<UnixListener, SupervisorError> {
    let failed =
        |source| SupervisorError::Host { step: "cannot listen on the project's socket", source };
    match std::fs::remove_file(socket) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    reach(socket, |path| UnixListener::bind(path)).map_err(failed)
}

/// Obeys what comes from the keeper, each end of a container in a task of its own.
async fn listen_to_keeper(supervisor: Rc<Supervisor>) {
    loop {
        match supervisor.keeper.next().await {
            News::Ended(ended) => {
                let supervisor = Rc::clone(&supervisor);
                spawn_local(async move {
                    // Before that nobody knows the container.
                    let mut taken_up = supervisor.taken_up.subscribe();
                    if taken_up.wait_for(|done| *done).await.is_ok() {
                        exit::ended(&supervisor, ended).await;
                    }
                });
            }
            News::Lost => {
                if let Err(error) = replace_keeper(&supervisor).await {
                    tracing::error!(%error, "no new keeper: the containers run on without one");
                    return;
                }
            }
        }
    }
}

/// Starts a new keeper in the place of one that has died, and gives it everything.
async fn replace_keeper(supervisor: &Rc<Supervisor>) -> Result<(), SupervisorError> {
    tracing::warn!("the keeper is gone: starting another one");
    let paths = supervisor.roots.project(&supervisor.project);
    let keeper = Keeper::replace(&Config {
        project: supervisor.project.clone(),
        data: paths.data().to_owned(),
        run: paths.run().to_owned(),
    })?;
    supervisor
        .keeper
        .replace(keeper)
        .map_err(|source| SupervisorError::Host { step: "cannot watch the keeper", source })?;
    for live in supervisor.all() {
        hand_over(supervisor, &live)?;
    }
    Ok(())
}

fn hand_over(supervisor: &Supervisor, live: &Live) -> Result<(), SupervisorError> {
    let host = |source| SupervisorError::Host { step: "cannot duplicate a descriptor", source };
    let mut copies = Vec::new();
    if let Some(pidfd) = live.pidfd.borrow().as_ref() {
        copies.push(pidfd.try_clone().map_err(host)?);
    }
    for descriptor in live.descriptors.borrow().lend() {
        copies.push(descriptor.try_clone_to_owned().map_err(host)?);
    }
    let running = {
        let state = live.state();
        state.process.as_ref().zip(state.started).map(|(process, started)| {
            runtime::keeper::Running {
                ticket: 0,
                pid: process.pid,
                pid_started: process.started_ticks,
                started,
            }
        })
    };
    let descriptors = keeper::lend(&copies);
    match running {
        Some(running) => supervisor.keeper.adopt(&live.record().id, running, &descriptors)?,
        None if !copies.is_empty() => supervisor.keeper.hold(&live.record().id, &descriptors)?,
        None => {}
    }
    Ok(())
}

impl Supervisor {
    fn new(project: String, roots: Roots, keeper: Keeper) -> Result<Self, SupervisorError> {
        let host = |step| move |source| SupervisorError::Host { step, source };
        Ok(Self {
            boot: BootId::current().map_err(host("cannot tell this boot from others"))?,
            keeper: Link::new(keeper).map_err(host("cannot watch the keeper"))?,
            networks: network::Store::open(&roots.networks(), &roots.network_namespaces())?,
            volumes: volumes::Store::open(&roots.volumes())?,
            images: images::Store::open(&roots.images())?,
            names: names::Directory::default(),
            ports: publish::Reservations::default(),
            bound: bound::BoundFiles::default(),
            interrupts: watch::Sender::new(0),
            work: Mutex::new(()),
            events: broadcast::Sender::new(EVENT_BACKLOG),
            history: RefCell::new(EventLog::new(roots.project(&project).events())),
            containers: RefCell::default(),
            clients: Cell::new(0),
            idle: Notify::new(),
            taken_up: watch::Sender::new(false),
            following: RefCell::default(),
            project,
            roots,
        })
    }

    /// Whether nothing of the project is left but volumes.
    fn is_empty(&self) -> bool {
        let look = || -> Option<bool> {
            let listing = list::containers(&self.roots, &self.project).ok()?;
            let networks = self.networks.list().ok()?;
            let ours = |record: &network::Record| {
                record.wanted.labels.get(labels::PROJECT) == Some(&self.project)
            };
            Some(
                listing.containers.is_empty()
                    && listing.garbage.is_empty()
                    && !networks.iter().any(ours),
            )
        };
        look() == Some(true)
    }

    /// Nothing of the project stays on disk. The keeper sees to its own files.
    fn forget_project(&self) {
        let paths = self.roots.project(&self.project);
        let _ = std::fs::remove_file(paths.lock());
        let _ = std::fs::remove_dir_all(paths.data());
    }

    /// Whether we end, and forget the project, when the one client leaves whose request is being carried out.
    fn is_about_to_leave(&self) -> bool {
        // Its connection, and its request.
        self.clients.get() <= 2 && self.is_empty()
    }

    /// Comes back when nothing of the project runs, nothing is about to, and nobody is connected.
    async fn until_idle(&self) {
        // Whoever has started us is about to connect.
        let _ = timeout(FIRST_CLIENT, self.idle.notified()).await;
        while self.clients.get() > 0 || self.all().iter().any(|live| live.state().phase.is_up()) {
            if self.clients.get() == 0
                && let Err(error) = sys::memory::give_back()
            {
                tracing::debug!(%error, "memory");
            }
            self.idle.notified().await;
        }
    }

    /// The network with this real name, brought up if a reboot has left only its record.
    ///
    /// # Errors
    ///
    /// When there is none, or it cannot be brought up.
    pub fn network(&self, name: &str) -> Result<Rc<network::Network>, AttachError> {
        names::network(self, name)
    }

    /// Adds a container to those that are known.
    pub fn add(&self, live: Live) -> Rc<Live> {
        let live = Rc::new(live);
        self.containers.borrow_mut().insert(live.record().id.clone(), Rc::clone(&live));
        live
    }

    /// Takes a container out of those that are known.
    pub fn forget(&self, id: &str) {
        self.containers.borrow_mut().remove(id);
    }

    /// The container with this id.
    pub fn container(&self, id: &str) -> Option<Rc<Live>> {
        self.containers.borrow().get(id).cloned()
    }

    /// All containers of the project, sorted by id.
    pub fn all(&self) -> Vec<Rc<Live>> {
        self.containers.borrow().values().cloned().collect()
    }

    /// The replicas of a service, by number; not those that stand aside.
    pub fn of_service(&self, service: &str) -> Vec<Rc<Live>> {
        let mut found = self.all();
        found.retain(|live| {
            let record = live.record();
            record.service == service && !record.oneoff && !live.state().aside
        });
        found.sort_by_key(|live| live.record().number);
        found
    }

    /// The names of the containers, of whichever project, that mount the volume called `name`.
    pub fn users_of_volume(&self, name: &str) -> Vec<String> {
        let uses = |mount: &crate::record::MountRecord| matches!(&mount.source, MountSource::Volume { name: used, .. } if used == name);
        let listing = list::all_containers(&self.roots).unwrap_or_default();
        let users =
            listing.containers.into_iter().filter(|found| found.record.mounts.iter().any(uses));
        users.map(|found| found.record.name).collect()
    }

    /// The name of a container, of whichever project, that is made of the image with this id, or has it mounted.
    pub fn user_of_image(&self, image_id: &str) -> Option<String> {
        let listing = list::all_containers(&self.roots).unwrap_or_default();
        let mut containers = listing.containers.into_iter();
        let user = containers.find(|found| found.record.images().any(|used| used == image_id));
        user.map(|found| found.record.name)
    }

    /// A namespace of a running container, of this project or another one.
    pub fn namespace_of(
        &self,
        id: &str,
        kind: NamespaceKind,
    ) -> Result<OwnedFd, start::StartError> {
        let not_running =
            || start::StartError::NotRunning { container: id.chars().take(12).collect() };
        let process = match self.container(id) {
            Some(live) => live.state().process.clone(),
            None => list::find(&self.roots, id).ok().and_then(|found| found.state.process),
        };
        let process =
            process.filter(|process| process.is_alive(&self.boot)).ok_or_else(not_running)?;
        sys::pidfd::open_namespace(process.pid, process.started_ticks, kind.file_name()).map_err(
            |source| start::StartError::Host { step: "cannot open a namespace to share", source },
        )
    }

    /// Tells everybody who listens something that stops nothing.
    pub fn warn(&self, message: String) {
        tracing::warn!(message);
        let _ = self.events.send(Event::Warning { message });
    }

    /// Tells everybody what happened to a container, and gives what was told.
    pub fn tell(&self, live: &Live, change: Change) -> Event {
        let record = &live.record();
        let event = Event::Container(ContainerEvent {
            at: Timestamp::now(),
            id: record.id.clone(),
            name: record.name.clone(),
            service: record.service.to_string(),
            number: record.number,
            oneoff: record.oneoff,
            change,
        });
        let _ = self.events.send(event.clone());
        if let Err(error) = self.history.borrow_mut().append(&event) {
            tracing::warn!(%error, "an event is not written down");
        }
        event
    }
}
