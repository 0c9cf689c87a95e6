//! The stages that a target needs, side by side.

mod args;
mod base;
mod outline;
mod slots;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock};
use std::thread;
use std::time::Instant;

use runtime::once::Attendant;

use self::args::{EPOCH, globals, platform_args};
pub(super) use self::args::{PROXIES, expand};
use self::outline::{Base, Named, Outline};
pub(super) use self::outline::{Meant, bases};
use self::slots::{Slot, Slots};
use super::cache::StepRecord;
use super::cell::Cells;
use super::context::{self, Context, Source, Text};
use super::dockerfile::{Dockerfile, Problem};
use super::error::{BuildError, Failed, Mistakes};
use super::event::Event;
use super::export;
use super::halt::Halt;
use super::shared::Offers;
use super::ssh::Agent;
use super::state::State;
use super::{Fresh, Recipe, Surroundings};
use crate::digest::Digest;
use crate::image::Image;
use crate::platform::Platform;
use crate::reference::Reference;
use crate::store::Store;
use crate::store::workspace::Workspace;

/// One build.
pub(super) struct Builder<'a> {
    pub(super) store: &'a Store,
    pub(super) recipe: &'a Recipe,
    pub(super) surroundings: &'a dyn Surroundings,
    pub(super) workspace: Workspace<'a>,
    pub(super) context: Context,
    pub(super) outline: Outline,
    platform_args: HashMap<String, String>,
    stages: Vec<OnceLock<Option<Arc<State>>>>,
    /// Each with a lock of its own, which is held while it is fetched.
    images: Mutex<HashMap<String, Arc<LoadedImage>>>,
    failure: Mutex<Option<Failed>>,
    /// Stops this build, from outside or because a stage has failed.
    pub(super) halt: Halt,
    steps: AtomicUsize,
    /// Whether anything was not in the cache.
    pub(super) built: AtomicBool,
    running: Slots,
    pub(super) cells: Cells,
    /// What listens for the keys of an id, from the first command on that asks for them.
    pub(super) agents: Mutex<BTreeMap<String, Agent>>,
    pub(super) latest: Option<i64>,
    /// The caches of other machines.
    pub(super) offers: Offers,
    /// The steps that were carried out, or found, with their keys.
    pub(super) taken: Mutex<Vec<(Digest, StepRecord)>>,
}

/// An image, once it is here.
type LoadedImage = Mutex<Option<Arc<State>>>;

/// Reads the Dockerfile and finds what is wrong with it.
pub(super) fn check(store: &Store, recipe: &Recipe) -> Result<(), BuildError> {
    struct Nobody;
    impl Surroundings for Nobody {
        fn network(&self, _: super::RunNetwork) -> Result<Box<dyn super::Sandbox>, super::Foreign> {
            Err("nothing is run".into())
        }
        fn fetch(
            &self,
            _: &Reference,
            _: &Platform,
            _: &(dyn Fn(String) + Sync),
        ) -> Result<(), super::Foreign> {
            Err("nothing is fetched".into())
        }
        fn download(&self, _: &str, _: &std::path::Path) -> Result<(), super::Foreign> {
            Err("nothing is fetched".into())
        }
        fn tell(&self, _: Event) {}
        fn filters(&self) -> &std::path::Path {
            std::path::Path::new("")
        }
        fn on_failure(&self, _: &super::FailedStep) {}
    }
    store.open_cache()?;
    let workspace = Workspace::beside(store)?;
    let (_, text) = context::main(recipe, &workspace, &Nobody)?;
    let file = parse(&text)?;
    target(recipe, &file, &text).map(drop)
}

fn parse(text: &Text) -> Result<Dockerfile, BuildError> {
    Dockerfile::parse(&text.text).map_err(|problems| mistakes(text, problems))
}

fn mistakes(text: &Text, problems: Vec<Problem>) -> BuildError {
    BuildError::Dockerfile(Box::new(Mistakes {
        name: text.name.clone(),
        text: text.text.clone(),
        problems,
        output: Vec::new(),
        debuggable: false,
    }))
}

fn target(recipe: &Recipe, file: &Dockerfile, text: &Text) -> Result<usize, BuildError> {
    let Some(target) = &recipe.target else { return Ok(file.stages.len() - 1) };
    let unknown = || BuildError::Target {
        target: target.clone(),
        name: text.name.clone(),
        stages: file.stages.iter().filter_map(|stage| stage.name.clone()).collect(),
    };
    file.stage(target, file.stages.len()).ok_or_else(unknown)
}

/// Builds an image.
pub(super) fn build(
    store: &Store,
    recipe: &Recipe,
    surroundings: &dyn Surroundings,
) -> Result<Image, BuildError> {
    store.open_cache()?;
    let workspace = Workspace::beside(store)?;
    let (context, text) = context::main(recipe, &workspace, surroundings)?;
    let file = parse(&text)?;
    let target = target(recipe, &file, &text)?;
    let mut contexts = BTreeMap::new();
    for (number, (name, source)) in recipe.contexts.iter().enumerate() {
        let opened = match source {
            Source::Image(image) => Named::Image(image.clone()),
            other => Named::Files(context::open(
                other,
                &workspace,
                surroundings,
                &format!("context-{number}"),
            )?),
        };
        contexts.insert(name.to_ascii_lowercase(), opened);
    }
    let platform_args = platform_args(&recipe.platform, recipe.target.as_deref());
    let globals =
        globals(&file, recipe, &platform_args).map_err(|problem| mistakes(&text, vec![problem]))?;
    let latest = recipe.args.get(EPOCH).and_then(|text| text.parse().ok());
    let cores = thread::available_parallelism().map_or(2, usize::from).max(2);
    let builder = Builder {
        store,
        recipe,
        surroundings,
        workspace,
        context,
        stages: file.stages.iter().map(|_| OnceLock::new()).collect(),
        outline: Outline { file, globals, contexts },
        platform_args,
        images: Mutex::default(),
        failure: Mutex::default(),
        halt: surroundings.halt(),
        steps: AtomicUsize::new(0),
        built: AtomicBool::new(false),
        running: Slots { free: Mutex::new(cores), freed: Condvar::new() },
        cells: Cells::default(),
        agents: Mutex::default(),
        latest,
        offers: Offers::default(),
        taken: Mutex::default(),
    };
    builder.finish(target, &text)
}

impl Builder<'_> {
    fn finish(self, target: usize, text: &Text) -> Result<Image, BuildError> {
        let needed = self.outline.needed(target);
        let outcome = thread::scope(|scope| {
            for index in needed.into_iter().filter(|index| *index != target) {
                let builder = &self;
                scope.spawn(move || builder.stage(index));
            }
            self.stage(target)
        });
        self.save_stats();
        let state = match (outcome, self.failure.lock().expect("nobody panics with it").take()) {
            (Ok(state), None) => state,
            (_, Some(Failed::At { problem, output, debuggable })) => {
                return Err(BuildError::Dockerfile(Box::new(Mistakes {
                    name: text.name.clone(),
                    text: text.text.clone(),
                    problems: vec![problem],
                    output,
                    debuggable,
                })));
            }
            (_, Some(Failed::Store(error))) => return Err(error.into()),
            (Err(_), _) | (_, Some(Failed::Cancelled)) => return Err(BuildError::Cancelled),
        };
        let mut state = Arc::unwrap_or_clone(state);
        for (name, value) in &self.recipe.labels {
            state.add_label(name, value);
        }
        self.warn_of_unused_args();
        self.add_table(&mut state);
        self.give_caches(&state)?;
        let built_any = self.built.load(Ordering::Relaxed);
        let Self { store, cells, workspace, recipe, latest, .. } = self;
        let image = thread::scope(|scope| {
            // Neither of the two waits for anything that the other one needs.
            scope.spawn(move || drop(cells));
            export::export(workspace, &state, &recipe.names, latest)
        })?;
        if built_any {
            // What killed builds have left; what cannot be deleted now is deleted later.
            let _ = store.collect_garbage();
        }
        Ok(image)
    }

    fn save_stats(&self) {
        let files = self.outline.contexts.values().filter_map(|context| match context {
            Named::Files(context) => Some(context),
            Named::Image(_) => None,
        });
        for context in files.chain([&self.context]) {
            context.tree.stats.iter().for_each(super::stats::Stats::save);
        }
    }

    /// The finished stage with this number; the first who asks builds it, the others wait.
    pub(super) fn stage(&self, index: usize) -> Result<Arc<State>, Failed> {
        let done = self.stages[index].get_or_init(|| match self.run_stage(index) {
            Ok(state) => Some(Arc::new(state)),
            Err(failed) => {
                self.fail(failed);
                None
            }
        });
        done.clone().ok_or(Failed::Cancelled)
    }

    /// Notes the first failure and ends everything else.
    fn fail(&self, failed: Failed) {
        if matches!(failed, Failed::Cancelled) {
            return;
        }
        let mut first = self.failure.lock().expect("nobody panics with it");
        if first.is_none() {
            *first = Some(failed);
        }
        drop(first);
        self.halt.stop();
    }

    /// Notes that `attendant` is about to start a command: it is killed if something else fails.
    pub(super) fn enter(&self, attendant: &Arc<Attendant>) {
        self.halt.enter(attendant);
    }

    /// Notes that the command of `attendant` has ended.
    pub(super) fn leave(&self, attendant: &Arc<Attendant>) {
        self.halt.leave(attendant);
    }

    /// Ends the stage if another one has failed.
    pub(super) fn go_on(&self) -> Result<(), Failed> {
        if self.halt.is_stopped() { Err(Failed::Cancelled) } else { Ok(()) }
    }

    /// Notes what a step has made, for the caches that this build writes.
    pub(super) fn note_taken(&self, keys: &[Digest], record: &StepRecord) {
        if !self.recipe.cache_to.is_empty() {
            let mut taken = self.taken.lock().expect("nobody panics with it");
            taken.extend(keys.iter().map(|key| (*key, record.clone())));
        }
    }

    pub(super) fn slot(&self) -> Slot<'_> {
        self.running.take()
    }

    pub(super) fn next_step(&self) -> usize {
        self.steps.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Does what no instruction stands for as a step of its own, whose number it gets, and tells how that begins and ends.
    pub(super) fn as_step<T, E>(
        &self,
        name: String,
        work: impl FnOnce(usize) -> Result<T, E>,
    ) -> Result<T, E> {
        let step = self.next_step();
        self.surroundings.tell(Event::Begun { step, name });
        let begun = Instant::now();
        let result = work(step);
        self.surroundings.tell(match result {
            Ok(_) => Event::Done { step, cached: false, took: begun.elapsed() },
            Err(_) => Event::Failed { step },
        });
        result
    }

    /// Whether nothing of this stage comes from the cache.
    pub(super) fn is_fresh(&self, index: usize) -> bool {
        match &self.recipe.fresh {
            Fresh::Nothing => false,
            Fresh::Everything => true,
            Fresh::Stages(names) => names.iter().any(|name| {
                let stage = &self.outline.file.stages[index];
                stage.name.as_ref().is_some_and(|known| known.eq_ignore_ascii_case(name))
                    || name.parse() == Ok(index)
            }),
        }
    }

    fn run_stage(&self, index: usize) -> Result<State, Failed> {
        self.go_on()?;
        let stage = &self.outline.file.stages[index];
        let mut state = match self.outline.base(index)? {
            Base::Stage(base) => {
                let base = self.stage(base)?;
                State { args: HashMap::new(), has_command: false, ..State::clone(&base) }
            }
            Base::Scratch => self.scratch().with_search_path(),
            Base::Image(name) => {
                let platform = self.stage_platform(index)?;
                State::clone(&*self.image(&name, &platform, &stage.base)?).with_search_path()
            }
        };
        let mut instructions = self.triggers(index, &mut state)?;
        instructions.extend(stage.instructions.iter().cloned());
        self.run_instructions(index, state, &instructions)
    }
}
