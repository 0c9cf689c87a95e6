//! `compose build`, and what `up`, `create` and `run` build before they begin.
//!
//! Builds run in the command itself, a thread for each service, and not in the supervisor: they take long, need nothing
//! that only the supervisor has, and end with the command. What they made is in the store, where the planner finds it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, OnceLock};
use std::thread;

use images::build::{BuildError, Event, FailedStep, Fresh, Mistakes, Recipe};
use images::{Image, Store};

use super::context::{Context, known_services};
use super::error::{CommandError, FAILED};
use super::terminal::Terminal;
use super::transfer::fetching;
use crate::build::{Bases, BuildNetwork, Outside, RecipeError, agents, dependencies, recipe};
use crate::diagnostic::{Diagnostic, Label, Style};
use crate::event::Failure;
use crate::file;
use crate::model::{Place, Project, PullPolicy, ServiceName};

/// Build the images of services, or build them again
#[derive(Debug, clap::Args)]
pub struct BuildArgs {
    /// Services to build (default: all that have `build`)
    #[arg(value_name = "SERVICE")]
    services: Vec<ServiceName>,
    /// Value of an ARG, instead of the file's
    #[arg(long = "build-arg", value_name = "NAME=VALUE")]
    build_args: Vec<String>,
    /// Builder to use; there is one, `default`
    #[arg(long, value_name = "NAME", hide = true)]
    builder: Option<String>,
    /// Look for mistakes in the Dockerfiles and build nothing
    #[arg(long)]
    check: bool,
    /// Open a shell in a RUN that fails, as it left its files; for one service
    #[arg(long, conflicts_with_all = ["check", "quiet"])]
    debug_on_failure: bool,
    /// Most memory of each RUN
    #[arg(long, short, value_name = "BYTES")]
    memory: Option<String>,
    /// Take nothing from the cache
    #[arg(long)]
    no_cache: bool,
    /// Show what would be built, as a bake file, and build nothing
    #[arg(long)]
    print: bool,
    /// Attestation of how it was built; none are made, so only `false` is taken
    #[arg(long, value_name = "VALUE", hide = true)]
    provenance: Option<String>,
    /// Fetch base images even if they are here
    #[arg(long)]
    pull: bool,
    /// Push the images when they are built
    #[arg(long, hide = true)]
    push: bool,
    /// Only the ids
    #[arg(long, short)]
    quiet: bool,
    /// Attestation of what is in it; none are made, so only `false` is taken
    #[arg(long, value_name = "VALUE", hide = true)]
    sbom: Option<String>,
    /// Agent for RUN --mount=type=ssh
    #[arg(long, value_name = "default|ID=SOCKET")]
    ssh: Vec<String>,
    /// Build the services that these depend on as well
    #[arg(long)]
    with_dependencies: bool,
    /// No effect, as in docker compose
    #[arg(long, hide = true)]
    compress: bool,
    /// No effect, as in docker compose
    #[arg(long, hide = true)]
    force_rm: bool,
    /// No effect, as in docker compose
    #[arg(long, hide = true)]
    no_rm: bool,
    /// No effect, as in docker compose
    #[arg(long, hide = true)]
    parallel: bool,
}

/// When `up`, `create` and `run` build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// Images that are not here, and those of `pull_policy: build`.
    Missing,
    /// All that have `build`: `--build`.
    Always,
    /// None: `--no-build`.
    Never,
}

/// What is said while images are built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Voice {
    /// Each step and all that it says.
    Full,
    /// Nothing.
    Quiet,
}

/// One image to be built.
struct Job {
    service: ServiceName,
    recipe: Recipe,
    /// Services whose images it is built on.
    after: Vec<ServiceName>,
}

/// Builds the images of the services that are named.
///
/// # Errors
///
/// When the project cannot be read, or an image cannot be built.
pub fn run(
    args: BuildArgs,
    context: &Context,
    terminal: &mut Terminal,
) -> Result<u8, CommandError> {
    context.require_root()?;
    args.refuse()?;
    let project = context.load_for(&args.services, terminal)?;
    let known: BTreeSet<&str> =
        project.services.keys().chain(project.disabled.keys()).map(ServiceName::as_str).collect();
    known_services(&args.services, &known)?;
    let mut wanted = super::up::wanted(&project, &args.services, !args.with_dependencies);
    wanted.retain(|name| has_build(&project, name));
    with_contexts(&project, &mut wanted);
    if wanted.is_empty() {
        terminal.warn("no service has anything to build");
        return Ok(0);
    }
    if args.debug_on_failure && wanted.len() > 1 {
        return Err(CommandError::usage("--debug-on-failure opens a shell in one build")
            .help("name the service whose build fails"));
    }
    context.check_support(&project, &wanted, terminal)?;
    let mut jobs = jobs(&project, &wanted)?;
    for job in &mut jobs {
        args.apply(&project, &mut job.recipe)?;
    }
    if args.print {
        terminal.print_json(&bake(&project, &jobs))?;
        return Ok(0);
    }
    if context.global().dry_run {
        return Ok(announce(&jobs, terminal));
    }
    let store = Store::open(&context.roots().images())?;
    if args.check {
        for job in &jobs {
            images::build::check(&job.recipe, &store)
                .map_err(|error| told(&error, &job.service, context, terminal))?;
        }
        terminal.note("No mistakes found");
        return Ok(0);
    }
    let voice = if args.quiet { Voice::Quiet } else { Voice::Full };
    let shell = args.debug_on_failure.then_some(&open_shell as &(dyn Fn(&FailedStep) + Sync));
    let images = build_all(&jobs, &store, voice, shell, context, terminal)?;
    if args.quiet {
        let ids: String = images.values().map(|image| format!("{}\n", image.id)).collect();
        terminal.print(ids)?;
    }
    Ok(0)
}

/// Builds what a command is going to need.
///
/// # Errors
///
/// When an image cannot be built.
pub fn before(
    project: &Project,
    wanted: &BTreeSet<ServiceName>,
    when: When,
    voice: Voice,
    context: &Context,
    terminal: &mut Terminal,
) -> Result<(), CommandError> {
    if when == When::Never {
        return Ok(());
    }
    let mut wanted: BTreeSet<ServiceName> =
        wanted.iter().filter(|name| has_build(project, name)).cloned().collect();
    if wanted.is_empty() {
        return Ok(());
    }
    let store = Store::open(&context.roots().images())?;
    if when == When::Missing {
        let mut missing = BTreeSet::new();
        for name in &wanted {
            let service = &project.services[name];
            let always = service.pull_policy == Some(PullPolicy::Build);
            if always || store.find(&service.image_reference(&project.name))?.is_none() {
                missing.insert(name.clone());
            }
        }
        wanted = missing;
    }
    with_contexts(project, &mut wanted);
    let jobs = jobs(project, &wanted)?;
    if context.global().dry_run {
        announce(&jobs, terminal);
        return Ok(());
    }
    build_all(&jobs, &store, voice, None, context, terminal).map(drop)
}

fn announce(jobs: &[Job], terminal: &mut Terminal) -> u8 {
    for job in jobs {
        terminal.note(&format!("would build the image of service {}", job.service));
    }
    0
}

fn has_build(project: &Project, name: &ServiceName) -> bool {
    project.services.get(name).is_some_and(|service| service.build.is_some())
}

/// Adds the services whose images are contexts of these.
fn with_contexts(project: &Project, wanted: &mut BTreeSet<ServiceName>) {
    let mut open: Vec<ServiceName> = wanted.iter().cloned().collect();
    while let Some(name) = open.pop() {
        let service = project.services.get(&name).or_else(|| project.disabled.get(&name));
        for other in service.map(dependencies).unwrap_or_default() {
            let known = project.services.get(&other).or_else(|| project.disabled.get(&other));
            if known.is_some_and(|service| service.build.is_some()) && wanted.insert(other.clone())
            {
                open.push(other);
            }
        }
    }
}

fn jobs(project: &Project, wanted: &BTreeSet<ServiceName>) -> Result<Vec<Job>, CommandError> {
    let mut jobs = Vec::new();
    for name in wanted {
        let service = project.services.get(name).or_else(|| project.disabled.get(name));
        let Some(service) = service else { continue };
        let Some(recipe) = recipe(project, service).map_err(|error| refused(&error, name))? else {
            continue;
        };
        let after = dependencies(service).into_iter().filter(|other| wanted.contains(other));
        jobs.push(Job { service: name.clone(), recipe, after: after.collect() });
    }
    in_order(jobs)
}

/// Puts those before that others are built on.
fn in_order(mut jobs: Vec<Job>) -> Result<Vec<Job>, CommandError> {
    let mut ordered: Vec<Job> = Vec::new();
    while !jobs.is_empty() {
        let ready = |job: &Job| {
            job.after.iter().all(|name| ordered.iter().any(|done| done.service == *name))
        };
        let Some(next) = jobs.iter().position(ready) else {
            let names: Vec<&str> = jobs.iter().map(|job| job.service.as_str()).collect();
            let message = format!("images are built on each other: {}", names.join(", "));
            return Err(CommandError::failed(message)
                .help("break the circle of `additional_contexts` with `service:`"));
        };
        ordered.push(jobs.remove(next));
    }
    Ok(ordered)
}

fn refused(error: &RecipeError, service: &ServiceName) -> CommandError {
    let help = match error {
        RecipeError::Context(_) => "write a directory, a git repository or docker-image://IMAGE",
        RecipeError::Name { .. } => "write NAME[:TAG] in lower case",
        RecipeError::Platform(_) => "write OS/ARCHITECTURE, such as linux/amd64",
        RecipeError::Foreign(_) => {
            "register an emulator with binfmt_misc, or build for this machine"
        }
        RecipeError::Secret(_) => "set its variable, or give it a file",
        RecipeError::Agent { .. } => {
            "start ssh-agent and name its socket; keys themselves are not read"
        }
        RecipeError::Service(_) => "name a service of the project",
        RecipeError::Gateway(_) => "write the address of the machine",
        RecipeError::Network(_) => "change `build.network`",
    };
    let mut failure = Failure::new(error);
    failure.message = format!("service {service} cannot be built: {}", failure.message);
    CommandError::from(failure).help(help)
}

impl BuildArgs {
    fn refuse(&self) -> Result<(), CommandError> {
        let is_on = |value: &Option<String>| value.as_deref().is_some_and(|value| value != "false");
        if self.push {
            return Err(CommandError::usage("--push is not carried out by build")
                .help("push the images with `compose push` when they are built"));
        }
        if is_on(&self.provenance) || is_on(&self.sbom) {
            return Err(CommandError::usage("no attestations are made").help("leave the flag out"));
        }
        if self.builder.as_deref().is_some_and(|name| name != "default") {
            return Err(CommandError::usage("there is one builder, called `default`")
                .help("leave the flag out"));
        }
        Ok(())
    }

    /// Changes a recipe as the flags say.
    fn apply(&self, project: &Project, recipe: &mut Recipe) -> Result<(), CommandError> {
        for pair in &self.build_args {
            let (name, value) = match pair.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (pair.as_str(), project.environment.get(pair).cloned()),
            };
            if let Some(value) = value {
                recipe.args.insert(name.to_owned(), value);
            }
        }
        if self.no_cache {
            recipe.fresh = Fresh::Everything;
        }
        recipe.pull |= self.pull;
        if let Some(memory) = &self.memory {
            let bytes = file::bytes(memory).and_then(|bytes| u64::try_from(bytes).ok());
            recipe.memory_bytes = Some(bytes.ok_or_else(|| {
                CommandError::usage(format!("`{memory}` is no number of bytes")).help("write 512m")
            })?);
        }
        let pair = |text: &String| match text.split_once('=') {
            Some((id, path)) => (id.to_owned(), path.to_owned()),
            None => (text.clone(), String::new()),
        };
        let wanted: BTreeMap<String, String> = self.ssh.iter().map(pair).collect();
        let found = agents(&wanted).map_err(|error| {
            CommandError::new(&error).help("start ssh-agent and name its socket")
        })?;
        recipe.ssh.extend(found);
        Ok(())
    }
}

/// What would be built, in the words of `docker buildx bake`.
fn bake(project: &Project, jobs: &[Job]) -> serde_json::Value {
    let mut targets = serde_json::Map::new();
    for Job { service, recipe, after } in jobs {
        let build = project.services.get(service).and_then(|service| service.build.as_ref());
        let contexts = build.map(|build| {
            let target = |(name, text): (&String, &String)| {
                let text = text
                    .strip_prefix("service:")
                    .map_or(text.clone(), |name| format!("target:{name}"));
                (name.clone(), text.into())
            };
            build.additional_contexts.iter().map(target).collect::<serde_json::Map<_, _>>()
        });
        let names: Vec<String> = recipe.names.iter().map(images::Reference::familiar).collect();
        targets.insert(
            service.to_string(),
            serde_json::json!({
                "context": build.map(|build| build.context.clone()),
                "dockerfile": build.and_then(|build| build.dockerfile.clone()),
                "dockerfile-inline": build.and_then(|build| build.dockerfile_inline.clone()),
                "args": recipe.args,
                "labels": recipe.labels,
                "tags": names,
                "target": recipe.target,
                "contexts": contexts,
                "depends-on": after,
            }),
        );
    }
    let names: Vec<&str> = jobs.iter().map(|job| job.service.as_str()).collect();
    serde_json::json!({ "group": { "default": { "targets": names } }, "target": targets })
}

/// A shell where the step has failed, on the terminal of the user.
fn open_shell(step: &FailedStep) {
    // How it ends says nothing about the build.
    let _ = step.shell();
}

/// Builds side by side what does not wait for another.
fn build_all(
    jobs: &[Job],
    store: &Store,
    voice: Voice,
    shell: Option<&(dyn Fn(&FailedStep) + Sync)>,
    context: &Context,
    terminal: &mut Terminal,
) -> Result<BTreeMap<ServiceName, Image>, CommandError> {
    let network = BuildNetwork::begin(context.roots()).map_err(|error| {
        CommandError::new(&error).help("check that the data root can be written to")
    })?;
    let cells: BTreeMap<&ServiceName, OnceLock<Option<Image>>> =
        jobs.iter().map(|job| (&job.service, OnceLock::new())).collect();
    let own: BTreeSet<images::Reference> =
        jobs.iter().flat_map(|job| job.recipe.names.iter().cloned()).collect();
    let fetching = fetching(voice == Voice::Quiet)?;
    let bases = Bases { store, fetching: &fetching, own: &own };
    let failures: Mutex<Vec<(ServiceName, BuildError)>> = Mutex::default();
    let (sender, receiver) = channel();
    thread::scope(|scope| {
        for job in jobs {
            let (cells, failures, network, sender) = (&cells, &failures, &network, sender.clone());
            scope.spawn(move || {
                cells[&job.service].get_or_init(|| {
                    // Earlier ones are waited for; they are on their way already, or begin here.
                    for other in &job.after {
                        cells[other].wait().as_ref()?;
                    }
                    match build_one(job, bases, network, shell, &sender, context) {
                        Ok(image) => Some(image),
                        Err(error) => {
                            let mut failures = failures.lock().expect("nobody panics with it");
                            failures.push((job.service.clone(), error));
                            None
                        }
                    }
                });
            });
        }
        drop(sender);
        show(&receiver, voice, jobs.len() > 1, terminal);
    });
    let failures = failures.into_inner().expect("nobody panics with it");
    if !failures.is_empty() {
        return Err(all_told(&failures, context, terminal));
    }
    let mut images = BTreeMap::new();
    for (service, cell) in cells {
        if let Some(Some(image)) = cell.into_inner() {
            if voice == Voice::Full {
                let name = image.reference.as_ref().map(images::Reference::familiar);
                terminal.note(&format!(
                    "Image {} built: {}",
                    name.unwrap_or_default(),
                    image.id.short()
                ));
            }
            images.insert(service.clone(), image);
        }
    }
    Ok(images)
}

fn build_one(
    job: &Job,
    bases: Bases<'_>,
    network: &BuildNetwork,
    shell: Option<&(dyn Fn(&FailedStep) + Sync)>,
    sender: &Sender<(String, Event)>,
    context: &Context,
) -> Result<Image, BuildError> {
    let tell = |service: &str, event: Event| {
        // Whoever listens goes only when all have ended.
        let _ = sender.send((service.to_owned(), event));
    };
    let outside = Outside::new(context.roots(), network, bases, job.service.as_str(), &tell, shell);
    bases.store.build(&job.recipe, &outside)
}

/// Shows what happens until all builds have ended.
fn show(
    receiver: &Receiver<(String, Event)>,
    voice: Voice,
    several: bool,
    terminal: &mut Terminal,
) {
    let mut names: BTreeMap<(String, usize), String> = BTreeMap::new();
    for (service, event) in receiver {
        let of = if several { format!("{service} ") } else { String::new() };
        let line = match event {
            Event::Warning(message) => {
                terminal.warn(&format!("service {service}: {message}"));
                continue;
            }
            Event::Begun { step, name } => {
                let name = name.lines().next().unwrap_or_default().to_owned();
                names.insert((service, step), name.clone());
                format!("{of}{name}")
            }
            Event::Said { line, .. } => format!("{of} | {line}"),
            Event::Done { step, cached, took } => {
                let name = names.remove(&(service, step)).unwrap_or_default();
                let place = name.split_inclusive(']').next().unwrap_or_default().to_owned();
                if cached {
                    format!("{of}{place} cached")
                } else {
                    format!("{of}{place} done in {:.1}s", took.as_secs_f64())
                }
            }
            Event::Failed { step } => {
                let name = names.remove(&(service, step)).unwrap_or_default();
                format!("{of}{name}: failed")
            }
        };
        if voice == Voice::Full {
            terminal.note(&line);
        }
    }
}

fn all_told(
    failures: &[(ServiceName, BuildError)],
    context: &Context,
    terminal: &Terminal,
) -> CommandError {
    let mut all = CommandError::drawn(String::new(), FAILED);
    for (service, error) in failures {
        let one = told(error, service, context, terminal);
        all.drawn.push_str(&one.drawn);
        all.failures.extend(one.failures);
    }
    all
}

/// A failed build in words, over the lines of its Dockerfile.
fn told(
    error: &BuildError,
    service: &ServiceName,
    context: &Context,
    terminal: &Terminal,
) -> CommandError {
    let base = context.options().working_dir;
    let style = Style { color: terminal.colours_error(), base: Some(base) };
    let help = match error {
        BuildError::Dockerfile(mistakes) => {
            return CommandError::drawn(drawn(mistakes, service, &style), FAILED);
        }
        BuildError::Target { stages, .. } if stages.is_empty() => {
            "no stage has a name: write FROM IMAGE AS NAME, or take `target` away".to_owned()
        }
        BuildError::Target { stages, .. } => format!("the stages are {}", stages.join(", ")),
        BuildError::Context(_) => "check `build.context` and `build.dockerfile`".to_owned(),
        BuildError::Platform(_) => "build for the platform of this machine".to_owned(),
        BuildError::Store(_) => {
            "check that the data root can be written to and is not full".to_owned()
        }
        BuildError::Cancelled => "run the command again".to_owned(),
    };
    let mut failure = Failure::new(error);
    failure.message = format!("the image of service {service} was not built: {}", failure.message);
    CommandError::from(failure).help(help)
}

/// The mistakes of a Dockerfile, drawn as those of the compose file are.
fn drawn(mistakes: &Mistakes, service: &ServiceName, style: &Style) -> String {
    let mut out = String::new();
    for line in &mistakes.output {
        out.push_str(&format!("  | {line}\n"));
    }
    for problem in &mistakes.problems {
        let before = &mistakes.text[..problem.span.start.min(mistakes.text.len())];
        let line = before.matches('\n').count() + 1;
        let start = before.rfind('\n').map_or(0, |end| end + 1);
        let column = mistakes.text[start..before.len()].chars().count() + 1;
        let meant = mistakes.text.get(problem.span.clone()).unwrap_or_default();
        let width = meant.lines().next().unwrap_or_default().chars().count();
        let number = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
        let place = Place {
            file: std::path::Path::new(&mistakes.name).into(),
            line: number(line),
            column: number(column),
        };
        let label = Label {
            place,
            width,
            text: String::new(),
            source: Some(mistakes.text.as_str().into()),
        };
        let mut diagnostic = Diagnostic::error(format!("service {service}: {}", problem.message))
            .label(label)
            .help(problem.help.clone());
        if mistakes.debuggable {
            diagnostic = diagnostic.help(format!(
                "look into the step with `compose build --debug-on-failure {service}`"
            ));
        }
        out.push_str(diagnostic.render(style).trim_end());
        out.push_str("\n\n");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::testing::{args, refusal};

    fn job(service: &str, after: &[&str]) -> Job {
        let source = images::build::Source::Directory("/".into());
        Job {
            service: service.parse().unwrap(),
            recipe: Recipe::new(source),
            after: after.iter().map(|name| name.parse().unwrap()).collect(),
        }
    }

    #[test]
    fn images_come_before_those_that_are_built_on_them() {
        let ordered = in_order(vec![job("a", &["b"]), job("b", &["c"]), job("c", &[])]).unwrap();
        let names: Vec<&str> = ordered.iter().map(|job| job.service.as_str()).collect();
        assert_eq!(names, ["c", "b", "a"]);
        assert!(in_order(vec![job("a", &["b"]), job("b", &["a"])]).is_err());
    }

    #[test]
    fn flags_that_cannot_be_obeyed_are_refused() {
        for line in [
            ["--push"].as_slice(),
            &["--sbom", "true"],
            &["--provenance", "mode=max"],
            &["--builder", "x"],
        ] {
            assert!(args::<BuildArgs>(line).refuse().is_err(), "{line:?}");
        }
        for line in
            [["--sbom", "false"].as_slice(), &["--builder", "default", "--compress", "--force-rm"]]
        {
            assert!(args::<BuildArgs>(line).refuse().is_ok(), "{line:?}");
        }
        assert!(refusal::<BuildArgs>(&["--debug-on-failure", "-q"]).is_some());
    }

    #[test]
    fn mistakes_are_drawn_over_the_dockerfile() {
        let text = "FROM base\nRUN make \\\n  all\n";
        let start = text.find("RUN").unwrap();
        let mistakes = Mistakes {
            name: "/p/Dockerfile".to_owned(),
            text: text.to_owned(),
            problems: vec![images::build::Problem {
                span: start..text.len() - 1,
                message: "the command has ended with exit code 2".to_owned(),
                help: "what it said last stands above".to_owned(),
            }],
            output: vec!["make: no rule".to_owned()],
            debuggable: true,
        };
        let style = Style { color: false, base: Some("/p".into()) };
        let drawn = drawn(&mistakes, &"web".parse().unwrap(), &style);
        for part in [
            "  | make: no rule\n",
            "error: service web: the command has ended with exit code 2",
            "Dockerfile:2:1",
            "2 | RUN make \\\n  | ^^^^^^^^^^\n",
            "help: look into the step with `compose build --debug-on-failure web`",
        ] {
            assert!(drawn.contains(part), "{part}: {drawn}");
        }
    }
}
