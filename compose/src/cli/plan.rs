//! `compose plan`: what `up` would do, and why.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::context::Context;
use super::dry_run::{self, Plannable as _};
use super::error::{CommandError, USAGE};
use super::replace::{self, Answer};
use super::session::Session;
use super::terminal::Terminal;
use super::up::ChangeArgs;
use crate::api::{SavedPlan, UpRequest, path};
use crate::apply::build::built;
use crate::build;
use crate::model::{Project, ServiceName};
use crate::plan::{Action, Plan};
use crate::supervisor::provider;

/// What a plan that changes something ends with.
const CHANGES: u8 = 2;

/// Show what `up` would do and why; ends with 2 if there is something to do
#[derive(Debug, clap::Args)]
pub struct PlanArgs {
    /// Services to bring up, with those they depend on (default: all)
    #[arg(value_name = "SERVICE")]
    services: Vec<ServiceName>,
    #[command(flatten)]
    change: ChangeArgs,
    /// Leave services alone that these depend on
    #[arg(long)]
    no_deps: bool,
    /// Save the plan, for `up --plan`
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// As `text` or `json`
    #[arg(long, value_name = "FORMAT", default_value = "text", value_parser = ["text", "json"])]
    format: String,
}

/// Prints the plan; changes nothing but the file that it is saved to.
///
/// # Errors
///
/// When the project cannot be read or brought up.
pub fn run(args: PlanArgs, context: &Context, terminal: &mut Terminal) -> Result<u8, CommandError> {
    context.require_root()?;
    let mut project = context.load_for(&args.services, terminal)?;
    provider::recall(context.roots(), &mut project)?;
    let all = super::up::wanted(&project, &args.services, args.no_deps);
    context.check_support(&project, &all, terminal)?;
    // A plan is no occasion to ask.
    let answer = if args.change.answer() == Answer::Yes { Answer::Yes } else { Answer::No };
    let mut options = args.change.options(&project, args.services, context)?;
    options.replace_volumes = replace::agree(&project, &all, answer, context, terminal)?;
    options.dependencies = !args.no_deps;
    let name = project.name.to_string();
    let request = UpRequest { project, options };
    let mut plans = dry_run::plans(&name, &request, context)?;
    plans.retain(|plan| !plan.is_empty() || !plan.warnings.is_empty());
    let saved = SavedPlan { version: SavedPlan::VERSION, request, plans };
    if let Some(file) = &args.output {
        if let Some(service) = saved.request.providers().first() {
            let message = format!("the service {service} comes from a provider");
            return Err(CommandError::failed(message).help(
                "what a provider sets is not known before: leave `-o` out, or name other services",
            ));
        }
        write(file, &saved)?;
    }
    if args.format == "json" {
        terminal.print_json(&saved.plans)?;
    } else {
        show(&saved, context, terminal)?;
    }
    let nothing = saved.plans.iter().all(Plan::is_empty);
    Ok(if nothing { 0 } else { CHANGES })
}

/// The plan is the result, and what is odd about it none.
fn show(saved: &SavedPlan, context: &Context, terminal: &mut Terminal) -> Result<(), CommandError> {
    for warning in saved.plans.iter().flat_map(|plan| &plan.warnings) {
        terminal.warn(&warning.to_string());
    }
    terminal.print(text(saved, &images::Store::look(&context.roots().images())))
}

/// A line for each step: what, and why.
fn text(saved: &SavedPlan, store: &images::Store) -> String {
    let SavedPlan { request, plans, .. } = saved;
    let mut text = String::new();
    // Files are named as they are from here.
    let here = std::env::current_dir().map(|here| format!("{}/", here.display()));
    let here = here.unwrap_or_else(|_| "/nowhere/".to_owned());
    for service in request.providers() {
        text.push_str(&format!("{}\n", dry_run::asking(service)));
    }
    let mut count = 0;
    for plan in plans {
        for (_, step) in plan.numbered() {
            let because = step.because.to_string().replace(&here, "");
            let bases = bases(&step.action, plan, &request.project, store);
            text.push_str(&format!("{}{bases}: {because}\n", step.action));
            count += 1;
        }
    }
    match count {
        0 => text.push_str("nothing to do\n"),
        1 => text.push_str("1 step\n"),
        _ => text.push_str(&format!("{count} steps\n")),
    }
    text
}

/// What is fetched within a step that builds: only the Dockerfile says it.
fn bases(action: &Action, plan: &Plan, project: &Project, store: &images::Store) -> String {
    let Action::BuildImage { service, .. } = action else { return String::new() };
    let Some(service) = project.declared(service) else { return String::new() };
    let bases = build::bases(project, service, store, &built(project, plan));
    if bases.is_empty() {
        return String::new();
    }
    format!(" after fetching {}", Vec::from_iter(bases).join(", "))
}

/// Only for the eyes of its owner: it holds the environment of services.
fn write(file: &Path, saved: &SavedPlan) -> Result<(), CommandError> {
    let failed = |error: std::io::Error| {
        CommandError::failed(format!("cannot write {}: {error}", file.display()))
            .help("name a file in a folder that can be written to")
    };
    let mut json = serde_json::to_vec_pretty(saved).map_err(|error| CommandError::new(&error))?;
    json.push(b'\n');
    let opened = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(file);
    opened.and_then(|mut file| file.write_all(&json)).map_err(failed)
}

/// Carries out the plan in `file`, or refuses if it would be another one by now.
///
/// # Errors
///
/// When the file is no plan, when the world has moved, and when a step fails.
pub fn carry_out(
    file: &Path,
    context: &Context,
    terminal: &mut Terminal,
) -> Result<u8, CommandError> {
    context.require_root()?;
    let failed = |error: &dyn std::fmt::Display| {
        CommandError::failed(format!("{} is no plan: {error}", file.display()))
            .help("make one with `compose plan -o FILE`")
            .code(USAGE)
    };
    let bytes = fs::read(file).map_err(|error| failed(&error))?;
    let saved: SavedPlan = serde_json::from_slice(&bytes).map_err(|error| failed(&error))?;
    if saved.version != SavedPlan::VERSION {
        return Err(failed(&"it was made by another version of compose"));
    }
    if context.global().dry_run {
        show(&saved, context, terminal)?;
        return Ok(0);
    }
    let session = Session::new(context, saved.request.project.name.as_str());
    Ok(session.carry_out_now(path::APPLY, &saved, terminal)?.code)
}
