//! `compose stop`.

use super::context::Context;
use super::error::CommandError;
use super::session::Session;
use super::terminal::Terminal;
use crate::api::{StopOptions, StopRequest, path};
use crate::model::ServiceName;

/// Stop containers without removing them
#[derive(Debug, clap::Args)]
pub struct StopArgs {
    /// Services to stop (default: all)
    #[arg(value_name = "SERVICE")]
    services: Vec<ServiceName>,
    /// Seconds to wait before SIGKILL (default: `stop_grace_period` of the service)
    #[arg(long, short, value_name = "SECONDS")]
    timeout: Option<u32>,
}

/// Asks the supervisor to stop what runs.
///
/// # Errors
///
/// When the project cannot be read or a container resists.
pub fn run(args: StopArgs, context: &Context, terminal: &mut Terminal) -> Result<u8, CommandError> {
    let (target, containers) = context.containers_of(&args.services, terminal)?;
    if !containers.iter().any(|container| container.state.phase.is_up()) {
        return Ok(0);
    }
    let options = StopOptions {
        services: args.services,
        only: Vec::new(),
        timeout_seconds: args.timeout,
        parallel: context.parallel(),
    };
    let request = StopRequest { project: target.project, options };
    let session = Session::new(context, target.name.as_str());
    Ok(session.carry_out(path::STOP, &request, terminal)?.code)
}
