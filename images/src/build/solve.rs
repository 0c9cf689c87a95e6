//! The stages that a target needs, side by side.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock};
use std::thread;
use std::time::Instant;

use serde_json::{Value, json};

use super::context::{self, Context, Source, Text};
use super::dockerfile::{
    Argument, Copy, Dockerfile, Instruction, Kind, Problem, Run, Word, parse_trigger,
};
use super::error::{BuildError, Failed, Mistakes, whole};
use super::event::Event;
use super::export;
use super::mounts::Mount;
use super::state::State;
use super::{Fresh, Recipe, Surroundings};
use crate::image::Image;
use crate::platform::Platform;
use crate::reference::Reference;
use crate::store::Store;
use crate::store::workspace::Workspace;
use crate::words::Expansion;

/// Arguments that need no `ARG` to reach a `RUN`, and are no part of what a step reads.
pub(super) const PROXIES: [&str; 10] = [
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "FTP_PROXY",
    "ftp_proxy",
    "NO_PROXY",
    "no_proxy",
    "ALL_PROXY",
    "all_proxy",
];

/// The argument by which all times of an image are no later than this.
const EPOCH: &str = "SOURCE_DATE_EPOCH";

/// One build.
pub(super) struct Builder<'a> {
    pub(super) store: &'a Store,
    pub(super) recipe: &'a Recipe,
    pub(super) surroundings: &'a dyn Surroundings,
    pub(super) workspace: Workspace<'a>,
    pub(super) context: Context,
    pub(super) contexts: BTreeMap<String, Named>,
    pub(super) file: Dockerfile,
    globals: HashMap<String, String>,
    platform_args: HashMap<String, String>,
    stages: Vec<OnceLock<Option<Arc<State>>>>,
    /// Each with a lock of its own, which is held while it is fetched.
    images: Mutex<HashMap<String, Arc<Mutex<Option<Arc<State>>>>>>,
    failure: Mutex<Option<Failed>>,
    cancelled: AtomicBool,
    steps: AtomicUsize,
    /// Whether anything was not in the cache.
    pub(super) built: AtomicBool,
    running: Slots,
    pub(super) places: Mutex<Vec<runtime::cgroup::Place>>,
    pub(super) latest: Option<i64>,
}

/// A further context.
pub(super) enum Named {
    Files(Context),
    Image(String),
}

/// How many steps are carried out at a time.
struct Slots {
    free: Mutex<usize>,
    freed: Condvar,
}

impl Slots {
    fn take(&self) -> Slot<'_> {
        let mut free = self.free.lock().expect("nobody panics with it");
        while *free == 0 {
            free = self.freed.wait(free).expect("nobody panics with it");
        }
        *free -= 1;
        Slot(self)
    }
}

/// The right to carry out a step.
pub(super) struct Slot<'a>(&'a Slots);

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        *self.0.free.lock().expect("nobody panics with it") += 1;
        self.0.freed.notify_one();
    }
}

/// What a stage begins with.
enum Base {
    Scratch,
    Stage(usize),
    Image(String),
}

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
        contexts,
        stages: file.stages.iter().map(|_| OnceLock::new()).collect(),
        file,
        globals,
        platform_args,
        images: Mutex::default(),
        failure: Mutex::default(),
        cancelled: AtomicBool::new(false),
        steps: AtomicUsize::new(0),
        built: AtomicBool::new(false),
        running: Slots { free: Mutex::new(cores), freed: Condvar::new() },
        places: Mutex::default(),
        latest,
    };
    builder.finish(target, &text)
}

/// The platform arguments, which are there in every `FROM`.
fn platform_args(platform: &Platform, target: Option<&str>) -> HashMap<String, String> {
    let mut all = HashMap::new();
    let host = Platform::host();
    for (prefix, platform) in [("TARGET", platform), ("BUILD", &host)] {
        let values = [
            ("PLATFORM", platform.to_string()),
            ("OS", platform.os().to_owned()),
            ("ARCH", platform.architecture().to_owned()),
            ("VARIANT", platform.variant().unwrap_or_default().to_owned()),
        ];
        all.extend(values.map(|(name, value)| (format!("{prefix}{name}"), value)));
    }
    all.insert("TARGETSTAGE".to_owned(), target.unwrap_or("default").to_owned());
    all
}

/// The arguments before the first `FROM`.
fn globals(
    file: &Dockerfile,
    recipe: &Recipe,
    platform_args: &HashMap<String, String>,
) -> Result<HashMap<String, String>, Problem> {
    let mut all = platform_args.clone();
    for Argument { name, default } in &file.arguments {
        let given = recipe.args.get(&name.text).cloned();
        let value = match (given, default) {
            (Some(given), _) => Some(given),
            (None, Some(default)) => Some(expand(file.escape, default, &all)?),
            (None, None) => None,
        };
        if let Some(value) = value {
            all.insert(name.text.clone(), value);
        }
    }
    Ok(all)
}

/// Replaces the variables of a word.
pub(super) fn expand(
    escape: char,
    word: &Word,
    variables: &HashMap<String, String>,
) -> Result<String, Problem> {
    Expansion { variables, escape }.word(&word.text).map_err(|error| {
        Problem::new(
            word.place.clone(),
            error.to_string(),
            "see \"Environment replacement\" of the Dockerfile reference",
        )
    })
}

/// The names that an instruction takes files from.
fn origins(kind: &Kind) -> Vec<String> {
    let flags = match kind {
        Kind::Copy(Copy { flags, .. }) => flags,
        Kind::Run(Run { flags, .. }) => flags,
        _ => return Vec::new(),
    };
    let named = flags.iter().filter_map(|flag| match flag.name {
        "from" => Some(flag.value.text.clone()),
        "mount" => Mount::parse(&flag.value.text).ok()?.from,
        _ => None,
    });
    named.collect()
}

impl Builder<'_> {
    fn finish(self, target: usize, text: &Text) -> Result<Image, BuildError> {
        let needed = self.needed(target);
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
        let built_any = self.built.load(Ordering::Relaxed);
        let (store, names, latest) = (self.store, &self.recipe.names, self.latest);
        let image = export::export(self.workspace, &state, names, latest)?;
        if built_any {
            // What killed builds have left; what cannot be deleted now is deleted later.
            let _ = store.collect_garbage();
        }
        Ok(image)
    }

    fn save_stats(&self) {
        let files = self.contexts.values().filter_map(|context| match context {
            Named::Files(context) => Some(context),
            Named::Image(_) => None,
        });
        for context in files.chain([&self.context]) {
            context.tree.stats.iter().for_each(super::stats::Stats::save);
        }
    }

    fn warn_of_unused_args(&self) {
        let mut known: BTreeSet<&str> = PROXIES.into_iter().chain([EPOCH]).collect();
        known.extend(self.platform_args.keys().map(String::as_str));
        let stages = self.file.stages.iter().flat_map(|stage| &stage.instructions);
        let arguments = stages.filter_map(|one| match &one.kind {
            Kind::Arg(arguments) => Some(arguments),
            _ => None,
        });
        known.extend(
            arguments.flatten().chain(&self.file.arguments).map(|one| one.name.text.as_str()),
        );
        let unused = self
            .recipe
            .args
            .keys()
            .filter(|name| !known.contains(name.as_str()) && !name.starts_with("BUILDKIT_"));
        for name in unused {
            self.surroundings
                .tell(Event::Warning(format!("no ARG asks for the argument `{name}`")));
        }
    }

    /// The stages that `target` needs, itself included, as far as the file alone says.
    fn needed(&self, target: usize) -> BTreeSet<usize> {
        let mut needed = BTreeSet::from([target]);
        for index in (0..=target).rev() {
            if !needed.contains(&index) {
                continue;
            }
            let stage = &self.file.stages[index];
            if let Ok(Base::Stage(base)) = self.base(index) {
                needed.insert(base);
            }
            let origins = stage.instructions.iter().flat_map(|one| origins(&one.kind));
            needed.extend(origins.filter_map(|name| self.origin_stage(&name, index)));
        }
        needed
    }

    /// The stage that `name` means in stage number `before`, unless it is a context.
    pub(super) fn origin_stage(&self, name: &str, before: usize) -> Option<usize> {
        if self.contexts.contains_key(&name.to_ascii_lowercase()) {
            return None;
        }
        self.file.stage(name, before)
    }

    fn base(&self, index: usize) -> Result<Base, Problem> {
        let stage = &self.file.stages[index];
        let name = expand(self.file.escape, &stage.base, &self.globals)?;
        if name.is_empty() {
            return Err(Problem::new(
                stage.base.place.clone(),
                format!("`{}` is empty", stage.base.text),
                "give the ARG that it is made of a value",
            ));
        }
        match self.contexts.get(&name.to_ascii_lowercase()) {
            Some(Named::Image(image)) => return Ok(Base::Image(image.clone())),
            Some(Named::Files(_)) => {
                return Err(Problem::new(
                    stage.base.place.clone(),
                    format!("`{name}` is a context of files, and no image"),
                    "begin with scratch and COPY --from it",
                ));
            }
            None => {}
        }
        Ok(match self.named_stage(&name, index) {
            Some(base) => Base::Stage(base),
            None if name == "scratch" => Base::Scratch,
            None => Base::Image(name),
        })
    }

    /// `FROM` takes names of stages, and no numbers.
    fn named_stage(&self, name: &str, before: usize) -> Option<usize> {
        let name = name.to_ascii_lowercase();
        self.file.stages[..before].iter().rposition(|stage| stage.name.as_ref() == Some(&name))
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
        if matches!(failed, Failed::Cancelled) && !self.surroundings.is_cancelled() {
            return;
        }
        let mut first = self.failure.lock().expect("nobody panics with it");
        if first.is_none() {
            *first = Some(failed);
        }
        drop(first);
        self.cancelled.store(true, Ordering::SeqCst);
        for place in self.places.lock().expect("nobody panics with it").iter() {
            // One that has ended is gone.
            let _ = place.kill();
        }
    }

    /// Ends the stage if another one has failed.
    pub(super) fn go_on(&self) -> Result<(), Failed> {
        let over = self.cancelled.load(Ordering::SeqCst) || self.surroundings.is_cancelled();
        if over { Err(Failed::Cancelled) } else { Ok(()) }
    }

    pub(super) fn slot(&self) -> Slot<'_> {
        self.running.take()
    }

    pub(super) fn next_step(&self) -> usize {
        self.steps.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Whether nothing of this stage comes from the cache.
    pub(super) fn is_fresh(&self, index: usize) -> bool {
        match &self.recipe.fresh {
            Fresh::Nothing => false,
            Fresh::Everything => true,
            Fresh::Stages(names) => names.iter().any(|name| {
                let stage = &self.file.stages[index];
                stage.name.as_ref().is_some_and(|known| known.eq_ignore_ascii_case(name))
                    || name.parse() == Ok(index)
            }),
        }
    }

    fn run_stage(&self, index: usize) -> Result<State, Failed> {
        self.go_on()?;
        let stage = &self.file.stages[index];
        let mut state = match self.base(index)? {
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

    fn stage_platform(&self, index: usize) -> Result<Platform, Failed> {
        let Some(word) = &self.file.stages[index].platform else {
            return Ok(self.recipe.platform.clone());
        };
        let text = expand(self.file.escape, word, &self.globals)?;
        let platform = text.parse::<Platform>().map_err(|error| {
            Problem::new(
                word.place.clone(),
                error.to_string(),
                "write OS/ARCHITECTURE, such as linux/amd64",
            )
        })?;
        Ok(platform)
    }

    fn scratch(&self) -> State {
        let platform = &self.recipe.platform;
        let mut document = serde_json::Map::new();
        document.insert("architecture".to_owned(), json!(platform.architecture()));
        document.insert("os".to_owned(), json!(platform.os()));
        if let Some(variant) = platform.variant() {
            document.insert("variant".to_owned(), json!(variant));
        }
        State { document, ..State::default() }
    }

    /// The instructions that the base image has kept for now.
    fn triggers(&self, index: usize, state: &mut State) -> Result<Vec<Instruction>, Failed> {
        let kept = state.list("OnBuild");
        state.config.remove("OnBuild");
        let span = &self.file.stages[index].span;
        let parse = |text: &String| {
            let parsed = parse_trigger(text).map_err(|problem| Problem {
                span: span.clone(),
                message: format!(
                    "the trigger `{text}` of the base image is wrong: {}",
                    problem.message
                ),
                help: problem.help,
            })?;
            Ok(Instruction { span: span.clone(), ..parsed })
        };
        kept.iter().map(parse).collect::<Result<_, Problem>>().map_err(Failed::from)
    }

    /// The state of an image, which is fetched if it is not here.
    pub(super) fn image(
        &self,
        name: &str,
        platform: &Platform,
        word: &Word,
    ) -> Result<Arc<State>, Failed> {
        let key = format!("{name} {platform}");
        let place = {
            let mut images = self.images.lock().expect("nobody panics with it");
            Arc::clone(images.entry(key).or_default())
        };
        let mut known = place.lock().expect("nobody panics with it");
        if let Some(state) = &*known {
            return Ok(Arc::clone(state));
        }
        // Whoever has waited for one that failed does not try again.
        self.go_on()?;
        let state = Arc::new(self.load_image(name, platform, word)?);
        *known = Some(Arc::clone(&state));
        Ok(state)
    }

    fn load_image(&self, name: &str, platform: &Platform, word: &Word) -> Result<State, Failed> {
        let problem = |message: String, help: &str| Problem::new(word.place.clone(), message, help);
        let find = || {
            self.store
                .find(name)
                .map_err(|error| problem(whole(&error), "write NAME[:TAG] or NAME@DIGEST"))
        };
        let mut found =
            if self.recipe.pull && !name.starts_with("sha256:") { None } else { find()? };
        if found.is_none() {
            let reference: Reference =
                name.parse().map_err(|error: crate::reference::ReferenceError| {
                    problem(whole(&error), "write NAME[:TAG] or NAME@DIGEST")
                })?;
            self.fetch(&reference, platform).map_err(|error| {
                let message = format!("cannot get the image {name}: {}", whole(&*error));
                let help = "check its name, `compose login` to its registry, or bring it in with `compose image load`";
                problem(message, help)
            })?;
            found = find()?;
        }
        let image = found.ok_or_else(|| {
            problem(format!("there is no image {name}"), "bring it in with `compose image load`")
        })?;
        if image.origin == crate::image::Origin::Directory {
            let message = format!("{name} is a directory, and no image that can be built on");
            return Err(problem(message, "import it with `compose image import`").into());
        }
        let found = (image.config.os().to_string(), image.config.architecture().to_string());
        if found != (platform.os().to_owned(), platform.architecture().to_owned()) {
            let message =
                format!("{name} is for {}/{}, and {platform} is wanted", found.0, found.1);
            return Err(
                problem(message, "fetch it for that platform with `compose build --pull`").into()
            );
        }
        self.state_of(&image, name).map_err(Failed::from)
    }

    /// Fetches an image, as a step of its own.
    fn fetch(&self, image: &Reference, platform: &Platform) -> Result<(), super::Foreign> {
        let step = self.next_step();
        let name = format!("[base] {} for {platform}", image.familiar());
        self.surroundings.tell(Event::Begun { step, name });
        let begun = Instant::now();
        let say = |line| self.surroundings.tell(Event::Said { step, line });
        let fetched = self.surroundings.fetch(image, platform, &say);
        self.surroundings.tell(match fetched {
            Ok(()) => Event::Done { step, cached: false, took: begun.elapsed() },
            Err(_) => Event::Failed { step },
        });
        fetched
    }

    fn state_of(&self, image: &Image, name: &str) -> Result<State, crate::store::StoreError> {
        let configuration = self.store.configuration(image.id)?;
        let layers = self.store.layers_of(image.manifest)?.ok_or_else(|| {
            crate::store::StoreError::Invalid {
                path: self.store.root().join("index.json"),
                reason: format!("{name} has gone"),
            }
        })?;
        let Value::Object(mut document) = configuration.json else {
            return Ok(State::default());
        };
        let object = |value: Option<Value>| match value {
            Some(Value::Object(map)) => map,
            _ => serde_json::Map::new(),
        };
        let config = object(document.remove("config"));
        let history = match document.remove("history") {
            Some(Value::Array(history)) => history,
            _ => Vec::new(),
        };
        document.remove("rootfs");
        Ok(State {
            document,
            config,
            history,
            diff_ids: configuration.diff_ids,
            layers,
            directories: image.layers.clone(),
            args: HashMap::new(),
            created: image.created,
            has_command: false,
        })
    }

    /// Gives an argument its value.
    pub(super) fn argument(
        &self,
        argument: &Argument,
        variables: &HashMap<String, String>,
    ) -> Result<Option<String>, Problem> {
        let Argument { name, default } = argument;
        if let Some(given) = self.recipe.args.get(&name.text) {
            return Ok(Some(given.clone()));
        }
        match default {
            Some(default) => expand(self.file.escape, default, variables).map(Some),
            None => Ok(self.globals.get(&name.text).cloned()),
        }
    }
}
