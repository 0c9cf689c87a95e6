//! `compose top`.

mod process;

use super::context::Context;
use super::error::CommandError;
use super::terminal::Terminal;
use super::terminal::table::Table;
use crate::model::ServiceName;
use process::{Clock, Process};

/// Show the processes of containers
#[derive(Debug, clap::Args)]
pub struct TopArgs {
    /// Services whose processes are shown (default: all)
    #[arg(value_name = "SERVICE")]
    services: Vec<ServiceName>,
}

/// Prints the processes in the control groups of the containers.
///
/// # Errors
///
/// When a service is not known or a record cannot be read.
pub fn run(args: TopArgs, context: &Context, terminal: &mut Terminal) -> Result<u8, CommandError> {
    let (_, containers) = context.containers_of(&args.services, terminal)?;
    let clock = Clock::read();
    let titles = ["SERVICE", "#", "UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"];
    let mut table = Table::new(&titles);
    let shown = containers
        .iter()
        .filter(|one| one.state.phase.is_up())
        .filter(|one| args.services.is_empty() || args.services.contains(&one.record.service));
    for container in shown {
        let place = context.launch(container)?.cgroup;
        let mut pids = place.map(|place| place.pids()).unwrap_or_default();
        pids.sort_unstable();
        // A process that has exited meanwhile has nothing to show.
        for process in pids.into_iter().filter_map(Process::read) {
            let Process { uid, pid, parent, .. } = process;
            table.row([
                container.record.service.to_string(),
                container.record.number.to_string(),
                uid.to_string(),
                pid.to_string(),
                parent.to_string(),
                clock.share_of(&process).to_string(),
                clock.start_of(&process),
                process.terminal(),
                clock.used_by(&process),
                process.command,
            ]);
        }
    }
    terminal.print(table.render())?;
    Ok(0)
}
