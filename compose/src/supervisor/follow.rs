//! `up --detach --follow`: whenever a file is saved that the project was read from, or that an image is built from, the
//! project is brought to what the files say.
//!
//! What is followed is written down, so that a supervisor that was killed goes on with it. A file with a mistake changes
//! nothing and is told to whoever listens; the next save is looked at again.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio::task::spawn_local;

use super::server::Reporter;
use super::{Supervisor, requests};
use crate::api::{BuildOptions, BuildWhen, Recreate, RmOptions, RmRequest, UpOptions, UpRequest};
use crate::diagnostic::{Severity, Style};
use crate::event::{Event, Failure};
use crate::file::{self, Loaded};
use crate::model::{Project, ServiceName, unsupported};
use crate::plan;
use crate::platform;
use crate::record::{RECORD_VERSION, check_version, read_record, replace_record};
use crate::watch::batch::Batch;
use crate::watch::context::{Contexts, built_otherwise};
use crate::watch::inputs::Inputs;
use crate::watch::source::{Source, Touch, WatchError};

/// What is followed, as it is written down.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct FollowRecord {
    /// Version of this record's layout.
    version: u32,
    /// How the project is brought up, with the way to read its files.
    options: UpOptions,
}

/// Follows from now on what `options` say, if they do; `project` is what the files said when it was brought up.
///
/// # Errors
///
/// When it cannot be written down, and when the kernel has no watches left.
pub fn begin(
    supervisor: &Rc<Supervisor>,
    (project, options): (Project, UpOptions),
) -> Result<(), Failure> {
    if options.follow.is_none() {
        return Ok(());
    }
    let when = options.build.when.from_now_on();
    let options = UpOptions {
        recreate: Recreate::Diverged,
        recreate_dependencies: Recreate::Diverged,
        wait: None,
        // That was agreed to for this time.
        replace_volumes: BTreeSet::new(),
        build: BuildOptions { when, services: BTreeSet::new(), ..options.build },
        ..options
    };
    let record = FollowRecord { version: RECORD_VERSION, options };
    let path = supervisor.roots.project(&supervisor.project).follow();
    replace_record(&path, &record).map_err(|error| Failure::new(&error))?;
    let follower = Follower::new(Rc::clone(supervisor), record.options, Some(project));
    let follower = follower.map_err(|error| {
        let failure = Failure::new(&error);
        error.remedy().into_iter().fold(failure, Failure::with_help)
    })?;
    spawn(supervisor, follower);
    Ok(())
}

/// Goes on with what the predecessor of this supervisor has followed.
pub fn resume(supervisor: &Rc<Supervisor>) {
    let path = supervisor.roots.project(&supervisor.project).follow();
    let record: Option<FollowRecord> = match read_record(&path) {
        Ok(record) => record,
        Err(error) => return supervisor.warn(Failure::new(&error).message),
    };
    let Some(record) = record else { return };
    if let Err(error) = check_version(&path, record.version) {
        return supervisor.warn(Failure::new(&error).message);
    }
    match Follower::new(Rc::clone(supervisor), record.options, None) {
        Ok(follower) => spawn(supervisor, follower),
        Err(error) => supervisor.warn(Failure::new(&error).message),
    }
}

/// Follows nothing any longer. A change that has begun is finished.
pub fn end(supervisor: &Supervisor) {
    if let Some(follower) = supervisor.following.take() {
        follower.abort();
    }
    let paths = supervisor.roots.project(&supervisor.project);
    for path in [paths.follow(), paths.problem()] {
        // Mostly there is none.
        let _ = std::fs::remove_file(path);
    }
}

/// Writes down what keeps the project from being as its files say, for `ps`.
fn tell(supervisor: &Supervisor, looked: Result<(), Vec<Failure>>) {
    let path = supervisor.roots.project(&supervisor.project).problem();
    let written = match looked {
        Ok(()) => match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        },
        Err(failures) => {
            let words: Vec<String> = failures.into_iter().map(|failure| failure.message).collect();
            let words = words.join("\n");
            let written = std::fs::write(&path, &words);
            supervisor.warn(words);
            written
        }
    };
    if let Err(error) = written {
        tracing::warn!(%error, "{}", path.display());
    }
}

fn spawn(supervisor: &Supervisor, follower: Follower) {
    let task = spawn_local(follower.run());
    if let Some(before) = supervisor.following.replace(Some(task.abort_handle())) {
        before.abort();
    }
}

struct Follower {
    supervisor: Rc<Supervisor>,
    options: UpOptions,
    /// What the project was last brought to; none if it is to be looked at again.
    project: Option<Project>,
    inputs: Inputs,
    contexts: Contexts,
    /// Services whose images are to be built again.
    stale: BTreeSet<ServiceName>,
    source: Source,
    bell: Arc<Notify>,
    batch: Batch,
}

impl Follower {
    fn new(
        supervisor: Rc<Supervisor>,
        options: UpOptions,
        project: Option<Project>,
    ) -> Result<Self, WatchError> {
        let bell = Arc::new(Notify::new());
        let ring = Arc::clone(&bell);
        let source = Source::new(move || ring.notify_one())?;
        Ok(Self {
            supervisor,
            options,
            project,
            inputs: Inputs::default(),
            contexts: Contexts::default(),
            stale: BTreeSet::new(),
            source,
            bell,
            batch: Batch::default(),
        })
    }

    async fn run(mut self) {
        // What was saved while nobody looked is seen by looking at once.
        loop {
            let looked = self.look().await;
            tell(&self.supervisor, looked);
            if let Err(error) = self.saved().await {
                self.supervisor.warn(Failure::new(&error).message);
                return;
            }
        }
    }

    /// Comes back when a file was saved.
    async fn saved(&mut self) -> Result<(), WatchError> {
        loop {
            match self.batch.wait(Instant::now()) {
                Some(wait) if wait.is_zero() => break,
                Some(wait) => {
                    tokio::select! {
                        () = self.bell.notified() => {}
                        () = tokio::time::sleep(wait) => {}
                    }
                }
                None => self.bell.notified().await,
            }
            let contexts = &self.contexts;
            let changes = self.source.take(&|path| contexts.looks_into(path))?;
            for Touch { path, stage, at } in changes.touched {
                let builds = contexts.built_from(&path).next().is_some();
                if changes.lost || builds || self.inputs.concern(&path) {
                    self.batch.be_patient();
                    self.batch.add(path, stage, at);
                }
            }
        }
        for path in self.batch.take() {
            self.stale.extend(self.contexts.built_from(&path).cloned());
        }
        Ok(())
    }

    /// Reads the project, and brings it to what its files say if they say something else.
    async fn look(&mut self) -> Result<(), Vec<Failure>> {
        let Some(follow) = &self.options.follow else { return Ok(()) };
        let loaded = file::load(&follow.load).map_err(|found| {
            let style = Style { color: false, base: Some(follow.load.working_dir.clone()) };
            let message = |one: &crate::diagnostic::Diagnostic| Failure {
                message: one.render(&style).trim_end().to_owned(),
                ..Failure::default()
            };
            found
                .iter()
                .filter(|one| one.severity == Severity::Error)
                .map(message)
                .collect::<Vec<_>>()
        });
        let Loaded { mut project, inputs, .. } = match loaded {
            Ok(loaded) => loaded,
            Err(failures) => {
                // Where the mistake is has been watched before; at the beginning it is the files that are named.
                self.watch(None)?;
                return Err(failures);
            }
        };
        project.compatibility = follow.compatibility;
        platform::fill_in(&mut project)
            .map_err(|error| vec![Failure::new(&error).with_help(error.help())])?;
        self.follow_builds(&project)?;
        self.watch(Some(Inputs::new(&project.working_dir, &inputs)))?;
        if self.project.as_ref() == Some(&project) && self.stale.is_empty() {
            return Ok(());
        }
        if project.name.as_str() != self.supervisor.project {
            let message = format!("the project is called {} now: it is not followed", project.name);
            return Err(vec![Failure { message, ..Failure::default() }]);
        }
        let wanted = project.services.keys().cloned().collect();
        let refused: Vec<Failure> = unsupported(&project, &wanted)
            .into_iter()
            .filter(|one| one.severity == Severity::Error)
            .map(|one| Failure { message: one.message, ..Failure::default() })
            .collect();
        if !refused.is_empty() {
            return Err(refused);
        }
        self.remove_gone(&project).await?;
        let mut options = self.options.clone();
        options.build.services.clone_from(&self.stale);
        // Nobody listens.
        (options.build.quiet, options.pull.quiet) = (true, true);
        let request = UpRequest { project: project.clone(), options };
        let supervisor = Rc::clone(&self.supervisor);
        let (reporter, _told) = Reporter::to_ourselves();
        // In a task of its own: whoever ends the following does not cut a change in two.
        let up = spawn_local(requests::bring_up(supervisor, request, reporter)).await;
        match up {
            Ok(Event::Failed { failures }) => Err(failures),
            _ => {
                self.project = Some(project);
                self.stale.clear();
                Ok(())
            }
        }
    }

    /// Removes the containers of services that the files had and have no longer.
    async fn remove_gone(&self, project: &Project) -> Result<(), Vec<Failure>> {
        let Some(before) = &self.project else { return Ok(()) };
        let gone = before.services.keys().filter(|name| !project.services.contains_key(*name));
        let services: Vec<ServiceName> = gone.cloned().collect();
        if services.is_empty() {
            return Ok(());
        }
        let options = RmOptions { services, stop: true, ..RmOptions::default() };
        let request = RmRequest { project: Some(before.clone()), options };
        let (reporter, _told) = Reporter::to_ourselves();
        let supervisor = Rc::clone(&self.supervisor);
        match spawn_local(requests::rm(supervisor, request, reporter)).await {
            Ok(Event::Failed { failures }) => Err(failures),
            _ => Ok(()),
        }
    }

    /// Finds out what the images of `project` are built from, and which of them the files build in another way than before.
    fn follow_builds(&mut self, project: &Project) -> Result<(), Vec<Failure>> {
        if self.options.build.when == BuildWhen::Never {
            return Ok(());
        }
        let services = plan::scope(project, &self.options);
        let contexts = Contexts::new(project, &services);
        self.contexts = contexts.map_err(|error| vec![Failure::new(&error)])?;
        self.stale.retain(|name| project.services.contains_key(name));
        match &self.project {
            Some(before) => self.stale.extend(built_otherwise(before, project)),
            // What has happened since anybody looked is not known.
            None => self.stale.extend(services),
        }
        Ok(())
    }

    fn watch(&mut self, inputs: Option<Inputs>) -> Result<(), Vec<Failure>> {
        match (inputs, &self.options.follow) {
            (Some(inputs), _) => self.inputs = inputs,
            (None, Some(follow)) if self.inputs == Inputs::default() => {
                let folder = &follow.load.working_dir;
                let files = follow.load.files.iter().map(|file| folder.join(file));
                self.inputs = Inputs::new(folder, &files.collect::<Vec<_>>());
            }
            _ => {}
        }
        let told = |error| vec![Failure::new(&error)];
        for directory in self.inputs.directories() {
            self.source.add_directory(directory).map_err(told)?;
        }
        for directory in self.contexts.directories() {
            self.source.add_directory(directory).map_err(told)?;
        }
        let contexts = &self.contexts;
        for tree in contexts.trees() {
            self.source.add_tree(tree, &|path| contexts.looks_into(path)).map_err(told)?;
        }
        Ok(())
    }
}
