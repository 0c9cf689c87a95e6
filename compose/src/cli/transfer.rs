//! Work with registries, seen from a terminal: it goes on in threads, is shown as it goes, and is given up on Ctrl-C.

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use images::registry::{Cancel, Environment};

use super::error::{CommandError, INTERRUPTED};
use super::signals::Signals;
use super::terminal::Terminal;
use crate::apply::image::{Fetching, registries};
use crate::event::{Event, Failure};

/// How often signals and the clock are looked at.
const PACE: Duration = Duration::from_millis(100);

/// What a piece of work says of itself while it goes on.
pub type Tell<'a> = &'a (dyn Fn(Event) + Sync);

/// The registries as this command sees them.
///
/// # Errors
///
/// What is wrong with their settings.
pub fn fetching(quiet: bool) -> Result<Fetching, CommandError> {
    let registry = registries(Environment::of_process()).map_err(CommandError::from)?;
    Ok(Fetching { registry, cancel: Cancel::default(), quiet })
}

/// Does all of `work` side by side, at most `limit` at a time, and shows what it tells. Returns what failed.
///
/// # Errors
///
/// Without words, when the user gave it up: what has been moved by then is kept where it can be continued from.
pub fn side_by_side<W: Send>(
    work: Vec<W>,
    limit: Option<u32>,
    cancel: &Cancel,
    terminal: &mut Terminal,
    does: impl Fn(W, Tell<'_>) -> Result<(), Failure> + Sync,
) -> Result<Vec<Failure>, CommandError> {
    // Before the first thread, which inherits the mask.
    let signals = Signals::catch()?;
    let limit = limit.map_or(usize::MAX, |limit| limit as usize);
    let workers = work.len().min(limit.max(1));
    let queue = std::sync::Mutex::new(work.into_iter());
    let next = || queue.lock().unwrap_or_else(std::sync::PoisonError::into_inner).next();
    let (events, heard) = channel();
    let worker = |events: Sender<Result<Event, Failure>>| {
        while let Some(one) = next() {
            let tell = |event| drop(events.send(Ok(event)));
            if let Err(failure) = does(one, &tell) {
                let _ = events.send(Err(failure));
            }
            if cancel.is_cancelled() {
                return;
            }
        }
    };
    let mut failures = Vec::new();
    let mut given_up = false;
    thread::scope(|scope| -> Result<(), CommandError> {
        for _ in 0..workers {
            let events = events.clone();
            scope.spawn(|| worker(events));
        }
        drop(events);
        loop {
            match heard.recv_timeout(PACE) {
                Ok(Ok(event)) => terminal.draw(&event),
                Ok(Err(failure)) => failures.push(failure),
                Err(RecvTimeoutError::Timeout) => terminal.tick(),
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
            match signals.take() {
                Ok(None) => {}
                caught => {
                    cancel.cancel();
                    given_up = true;
                    caught?;
                }
            }
        }
    })?;
    terminal.settle();
    if given_up { Err(CommandError::silent(INTERRUPTED)) } else { Ok(failures) }
}
