//! `compose start`.

use super::context::Context;
use super::error::CommandError;
use super::session::Session;
use super::terminal::Terminal;
use crate::api::{StartOptions, StartRequest, Wait, path};
use crate::model::ServiceName;
use crate::record::Container;

/// Start containers that were created or stopped
#[derive(Debug, clap::Args)]
pub struct StartArgs {
    /// Services to start (default: all)
    #[arg(value_name = "SERVICE")]
    services: Vec<ServiceName>,
    /// Wait until they are running, or healthy if they have a health check
    #[arg(long)]
    wait: bool,
    /// Seconds after which to give up waiting
    #[arg(long, value_name = "SECONDS")]
    wait_timeout: Option<u32>,
}

/// Asks the supervisor to start what exists; nothing is created.
///
/// # Errors
///
/// When a service has no container, or one does not start.
pub fn run(
    args: StartArgs,
    context: &Context,
    terminal: &mut Terminal,
) -> Result<u8, CommandError> {
    let (target, containers) = context.containers_of(&args.services, terminal)?;
    has_containers(&args.services, &containers)?;
    let wait = args.wait.then_some(Wait { timeout_seconds: args.wait_timeout });
    let options = StartOptions {
        services: args.services,
        only: Vec::new(),
        wait,
        parallel: context.parallel(),
    };
    let request = StartRequest { project: target.project, options };
    let session = Session::new(context, target.name.as_str());
    Ok(session.carry_out(path::START, &request, terminal)?.code)
}

/// Refuses services that have no container yet, and a project that has none at all.
fn has_containers(services: &[ServiceName], containers: &[Container]) -> Result<(), CommandError> {
    let has_one = |service: &ServiceName| {
        containers.iter().any(|one| !one.record.oneoff && one.record.service == service.as_str())
    };
    let message = match services.iter().find(|service| !has_one(service)) {
        Some(service) => format!("service {service} has no container to start"),
        None if containers.iter().all(|one| one.record.oneoff) => {
            "the project has no container to start".to_owned()
        }
        None => return Ok(()),
    };
    Err(CommandError::failed(message).help("`compose up` makes containers and starts them"))
}
