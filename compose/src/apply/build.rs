//! Building images.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::rc::Rc;
use std::sync::{Mutex, PoisonError};

use images::build::{self as steps, BuildError, FailedStep, Halt, Recipe};
use images::{Image, Reference, Store};
use tokio::sync::{mpsc, oneshot};

use super::explain;
use super::image::Fetching;
use super::run::{StepFailure, Walk};
use super::step::{failed, place_of};
use crate::build::{Bases, BuildNetwork, Outside, names, recipe};
use crate::event::{BuildChange, BuildEvent, Event, Failure, Kind, Status, Step, Subject};
use crate::model::{Project, ServiceName};
use crate::plan::{Action, Plan};
use crate::record::Roots;

/// A step of a plan that builds an image cannot be carried out.
#[derive(Debug, thiserror::Error)]
pub enum OrderError {
    /// The walk is not one that builds.
    #[error("nothing was made ready to build the image {0}")]
    Unprepared(String),
    /// The plan is of another project.
    #[error("the project has no service {0} that could be built")]
    Service(ServiceName),
    /// The thread that built it is gone.
    #[error("what built the image of service {0} did not end")]
    Lost(ServiceName),
}

/// What the builds of one plan share.
#[derive(Debug)]
pub struct Building {
    roots: Roots,
    network: BuildNetwork,
    /// The names of all that is built: no registry is asked for these.
    own: BTreeSet<Reference>,
    /// Nothing is told of how far the builds are.
    quiet: bool,
}

impl Building {
    /// Gets ready for the builds of `plan`, if there are any. Blocks, and so does its end.
    ///
    /// # Errors
    ///
    /// When the network of builds cannot be had.
    pub fn begin(
        roots: &Roots,
        project: &Project,
        plan: &Plan,
        quiet: bool,
    ) -> io::Result<Option<Self>> {
        if !plan.steps.iter().any(|step| matches!(step.action, Action::BuildImage { .. })) {
            return Ok(None);
        }
        let (own, network) = (built(project, plan), BuildNetwork::begin(roots)?);
        Ok(Some(Self { roots: roots.clone(), network, own, quiet }))
    }
}

/// The names of all images that `plan` builds.
pub fn built(project: &Project, plan: &Plan) -> BTreeSet<Reference> {
    let services = plan.steps.iter().filter_map(|step| match &step.action {
        Action::BuildImage { service, .. } => project.declared(service),
        _ => None,
    });
    // A name that is none is told by whoever builds it.
    services.flat_map(|one| names(project, one).unwrap_or_default()).collect()
}

/// One image to be built.
#[derive(Clone, Copy)]
pub struct Order<'a> {
    /// The project.
    pub project: &'a Project,
    /// The service whose image it is.
    pub service: &'a ServiceName,
    /// How it is built.
    pub recipe: &'a Recipe,
    /// Stops it.
    pub halt: &'a Halt,
    /// Gets a step that has failed, to look into it.
    pub on_failure: Option<&'a (dyn Fn(&FailedStep) + Sync)>,
}

impl std::fmt::Debug for Order<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Order").field("service", &self.service).finish_non_exhaustive()
    }
}

/// Builds an image, and tells `report` of all that happens meanwhile. Blocks.
///
/// # Errors
///
/// [`BuildError`].
pub fn make(
    order: Order<'_>,
    store: &Store,
    fetching: &Fetching,
    building: &Building,
    report: &(dyn Fn(Event) + Sync),
) -> Result<Image, BuildError> {
    let narrator = Narrator { service: order.service, underway: Mutex::default() };
    let tell = |event: steps::Event| {
        let event = narrator.retell(event);
        if !building.quiet || matches!(event, Event::Warning { .. }) {
            report(event);
        }
    };
    let bases = Bases { store, fetching, own: &building.own };
    let outside = Outside::new(&building.roots, &building.network, bases, order.project, &tell)
        .looked_into_by(order.on_failure)
        .stopped_by(order.halt.clone());
    store.build(order.recipe, &outside)
}

/// Makes events of ours of those of a build.
struct Narrator<'a> {
    service: &'a ServiceName,
    /// The steps that have begun, with their names.
    underway: Mutex<BTreeMap<usize, String>>,
}

impl Narrator<'_> {
    fn retell(&self, event: steps::Event) -> Event {
        let mut underway = self.underway.lock().unwrap_or_else(PoisonError::into_inner);
        let mut ended = |step| underway.remove(&step).unwrap_or_default();
        let (step, change) = match event {
            steps::Event::Warning(message) => {
                return Event::Warning { message: format!("service {}: {message}", self.service) };
            }
            steps::Event::Begun { step, name } => {
                let name = name.lines().next().unwrap_or_default().to_owned();
                underway.insert(step, name.clone());
                (step, BuildChange::Begun { name })
            }
            steps::Event::Said { step, line } => (step, BuildChange::Said { line }),
            steps::Event::Done { step, cached, took } => {
                let milliseconds = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
                (step, BuildChange::Done { name: ended(step), cached, milliseconds })
            }
            steps::Event::Failed { step } => (step, BuildChange::Failed { name: ended(step) }),
        };
        Event::Build(BuildEvent { service: self.service.to_string(), step, change })
    }
}

/// Builds an image for a walk, without keeping its event loop from anything else.
pub async fn build(
    walk: &Rc<Walk>,
    service: &ServiceName,
    image: &str,
    unless: &BTreeSet<String>,
) -> Result<(), StepFailure> {
    if !unless.is_empty() && all_here(walk, unless)? {
        return Ok(());
    }
    let (Some(project), Some(fetching), Some(building)) =
        (walk.job.project.as_ref(), walk.job.fetching.clone(), walk.job.building.clone())
    else {
        return Err(failed(&OrderError::Unprepared(image.to_owned()), 1));
    };
    let at_build = |failure: Failure| StepFailure { failure, code: 1 };
    let recipe = project.declared(service).map(|declared| recipe(project, declared)).transpose();
    let recipe = recipe.map_err(|error| {
        at_build(explain::recipe(&error, service)).at(place_of(walk, service, "build"))
    })?;
    let Some(recipe) = recipe.flatten() else {
        return Err(failed(&OrderError::Service(service.clone()), 1));
    };
    let store = walk.supervisor.images.clone();
    let (events, mut heard) = mpsc::unbounded_channel();
    let (done, mut result) = oneshot::channel();
    let (halt, cancel, quiet) = (Halt::default(), fetching.cancel.clone(), building.quiet);
    let (project, named, stop) = (Project::clone(project), service.clone(), halt.clone());
    // Not one of the few threads of the event loop, which are for what is short.
    std::thread::spawn(move || {
        let (project, service, recipe) = (&project, &named, &recipe);
        let order = Order { project, service, recipe, halt: &stop, on_failure: None };
        let tell = |event| drop(events.send(event));
        let built = make(order, &store, &fetching, &building, &tell);
        // Before the end is told: whoever waits for it takes away what the builds share.
        drop(building);
        drop(done.send(built));
    });
    let say = |event| {
        if !quiet {
            walk.report_event(event);
        }
    };
    say(Event::step(Kind::Image, image, Status::Building));
    let built = loop {
        tokio::select! {
            biased;
            Some(event) = heard.recv() => walk.report_event(event),
            built = &mut result => break built,
            () = cancel.cancelled(), if !halt.is_stopped() => halt.stop(),
        }
    };
    match built {
        Ok(Ok(made)) => {
            say(of_image(image, &made));
            Ok(())
        }
        Ok(Err(error)) => {
            say(Event::step(Kind::Image, image, Status::Error));
            Err(at_build(explain::building(&error, service)))
        }
        Err(_) => {
            say(Event::step(Kind::Image, image, Status::Error));
            Err(failed(&OrderError::Lost(service.clone()), 1))
        }
    }
}

/// That the image called `name` is built, as an event.
#[must_use]
pub fn of_image(name: &str, image: &Image) -> Event {
    let subject = Subject { kind: Kind::Image, name: name.to_owned() };
    let details = Some(image.id.short());
    Event::Step(Step { subject, status: Status::Built, details, amount: None })
}

fn all_here(walk: &Walk, images: &BTreeSet<String>) -> Result<bool, StepFailure> {
    for image in images {
        // Not through what the walk remembers: it has just been fetched, or has not.
        let found = walk.supervisor.images.find(image).map_err(|error| failed(&error, 1))?;
        if found.is_none() {
            return Ok(false);
        }
    }
    Ok(true)
}
