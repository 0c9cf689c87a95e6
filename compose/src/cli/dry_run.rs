//! `--dry-run`: the plan of a command, printed instead of carried out.
//!
//! Observing changes nothing and needs no supervisor, so the command line does it by itself with
//! the planner that the supervisor uses.

use jiff::Timestamp;

use super::context::Context;
use super::error::CommandError;
use super::terminal::Terminal;
use crate::api::{
    DownOptions, KillOptions, PauseOptions, Request, RestartOptions, RmOptions, RunOptions,
    StartOptions, StopOptions, UnpauseOptions, UpOptions,
};
use crate::model::{Project, ServiceName};
use crate::observe::{self, Observed};
use crate::plan::{self, Images, Plan, PlanError};
use crate::supervisor::{OnDisk, refused};

/// A request whose plan can be made without carrying it out.
pub trait Plannable {
    /// What its files say, if they were read.
    fn project(&self) -> Option<&Project>;

    /// Which images would be fetched and built before that.
    ///
    /// # Errors
    ///
    /// What the planner refuses.
    fn images(&self, _: &Observed) -> Result<Plan, PlanError> {
        Ok(Plan::default())
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
    let mut plans = plans(name, request, context)?;
    // The last one says it if there is nothing to do.
    let last = plans.pop();
    plans.retain(|plan| !plan.is_empty());
    plans.extend(last);
    show(plans, terminal)
}

/// Prints plans that are not carried out, and says what is odd about them.
///
/// # Errors
///
/// When standard output does not take it.
pub fn show(plans: Vec<Plan>, terminal: &mut Terminal) -> Result<(), CommandError> {
    for mut plan in plans {
        for warning in std::mem::take(&mut plan.warnings) {
            terminal.warn(&warning.to_string());
        }
        for line in plan.to_string().lines() {
            terminal.print(format!("DRY-RUN MODE - {line}\n"))?;
        }
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

/// What would be fetched and built for `request`, and what would be done then.
///
/// # Errors
///
/// As [`print`].
pub fn plans(
    name: &str,
    request: &impl Plannable,
    context: &Context,
) -> Result<Vec<Plan>, CommandError> {
    let refusal = |error: PlanError| CommandError::from(refused(&error));
    let mut observed = observe(name, request.project(), context)?;
    let images = request.images(&observed).map_err(refusal)?;
    plan::expect_images(&mut observed, &images);
    let plan = request.plan(name, &observed).map_err(refusal)?;
    Ok(vec![images, plan])
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

    fn images(&self, observed: &Observed) -> Result<Plan, PlanError> {
        let services = &plan::scope(&self.project, &self.options);
        let (policy, build) = (self.options.pull.policy, &self.options.build);
        let wanted = Images { services, policy, build, now: Timestamp::now() };
        plan::images(&self.project, observed, &wanted)
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

    fn images(&self, observed: &Observed) -> Result<Plan, PlanError> {
        let Self { project, options } = self;
        let services = &plan::scope(project, &beside(options));
        let (policy, build) = (options.pull.policy, &options.build);
        let wanted = Images { services, policy, build, now: Timestamp::now() };
        plan::images(project, observed, &wanted)
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
plannable!(PauseOptions, |_name, project, observed, options| {
    Ok(plan::pause(project, observed, options))
});
plannable!(UnpauseOptions, |_name, project, observed, options| {
    Ok(plan::unpause(project, observed, options))
});
plannable!(RmOptions, |_name, project, observed, options| {
    Ok(plan::rm(project, observed, options))
});
