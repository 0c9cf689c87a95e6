//! Log lines on their way to a syslog server or to the journal of systemd.
//!
//! They are taken from the log that we keep, so nothing that a container says waits for anybody else, and nothing is lost
//! while a receiver is away for longer than the log reaches back. Up to where they have been sent is written down: a
//! supervisor that takes up goes on from there.

mod journal;
mod syslog;

use std::io;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use jiff::Timestamp;
use runtime::log::{Line, Reader};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::{sleep, timeout};

use super::live::Live;
use crate::record::logging::LogTarget;
use crate::record::{read_record, replace_volatile_record};
use journal::Journal;
use syslog::Syslog;

/// How long the last lines of a container that has ended may take.
const LAST_LINES: Duration = Duration::from_secs(5);
/// How long a receiver may take to answer a connection.
const CONNECTING: Duration = Duration::from_secs(5);
/// The first and the longest rest before a receiver that is away is asked again.
const FIRST_REST: Duration = Duration::from_millis(200);
const LONGEST_REST: Duration = Duration::from_secs(10);

/// A receiver that does not answer.
#[derive(Debug, thiserror::Error)]
#[error("cannot send log lines to {receiver}")]
pub struct ForwardError {
    /// Who was to get them.
    pub receiver: String,
    /// The kernel's words.
    pub source: io::Error,
}

/// The task that sends the lines of a running container.
#[derive(Debug)]
pub struct Forwarder {
    ended: watch::Sender<bool>,
    task: JoinHandle<()>,
}

/// Up to where lines have been sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Mark {
    /// When the last one began.
    at: Timestamp,
    /// How many that began then have been sent.
    count: usize,
}

impl Mark {
    /// Whether `line`, the `seen`th of its moment, was sent before.
    fn is_behind(self, line: &Line, seen: usize) -> bool {
        line.at < self.at || line.at == self.at && seen <= self.count
    }

    fn pass(&mut self, line: &Line) {
        match line.at == self.at {
            true => self.count += 1,
            false => *self = Self { at: line.at, count: 1 },
        }
    }
}

/// Somebody who gets lines.
enum Receiver {
    Syslog(Syslog),
    Journal(Journal),
}

impl Receiver {
    fn of(target: &LogTarget) -> Option<Self> {
        match target {
            LogTarget::Files | LogTarget::Nowhere => None,
            LogTarget::Syslog(target) => Some(Self::Syslog(Syslog::new(target.clone()))),
            LogTarget::Journal(target) => Some(Self::Journal(Journal::new(target))),
        }
    }

    fn name(&self) -> String {
        match self {
            Self::Syslog(syslog) => syslog.name(),
            Self::Journal(_) => "the journal of systemd".to_owned(),
        }
    }

    async fn connect(&mut self) -> io::Result<()> {
        let connecting = async {
            match self {
                Self::Syslog(syslog) => syslog.connect().await,
                Self::Journal(journal) => journal.connect(),
            }
        };
        let late = |_| Err(io::Error::from_raw_os_error(libc::ETIMEDOUT));
        timeout(CONNECTING, connecting).await.unwrap_or_else(late)
    }

    async fn send(&mut self, line: &Line) -> io::Result<()> {
        match self {
            Self::Syslog(syslog) => syslog.send(line).await,
            Self::Journal(journal) => journal.send(line).await,
        }
    }

    /// Sends a line, again and again if the receiver is away.
    async fn deliver(&mut self, container: &str, line: &Line) {
        let mut rest = FIRST_REST;
        while let Err(error) = self.send(line).await {
            if rest == FIRST_REST {
                tracing::warn!(container, receiver = self.name(), %error, "log lines wait");
            }
            sleep(rest).await;
            rest = (rest * 2).min(LONGEST_REST);
        }
    }
}

/// Makes sure that the receiver of the lines of `live`, if it has one, answers: a container that nobody listens to is not
/// started.
///
/// # Errors
///
/// [`ForwardError`]
pub async fn check(live: &Live) -> Result<(), ForwardError> {
    let Some(mut receiver) = Receiver::of(&live.start().log_target) else { return Ok(()) };
    let connected = receiver.connect().await;
    connected.map_err(|source| ForwardError { receiver: receiver.name(), source })
}

/// Begins to send the lines of `live`, if anybody gets them.
pub fn begin(live: &Rc<Live>) {
    let Some(receiver) = Receiver::of(&live.start().log_target) else { return };
    let (ended, is_ended) = watch::channel(false);
    let running = Rc::clone(live);
    let task = spawn_local(async move {
        if let Err(error) = run(&running, receiver, is_ended).await {
            tracing::error!(container = running.record().name, %error, "log lines are not sent");
        }
    });
    live.tasks.borrow_mut().forwarder = Some(Forwarder { ended, task });
}

/// Sends the last lines of `live`, which has ended: its log is whole.
pub async fn finish(live: &Live) {
    let Some(Forwarder { ended, mut task }) = live.tasks.borrow_mut().forwarder.take() else {
        return;
    };
    ended.send_replace(true);
    if timeout(LAST_LINES, &mut task).await.is_err() {
        tracing::warn!(container = live.record().name, "its last log lines could not be sent");
        task.abort();
    }
}

async fn run(
    live: &Live,
    mut receiver: Receiver,
    mut ended: watch::Receiver<bool>,
) -> io::Result<()> {
    let mark_path = live.paths.folder().join("forwarded.json");
    let mut mark: Mark = read_record(&mark_path).ok().flatten().unwrap_or_default();
    let mut grown = live.grown.subscribe();
    let mut reader = Reader::open(&live.paths.log())?;
    if mark != Mark::default() {
        reader.since(mark.at)?;
    }
    let before = mark;
    let mut seen = Mark::default();
    loop {
        let is_last = *ended.borrow_and_update();
        let old = mark;
        while let Some(line) = reader.next_line()? {
            seen.pass(&line);
            if before.is_behind(&line, seen.count) {
                continue;
            }
            receiver.deliver(&live.record().name, &line).await;
            mark.pass(&line);
        }
        if mark != old {
            remember(&mark_path, mark);
        }
        if is_last {
            return Ok(());
        }
        tokio::select! {
            changed = grown.changed() => if changed.is_err() { return Ok(()) },
            changed = ended.changed() => if changed.is_err() { return Ok(()) },
        }
    }
}

fn remember(path: &Path, mark: Mark) {
    if let Err(error) = replace_volatile_record(path, &mark) {
        tracing::debug!(%error, "log lines may be sent twice");
    }
}

#[cfg(test)]
mod tests {
    use runtime::log::Stream;

    use super::*;

    #[test]
    fn what_was_sent_is_not_sent_again() {
        let line = |second| Line {
            at: Timestamp::from_second(second).unwrap(),
            stream: Stream::Stdout,
            bytes: Vec::new(),
        };
        let mut mark = Mark::default();
        for second in [1, 2, 2] {
            mark.pass(&line(second));
        }
        assert_eq!(mark, Mark { at: Timestamp::from_second(2).unwrap(), count: 2 });
        assert!(mark.is_behind(&line(1), 1));
        assert!(mark.is_behind(&line(2), 2));
        assert!(!mark.is_behind(&line(2), 3));
        assert!(!mark.is_behind(&line(3), 1));
    }
}
