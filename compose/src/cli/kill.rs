//! `compose kill`.

use super::context::{Context, OrphanArgs};
use super::error::CommandError;
use super::session::Session;
use super::terminal::Terminal;
use crate::api::{KillOptions, KillRequest, path};
use crate::model::{ServiceName, Signal};

/// Send a signal to the main process of containers
#[derive(Debug, clap::Args)]
pub struct KillArgs {
    /// Services to signal, with their one-off containers (default: all)
    #[arg(value_name = "SERVICE")]
    services: Vec<ServiceName>,
    /// What to send
    #[arg(long, short, default_value = "SIGKILL")]
    signal: Signal,
    #[command(flatten)]
    orphans: OrphanArgs,
}

/// Asks the supervisor to signal what runs.
///
/// # Errors
///
/// When the project cannot be read or the kernel refuses.
pub fn run(args: KillArgs, context: &Context, terminal: &mut Terminal) -> Result<u8, CommandError> {
    let (target, containers) = context.containers_of(&args.services, terminal)?;
    if !containers.iter().any(|container| container.state.phase.is_up()) {
        terminal.note("No container to kill");
        return Ok(0);
    }
    let orphans = args.orphans.resolve(target.project.as_ref())?;
    let options = KillOptions {
        services: args.services,
        signal: args.signal,
        orphans,
        parallel: context.parallel(),
    };
    let request = KillRequest { project: target.project, options };
    let session = Session::new(context, target.name.as_str());
    Ok(session.carry_out(path::KILL, &request, terminal)?.code)
}
