//! `compose attach`.

use std::io::{IsTerminal, stdin, stdout};

use super::context::Context;
use super::error::CommandError;
use super::pick::{self, Among};
use super::run::attach::{self, End, Ends, Ways};
use super::run::keys::DetachKeys;
use super::session::{Session, code};
use super::terminal::Terminal;
use crate::api::path;
use crate::model::ServiceName;
use crate::record::{Phase, list};

/// Join the standard streams of a container that runs
#[derive(Debug, clap::Args)]
pub struct AttachArgs {
    /// The service
    service: ServiceName,
    /// Keys that let go of the container (on a terminal)
    #[arg(long, value_name = "KEYS", default_value = "ctrl-p,ctrl-q")]
    detach_keys: DetachKeys,
    /// Number of the container among the replicas (default: the lowest)
    #[arg(long, value_name = "N")]
    index: Option<u32>,
    /// Do not pass standard input on
    #[arg(long)]
    no_stdin: bool,
    /// Pass signals on
    #[arg(long, value_name = "WHETHER", num_args = 0..=1, require_equals = true, default_value_t = true, default_missing_value = "true", action = clap::ArgAction::Set)]
    sig_proxy: bool,
}

/// Stays with the container until it has exited or the user lets go; ends with its exit code.
///
/// # Errors
///
/// When there is no such container, or it does not run.
pub fn run(
    args: AttachArgs,
    context: &Context,
    terminal: &mut Terminal,
) -> Result<u8, CommandError> {
    context.require_root()?;
    let target = context.target(terminal)?;
    let project = target.name.as_str();
    let containers = context.containers(project)?;
    let container =
        pick::container(&target, &containers, &args.service, args.index, Among::Running)?;
    let (id, name) = (&container.record.id, &container.record.name);
    if context.global().dry_run {
        terminal.print(format!("DRY-RUN MODE - attach to {name}\n"))?;
        return Ok(0);
    }
    if container.state.phase == Phase::Paused {
        return Err(CommandError::failed(format!("container {name} is paused"))
            .help("a frozen container says nothing: `compose unpause` lets it go on"));
    }
    let input = !args.no_stdin;
    let ends = Ends {
        input,
        terminal: input && container.record.tty && stdin().is_terminal() && stdout().is_terminal(),
    };
    let ways = Ways { keys: args.detach_keys, signals: args.sig_proxy };
    let session = Session::new(context, project);
    loop {
        let connection = session.upgrade(&path::join(id))?;
        match attach::run(connection, ends, ways.clone(), terminal)? {
            End::Exited(code) => return Ok(code),
            End::Failed(failure, code) => return Err(CommandError::from(failure).code(code)),
            End::Detached => return Ok(0),
            End::CutOff => {}
        }
        // The supervisor was killed: its successor goes on, unless the container has ended meanwhile.
        let Some(one) = list::one(context.roots(), project, id)? else { return Ok(255) };
        if !one.state.phase.is_up() {
            return Ok(one.state.exit.map_or(255, |exit| code(exit.shell_code())));
        }
    }
}
