//! Builds, side by side.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Mutex, OnceLock};
use std::thread;
use std::time::Duration;

use images::build::{FailedStep, Halt};
use images::{Image, Store};

use super::super::context::Context;
use super::super::error::{CommandError, INTERRUPTED};
use super::super::signals::Signals;
use super::super::terminal::Terminal;
use super::super::transfer::fetching;
use super::jobs::Job;
use crate::apply::build::{Building, Order, make, of_image};
use crate::apply::explain;
use crate::event::{Event, Failure, Kind, Status};
use crate::model::{Project, ServiceName};
use crate::plan::Plan;

/// A shell where the step has failed, on the terminal of the user.
pub(super) fn open_shell(step: &FailedStep) {
    // How it ends says nothing about the build.
    let _ = step.shell();
}

/// What is to be built.
pub(super) struct Work<'a> {
    pub(super) project: &'a Project,
    pub(super) plan: &'a Plan,
    /// Its steps.
    pub(super) jobs: &'a [Job],
    pub(super) store: &'a Store,
    /// Gets a step that has failed.
    pub(super) shell: Option<&'a (dyn Fn(&FailedStep) + Sync)>,
}

/// How often signals and the clock are looked at.
const PACE: Duration = Duration::from_millis(100);

/// Shows what happens until all builds have ended; `give_up` is called when the user does not want them any more. Returns
/// whether that was so.
fn follow(
    receiver: &Receiver<Event>,
    signals: &Signals,
    give_up: impl Fn(),
    terminal: &mut Terminal,
) -> Result<bool, CommandError> {
    let mut given_up = false;
    loop {
        match receiver.recv_timeout(PACE) {
            Ok(event) => terminal.draw(&event),
            Err(RecvTimeoutError::Timeout) => terminal.tick(),
            Err(RecvTimeoutError::Disconnected) => return Ok(given_up),
        }
        if signals.take()?.is_some() {
            given_up = true;
            give_up();
        }
    }
}

/// Builds side by side what does not wait for another.
pub(super) fn build_all(
    work: &Work<'_>,
    quiet: bool,
    context: &Context,
    terminal: &mut Terminal,
) -> Result<BTreeMap<ServiceName, Image>, CommandError> {
    let Work { project, plan, jobs, store, shell } = *work;
    let building = Building::begin(context.roots(), project, plan, quiet).map_err(|error| {
        CommandError::new(&error).help("check that the data root can be written to")
    })?;
    let Some(building) = building else { return Ok(BTreeMap::new()) };
    let cells: BTreeMap<&ServiceName, OnceLock<Option<Image>>> =
        jobs.iter().map(|job| (&job.service, OnceLock::new())).collect();
    let fetching = fetching(quiet)?;
    let failures: Mutex<Vec<Failure>> = Mutex::default();
    let (sender, receiver) = channel();
    // Before the first thread, which inherits the mask.
    let signals = Signals::catch()?;
    let halts: BTreeMap<&ServiceName, Halt> =
        jobs.iter().map(|job| (&job.service, Halt::default())).collect();
    let given_up = thread::scope(|scope| {
        for job in jobs {
            let (cells, failures, sender) = (&cells, &failures, sender.clone());
            let (fetching, building, halts) = (&fetching, &building, &halts);
            scope.spawn(move || {
                // Whoever listens goes only when all have ended.
                let tell = |event: Event| drop(sender.send(event));
                // A board that is drawn anew would be in the way of the shell.
                let say = |event| {
                    if !quiet && shell.is_none() {
                        tell(event);
                    }
                };
                cells[&job.service].get_or_init(|| {
                    // Earlier ones are waited for; they are on their way already, or begin here.
                    for other in &job.after {
                        cells[other].wait().as_ref()?;
                    }
                    say(Event::step(Kind::Image, &job.image, Status::Building));
                    let (service, recipe) = (&job.service, &job.recipe);
                    let halt = &halts[service];
                    let order = Order { project, service, recipe, halt, on_failure: shell };
                    match make(order, store, fetching, building, &tell) {
                        Ok(image) => {
                            say(of_image(&job.image, &image));
                            Some(image)
                        }
                        Err(error) => {
                            say(Event::step(Kind::Image, &job.image, Status::Error));
                            let mut failures = failures.lock().expect("nobody panics with it");
                            failures.push(explain::building(&error, service));
                            None
                        }
                    }
                });
            });
        }
        drop(sender);
        let give_up = || {
            fetching.cancel.cancel();
            halts.values().for_each(Halt::stop);
        };
        follow(&receiver, &signals, give_up, terminal)
    })?;
    terminal.settle();
    if given_up {
        return Err(CommandError::silent(INTERRUPTED));
    }
    let failures = failures.into_inner().expect("nobody panics with it");
    if !failures.is_empty() {
        return Err(failures.into());
    }
    let made = |(service, cell): (&ServiceName, OnceLock<Option<Image>>)| {
        Some((service.clone(), cell.into_inner()??))
    };
    Ok(cells.into_iter().filter_map(made).collect())
}
