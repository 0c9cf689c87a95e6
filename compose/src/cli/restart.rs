//! `compose restart`.

use super::context::Context;
use super::error::CommandError;
use super::session::Session;
use super::stop::grace;
use super::terminal::Terminal;
use crate::api::{RestartOptions, RestartRequest, path};
use crate::model::ServiceName;

/// Stop and start containers; changes of the file are not applied
#[derive(Debug, clap::Args)]
pub struct RestartArgs {
    /// Services to restart (default: all)
    #[arg(value_name = "SERVICE")]
    services: Vec<ServiceName>,
    /// Leave services alone that depend on these with `restart: true`
    #[arg(long)]
    no_deps: bool,
    /// Seconds to wait before SIGKILL; -1 for no end (default: `stop_grace_period` of the service)
    #[arg(long, short, value_name = "SECONDS", allow_negative_numbers = true, value_parser = grace)]
    timeout: Option<u32>,
}

/// Asks the supervisor to stop and start what exists.
///
/// # Errors
///
/// When there is nothing to restart, or a container does not start again.
pub fn run(
    args: RestartArgs,
    context: &Context,
    terminal: &mut Terminal,
) -> Result<u8, CommandError> {
    let (target, containers) = context.containers_of(&args.services, terminal)?;
    if containers.iter().all(|container| container.record.oneoff) {
        return Err(CommandError::failed("the project has no container to restart")
            .help("`compose up` makes containers and starts them"));
    }
    let options = RestartOptions {
        services: args.services,
        only: Vec::new(),
        dependents: !args.no_deps,
        timeout_seconds: args.timeout,
        parallel: context.parallel(),
    };
    let request = RestartRequest { project: target.project, options };
    let session = Session::new(context, target.name.as_str());
    Ok(session.carry_out(path::RESTART, &request, terminal)?.code)
}
