//! Single files of the host that are mounted into containers: when the name of one is given to another file, as by an editor
//! that saves by rename, by `git checkout` or by `ln -sfn`, that one is mounted in its place, in the container that runs.
//!
//! A mount holds a file and not its name. So the names are watched for as long as a container runs, whether or not the project
//! is followed. A file that is gone stays in the container until there is another one.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::future::pending;
use std::io::{self, ErrorKind};
use std::os::fd::AsFd;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Instant;

use runtime::failure::Failure as Cause;
use runtime::launch::Launch;
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;
use tokio::task::{spawn_blocking, spawn_local};
use tokio::time::sleep;

use super::{Live, Supervisor, readiness};
use crate::event::{Change, Failure};
use crate::record::{MountSource, RecordError, read_record};
use crate::watch::batch::Batch;
use crate::watch::inputs::Inputs;
use crate::watch::names::Names;
use crate::watch::source::{Changes, Touch, WatchError};

/// A file that is mounted is not seen to.
#[derive(Debug, thiserror::Error)]
enum BoundError {
    /// What is mounted is not known.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The container's mounts cannot be looked at.
    #[error(transparent)]
    Namespace(#[from] NamespaceError),
    /// What is mounted cannot be replaced.
    #[error(transparent)]
    Runtime(#[from] Cause),
}

/// The mounts of a container cannot be looked at.
#[derive(Debug, thiserror::Error)]
#[error("cannot open {}", path.display())]
pub struct NamespaceError {
    /// Its mount namespace.
    path: PathBuf,
    /// Why not.
    source: io::Error,
}

/// What is mounted into the containers of a project, by their ids.
#[derive(Debug, Default)]
pub struct BoundFiles {
    mounted: RefCell<BTreeMap<String, Vec<Bound>>>,
    /// Those that have come since they were last looked at.
    fresh: RefCell<BTreeSet<String>>,
    bell: Notify,
    is_followed: Cell<bool>,
}

/// One file.
#[derive(Debug)]
struct Bound {
    /// As the spec spells it.
    target: PathBuf,
    source: PathBuf,
}

/// Follows the files that are mounted into `live`, which has been started or is given others.
pub fn begin(supervisor: &Rc<Supervisor>, live: &Live) {
    let id = live.record().id.clone();
    let files = match mounted(live) {
        Ok(files) => files,
        Err(error) => return tracing::warn!(container = live.record().name, %error, "files"),
    };
    let bound = &supervisor.bound;
    if files.is_empty() {
        bound.mounted.borrow_mut().remove(&id);
        return;
    }
    bound.mounted.borrow_mut().insert(id.clone(), files);
    bound.fresh.borrow_mut().insert(id);
    if !bound.is_followed.replace(true) {
        spawn_local(follow(Rc::clone(supervisor)));
    }
    bound.bell.notify_one();
}

/// The single files of the host that `live` has mounted; not those of which it has a copy.
fn mounted(live: &Live) -> Result<Vec<Bound>, RecordError> {
    if live.start().is_sandbox() {
        // What is mounted later does not come to it.
        return Ok(Vec::new());
    }
    let record = live.record();
    let targets: BTreeSet<PathBuf> = record
        .mounts
        .iter()
        .filter(|mount| matches!(&mount.source, MountSource::Bind { path } if is_single(path)))
        .map(|mount| mount.target.components().collect())
        .collect();
    if targets.is_empty() {
        return Ok(Vec::new());
    }
    let Some(launch) = read_record::<Launch>(&live.paths.launch())? else { return Ok(Vec::new()) };
    let is_copied = |target: &Path| launch.grants.files.iter().any(|file| file.target == target);
    let mounts = launch.spec.mounts().iter().flatten();
    let bound = mounts.filter_map(|mount| {
        let target = mount.destination();
        let is_one = targets.contains(target) && !is_copied(target);
        let source = mount.source().clone().filter(|_| is_one)?;
        Some(Bound { target: target.clone(), source })
    });
    Ok(bound.collect())
}

/// Whether it is a file whose name may be given to another one: neither a folder nor a device.
fn is_single(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| {
        let kind = found.file_type();
        !kind.is_dir() && !kind.is_char_device() && !kind.is_block_device()
    })
}

/// Opens the mount namespace of a container that runs; none if its process has ended meanwhile.
///
/// # Errors
///
/// [`NamespaceError`].
pub fn namespace(live: &Live) -> Result<Option<File>, NamespaceError> {
    let process = live.state().process.clone();
    let Some(process) = process.filter(|_| live.is_running()) else { return Ok(None) };
    let path = PathBuf::from(format!("/proc/{}/ns/mnt", process.pid));
    let namespace = match File::open(&path) {
        Ok(namespace) => namespace,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(NamespaceError { path, source }),
    };
    // The descriptor is of this process if the process is there after it was opened.
    Ok(process.is_alive_now().then_some(namespace))
}

/// Looks at what is mounted whenever a container or a file comes, for as long as there is a supervisor.
async fn follow(supervisor: Rc<Supervisor>) {
    let mut follower = Follower::default();
    loop {
        // Before anybody looks: what comes after that is told.
        let watched = follower.watch(&supervisor);
        follower.complain(&supervisor, watched);
        for id in std::mem::take(&mut *supervisor.bound.fresh.borrow_mut()) {
            refresh(&supervisor, &id, &|_| true);
        }
        if follower.wait(&supervisor.bound).await {
            let touched = follower.batch.take();
            for (id, sources) in concerned(&supervisor, &touched) {
                refresh(&supervisor, &id, &|source| sources.contains(source));
            }
        }
    }
}

/// The containers that have something mounted which `touched` leads to, and what that is.
fn concerned(
    supervisor: &Supervisor,
    touched: &BTreeSet<PathBuf>,
) -> Vec<(String, BTreeSet<PathBuf>)> {
    let mut known: BTreeMap<PathBuf, bool> = BTreeMap::new();
    let mut is_touched = |source: &PathBuf| {
        *known.entry(source.clone()).or_insert_with(|| {
            let inputs = Inputs::of_files([source]);
            touched.iter().any(|path| inputs.concern(path))
        })
    };
    let mounted = supervisor.bound.mounted.borrow();
    let sources = mounted.iter().map(|(id, files)| {
        let sources = files.iter().map(|file| &file.source).filter(|source| is_touched(source));
        (id.clone(), sources.cloned().collect::<BTreeSet<_>>())
    });
    sources.filter(|(_, sources)| !sources.is_empty()).collect()
}

/// Has a container see what is at the names now, in a task of its own: one that is being stopped makes no other wait.
fn refresh(supervisor: &Rc<Supervisor>, id: &str, is_wanted: &dyn Fn(&PathBuf) -> bool) {
    let Some(live) = supervisor.container(id) else { return };
    let mounted = supervisor.bound.mounted.borrow();
    let files = mounted.get(id).into_iter().flatten().filter(|file| is_wanted(&file.source));
    let targets: Vec<PathBuf> = files.map(|file| file.target.clone()).collect();
    let supervisor = Rc::clone(supervisor);
    spawn_local(async move {
        match replace(&live, targets).await {
            Ok(replaced) if replaced.is_empty() => {}
            Ok(_) => {
                supervisor.tell(&live, Change::Updated);
            }
            Err(error) => {
                let Failure { message, .. } = Failure::new(&error);
                supervisor.warn(format!("{}: {message}", live.record().name));
            }
        }
    });
}

async fn replace(live: &Live, targets: Vec<PathBuf>) -> Result<Vec<PathBuf>, BoundError> {
    let _gate = live.gate.lock().await;
    let Some(namespace) = namespace(live)? else { return Ok(Vec::new()) };
    let Some(launch) = read_record::<Launch>(&live.paths.launch())? else { return Ok(Vec::new()) };
    let work = move || runtime::refresh(&launch, &targets, namespace.as_fd());
    // One that is cut off has panicked, which is told elsewhere.
    Ok(spawn_blocking(work).await.unwrap_or_else(|_| Ok(Vec::new()))?)
}

/// What is watched for the files of all containers.
#[derive(Default)]
struct Follower {
    names: Option<AsyncFd<readiness::Source<Names>>>,
    inputs: Inputs,
    batch: Batch,
    /// What was said last of watches that cannot be had.
    said: Option<String>,
}

impl Follower {
    /// Watches what is mounted into the containers that run.
    fn watch(&mut self, supervisor: &Supervisor) -> Result<(), WatchError> {
        let mut mounted = supervisor.bound.mounted.borrow_mut();
        mounted.retain(|id, _| supervisor.container(id).is_some_and(|live| live.is_running()));
        let sources: BTreeSet<&PathBuf> =
            mounted.values().flatten().map(|file| &file.source).collect();
        if sources.is_empty() {
            *self = Self { said: self.said.take(), ..Self::default() };
            return Ok(());
        }
        let names = match &mut self.names {
            Some(names) => names,
            none => none.insert(registered(Names::new()?)?),
        };
        loop {
            self.inputs = Inputs::of_files(sources.iter().copied());
            let watched = names.get_mut().0.keep(self.inputs.directories());
            // A link may have been switched before it was watched.
            if watched.is_err() || self.inputs == Inputs::of_files(sources.iter().copied()) {
                return watched;
            }
        }
    }

    /// Says once what cannot be watched.
    fn complain(&mut self, supervisor: &Supervisor, watched: Result<(), WatchError>) {
        let said = watched.err().map(|error| {
            let remedy = error.remedy().map(|remedy| format!("; {remedy}")).unwrap_or_default();
            format!("a file that is put in the place of one which is mounted is not seen: {error}{remedy}")
        });
        if said != self.said
            && let Some(said) = &said
        {
            supervisor.warn(said.clone());
        }
        self.said = said;
    }

    /// Comes back when a container has come, or files have: then it is true.
    async fn wait(&mut self, bound: &BoundFiles) -> bool {
        loop {
            let Self { names, inputs, batch, .. } = self;
            let over = batch.wait(Instant::now());
            tokio::select! {
                () = bound.bell.notified() => return false,
                () = sleep(over.unwrap_or_default()), if over.is_some() => return true,
                changes = changes(names.as_mut()) => {
                    if changes.lost {
                        bound.fresh.borrow_mut().extend(bound.mounted.borrow().keys().cloned());
                        return false;
                    }
                    for Touch { path, stage, at } in changes.touched {
                        if inputs.concern(&path) {
                            batch.add(path, stage, at);
                        }
                    }
                }
            }
        }
    }
}

fn registered(names: Names) -> Result<AsyncFd<readiness::Source<Names>>, WatchError> {
    readiness::register(names).map_err(|error| WatchError::new(Path::new("files"), error))
}

async fn changes(names: Option<&mut AsyncFd<readiness::Source<Names>>>) -> Changes {
    let Some(names) = names else { return pending().await };
    match names.readable_mut().await {
        Ok(mut ready) => ready.clear_ready(),
        // The event loop is about to end.
        Err(_) => pending().await,
    }
    names.get_mut().0.take().unwrap_or_else(|error| {
        tracing::warn!(%error, "inotify");
        Changes::default()
    })
}
