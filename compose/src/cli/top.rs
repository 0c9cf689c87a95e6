//! `compose top`.

mod process;
mod sandbox;

use super::context::Context;
use super::error::CommandError;
use super::terminal::Terminal;
use super::terminal::table::Table;
use crate::model::ServiceName;
use crate::record::Container;
use process::{Clock, Process};
use runtime::foreign::Doorway;

/// Show the processes of containers
#[derive(Debug, clap::Args)]
pub struct TopArgs {
    /// Services whose processes are shown (default: all)
    #[arg(value_name = "SERVICE")]
    services: Vec<ServiceName>,
}

/// Prints the processes in the control groups of the containers, or what the kernel of a sandbox says of its own.
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
        let launch = context.launch(container)?;
        if let Some(doorway) = Doorway::of(&launch) {
            for process in processes_within(&doorway, container)? {
                let mut row =
                    vec![container.record.service.to_string(), container.record.number.to_string()];
                row.extend(process);
                table.row(row);
            }
            continue;
        }
        let place = launch.cgroup;
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

/// What the runtime of a sandbox says runs in it.
fn processes_within(
    doorway: &Doorway,
    container: &Container,
) -> Result<Vec<[String; 8]>, CommandError> {
    let name = &container.record.name;
    let listed = doorway.list().map_err(|error| {
        CommandError::new(&error)
            .help(format!("{name} is a sandbox, and its runtime alone knows what runs in it"))
    })?;
    Ok(listed.lines().skip(1).filter_map(sandbox::row).collect())
}
