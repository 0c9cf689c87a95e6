//! `compose pull`.

use std::collections::BTreeSet;

use images::Store;
use jiff::Timestamp;

use super::context::Context;
use super::error::CommandError;
use super::terminal::Terminal;
use super::transfer::{fetching, side_by_side};
use super::up::wanted;
use crate::api::{BuildOptions, BuildWhen};
use crate::apply::explain;
use crate::apply::image::{fetch, is_cancelled};
use crate::event::{Event, Failure, Kind, Status};
use crate::model::{Project, PullPolicy, Service, ServiceName};
use crate::observe::{Observed, observe_images};
use crate::plan::{self, Action};
use crate::supervisor::OnDisk;

/// Fetch the images of services from their registries
#[derive(Debug, clap::Args)]
pub struct PullArgs {
    /// Services whose images to fetch (default: all)
    #[arg(value_name = "SERVICE")]
    services: Vec<ServiceName>,
    /// Do not show how far it is
    #[arg(long, short)]
    quiet: bool,
    /// Go on, and succeed, when an image cannot be fetched
    #[arg(long)]
    ignore_pull_failures: bool,
    /// Leave images out that can be built
    #[arg(long)]
    ignore_buildable: bool,
    /// Fetch the images of services that these depend on as well
    #[arg(long)]
    include_deps: bool,
    /// When to fetch (default: as the services say, `missing` as `always`)
    #[arg(long, value_enum, value_name = "WHEN")]
    policy: Option<Policy>,
    #[arg(long, hide = true)]
    parallel: bool,
    #[arg(long, hide = true)]
    no_parallel: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Policy {
    /// What is not here; `latest` each time
    Missing,
    /// Everything
    Always,
}

/// An image to be fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Wanted {
    service: ServiceName,
    image: String,
    platform: Option<String>,
    buildable: bool,
}

/// Fetches the images, all side by side.
///
/// # Errors
///
/// When one cannot be fetched, unless that is ignored or it can be built.
pub fn run(args: PullArgs, context: &Context, terminal: &mut Terminal) -> Result<u8, CommandError> {
    for (given, flag) in [(args.parallel, "--parallel"), (args.no_parallel, "--no-parallel")] {
        if given {
            terminal.warn(&format!(
                "the option `{flag}` is deprecated and ignored; `compose --parallel N pull` says how many images come side by side"
            ));
        }
    }
    context.require_root()?;
    let project = context.load_for(&args.services, terminal)?;
    let known: BTreeSet<&str> =
        project.services.keys().chain(project.disabled.keys()).map(ServiceName::as_str).collect();
    super::context::known_services(&args.services, &known)?;
    let services = wanted(&project, &args.services, !args.include_deps);
    let store = Store::open(&context.roots().images())?;
    let observed = observe(&project, &store, context)?;
    let wanted = images(&project, &services, &observed, &args);
    if context.global().dry_run {
        for one in &wanted {
            terminal.draw(&Event::step(Kind::Image, &*one.image, Status::Pulling));
            terminal.draw(&Event::step(Kind::Image, &*one.image, Status::Pulled));
        }
        return Ok(0);
    }
    let fetching = fetching(args.quiet)?;
    let unbuilt = std::sync::Mutex::new(Vec::new());
    let failures =
        side_by_side(wanted, context.parallel(), &fetching.cancel, terminal, |one, tell| {
            let say = |status| {
                if !args.quiet {
                    tell(Event::step(Kind::Image, &*one.image, status));
                }
            };
            say(Status::Pulling);
            let fetched = fetch(&store, &fetching, &one.image, one.platform.as_deref(), tell);
            let error = match fetched {
                Ok(_) => {
                    say(Status::Pulled);
                    return Ok(());
                }
                Err(error) => error,
            };
            if one.buildable && !is_cancelled(&error) {
                say(Status::Skipped);
                unbuilt
                    .lock()
                    .unwrap_or_else(std::sync::PoisonError::into_inner)
                    .push(one.service.to_string());
                return Ok(());
            }
            say(Status::Error);
            let service = project.services.get(&one.service);
            let place = service.and_then(|service| place(service).cloned());
            Err(Failure { place: place.map(Into::into), ..explain::fetching(&error, &one.image) })
        })?;
    let unbuilt = unbuilt.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    if !unbuilt.is_empty() {
        terminal.warn(&format!(
            "some images are not in a registry and have to be built: compose build {}",
            unbuilt.join(" ")
        ));
    }
    if failures.is_empty() {
        return Ok(0);
    }
    if args.ignore_pull_failures {
        failures.iter().for_each(|failure| terminal.warn(&failure.message));
        return Ok(0);
    }
    Err(failures.into())
}

fn place(service: &Service) -> Option<&crate::model::Place> {
    service.places.of("image").or(service.place.as_ref())
}

fn observe(project: &Project, store: &Store, context: &Context) -> Result<Observed, CommandError> {
    let failed = |error: &dyn std::error::Error| {
        CommandError::new(error).help("check that the data root is readable and not full")
    };
    let roots = context.roots();
    let networks = network::Store::open(&roots.networks(), &roots.network_namespaces());
    let networks = networks.map_err(|error| failed(&error))?;
    let volumes = volumes::Store::open(&roots.volumes()).map_err(|error| failed(&error))?;
    let stores = OnDisk { networks: &networks, volumes: &volumes, images: store };
    let mut observed = Observed::default();
    observe_images(project, &stores, &mut observed).map_err(|error| failed(&error))?;
    Ok(observed)
}

/// The images to be fetched, each once.
///
/// Asked for by name, an image is fetched even if it is here: only `never` and `build` say no, and `--policy missing`.
fn images(
    project: &Project,
    services: &BTreeSet<ServiceName>,
    observed: &Observed,
    args: &PullArgs,
) -> Vec<Wanted> {
    let mut images: Vec<Wanted> = Vec::new();
    for service in project.services.values().filter(|one| services.contains(&one.name)) {
        let Some(image) = &service.image else { continue };
        let buildable = service.build.is_some();
        if image.starts_with("rootfs:")
            || service.provider.is_some()
            || (buildable && args.ignore_buildable)
            || images.iter().any(|one| one.image == *image)
        {
            continue;
        }
        let policy = match (args.policy, service.pull_policy) {
            (Some(Policy::Always), _) => PullPolicy::Always,
            (_, Some(own @ (PullPolicy::Never | PullPolicy::Build))) => own,
            (Some(Policy::Missing), _) if !is_latest(image) => PullPolicy::Missing,
            _ => PullPolicy::Always,
        };
        let of_this = BTreeSet::from([service.name.clone()]);
        let build = &BuildOptions { when: BuildWhen::Never, ..BuildOptions::default() };
        let (services, policy, now) = (&of_this, Some(policy), Timestamp::now());
        let plan = plan::images(project, observed, &plan::Images { services, policy, build, now });
        let is_it = |step: &plan::Step| matches!(&step.action, Action::PullImage { image: name, .. } if name == image);
        if !plan.is_ok_and(|plan| plan.steps.iter().any(is_it)) {
            continue;
        }
        images.push(Wanted {
            service: service.name.clone(),
            image: image.clone(),
            platform: service.platform.clone(),
            buildable,
        });
    }
    images
}

/// Whether the name has no tag but `latest`.
fn is_latest(image: &str) -> bool {
    let reference = image.parse::<images::Reference>();
    reference.is_ok_and(|name| name.digest().is_none() && name.tag() == Some("latest"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::testing::{args, project};
    use crate::model::Build;

    fn service<'a>(project: &'a mut Project, name: &str) -> &'a mut Service {
        project.services.get_mut(name).unwrap()
    }

    fn fetched(words: &[&str], change: impl FnOnce(&mut Project)) -> Vec<String> {
        let mut project = project(&["a", "b"]);
        service(&mut project, "a").image = Some("a:1".to_owned());
        service(&mut project, "b").image = Some("b".to_owned());
        change(&mut project);
        let services = project.services.keys().cloned().collect();
        let mut observed = Observed::default();
        for image in ["a:1", "b"] {
            observed.images.insert(image.to_owned(), "sha256:1".to_owned());
        }
        let found = images(&project, &services, &observed, &args::<PullArgs>(words));
        found.into_iter().map(|one| one.image).collect()
    }

    #[test]
    fn what_is_asked_for_is_fetched_again() {
        assert_eq!(fetched(&[], |_| {}), ["a:1", "b"]);
        assert_eq!(fetched(&["--policy", "missing"], |_| {}), ["b"]);
        let never =
            |project: &mut Project| service(project, "a").pull_policy = Some(PullPolicy::Never);
        assert_eq!(fetched(&[], never), ["b"]);
        assert_eq!(fetched(&["--policy", "always"], never), ["a:1", "b"]);
        let built = |project: &mut Project| service(project, "b").build = Some(Build::default());
        assert_eq!(fetched(&["--ignore-buildable"], built), ["a:1"]);
        let same = |project: &mut Project| service(project, "b").image = Some("a:1".to_owned());
        assert_eq!(fetched(&[], same), ["a:1"]);
    }
}
