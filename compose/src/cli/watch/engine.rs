//! The loop of `watch`: waits for a save, then makes the project follow it.
//!
//! What was saved is looked at in this order: the files of the project themselves, then for each rule rebuilds, copies,
//! restarts, commands. A step that fails is told and ends nothing: the next save tries again.

use std::collections::BTreeSet;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::Errno;

use super::copies::{self, Copies};
use super::due::Owed;
use super::rules;
use super::way::Way;
use super::work::{Failures, Hands, Work};
use crate::api::{
    BuildOptions, BuildWhen, Recreate, RmOptions, RmRequest, UpOptions, UpRequest, path,
};
use crate::cli::context::Context;
use crate::cli::error::CommandError;
use crate::cli::terminal::Terminal;
use crate::file::Loaded;
use crate::model::{Project, ServiceName};
use crate::watch::batch::{Batch, QUIET, Stage};
use crate::watch::context::{Contexts, built_otherwise};
use crate::watch::inputs::Inputs;
use crate::watch::rule::Rule;
use crate::watch::source::{Source, Touch, WatchError};
use crate::watch::sync::Pair;

/// So many files are written ahead before a look at what has come meanwhile.
const AT_ONCE: usize = 32;

/// What the command line says about a watch.
#[derive(Debug, Clone)]
pub struct Wishes {
    /// The services that were named.
    pub services: Vec<ServiceName>,
    /// How the project was brought up.
    pub options: UpOptions,
    /// Images that a rebuild leaves without a name are removed.
    pub prune: bool,
    /// What images are built from is followed as well, for services without rules of their own.
    pub contexts: bool,
}

/// A project that is followed.
#[derive(Debug)]
pub struct Engine {
    context: Context,
    wishes: Wishes,
    project: Project,
    rules: Vec<Rule>,
    inputs: Inputs,
    contexts: Contexts,
    source: Source,
    awake: Arc<OwnedFd>,
    batch: Batch,
    /// Files of the batch that are whole and were not looked at since.
    fresh: BTreeSet<PathBuf>,
    /// Files were written ahead since the last look: more may have come meanwhile.
    has_prepared: bool,
    owed: Owed,
    copies: Copies,
    way: Way,
}

/// Why the loop goes on.
enum Woken {
    Stopped,
    Touched,
    Over,
}

/// What a path is to whoever follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Interest {
    /// The project was read from it.
    Project,
    /// A rule covers it.
    Rule,
    /// An image is built from it.
    Build,
    None,
}

impl Wishes {
    /// What is followed beside the rules.
    fn contexts(&self, project: &Project) -> Result<Contexts, CommandError> {
        if !self.contexts || self.options.build.when == BuildWhen::Never {
            return Ok(Contexts::default());
        }
        let mut services = crate::cli::up::wanted(project, &self.services, false);
        let without = |name: &ServiceName| project.declared(name).map(|one| one.watch.is_empty());
        services.retain(|name| without(name).unwrap_or_default());
        Ok(Contexts::new(project, &services)?)
    }
}

/// Whether what is below the directory `path` is of interest.
fn looks_into(rules: &[Rule], contexts: &Contexts, path: &Path) -> bool {
    rules.iter().any(|rule| rule.looks_into(path)) || contexts.looks_into(path)
}

impl Engine {
    /// Watches the files of `loaded` and those of the rules; what is saved from here on is not missed.
    ///
    /// # Errors
    ///
    /// When the kernel has no watches left.
    pub fn new(
        context: &Context,
        loaded: Loaded,
        rules: Vec<Rule>,
        wishes: Wishes,
    ) -> Result<Self, CommandError> {
        let failed = |error: Errno| CommandError::failed(format!("eventfd: {error}"));
        let awake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(failed)?;
        let awake = Arc::new(awake);
        let bell = Arc::clone(&awake);
        let source = Source::new(move || {
            // It fails when it has been rung 2^64 times and nobody came.
            let _ = rustix::io::write(&bell, &1_u64.to_ne_bytes());
        })?;
        // A container that is made anew for the sake of one change is not made anew for ever.
        let options = UpOptions {
            recreate: Recreate::Diverged,
            recreate_dependencies: Recreate::Diverged,
            keeps_following: true,
            build: BuildOptions {
                when: wishes.options.build.when.from_now_on(),
                ..wishes.options.build.clone()
            },
            ..wishes.options.clone()
        };
        let inputs = Inputs::new(&loaded.project.working_dir, &loaded.inputs);
        let contexts = wishes.contexts(&loaded.project)?;
        let mut engine = Self {
            context: context.clone(),
            wishes: Wishes { options, ..wishes },
            project: loaded.project,
            rules,
            inputs,
            contexts,
            source,
            awake,
            batch: Batch::default(),
            fresh: BTreeSet::new(),
            has_prepared: false,
            owed: Owed::default(),
            copies: Copies::default(),
            way: Way::default(),
        };
        engine.watch()?;
        Ok(engine)
    }

    /// What the files say.
    #[must_use]
    pub const fn project(&self) -> &Project {
        &self.project
    }

    /// How the project is brought up.
    #[must_use]
    pub const fn options(&self) -> &UpOptions {
        &self.wishes.options
    }

    /// The services that have rules.
    #[must_use]
    pub fn services(&self) -> BTreeSet<ServiceName> {
        self.rules.iter().map(|rule| rule.service.clone()).collect()
    }

    /// Follows the files until `stop` can be read.
    ///
    /// # Errors
    ///
    /// When the kernel cannot be waited for; what fails after a save is told and is no end.
    pub fn run(
        mut self,
        stop: Option<BorrowedFd<'_>>,
        terminal: &mut Terminal,
    ) -> Result<u8, CommandError> {
        if let Err(error) = self.copy_at_first() {
            terminal.fail(&error);
        }
        terminal.note("Watch enabled");
        loop {
            match self.wait(stop)? {
                Woken::Stopped => return Ok(0),
                Woken::Touched => {
                    self.take_in()?;
                    if self.batch.wait(Instant::now()).is_some() {
                        self.way.open(&self.rules);
                    }
                    self.has_prepared = self.prepare();
                }
                Woken::Over => {
                    // What came while files were written ahead belongs to it, and what nobody has read yet.
                    self.source.catch_up();
                    self.take_in()?;
                    if !self.batch.is_over(Instant::now()) {
                        continue;
                    }
                    let touched = self.batch.take();
                    self.fresh.clear();
                    if let Err(error) = self.follow(&touched, stop, terminal) {
                        terminal.fail(&error);
                    }
                }
            }
        }
    }

    fn watch(&mut self) -> Result<(), WatchError> {
        for directory in self.inputs.directories() {
            self.source.add_directory(directory)?;
        }
        for directory in self.contexts.directories() {
            self.source.add_directory(directory)?;
        }
        let (rules, contexts) = (&self.rules, &self.contexts);
        let wanted = |path: &Path| looks_into(rules, contexts, path);
        for rule in rules {
            if let Some(parent) = rule.path.parent() {
                self.source.add_directory(parent)?;
            }
            if rule.path.is_dir() {
                self.source.add_tree(&rule.path, &wanted)?;
            }
        }
        for tree in contexts.trees() {
            self.source.add_tree(tree, &wanted)?;
        }
        Ok(())
    }

    /// Waits for the first change; then for the end of the batch, with a look at it now and then: what comes tells by
    /// itself when it came, and whoever saves hundreds of files is not slowed down by one look for each. While files are written
    /// ahead nothing is waited for in between.
    fn wait(&mut self, stop: Option<BorrowedFd<'_>>) -> Result<Woken, CommandError> {
        let now = Instant::now();
        if self.batch.is_over(now) {
            return Ok(Woken::Over);
        }
        let wait = self.batch.wait(now);
        let bell = wait.is_none().then(|| PollFd::new(&*self.awake, PollFlags::IN));
        let longest = if self.has_prepared { Duration::ZERO } else { QUIET };
        let wait = wait.map(|wait| wait.min(longest));
        let timeout = wait.and_then(|wait| Timespec::try_from(wait).ok());
        let stop = stop.map(|stop| PollFd::from_borrowed_fd(stop, PollFlags::IN));
        let has_stop = stop.is_some();
        let mut descriptors: Vec<PollFd<'_>> = stop.into_iter().chain(bell).collect();
        match poll(&mut descriptors, timeout.as_ref()) {
            Ok(0) => {
                let late = wait.map(|wait| now.elapsed().saturating_sub(wait));
                self.batch.was_late(late.unwrap_or_default());
            }
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(CommandError::failed(format!("poll: {error}"))),
        }
        let stopped = has_stop && descriptors.first().is_some_and(|fd| !fd.revents().is_empty());
        Ok(if stopped { Woken::Stopped } else { Woken::Touched })
    }

    /// Takes what has happened into the batch, as far as it is of interest.
    fn take_in(&mut self) -> Result<(), CommandError> {
        // Not there any more if somebody else woke us.
        let _ = rustix::io::read(&*self.awake, &mut [0; 8]);
        let (rules, contexts) = (&self.rules, &self.contexts);
        let wanted = |path: &Path| looks_into(rules, contexts, path);
        let mut changes = self.source.take(&wanted)?;
        for rule in rules {
            // The directory of a rule is not seen by its tree when it comes.
            let came = changes.touched.iter().any(|touch| touch.path == rule.path);
            if came && rule.path.is_dir() {
                let found = self.source.add_and_list(&rule.path, &wanted)?;
                changes.touched.extend(found.iter().map(|path| Touch::whole(path)));
            }
        }
        let is_ignore_file =
            |path: &Path| path.file_name().is_some_and(|name| name == ".gitignore");
        if changes.lost || changes.touched.iter().any(|touch| is_ignore_file(&touch.path)) {
            self.rules.iter().for_each(Rule::forget_git);
            self.contexts.forget_git();
            // What was ignored may be looked into.
            self.watch()?;
        }
        let (rules, contexts) = (&self.rules, &self.contexts);
        if changes.lost {
            self.copies.give_up();
            changes.touched.extend(self.project.files.iter().map(|file| Touch::whole(file)));
        }
        let mut last: Option<(PathBuf, Interest)> = None;
        for Touch { path, stage, at } in changes.touched {
            // One save is several events.
            let known = last.take().filter(|(of, _)| *of == path).map(|(_, interest)| interest);
            let interest = known.unwrap_or_else(|| {
                if self.inputs.concern(&path) {
                    Interest::Project
                } else if rules.iter().any(|rule| rule.covers(&path)) {
                    Interest::Rule
                } else if contexts.built_from(&path).next().is_some() {
                    Interest::Build
                } else {
                    Interest::None
                }
            });
            match interest {
                Interest::Project => self.batch.be_patient(),
                Interest::Rule => {
                    self.copies.forget(&path);
                    match stage {
                        Stage::Writing => self.fresh.remove(&path),
                        Stage::Whole => self.fresh.insert(path.clone()),
                    };
                }
                Interest::Build | Interest::None => {}
            }
            if interest != Interest::None {
                self.batch.add(path.clone(), stage, at);
            }
            last = Some((path, interest));
        }
        Ok(())
    }

    /// Writes the files of a burst beside their places while the rest of it is waited for. Returns whether there
    /// were any.
    fn prepare(&mut self) -> bool {
        if !self.batch.is_burst() || self.fresh.is_empty() {
            return false;
        }
        // Whoever saves, and the news of it, have one processor of two until he seems to be done.
        let side_by_side = self.batch.pauses(Instant::now());
        let count = if side_by_side { self.fresh.len() } else { AT_ONCE };
        let fresh: BTreeSet<PathBuf> =
            std::iter::from_fn(|| self.fresh.pop_first()).take(count).collect();
        let pairs = |rule: &Rule| -> Vec<Pair> {
            let covered = fresh.iter().filter(|from| rule.covers(from));
            covered.filter_map(|from| Some((from.clone(), rule.target_of(from)?))).collect()
        };
        let copies = self.rules.iter().filter(|rule| rule.copies());
        let mut copies: Vec<_> = copies.map(|rule| (&rule.service, pairs(rule))).collect();
        copies.retain(|(_, files)| !files.is_empty());
        if copies.is_empty() {
            return false;
        }
        // Whatever fails here is done, and told, when the batch is over.
        let Ok(all) = self.context.containers(self.project.name.as_str()) else { return false };
        for (service, files) in copies {
            for container in copies::of(&all, service) {
                self.copies.prepare(container, &files, side_by_side, &self.context);
            }
        }
        true
    }

    /// Carries out what a save leads to, each step for all services before the next; what fails ends nothing.
    fn follow(
        &mut self,
        touched: &BTreeSet<PathBuf>,
        stop: Option<BorrowedFd<'_>>,
        terminal: &mut Terminal,
    ) -> Result<(), CommandError> {
        let mut failures = Failures::default();
        // It may have closed while files were written ahead.
        self.way.open(&self.rules);
        let mut reconciled = true;
        if touched.iter().any(|path| self.inputs.concern(path)) {
            // Its containers may go.
            self.copies.give_up();
            reconciled = failures.keep(self.reconcile(stop, terminal)).is_some();
        }
        let work = self.work(touched);
        // Of files that could not be brought up nothing is known to be in the containers.
        if reconciled && !work.rebuild.is_empty() {
            self.copies.give_up();
            // What was copied by hand is in the image then.
            self.copies.forget_services(&work.rebuild);
            let mut hands = self.hands(stop, terminal);
            let (options, prune) = (&self.wishes.options, self.wishes.prune);
            failures.keep(hands.rebuild(&work.rebuild, options, prune));
        }
        let (context, project) = (&self.context, &self.project);
        let mut hands = Hands { context, project, stop, terminal: &mut *terminal };
        let replaced = hands.copy(&work.copies, &self.rules, &mut self.copies, &mut failures);
        self.source.catch_up();
        failures.keep(self.take_in());
        let goes_on = self.batch.wait(Instant::now()).is_some();
        let due = self.owed.settle(work.due, goes_on);
        self.hands(stop, terminal).follow_up(due, &mut failures);
        // Nobody waits for that, nor for what was meant for a container that has gone.
        drop(replaced);
        self.copies.give_up();
        failures.told()
    }

    /// What a save leads to.
    fn work(&mut self, touched: &BTreeSet<PathBuf>) -> Work {
        let mut work = Work::default();
        let built = touched.iter().flat_map(|path| self.contexts.built_from(path));
        work.rebuild.extend(built.cloned());
        for rule in &self.rules {
            let covered = touched.iter().filter(|path| rule.covers(path)).cloned();
            let covered: BTreeSet<PathBuf> = covered.collect();
            if covered.is_empty() {
                continue;
            }
            work.add(rule, &covered);
            if rule.copies() {
                self.copies.remember(rule, covered);
            }
        }
        work
    }

    /// Copies what is to be there from the beginning.
    fn copy_at_first(&mut self) -> Result<(), CommandError> {
        let rules = &self.rules;
        let wanted = |path: &Path| rules.iter().any(|rule| rule.looks_into(path));
        for rule in rules.iter().filter(|rule| rule.initial_sync && rule.copies()) {
            let mut paths = match rule.path.is_dir() {
                true => self.source.add_and_list(&rule.path, &wanted)?,
                false => vec![rule.path.clone()],
            };
            paths.retain(|path| rule.covers(path));
            self.copies.remember(rule, paths);
        }
        let all = self.context.containers(self.project.name.as_str())?;
        let mut failures = Failures::default();
        self.copies.catch_up(&all, &self.rules, &self.context, &mut failures);
        failures.told()
    }

    /// Reads the project again and brings it to what its files say now.
    fn reconcile(
        &mut self,
        stop: Option<BorrowedFd<'_>>,
        terminal: &mut Terminal,
    ) -> Result<(), CommandError> {
        let services = self.wishes.services.clone();
        let loaded = match self.context.load_to_follow(&services, terminal) {
            Ok(loaded) => loaded,
            Err(error) => {
                terminal.fail(&error);
                terminal.warn("the project stays as it is until its files can be read");
                return Ok(());
            }
        };
        self.inputs = Inputs::new(&loaded.project.working_dir, &loaded.inputs);
        self.contexts = self.wishes.contexts(&loaded.project)?;
        if loaded.project == self.project {
            return Ok(self.watch()?);
        }
        if loaded.project.name != self.project.name {
            let (old, new) = (&self.project.name, &loaded.project.name);
            return Err(CommandError::failed(format!(
                "the project is called {new}, and was {old}"
            ))
            .help("end this command, `compose down` and begin again"));
        }
        let all = crate::cli::up::wanted(&loaded.project, &services, false);
        self.context.check_support(&loaded.project, &all, terminal)?;
        let rules = rules(&loaded.project, &services, BuildWhen::Missing, terminal)?;
        let gone: Vec<ServiceName> = self
            .project
            .services
            .keys()
            .filter(|name| !loaded.project.services.contains_key(*name))
            .cloned()
            .collect();
        let mut options = self.wishes.options.clone();
        options.build.services = built_otherwise(&self.project, &loaded.project);
        let request = UpRequest { project: loaded.project.clone(), options };
        if !gone.is_empty() {
            let options = RmOptions { services: gone, stop: true, ..RmOptions::default() };
            let request = RmRequest { project: Some(self.project.clone()), options };
            self.hands(stop, terminal).ask(path::RM, &request)?;
        }
        self.hands(stop, terminal).ask(path::UP, &request)?;
        self.project = loaded.project;
        self.rules = rules;
        self.watch()?;
        self.copy_at_first()?;
        terminal.note("The project follows its files");
        Ok(())
    }

    fn hands<'a>(&'a self, stop: Option<BorrowedFd<'a>>, terminal: &'a mut Terminal) -> Hands<'a> {
        Hands { context: &self.context, project: &self.project, stop, terminal }
    }
}
