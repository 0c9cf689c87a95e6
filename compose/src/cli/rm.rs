//! `compose rm`.

use std::io::{BufRead, IsTerminal, stdin};

use super::context::Context;
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
    context.require_root()?;
    let target = context.target(terminal)?;
    let containers = context.containers(target.name.as_str())?;
    target.check(&args.services, &containers)?;
    let names = going(&args, &containers);
    if names.is_empty() {
        terminal.note("No stopped containers");
        return Ok(0);
    }
    if !args.force && !confirmed(&names, terminal)? {
        return Ok(0);
    }
    let options = RmOptions { services: args.services, stop: args.stop, volumes: args.volumes };
    let request = RmRequest { project: target.project, options };
    let session = Session::new(context, target.name.as_str());
    Ok(session.carry_out(path::RM, &request, terminal)?.code)
}

fn going<'a>(args: &RmArgs, containers: &'a [Container]) -> Vec<&'a str> {
    containers
        .iter()
        .filter(|one| args.services.is_empty() || args.services.contains(&one.record.service))
        .filter(|one| args.stop || !one.state.phase.is_up())
        .map(|one| one.record.name.as_str())
        .collect()
}

fn confirmed(names: &[&str], terminal: &mut Terminal) -> Result<bool, CommandError> {
    if !stdin().is_terminal() {
        return Err(CommandError::failed(
            "cannot ask whether to remove them: standard input is no terminal",
        )
        .help("`compose rm -f` does not ask"));
    }
    terminal.ask(&format!("Going to remove {}\nAre you sure? [yN] ", names.join(", ")));
    let mut answer = String::new();
    let read = stdin().lock().read_line(&mut answer);
    read.map_err(|error| CommandError::failed(format!("cannot read the answer: {error}")))?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}
