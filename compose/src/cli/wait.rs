//! `compose wait`.

use std::collections::BTreeSet;

use rustix::event::{PollFd, PollFlags};

use super::context::{Context, Target};
use super::error::{CommandError, INTERRUPTED};
use super::session::{Session, code, wait_for};
use super::signals::Signals;
use super::terminal::Terminal;
use crate::api::{DownOptions, DownRequest, Orphans, path};
use crate::client::Answer;
use crate::event::{Change, Event};
use crate::model::ServiceName;
use crate::record::Container;

/// Wait until the containers of services have exited
#[derive(Debug, clap::Args)]
pub struct WaitArgs {
    /// Services whose containers are waited for
    #[arg(value_name = "SERVICE", required = true)]
    services: Vec<ServiceName>,
    /// Take the project down when they have exited
    #[arg(long)]
    down_project: bool,
}

/// Prints how each container ended, and ends with the exit code of the last one.
///
/// # Errors
///
/// When nothing of the services runs, or the project cannot be read.
pub fn run(args: WaitArgs, context: &Context, terminal: &mut Terminal) -> Result<u8, CommandError> {
    let (target, containers) = context.containers_of(&args.services, terminal)?;
    if context.global().dry_run {
        return Err(CommandError::usage("--dry-run: waiting changes nothing"));
    }
    let mut waiting = Waiting::of(&containers, &args.services);
    if waiting.up.is_empty() {
        return Err(nothing_runs(&target));
    }
    let session = Session::new(context, target.name.as_str());
    let events = session.listen()?;
    // What exited before we listened.
    waiting.look(&context.containers(target.name.as_str())?, terminal)?;
    let code = waiting.until_over(events, &session, context, terminal)?;
    if args.down_project {
        let options = DownOptions { orphans: Orphans::Remove, ..DownOptions::default() };
        let request = DownRequest { project: target.project, options };
        session.carry_out(path::DOWN, &request, terminal)?;
    }
    Ok(code)
}

fn nothing_runs(target: &Target) -> CommandError {
    CommandError::failed(format!("no container of these services runs in project {}", target.name))
        .help("`compose ps -a` shows how they ended; `compose up -d` starts them")
}

/// The containers that have not exited yet.
#[derive(Debug, Default, PartialEq, Eq)]
struct Waiting {
    /// Ids.
    up: BTreeSet<String>,
    code: i32,
}

impl Waiting {
    fn of(containers: &[Container], services: &[ServiceName]) -> Self {
        let up = containers
            .iter()
            .filter(|one| !one.record.oneoff && one.state.phase.is_up())
            .filter(|one| services.contains(&one.record.service))
            .map(|one| one.record.id.clone());
        Self { up: up.collect(), code: 0 }
    }

    /// Takes down an exit, if it is one that is waited for, and says how it is told.
    fn exited(&mut self, id: &str, code: i32) -> Option<String> {
        if !self.up.remove(id) {
            return None;
        }
        self.code = code;
        Some(format!("container \"{id}\" exited with status code {code}\n"))
    }

    fn until_over(
        &mut self,
        mut events: Answer,
        session: &Session<'_>,
        context: &Context,
        terminal: &mut Terminal,
    ) -> Result<u8, CommandError> {
        let signals = Signals::catch()?;
        loop {
            while let Some(event) = events.ready()? {
                let Event::Container(event) = event else { continue };
                if let Change::Exited { code, .. } = event.change
                    && let Some(line) = self.exited(&event.id, code)
                {
                    terminal.print(line)?;
                }
            }
            if self.up.is_empty() {
                return Ok(code(self.code));
            }
            let mut descriptors =
                [PollFd::new(&events, PollFlags::IN), PollFd::new(&signals, PollFlags::IN)];
            wait_for(&mut descriptors, terminal)?;
            let [heard, signalled] = descriptors.map(|one| !one.revents().is_empty());
            if signalled && signals.take()?.is_some() {
                return Err(CommandError::silent(INTERRUPTED));
            }
            if heard && events.fill().is_err() {
                // The supervisor was killed, or left with the last container: the records know.
                self.look(&context.containers(session.name())?, terminal)?;
                if self.up.is_empty() {
                    return Ok(code(self.code));
                }
                events = session.listen()?;
                self.look(&context.containers(session.name())?, terminal)?;
            }
        }
    }

    /// Takes from the records what no event has told; a container that is gone counts as exited.
    fn look(
        &mut self,
        containers: &[Container],
        terminal: &mut Terminal,
    ) -> Result<(), CommandError> {
        for id in self.up.iter().cloned().collect::<Vec<_>>() {
            let found = containers.iter().find(|one| one.record.id == id);
            let code = match found {
                Some(one) if one.state.phase.is_up() => continue,
                Some(one) => one.state.exit.map_or(255, |exit| exit.shell_code()),
                None => 255,
            };
            if let Some(line) = self.exited(&id, code) {
                terminal.print(line)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::ps::tests::container;
    use crate::record::Phase;

    #[test]
    fn each_exit_counts_once_and_the_last_code_remains() {
        let containers = [
            container("web", 1, Phase::Running),
            container("web", 2, Phase::Restarting),
            container("web", 3, Phase::Exited),
            container("db", 4, Phase::Running),
        ];
        let mut waiting = Waiting::of(&containers, &["web".parse().unwrap()]);
        assert_eq!(waiting.up.len(), 2);
        let id = containers[0].record.id.clone();
        assert_eq!(
            waiting.exited(&id, 3),
            Some(format!("container \"{id}\" exited with status code 3\n"))
        );
        assert_eq!(waiting.exited(&id, 0), None);
        assert_eq!((waiting.up.len(), waiting.code), (1, 3));
        assert!(waiting.exited(&containers[1].record.id, 0).is_some());
        assert_eq!((waiting.up.len(), waiting.code), (0, 0));
    }
}
