//! `compose push`.

use std::collections::BTreeSet;

use images::registry::{Push, PushError};
use images::{Reference, Store};

use super::context::Context;
use super::error::CommandError;
use super::terminal::Terminal;
use super::transfer::{Tell, fetching, side_by_side};
use super::up::wanted;
use crate::apply::image::{Fetching, of_layer};
use crate::event::{Event, Failure, Kind, Status, Step, Subject};
use crate::model::{Project, ServiceName};
use crate::registry;

/// Give the images of services to their registries
#[derive(Debug, clap::Args)]
pub struct PushArgs {
    /// Services whose images to push (default: all that are built)
    #[arg(value_name = "SERVICE")]
    services: Vec<ServiceName>,
    /// Go on, and succeed, when an image cannot be pushed
    #[arg(long)]
    ignore_push_failures: bool,
    /// Push the images of services that these depend on as well
    #[arg(long)]
    include_deps: bool,
    /// Do not show how far it is
    #[arg(long, short)]
    quiet: bool,
}

/// Pushes the images, all side by side.
///
/// # Errors
///
/// When one cannot be pushed, unless that is ignored.
pub fn run(args: PushArgs, context: &Context, terminal: &mut Terminal) -> Result<u8, CommandError> {
    context.require_root()?;
    let project = context.load_for(&args.services, terminal)?;
    let known = project.services.keys().chain(project.disabled.keys()).map(ServiceName::as_str);
    super::context::known_services(&args.services, &known.collect())?;
    let services = wanted(&project, &args.services, !args.include_deps);
    let names = names(&project, &services);
    if names.is_empty() {
        terminal.warn("no service here has both `build` and `image`, so there is nothing to push; `compose image push NAME` pushes any image");
        return Ok(0);
    }
    if context.global().dry_run {
        for name in &names {
            terminal.draw(&Event::step(Kind::Image, &**name, Status::Pushing));
            terminal.draw(&Event::step(Kind::Image, &**name, Status::Pushed));
        }
        return Ok(0);
    }
    let store = Store::open(&context.roots().images())?;
    let failures = push_all(names, &store, args.quiet, context, terminal)?;
    if failures.is_empty() {
        return Ok(0);
    }
    if args.ignore_push_failures {
        failures.iter().for_each(|failure| terminal.warn(&failure.message));
        return Ok(0);
    }
    Err(failures.into())
}

/// The names under which images of `services` are pushed.
pub(super) fn names(project: &Project, services: &BTreeSet<ServiceName>) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for service in project.services.values().filter(|one| services.contains(&one.name)) {
        // What has come from elsewhere is not given back; source: docker compose, `pkg/compose/push.go`.
        let (Some(image), true) = (&service.image, service.build.is_some()) else { continue };
        let tags = service.build.iter().flat_map(|build| &build.tags);
        for name in [image].into_iter().chain(tags) {
            if !names.contains(name) {
                names.push(name.clone());
            }
        }
    }
    names
}

/// Pushes images side by side, and returns what has failed.
pub(super) fn push_all(
    names: Vec<String>,
    store: &Store,
    quiet: bool,
    context: &Context,
    terminal: &mut Terminal,
) -> Result<Vec<Failure>, CommandError> {
    let fetching = fetching(quiet)?;
    side_by_side(names, context.parallel(), &fetching.cancel, terminal, |name, tell| {
        push(store, &fetching, &name, tell)
    })
}

/// Pushes one image and tells of it.
///
/// # Errors
///
/// Why it could not be pushed, with advice.
pub fn push(store: &Store, fetching: &Fetching, name: &str, tell: Tell<'_>) -> Result<(), Failure> {
    let say = |status, details| {
        if !fetching.quiet {
            let subject = Subject { kind: Kind::Image, name: name.to_owned() };
            tell(Event::Step(Step { subject, status, details, amount: None }));
        }
    };
    say(Status::Pushing, None);
    let reference: Result<Reference, Failure> =
        name.parse().map_err(|error: images::ReferenceError| Failure::new(&error));
    let pushed = reference.and_then(|reference| {
        let report = |progress| {
            if !fetching.quiet {
                tell(of_layer(progress, Status::Pushing, Status::Pushed));
            }
        };
        let push = Push { reference: &reference, cancel: &fetching.cancel, report: &report };
        fetching.registry.push(store, &push).map_err(|error| failure(&error, name))
    });
    match pushed {
        Ok(pushed) => {
            say(Status::Pushed, Some(pushed.digest.to_string()));
            Ok(())
        }
        Err(failure) => {
            say(Status::Error, None);
            Err(failure)
        }
    }
}

/// An image that could not be pushed, as it is told to the user.
fn failure(error: &PushError, name: &str) -> Failure {
    let failure = Failure::new(error);
    let message = format!("cannot push image {name}: {}", failure.message);
    let help = match error {
        PushError::Registry(error) => registry::help(error),
        PushError::NotFound(_) => Some(format!(
            "`compose image ls` shows what is here; `compose image tag IMAGE {name}` gives it this name"
        )),
        PushError::Digest(_) => Some("push a name with a tag".to_owned()),
        PushError::BlobMissing { .. } => Some("pull or load the image again".to_owned()),
        PushError::Find(_) | PushError::Store(_) => None,
    };
    Failure { message, help, ..failure }
}
