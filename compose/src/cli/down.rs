//! `compose down`.

use super::context::{Context, OrphanArgs};
use super::error::CommandError;
use super::session::Session;
use super::stop::grace;
use super::terminal::Terminal;
use crate::api::{DownOptions, DownRequest, ImageRemoval, path};
use crate::model::ServiceName;

/// Stop and remove containers and networks
#[derive(Debug, clap::Args)]
pub struct DownArgs {
    /// Services to take down, with those that depend on them (default: the whole project)
    #[arg(value_name = "SERVICE")]
    services: Vec<ServiceName>,
    /// Remove the project's named volumes and anonymous ones as well
    #[arg(long, short)]
    volumes: bool,
    /// Remove images as well
    #[arg(long, value_enum, value_name = "WHICH")]
    rmi: Option<Rmi>,
    /// Seconds to wait before SIGKILL; -1 for no end (default: `stop_grace_period` of the service)
    #[arg(long, short, value_name = "SECONDS", allow_negative_numbers = true, value_parser = grace)]
    timeout: Option<u32>,
    #[command(flatten)]
    orphans: OrphanArgs,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Rmi {
    /// Those without a name of their own in the file
    Local,
    /// All that the services use
    All,
}

/// Asks the supervisor to take the project away.
///
/// # Errors
///
/// When the project cannot be read, or something cannot be removed.
pub fn run(args: DownArgs, context: &Context, terminal: &mut Terminal) -> Result<u8, CommandError> {
    context.require_root()?;
    let target = context.target(terminal)?;
    let containers = context.containers(target.name.as_str())?;
    target.check(&args.services, &containers)?;
    if target.project.is_none() && !context.roots().project(target.name.as_str()).data().exists() {
        terminal.warn(&format!("there is nothing to remove of project {}", target.name));
        return Ok(0);
    }
    let options = DownOptions {
        services: args.services,
        orphans: args.orphans.resolve(target.project.as_ref())?,
        volumes: args.volumes,
        images: args.rmi.map(|which| match which {
            Rmi::Local => ImageRemoval::Local,
            Rmi::All => ImageRemoval::All,
        }),
        timeout_seconds: args.timeout,
        parallel: context.parallel(),
    };
    let name = target.name.clone();
    let request = DownRequest { project: target.project, options };
    let outcome = Session::new(context, name.as_str()).carry_out(path::DOWN, &request, terminal)?;
    if !outcome.changed {
        terminal.warn(&format!("there is nothing to remove of project {name}"));
    }
    Ok(outcome.code)
}
