//! `--dry-run`: the plan of a command, printed instead of carried out.
//!
//! Observing changes nothing and needs no supervisor, so the command line does it by itself with
//! the planner that the supervisor uses.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::context::Context;
use super::error::CommandError;
use super::terminal::Terminal;
use crate::api::{
    DownOptions, KillOptions, PauseOptions, Request, RestartOptions, RmOptions, RunOptions,
    StartOptions, StopOptions, UnpauseOptions, UpOptions, UpRequest,
};
use crate::model::{Project, ServiceName};
use crate::observe::{self, Observed};
use crate::plan::{self, Fetch, Plan, PlanError};
use crate::supervisor::{OnDisk, refused};

/// A request whose plan can be made without carrying it out.
pub trait Plannable {
    /// What its files say, if they were read.
    fn project(&self) -> Option<&Project>;

    /// Which images would be fetched before that.
    fn fetch(&self, _: &Observed) -> Plan {
        Plan::default()
    }

    /// The services whose providers would be asked before that.
    fn providers(&self) -> Vec<&ServiceName> {
        Vec::new()
    }

    /// What the supervisor of the project `name` would do about it.
    ///
    /// # Errors
    ///
    /// What the planner refuses.
    fn plan(&self, name: &str, observed: &Observed) -> Result<Plan, PlanError>;
}

/// Prints what would be done about `request`.
///
/// # Errors
///
/// When the world cannot be observed, and what the planner refuses.
pub fn print(
    name: &str,
    request: &impl Plannable,
    context: &Context,
    terminal: &mut Terminal,
) -> Result<(), CommandError> {
    for service in request.providers() {
        terminal.print(format!("DRY-RUN MODE - {}\n", asking(service)))?;
    }
    let mut observed = observe(name, request.project(), context)?;
    let fetched = request.fetch(&observed);
    plan::expect_fetched(&mut observed, &fetched);
    let plans = if fetched.is_empty() { Vec::new() } else { vec![fetched] };
    let plan = request.plan(name, &observed);
    let plan = plan.map_err(|error| CommandError::from(refused(&error)))?;
    for line in plans.iter().chain([&plan]).map(ToString::to_string).collect::<String>().lines() {
        terminal.print(format!("DRY-RUN MODE - {line}\n"))?;
    }
    Ok(())
}

/// The step that is no step: what a provider does is its own business.
pub fn asking(service: &ServiceName) -> String {
    format!("ask the provider of {service}")
}

fn provided<'p>(project: &'p Project, options: &UpOptions) -> Vec<&'p ServiceName> {
    let wanted = plan::scope(project, options);
    let services = project.services.values().filter(|one| one.provider.is_some());
    services.map(|one| &one.name).filter(|name| wanted.contains(*name)).collect()
}

/// What would be fetched and done for `request`, and the services whose images would have to be built before.
///
/// # Errors
///
/// As [`print`].
pub fn plans_of_up(
    name: &str,
    request: &UpRequest,
    context: &Context,
) -> Result<(Vec<Plan>, BTreeSet<ServiceName>), CommandError> {
    let mut observed = observe(name, request.project(), context)?;
    let mut unbuilt = BTreeSet::new();
    for service in request.project.services.values().filter(|service| service.build.is_some()) {
        let image = service.image_reference(&request.project.name);
        observed.images.entry(image).or_insert_with(|| {
            unbuilt.insert(service.name.clone());
            "(to be built)".to_owned()
        });
    }
    let fetched = request.fetch(&observed);
    plan::expect_fetched(&mut observed, &fetched);
    let plan = request.plan(name, &observed);
    let plan = plan.map_err(|error| CommandError::from(refused(&error)))?;
    Ok((vec![fetched, plan], unbuilt))
}

fn observe(
    name: &str,
    project: Option<&Project>,
    context: &Context,
) -> Result<Observed, CommandError> {
    let roots = context.roots();
    let failed = |error: &dyn std::error::Error| {
        CommandError::new(error).help("check that the data root is readable and not full")
    };
    let networks = network::Store::look(&roots.networks(), &roots.network_namespaces());
    let volumes = volumes::Store::look(&roots.volumes());
    let images = images::Store::look(&roots.images());
    let stores = OnDisk { networks: &networks, volumes: &volumes, images: &images };
    let observed = match project {
        Some(project) => observe::observe(roots, project, &stores),
        None => observe::observe_records(roots, name, &stores),
    };
    observed.map_err(|error| failed(&error))
}

impl Plannable for Request<Project, UpOptions> {
    fn project(&self) -> Option<&Project> {
        Some(&self.project)
    }

    fn fetch(&self, observed: &Observed) -> Plan {
        let services = &plan::scope(&self.project, &self.options);
        let policy = self.options.pull.policy;
        plan::fetch(&self.project, observed, &Fetch { services, policy, now: Timestamp::now() })
    }

    fn providers(&self) -> Vec<&ServiceName> {
        provided(&self.project, &self.options)
    }

    fn plan(&self, _: &str, observed: &Observed) -> Result<Plan, PlanError> {
        plan::up(&self.project, observed, &self.options, Timestamp::now())
    }
}

impl Plannable for Request<Project, RunOptions> {
    fn project(&self) -> Option<&Project> {
        Some(&self.project)
    }

    fn fetch(&self, observed: &Observed) -> Plan {
        let Self { project, options } = self;
        let services = &plan::scope(project, &beside(options));
        let policy = options.pull.policy;
        plan::fetch(project, observed, &Fetch { services, policy, now: Timestamp::now() })
    }

    fn providers(&self) -> Vec<&ServiceName> {
        provided(&self.project, &beside(&self.options))
    }

    fn plan(&self, name: &str, observed: &Observed) -> Result<Plan, PlanError> {
        let Self { project, options } = self;
        let made_up = format!("{name}-{}-run-…", options.service);
        let container = options.name.as_deref().unwrap_or(&made_up);
        plan::run(project, observed, options, container, Timestamp::now())
    }
}

/// What a `run` brings up for its service.
fn beside(options: &RunOptions) -> UpOptions {
    UpOptions {
        services: vec![options.service.clone()],
        dependencies: options.dependencies,
        ..UpOptions::default()
    }
}

/// The requests that do without files.
macro_rules! plannable {
    ($options:ty, |$name:ident, $project:ident, $observed:ident, $wanted:ident| $plan:expr) => {
        impl Plannable for Request<Option<Project>, $options> {
            fn project(&self) -> Option<&Project> {
                self.project.as_ref()
            }

            fn plan(&self, $name: &str, $observed: &Observed) -> Result<Plan, PlanError> {
                let ($project, $wanted) = (self.project.as_ref(), &self.options);
                $plan
            }
        }
    };
}

plannable!(DownOptions, |name, project, observed, options| {
    Ok(plan::down(name, project, observed, options))
});
plannable!(StartOptions, |_name, project, observed, options| {
    plan::start(project, observed, options)
});
plannable!(StopOptions, |_name, project, observed, options| {
    Ok(plan::stop(project, observed, options))
});
plannable!(RestartOptions, |_name, project, observed, options| {
    Ok(plan::restart(project, observed, options))
});
plannable!(KillOptions, |_name, project, observed, options| {
    Ok(plan::kill(project, observed, options))
});
plannable!(PauseOptions, |_name, _project, observed, options| {
    Ok(plan::pause(observed, options))
});
plannable!(UnpauseOptions, |_name, _project, observed, options| {
    Ok(plan::unpause(observed, options))
});
plannable!(RmOptions, |_name, project, observed, options| {
    Ok(plan::rm(project, observed, options))
});
