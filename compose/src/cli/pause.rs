//! `compose pause` and `compose unpause`.

use super::context::Context;
use super::error::CommandError;
use super::session::Session;
use super::terminal::Terminal;
use crate::api::{PauseOptions, PauseRequest, UnpauseOptions, UnpauseRequest, path};
use crate::model::ServiceName;
use crate::record::Phase;

/// Freeze the processes of containers
#[derive(Debug, clap::Args)]
pub struct PauseArgs {
    /// Services to freeze (default: all)
    #[arg(value_name = "SERVICE")]
    services: Vec<ServiceName>,
}

/// Let the processes of frozen containers go on
#[derive(Debug, clap::Args)]
pub struct UnpauseArgs {
    /// Services to let go on (default: all that are frozen)
    #[arg(value_name = "SERVICE")]
    services: Vec<ServiceName>,
}

/// Asks the supervisor to freeze what runs. Nothing to freeze is no error; one that is frozen already is.
///
/// # Errors
///
/// When the project cannot be read, or a container cannot be frozen.
pub fn run(
    args: PauseArgs,
    context: &Context,
    terminal: &mut Terminal,
) -> Result<u8, CommandError> {
    let (target, containers) = context.containers_of(&args.services, terminal)?;
    if !containers.iter().any(|container| container.state.phase.is_up()) {
        return Ok(0);
    }
    let options = PauseOptions { services: args.services, parallel: context.parallel() };
    let request = PauseRequest { project: target.project, options };
    let session = Session::new(context, target.name.as_str());
    Ok(session.carry_out(path::PAUSE, &request, terminal)?.code)
}

/// Asks the supervisor to let what is frozen go on.
///
/// # Errors
///
/// When the project cannot be read, or a container that is named is not frozen.
pub fn run_unpause(
    args: UnpauseArgs,
    context: &Context,
    terminal: &mut Terminal,
) -> Result<u8, CommandError> {
    let (target, containers) = context.containers_of(&args.services, terminal)?;
    let frozen = containers.iter().any(|container| container.state.phase == Phase::Paused);
    if !frozen && args.services.is_empty() {
        return Ok(0);
    }
    let options = UnpauseOptions { services: args.services, parallel: context.parallel() };
    let request = UnpauseRequest { project: target.project, options };
    let session = Session::new(context, target.name.as_str());
    Ok(session.carry_out(path::UNPAUSE, &request, terminal)?.code)
}
