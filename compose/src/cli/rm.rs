//! `compose rm`.

use super::context::{Context, Target};
use super::error::CommandError;
use super::session::Session;
use super::terminal::Terminal;
use crate::api::{RmOptions, RmRequest, path};
use crate::model::ServiceName;
use crate::record::Container;

/// Remove stopped containers
#[derive(Debug, clap::Args)]
pub struct RmArgs {
    /// Services whose containers go (default: all)
    #[arg(value_name = "SERVICE")]
    services: Vec<ServiceName>,
    /// Do not ask
    #[arg(long, short)]
    force: bool,
    /// Stop them first
    #[arg(long, short)]
    stop: bool,
    /// As always: those of `run` stay
    #[arg(long, short, hide = true)]
    all: bool,
    /// Remove their anonymous volumes as well
    #[arg(long, short)]
    volumes: bool,
}

/// Asks the user, then the supervisor.
///
/// # Errors
///
/// When the project cannot be read, nobody can be asked, or a container resists.
pub fn run(args: RmArgs, context: &Context, terminal: &mut Terminal) -> Result<u8, CommandError> {
    let (target, containers) = context.containers_of(&args.services, terminal)?;
    let names = going(&args, &target, &containers);
    if names.is_empty() {
        terminal.note("No stopped containers");
        return Ok(0);
    }
    let question = format!("Going to remove {}", names.join(", "));
    let asks = !args.force && !context.global().dry_run;
    if asks && !terminal.confirm(&question, "`compose rm -f`")? {
        return Ok(0);
    }
    let options = RmOptions {
        services: args.services,
        stop: args.stop,
        volumes: args.volumes,
        only: Vec::new(),
        parallel: context.parallel(),
    };
    let request = RmRequest { project: target.project, options };
    let session = Session::new(context, target.name.as_str());
    Ok(session.carry_out(path::RM, &request, terminal)?.code)
}

fn going<'a>(args: &RmArgs, target: &Target, containers: &'a [Container]) -> Vec<&'a str> {
    containers
        .iter()
        .filter(|one| !one.record.oneoff && target.means(&args.services, &one.record.service))
        .filter(|one| args.stop || !one.state.phase.is_up())
        .map(|one| one.record.name.as_str())
        .collect()
}
