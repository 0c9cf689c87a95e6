//! How a request is carried out: observe, plan, apply, until the plan is empty.
//!
//! Images come first, with a plan of their own and before the request has its turn; then one request after the other.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;

use images::registry::Cancel;
use jiff::Timestamp;

use super::server::Reporter;
use super::{Supervisor, start as starting};
use crate::api::{BuildOptions, PullOptions, RunOptions};
use crate::apply::build::Building;
use crate::apply::image::Fetching;
use crate::apply::{self, Job};
use crate::event::{Event, Failure};
use crate::model::{Project, ServiceName};
use crate::observe::{self, Observed};
use crate::plan::{self, Plan, PlanError, Refusal};

/// Rounds of planning and applying after which something is wrong: a healthy world needs one, and one to see that
/// nothing is left.
const ROUNDS: usize = 4;

/// What a request is about, beside its plan.
#[derive(Debug, Clone)]
pub(super) struct Work {
    pub project: Option<Rc<Project>>,
    pub run: Option<RunOptions>,
    pub parallel: Option<u32>,
    /// The images that have to be here first.
    pub images: Option<Images>,
}

/// The services whose images have to be here, and how they come.
#[derive(Debug, Clone)]
pub(super) struct Images {
    services: BTreeSet<ServiceName>,
    pull: PullOptions,
    build: BuildOptions,
}

impl Images {
    pub fn of(services: BTreeSet<ServiceName>, pull: &PullOptions, build: &BuildOptions) -> Self {
        Self { services, pull: pull.clone(), build: build.clone() }
    }
}

impl Work {
    pub fn of(project: Option<Project>, parallel: Option<u32>) -> Self {
        Self { project: project.map(Rc::new), run: None, parallel, images: None }
    }
}

/// Observes, plans and applies until there is nothing left to do.
pub(super) async fn converge(
    supervisor: &Rc<Supervisor>,
    reporter: &Reporter,
    work: Work,
    planner: impl Fn(&Observed) -> Result<Plan, PlanError>,
) -> Event {
    // Before our turn: it may take long, and changes no container.
    let mut changed = match bring_images(supervisor, reporter, &work).await {
        Ok(changed) => changed,
        Err(failed) => return failed,
    };
    let _turn = supervisor.work.lock().await;
    for round in 0..ROUNDS {
        let plan = match next_plan(supervisor, work.project.as_deref(), &planner) {
            Ok(plan) => plan,
            Err(failures) => return Event::Failed { failures },
        };
        if round == 0 {
            warn(reporter, &plan);
        }
        if plan.is_empty() {
            return Event::done(changed);
        }
        changed = true;
        if let Some(failed) = carry_out(supervisor, reporter, work.clone(), plan).await {
            return failed;
        }
    }
    Event::failed(Failure {
        message: "the project does not settle: something else changes it at the same time"
            .to_owned(),
        ..Failure::default()
    })
}

/// Observes, plans and applies once: for what is an event and not a state.
pub(super) async fn once(
    supervisor: &Rc<Supervisor>,
    reporter: &Reporter,
    work: Work,
    planner: impl Fn(&Observed) -> Result<Plan, PlanError>,
) -> Event {
    let brought = match bring_images(supervisor, reporter, &work).await {
        Ok(changed) => changed,
        Err(failed) => return failed,
    };
    let _turn = supervisor.work.lock().await;
    carried_out_once(supervisor, reporter, work, brought, planner).await
}

/// As [`once`], for whoever has the turn and has brought the images.
pub(super) async fn carried_out_once(
    supervisor: &Rc<Supervisor>,
    reporter: &Reporter,
    work: Work,
    brought: bool,
    planner: impl Fn(&Observed) -> Result<Plan, PlanError>,
) -> Event {
    let plan = match next_plan(supervisor, work.project.as_deref(), &planner) {
        Ok(plan) => plan,
        Err(failures) => return Event::Failed { failures },
    };
    warn(reporter, &plan);
    let changed = brought || !plan.is_empty();
    let failed = carry_out(supervisor, reporter, work, plan).await;
    failed.unwrap_or(Event::done(changed))
}

/// Fetches and builds the images that the services need. Returns whether anything had to be done for that.
///
/// A client that leaves gives it up, and so does a command that stops things: what has been fetched and built is kept,
/// and the next one goes on from there.
pub(super) async fn bring_images(
    supervisor: &Rc<Supervisor>,
    reporter: &Reporter,
    work: &Work,
) -> Result<bool, Event> {
    let (Some(project), Some(Images { services, pull, build })) = (&work.project, &work.images)
    else {
        return Ok(false);
    };
    let mut observed = Observed::default();
    observe::observe_images(project, &supervisor.stores(), &mut observed)
        .map_err(|error| Event::failed(Failure::new(&error)))?;
    let wanted = plan::Images { services, policy: pull.policy, build, now: Timestamp::now() };
    let plan = plan::images(project, &observed, &wanted)
        .map_err(|error| Event::Failed { failures: refused(&error) })?;
    if plan.is_empty() {
        return Ok(false);
    }
    let registry = apply::image::registries(pull.environment.clone()).map_err(Event::failed)?;
    let fetching = Fetching { registry, cancel: Cancel::default(), quiet: pull.quiet };
    let building = begin_builds(supervisor, project, &plan, build.quiet).await?;
    let shared = building.clone();
    let cancel = fetching.cancel.clone();
    let mut interrupts = supervisor.interrupts.subscribe();
    let means = (Some(fetching), building);
    let fetched = apply_with(supervisor, reporter, work.clone(), plan, means);
    let mut fetched = std::pin::pin!(fetched);
    let failed = tokio::select! {
        failed = &mut fetched => failed,
        () = reporter.closed() => {
            cancel.cancel();
            fetched.await
        }
        Ok(()) = interrupts.changed() => {
            cancel.cancel();
            fetched.await
        }
    };
    // Taking the network of builds away takes a moment.
    let _ = tokio::task::spawn_blocking(move || drop(shared)).await;
    match failed {
        Some(failed) => Err(failed),
        None => Ok(true),
    }
}

/// Gets ready for the builds of `plan`, if it has any.
async fn begin_builds(
    supervisor: &Supervisor,
    project: &Rc<Project>,
    plan: &Plan,
    quiet: bool,
) -> Result<Option<Arc<Building>>, Event> {
    let (roots, project, plan) = (supervisor.roots.clone(), Project::clone(project), plan.clone());
    let begun =
        tokio::task::spawn_blocking(move || Building::begin(&roots, &project, &plan, quiet));
    match begun.await {
        Ok(Ok(building)) => Ok(building.map(Arc::new)),
        Ok(Err(error)) => {
            let failure = apply::explain::other(&error);
            let message = format!("cannot build images: {}", failure.message);
            Err(Event::failed(Failure { message, ..failure }))
        }
        Err(error) => Err(Event::failed(Failure::new(&error))),
    }
}

/// What is to be done now.
pub(super) fn next_plan(
    supervisor: &Supervisor,
    project: Option<&Project>,
    planner: &impl Fn(&Observed) -> Result<Plan, PlanError>,
) -> Result<Plan, Vec<Failure>> {
    let observed = match project {
        Some(project) => observe::observe(&supervisor.roots, project, &supervisor.stores()),
        None => {
            observe::observe_records(&supervisor.roots, &supervisor.project, &supervisor.stores())
        }
    };
    let observed = observed.map_err(|error| vec![Failure::new(&error)])?;
    planner(&observed).map_err(|error| refused(&error))
}

/// Every reason for which there is no plan, each with its place in the file and its advice.
#[must_use]
pub fn refused(error: &PlanError) -> Vec<Failure> {
    let failure = |refusal: &Refusal| Failure {
        message: refusal.to_string(),
        help: help(refusal),
        place: refusal.place().cloned().map(Into::into),
        ..Failure::default()
    };
    error.refusals.iter().map(failure).collect()
}

fn help(refusal: &Refusal) -> Option<String> {
    Some(match refusal {
        Refusal::ImageMissing { image, .. } => format!(
            "fetch it: `compose pull`; or bring it in: `compose image import ROOTFS.tar {image}`, `compose image load -i ARCHIVE`"
        ),
        Refusal::ImageImpossible { .. } => {
            "write NAME[:TAG] in small letters, or `rootfs:/DIRECTORY`; `compose image ls` shows what is here"
                .to_owned()
        }
        Refusal::BuildCycle { .. } => {
            "break the circle of `additional_contexts` with `service:`".to_owned()
        }
        Refusal::ExternalNetworkMissing { .. } => {
            "bring up the project that makes it, or remove `external: true`".to_owned()
        }
        Refusal::ExternalVolumeMissing { name, .. } => {
            format!("create it: `compose volume create {name}`, or remove `external: true`")
        }
        Refusal::NameTaken { .. } => "choose another `container_name` or project name".to_owned(),
        Refusal::NamedReplicas { .. } => "remove `container_name`, or scale to 1".to_owned(),
        Refusal::VolumeInUse { container, .. } => {
            format!("it is an orphan or of `compose run`: remove it (`compose up --remove-orphans`, or `compose down --remove-orphans`), or wait for the end of {container}")
        }
        Refusal::NoContainer { .. } => "`compose up` makes it".to_owned(),
        _ => return None,
    })
}

fn warn(reporter: &Reporter, plan: &Plan) {
    for warning in &plan.warnings {
        reporter.send(&Event::Warning { message: warning.to_string() });
    }
}

/// Holds the ports of `plan` and applies it. `None` if all of it succeeded.
async fn carry_out(
    supervisor: &Rc<Supervisor>,
    reporter: &Reporter,
    work: Work,
    plan: Plan,
) -> Option<Event> {
    if let Some(project) = &work.project {
        let mut failures = apply::check(supervisor, project, &plan);
        failures.extend(
            supervisor.ports.reserve(supervisor, project, &plan).err().into_iter().flatten(),
        );
        if !failures.is_empty() {
            supervisor.ports.clear();
            return Some(Event::Failed { failures });
        }
    }
    let failed = apply_plan(supervisor, reporter, work, plan).await;
    supervisor.ports.clear();
    failed
}

/// Applies a plan that needs no images. `None` if all of it succeeded.
pub(super) async fn apply_plan(
    supervisor: &Rc<Supervisor>,
    reporter: &Reporter,
    work: Work,
    plan: Plan,
) -> Option<Event> {
    apply_with(supervisor, reporter, work, plan, (None, None)).await
}

async fn apply_with(
    supervisor: &Rc<Supervisor>,
    reporter: &Reporter,
    work: Work,
    plan: Plan,
    (fetching, building): (Option<Fetching>, Option<Arc<Building>>),
) -> Option<Event> {
    if plan.starts_containers() {
        starting::expect();
    }
    let reporter = reporter.clone();
    let Work { project, run, parallel, images: _ } = work;
    let parallel = parallel.map(|count| count as usize);
    let job = Job { project, plan, run, parallel, fetching, building };
    let report = Box::new(move |event| reporter.send(&event));
    let applied = apply::run(Rc::clone(supervisor), job, report).await;
    let mut failures: Vec<Failure> =
        applied.failures.into_iter().map(|failed| failed.failure).collect();
    if applied.interrupted {
        failures.clear();
        failures.push(Failure {
            message: "interrupted by another command".to_owned(),
            ..Failure::default()
        });
    }
    (!failures.is_empty()).then_some(Event::Failed { failures })
}
