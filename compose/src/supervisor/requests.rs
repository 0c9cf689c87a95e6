//! What the command line may ask for: each request is a plan, which is carried out.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::timeout;

use super::converge::{
    Images, Work, apply_plan, bring_images, carried_out_once, converge, next_plan, once, refused,
};
use super::provider::{self, Verb};
use super::server::Reporter;
use super::{Supervisor, follow};
use crate::api::{
    ConnectRequest, DisconnectRequest, DownRequest, HookRequest, KillRequest, PauseRequest,
    Request, RestartRequest, RmRequest, RunRequest, SavedPlan, StartRequest, StopRequest,
    UnpauseRequest, UpOptions, UpRequest,
};
use crate::event::{Event, Failure};
use crate::model::{Project, ServiceName};
use crate::observe::{self, Observed};
use crate::plan::{self, Plan};
use crate::record::ProjectRecord;

/// Brings the project to what its file says; from then on its files are followed, or are not.
pub async fn up(supervisor: Rc<Supervisor>, request: UpRequest, reporter: Reporter) -> Event {
    let wanted = (request.project.clone(), request.options.clone());
    if !request.options.keeps_following || request.options.follow.is_some() {
        follow::end(&supervisor);
    }
    let done = bring_up(Rc::clone(&supervisor), request, reporter).await;
    match follow::begin(&supervisor, wanted) {
        Ok(()) => done,
        Err(failure) if matches!(done, Event::Done { .. }) => Event::failed(failure),
        Err(_) => done,
    }
}

/// Brings the project to what its file says.
pub async fn bring_up(supervisor: Rc<Supervisor>, request: UpRequest, reporter: Reporter) -> Event {
    let began = Timestamp::now();
    let mut project = request.project;
    let options = request.options;
    if let Err(failure) = remember(&supervisor, &project) {
        return Event::failed(failure);
    }
    let limit = options.wait.and_then(crate::api::Wait::timeout);
    let services = plan::scope(&project, &options);
    if let Err(failure) = provide(&supervisor, &mut project, &services, Verb::Up, &reporter).await {
        return Event::failed(failure);
    }
    let project = Rc::new(project);
    let work = Work {
        project: Some(Rc::clone(&project)),
        run: None,
        parallel: options.parallel,
        images: Some(Images::of(services, &options.pull, &options.build)),
    };
    let converging = converge(&supervisor, &reporter, work, |observed| {
        plan::up(&project, observed, &options, began)
    });
    within(&supervisor, limit, converging).await
}

/// Does what was planned before, or nothing if it would be something else by now.
pub async fn apply(supervisor: Rc<Supervisor>, saved: SavedPlan, reporter: Reporter) -> Event {
    let began = Timestamp::now();
    let SavedPlan { request: Request { project, options }, plans, .. } = saved;
    if let Err(failure) = remember(&supervisor, &project) {
        return Event::failed(failure);
    }
    let project = Rc::new(project);
    let services = plan::scope(&project, &options);
    let work = Work {
        project: Some(Rc::clone(&project)),
        run: None,
        parallel: options.parallel,
        images: Some(Images::of(services.clone(), &options.pull, &options.build)),
    };
    let _turn = supervisor.work.lock().await;
    let mut observed = match observe::observe(&supervisor.roots, &project, &supervisor.stores()) {
        Ok(observed) => observed,
        Err(error) => return Event::failed(Failure::new(&error)),
    };
    let (policy, build) = (options.pull.policy, &options.build);
    let wanted = plan::Images { services: &services, policy, build, now: began };
    let images = match plan::images(&project, &observed, &wanted) {
        Ok(images) => images,
        Err(error) => return Event::Failed { failures: refused(&error) },
    };
    plan::expect_images(&mut observed, &images);
    let planned = match plan::up(&project, &observed, &options, began) {
        Ok(planned) => planned,
        Err(error) => return Event::Failed { failures: refused(&error) },
    };
    if let Some(failure) = moved(&plans, &[images, planned]) {
        return Event::failed(failure);
    }
    // What was fetched or built has another id than none.
    let planner = |observed: &Observed| plan::up(&project, observed, &options, began);
    let brought = match bring_images(&supervisor, &reporter, &work).await {
        Ok(changed) => changed,
        Err(failed) => return failed,
    };
    carried_out_once(&supervisor, &reporter, work, brought, planner).await
}

/// The first step in which `now` is not `saved`.
fn moved(saved: &[Plan], now: &[Plan]) -> Option<Failure> {
    let steps = |plans: &[Plan]| -> Vec<(String, plan::Step)> {
        let steps = plans.iter().flat_map(|plan| plan.steps.iter());
        steps.map(|step| (format!("{}: {}", step.action, step.because), step.clone())).collect()
    };
    let (saved, now) = (steps(saved), steps(now));
    if saved == now {
        return None;
    }
    let count = saved.len().max(now.len());
    let differs = (0..count).find(|at| saved.get(*at) != now.get(*at)).unwrap_or_default();
    let words = |steps: &[(String, plan::Step)]| {
        steps.get(differs).map_or_else(|| "nothing".to_owned(), |(words, _)| words.clone())
    };
    let (was, is) = (words(&saved), words(&now));
    let differs = differs + 1;
    Some(Failure {
        message: format!(
            "the plan is out of date: step {differs} was `{was}`, and would be `{is}` by now"
        ),
        help: Some("nothing was changed; make a new plan with `compose plan -o FILE`".to_owned()),
        ..Failure::default()
    })
}

/// Takes the project away.
pub async fn down(supervisor: Rc<Supervisor>, request: DownRequest, reporter: Reporter) -> Event {
    follow::end(&supervisor);
    interrupt(&supervisor);
    let work = Work::of(request.project, request.options.parallel);
    let project = work.project.clone();
    let done = converge(&supervisor, &reporter, work, |observed| {
        Ok(plan::down(&supervisor.project, project.as_deref(), observed, &request.options))
    })
    .await;
    let done = take_back(
        &supervisor,
        project.as_deref(),
        &request.options.services,
        Verb::Down,
        &reporter,
        done,
    )
    .await;
    match done {
        Event::Done { changed, exit_code, .. } => {
            Event::Done { changed, exit_code, leaves: supervisor.is_about_to_leave() }
        }
        failed => failed,
    }
}

/// Asks the providers among the services that a command is about to take back what they have provided, when that command is
/// `done`.
async fn take_back(
    supervisor: &Supervisor,
    project: Option<&Project>,
    named: &[ServiceName],
    verb: Verb,
    reporter: &Reporter,
    done: Event,
) -> Event {
    let is_done = matches!(done, Event::Done { .. });
    let Some(project) = project.filter(|_| is_done) else { return done };
    let services = project.services.keys();
    let services = services.filter(|name| named.is_empty() || named.contains(name)).cloned();
    let asked =
        provide(supervisor, &mut project.clone(), &services.collect(), verb, reporter).await;
    asked.map_or_else(Event::failed, |()| done)
}

/// Asks providers, and gives what they have set to the services that depend on them.
async fn provide(
    supervisor: &Supervisor,
    project: &mut Project,
    services: &BTreeSet<ServiceName>,
    verb: Verb,
    reporter: &Reporter,
) -> Result<(), Failure> {
    let interrupts = supervisor.interrupts.subscribe();
    let roots = &supervisor.roots;
    provider::ask_all(project, services, verb, roots, reporter, interrupts).await
}

/// Starts containers that exist.
pub async fn start(supervisor: Rc<Supervisor>, request: StartRequest, reporter: Reporter) -> Event {
    let work = Work::of(request.project, request.options.parallel);
    let project = work.project.clone();
    let limit = request.options.wait.and_then(crate::api::Wait::timeout);
    let starting = once(&supervisor, &reporter, work, |observed| {
        plan::start(project.as_deref(), observed, &request.options)
    });
    within(&supervisor, limit, starting).await
}

/// Stops containers and keeps them.
pub async fn stop(supervisor: Rc<Supervisor>, request: StopRequest, reporter: Reporter) -> Event {
    if request.options.services.is_empty() {
        // A save would start everything again.
        follow::end(&supervisor);
    }
    interrupt(&supervisor);
    let work = Work::of(request.project, request.options.parallel);
    let project = work.project.clone();
    let done = converge(&supervisor, &reporter, work, |observed| {
        Ok(plan::stop(project.as_deref(), observed, &request.options))
    })
    .await;
    take_back(
        &supervisor,
        project.as_deref(),
        &request.options.services,
        Verb::Stop,
        &reporter,
        done,
    )
    .await
}

/// Stops containers and starts them again.
pub async fn restart(
    supervisor: Rc<Supervisor>,
    request: RestartRequest,
    reporter: Reporter,
) -> Event {
    let work = Work::of(request.project, request.options.parallel);
    let project = work.project.clone();
    once(&supervisor, &reporter, work, |observed| {
        Ok(plan::restart(project.as_deref(), observed, &request.options))
    })
    .await
}

/// Sends a signal to containers.
pub async fn kill(supervisor: Rc<Supervisor>, request: KillRequest, reporter: Reporter) -> Event {
    // Takes no turn and interrupts nobody: whoever kills does not wait for a stop whose grace has not passed, and
    // whatever waits for these containers sees them exit.
    let work = Work::of(request.project, request.options.parallel);
    let project = work.project.clone();
    let planner =
        |observed: &Observed| Ok(plan::kill(project.as_deref(), observed, &request.options));
    let plan = match next_plan(&supervisor, project.as_deref(), &planner) {
        Ok(plan) => plan,
        Err(failures) => return Event::Failed { failures },
    };
    let changed = !plan.is_empty();
    let failed = apply_plan(&supervisor, &reporter, work, plan).await;
    failed.unwrap_or(Event::done(changed))
}

/// Freezes containers.
pub async fn pause(supervisor: Rc<Supervisor>, request: PauseRequest, reporter: Reporter) -> Event {
    let work = Work::of(request.project, request.options.parallel);
    let project = work.project.clone();
    once(&supervisor, &reporter, work, |observed| {
        Ok(plan::pause(project.as_deref(), observed, &request.options))
    })
    .await
}

/// Lets frozen containers go on.
pub async fn unpause(
    supervisor: Rc<Supervisor>,
    request: UnpauseRequest,
    reporter: Reporter,
) -> Event {
    let work = Work::of(request.project, request.options.parallel);
    let project = work.project.clone();
    once(&supervisor, &reporter, work, |observed| {
        Ok(plan::unpause(project.as_deref(), observed, &request.options))
    })
    .await
}

/// Puts a container on a network.
pub async fn connect(supervisor: Rc<Supervisor>, request: ConnectRequest, _: Reporter) -> Event {
    match super::connect::connect(&supervisor, &request).await {
        Ok(()) => Event::done(true),
        Err(error) => Event::failed(Failure::new(&error)),
    }
}

/// Takes a container off a network.
pub async fn disconnect(
    supervisor: Rc<Supervisor>,
    request: DisconnectRequest,
    _: Reporter,
) -> Event {
    match super::connect::disconnect(&supervisor, &request).await {
        Ok(()) => Event::done(true),
        Err(error) => Event::failed(Failure::new(&error)),
    }
}

/// Runs a command in every running container of a service.
pub async fn hook(supervisor: Rc<Supervisor>, request: HookRequest, _: Reporter) -> Event {
    let HookRequest { service, hook } = request;
    let hooks = [hook];
    let mut failures = Vec::new();
    for live in supervisor.all() {
        let record = &live.record();
        if record.service != service || record.oneoff || !live.is_running() {
            continue;
        }
        if let Err(error) = super::hook::run_all(&supervisor, &live, &hooks).await {
            let mut failure = Failure::new(&error);
            failure.message = format!("container {}: {}", record.name, failure.message);
            failures.push(failure);
        }
    }
    match failures.is_empty() {
        true => Event::done(true),
        false => Event::Failed { failures },
    }
}

/// Removes stopped containers.
pub async fn rm(supervisor: Rc<Supervisor>, request: RmRequest, reporter: Reporter) -> Event {
    let work = Work::of(request.project, request.options.parallel);
    let project = work.project.clone();
    converge(&supervisor, &reporter, work, |observed| {
        Ok(plan::rm(project.as_deref(), observed, &request.options))
    })
    .await
}

/// Makes a one-off container, with what it depends on.
pub async fn run(supervisor: Rc<Supervisor>, request: RunRequest, reporter: Reporter) -> Event {
    let began = Timestamp::now();
    let Request { mut project, options } = request;
    if let Some(service) = project.services.get_mut(&options.service) {
        service.container_name = None;
        service.replicas = 1;
        if !options.publish {
            service.ports.clear();
        }
    }
    if let Err(failure) = remember(&supervisor, &project) {
        return Event::failed(failure);
    }
    let name = match &options.name {
        Some(name) => name.clone(),
        None => match crate::record::new_id() {
            Ok(id) => {
                let dash = crate::record::names::separator(&project);
                let (name, service) = (&project.name, &options.service);
                format!("{name}{dash}{service}{dash}run{dash}{}", &id[..12])
            }
            Err(error) => return Event::failed(Failure::new(&error)),
        },
    };
    let wanted = UpOptions {
        services: vec![options.service.clone()],
        dependencies: options.dependencies,
        ..UpOptions::default()
    };
    let services = plan::scope(&project, &wanted);
    if let Err(failure) = provide(&supervisor, &mut project, &services, Verb::Up, &reporter).await {
        return Event::failed(failure);
    }
    if let Some(service) = project.services.get_mut(&options.service) {
        service.environment.extend(options.environment.clone());
    }
    let project = Rc::new(project);
    let work = Work {
        project: Some(Rc::clone(&project)),
        run: Some(options.clone()),
        parallel: options.parallel,
        images: Some(Images::of(services, &options.pull, &options.build)),
    };
    once(&supervisor, &reporter, work, |observed| {
        plan::run(&project, observed, &options, &name, began)
    })
    .await
}

/// What stops things does not wait until what starts things has had its way.
fn interrupt(supervisor: &Supervisor) {
    supervisor.interrupts.send_modify(|count| *count += 1);
}

/// Gives `work` up after `limit`: what is being waited for is not waited for any longer, what is being done is finished.
async fn within(
    supervisor: &Supervisor,
    limit: Option<Duration>,
    work: impl Future<Output = Event>,
) -> Event {
    let Some(limit) = limit else { return work.await };
    let mut work = std::pin::pin!(work);
    if let Ok(event) = timeout(limit, &mut work).await {
        return event;
    }
    interrupt(supervisor);
    work.await;
    Event::failed(Failure {
        message: format!("application not healthy after {}s", limit.as_secs()),
        ..Failure::default()
    })
}

/// Writes down what project this is, for `ls`, and for commands without a file.
fn remember(supervisor: &Supervisor, project: &Project) -> Result<(), Failure> {
    let record = ProjectRecord::new(
        project.name.to_string(),
        project.working_dir.clone(),
        project.files.clone(),
    );
    match ProjectRecord::read(&supervisor.roots, &supervisor.project) {
        Ok(Some(known)) if known == record => Ok(()),
        _ => record.write(&supervisor.roots).map_err(|error| Failure::new(&error)),
    }
}
