//! `compose build`.
//!
//! The steps are those of the plan of `up --build`, and what carries one out is the same. But they are carried out here,
//! a thread for each service, and not in the supervisor: only this process has the terminal that a failed step is
//! looked into with, and nothing needs to run for a build. So `--debug-on-failure` is here alone: where `up`, `create` or
//! `run` fails to build, it says which command that is.

mod jobs;
mod work;

use std::collections::{BTreeMap, BTreeSet};

use images::Store;
use images::build::{FailedStep, Fresh, Recipe};

use self::jobs::{bake, has_build, jobs};
use self::work::{build_all, open_shell};
use super::context::{Context, known_services};
use super::dry_run;
use super::error::CommandError;
use super::push;
use super::terminal::Terminal;
use crate::apply::explain;
use crate::build::agents;
use crate::file;
use crate::model::{Project, ServiceName};
use crate::plan;
use crate::supervisor::refused;

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
    /// Push the images to their registries when they are built
    #[arg(long)]
    push: bool,
    /// Only the ids
    #[arg(long, short)]
    quiet: bool,
    /// Attestation of what is in it; none are made, so only `false` is taken
    #[arg(long, value_name = "VALUE", hide = true)]
    sbom: Option<String>,
    /// Agent, or keys without a passphrase, for RUN --mount=type=ssh
    #[arg(long, value_name = "default|ID=SOCKET|ID=KEY,...")]
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
    if wanted.is_empty() {
        terminal.warn("no service has anything to build");
        return Ok(0);
    }
    let plan = plan::builds(&project, &wanted);
    let plan = plan.map_err(|error| CommandError::from(refused(&error)))?;
    if args.debug_on_failure && plan.steps.len() > 1 {
        return Err(CommandError::usage("--debug-on-failure opens a shell in one build")
            .help("name the service whose build fails"));
    }
    context.check_support(&project, &wanted, terminal)?;
    let mut jobs = jobs(&project, &plan)?;
    for job in &mut jobs {
        args.apply(&project, &mut job.recipe)?;
    }
    if args.print {
        terminal.print_json(&bake(&project, &jobs))?;
        return Ok(0);
    }
    if context.global().dry_run {
        dry_run::show(vec![plan], terminal)?;
        return Ok(0);
    }
    let store = Store::open(&context.roots().images())?;
    if args.check {
        for job in &jobs {
            images::build::check(&job.recipe, &store)
                .map_err(|error| explain::building(&error, &job.service))?;
        }
        terminal.note("No mistakes found");
        return Ok(0);
    }
    let shell = args.debug_on_failure.then_some(&open_shell as &(dyn Fn(&FailedStep) + Sync));
    let work = work::Work { project: &project, plan: &plan, jobs: &jobs, store: &store, shell };
    let images = build_all(&work, args.quiet, context, terminal)?;
    if args.quiet {
        let ids: String = images.values().map(|image| format!("{}\n", image.id)).collect();
        terminal.print(ids)?;
    }
    if !args.push {
        return Ok(0);
    }
    let names = push::names(&project, &images.into_keys().collect());
    if names.is_empty() {
        terminal.warn("nothing is pushed: no service that was built has an `image`, which is its name at a registry");
        return Ok(0);
    }
    match push::push_all(names, &store, args.quiet, context, terminal)? {
        failures if failures.is_empty() => Ok(0),
        failures => Err(failures.into()),
    }
}

impl BuildArgs {
    fn refuse(&self) -> Result<(), CommandError> {
        let is_on = |value: &Option<String>| value.as_deref().is_some_and(|value| value != "false");
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
        // As one types it: a path that is not absolute begins where one is.
        let whole = |path: &str| std::path::absolute(path).ok()?.to_str().map(str::to_owned);
        let pair = |text: &String| match text.split_once('=') {
            Some((id, path)) => (id.to_owned(), whole(path).unwrap_or_else(|| path.to_owned())),
            None => (text.clone(), String::new()),
        };
        let wanted: BTreeMap<String, String> = self.ssh.iter().map(pair).collect();
        let found = agents(&wanted, project).map_err(|error| {
            CommandError::new(&error)
                .help("name the socket of an agent, or the file of a key without a passphrase")
        })?;
        recipe.ssh.extend(found);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::testing::{args, refusal};

    #[test]
    fn flags_that_cannot_be_obeyed_are_refused() {
        for line in
            [["--sbom", "true"].as_slice(), &["--provenance", "mode=max"], &["--builder", "x"]]
        {
            assert!(args::<BuildArgs>(line).refuse().is_err(), "{line:?}");
        }
        for line in
            [["--sbom", "false"].as_slice(), &["--builder", "default", "--compress", "--force-rm"]]
        {
            assert!(args::<BuildArgs>(line).refuse().is_ok(), "{line:?}");
        }
        assert!(refusal::<BuildArgs>(&["--debug-on-failure", "-q"]).is_some());
    }
}
