//! `compose events`.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use rustix::event::{PollFd, PollFlags};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use serde::Serialize;

use super::context::{Context, Target};
use super::error::{CommandError, INTERRUPTED};
use super::session::{Session, wait_for};
use super::signals::Signals;
use super::terminal::Terminal;
use crate::event::{Change, ContainerEvent, Event, HealthStatus};
use crate::logs::when;
use crate::model::ServiceName;
use crate::record::{ContainerRecord, events, labels};

/// Show what happens to the containers of the project
#[derive(Debug, clap::Args)]
pub struct EventsArgs {
    /// Services whose containers are meant (default: all)
    #[arg(value_name = "SERVICE")]
    services: Vec<ServiceName>,
    /// A JSON object for each event
    #[arg(long)]
    json: bool,
    /// Events since this time, or since this long ago (`10m`), and then what happens
    #[arg(long, value_name = "TIME", value_parser = time)]
    since: Option<Timestamp>,
    /// Until this time
    #[arg(long, value_name = "TIME", value_parser = time)]
    until: Option<Timestamp>,
}

fn time(text: &str) -> Result<Timestamp, when::WhenError> {
    when::parse(text, Timestamp::now())
}

/// Prints what has been written down since `--since`, then what happens until `--until` or Ctrl-C.
///
/// # Errors
///
/// When a service is not known, or the project cannot be read.
pub fn run(
    args: EventsArgs,
    context: &Context,
    terminal: &mut Terminal,
) -> Result<u8, CommandError> {
    let (target, _) = context.containers_of(&args.services, terminal)?;
    let is_over = args.until.is_some_and(|until| until <= Timestamp::now());
    let mut show = Show { known: BTreeMap::new(), args, target, context, last: None };
    show.learn()?;
    if is_over {
        show.history(terminal)?;
        return Ok(0);
    }
    show.live(terminal)
}

struct Show<'a> {
    args: EventsArgs,
    target: Target,
    context: &'a Context,
    /// What the containers are, by id: also those that are gone in the meantime.
    known: BTreeMap<String, ContainerRecord>,
    /// The last event that was read from the file: the live ones begin before it was read.
    last: Option<Timestamp>,
}

impl Show<'_> {
    fn learn(&mut self) -> Result<(), CommandError> {
        let containers = self.context.containers(self.target.name.as_str())?;
        let records = containers.into_iter().map(|one| (one.record.id.clone(), one.record));
        self.known.extend(records);
        Ok(())
    }

    fn history(&mut self, terminal: &mut Terminal) -> Result<(), CommandError> {
        let Some(since) = self.args.since.or(self.args.until.map(|_| Timestamp::UNIX_EPOCH)) else {
            return Ok(());
        };
        let path = self.context.roots().project(self.target.name.as_str()).events();
        let events = events::read(&path).map_err(|error| {
            CommandError::failed(format!("cannot read {}: {error}", path.display()))
                .help("without --since only what happens from now on is shown")
        })?;
        for event in events.into_iter().filter(|event| event.at >= since) {
            self.last = Some(event.at);
            self.print(&event, terminal)?;
        }
        Ok(())
    }

    fn live(mut self, terminal: &mut Terminal) -> Result<u8, CommandError> {
        let session = Session::new(self.context, self.target.name.as_str());
        // Listening comes first: nothing is missed between the file and what follows.
        let mut heard = session.listen()?;
        let signals = Signals::catch()?;
        let end = self.args.until.map(Alarm::at).transpose()?;
        self.history(terminal)?;
        let seen = self.last;
        loop {
            while let Some(event) = heard.ready()? {
                if let Event::Container(event) = event
                    && seen.is_none_or(|seen| event.at > seen)
                {
                    self.print(&event, terminal)?;
                }
            }
            let mut descriptors =
                vec![PollFd::new(&heard, PollFlags::IN), PollFd::new(&signals, PollFlags::IN)];
            descriptors.extend(end.as_ref().map(|end| PollFd::new(end, PollFlags::IN)));
            wait_for(&mut descriptors, terminal)?;
            let ready: Vec<bool> =
                descriptors.iter().map(|one| !one.revents().is_empty()).collect();
            drop(descriptors);
            if ready[1] && signals.take()?.is_some() {
                return Err(CommandError::silent(INTERRUPTED));
            }
            if ready.get(2) == Some(&true) {
                return Ok(0);
            }
            if ready[0] && heard.fill().is_err() {
                heard = session.listen()?;
            }
        }
    }

    fn print(
        &mut self,
        event: &ContainerEvent,
        terminal: &mut Terminal,
    ) -> Result<(), CommandError> {
        let services = &self.args.services;
        let meant = services.is_empty() || services.iter().any(|name| *name == *event.service);
        if event.oneoff || !meant || self.args.until.is_some_and(|until| event.at > until) {
            return Ok(());
        }
        if !self.known.contains_key(&event.id) {
            self.learn()?;
        }
        let record = self.known.get(&event.id);
        for line in lines(event, record) {
            match self.args.json {
                true => terminal.print_json(&line)?,
                false => terminal.print(line.text())?,
            }
        }
        Ok(())
    }
}

/// What docker compose prints of an event; the fields are the keys of its JSON.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Line {
    action: String,
    attributes: BTreeMap<String, String>,
    id: String,
    service: String,
    time: Timestamp,
    r#type: &'static str,
}

impl Line {
    fn text(&self) -> String {
        let attributes: Vec<String> =
            self.attributes.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let time = self.time.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S%.6f");
        format!("{time} container {} {} ({})\n", self.action, self.id, attributes.join(", "))
    }
}

/// The events of docker that stand for one of ours.
fn lines(event: &ContainerEvent, record: Option<&ContainerRecord>) -> Vec<Line> {
    let line = |action: &str, more: Option<(&str, String)>| {
        let own = |(label, _): &(&String, &String)| !label.starts_with(labels::PREFIX);
        let mut attributes: BTreeMap<String, String> = record
            .into_iter()
            .flat_map(|record| record.labels.iter().filter(own))
            .map(|(label, value)| (label.clone(), value.clone()))
            .collect();
        attributes.extend(record.map(|record| ("image".to_owned(), record.image.clone())));
        attributes.insert("name".to_owned(), event.name.clone());
        attributes.extend(more.map(|(name, value)| (name.to_owned(), value)));
        Line {
            action: action.to_owned(),
            attributes,
            id: event.id.clone(),
            service: event.service.clone(),
            time: event.at,
            r#type: "container",
        }
    };
    match &event.change {
        Change::Created => vec![line("create", None)],
        Change::Started { .. } => vec![line("start", None)],
        Change::Signalled { signal } => {
            vec![line("kill", Some(("signal", signal.to_string())))]
        }
        Change::Paused => vec![line("pause", None)],
        Change::Unpaused => vec![line("unpause", None)],
        Change::Updated => vec![line("update", None)],
        Change::Stopped => vec![line("stop", None)],
        Change::Exited { code, oom, .. } => {
            let die = line("die", Some(("exitCode", code.to_string())));
            let oom = oom.then(|| line("oom", None));
            oom.into_iter().chain([die]).collect()
        }
        Change::Health { status } => {
            let status = match status {
                HealthStatus::Starting => return Vec::new(),
                HealthStatus::Healthy => "healthy",
                HealthStatus::Unhealthy => "unhealthy",
            };
            vec![line(&format!("health_status: {status}"), None)]
        }
        Change::Removed => vec![line("destroy", None)],
    }
}

/// A descriptor that can be read from a certain time on (timerfd_create(2)).
struct Alarm(OwnedFd);

impl Alarm {
    fn at(time: Timestamp) -> Result<Self, CommandError> {
        let failed = |error| CommandError::failed(format!("timerfd: {error}"));
        let timer = timerfd_create(TimerfdClockId::Realtime, TimerfdFlags::CLOEXEC);
        let timer = timer.map_err(failed)?;
        let value = Timespec { tv_sec: time.as_second(), tv_nsec: time.subsec_nanosecond().into() };
        let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: value };
        timerfd_settime(&timer, TimerfdTimerFlags::ABSTIME, &once).map_err(failed)?;
        Ok(Self(timer))
    }
}

impl AsFd for Alarm {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::ps::tests::container;
    use crate::record::Phase;

    fn event(change: Change) -> ContainerEvent {
        ContainerEvent {
            at: "2026-11-20T10:00:00.5Z".parse().unwrap(),
            id: "abc".to_owned(),
            name: "shop-web-1".to_owned(),
            service: "web".to_owned(),
            number: 1,
            oneoff: false,
            change,
        }
    }

    #[test]
    fn events_are_told_in_the_words_of_docker() {
        let mut record = container("web", 1, Phase::Running).record;
        record.labels.insert(labels::PROJECT.to_owned(), "shop".to_owned());
        let told = |change: Change| -> Vec<(String, String)> {
            let lines = lines(&event(change), Some(&record));
            lines
                .into_iter()
                .map(|line| {
                    let attributes: Vec<String> =
                        line.attributes.iter().map(|(k, v)| format!("{k}={v}")).collect();
                    (line.action, attributes.join(" "))
                })
                .collect()
        };
        let common = "image=web:1 name=shop-web-1 tier=front";
        #[rustfmt::skip]
        let table = [
            (Change::Created, vec![("create", common.to_owned())]),
            (Change::Started { restarts: 0 }, vec![("start", common.to_owned())]),
            (Change::Exited { code: 137, oom: true, restarting: false }, vec![
                ("oom", common.to_owned()), ("die", format!("exitCode=137 {common}")),
            ]),
            (Change::Signalled { signal: 15 }, vec![("kill", "image=web:1 name=shop-web-1 signal=15 tier=front".to_owned())]),
            (Change::Health { status: HealthStatus::Healthy }, vec![("health_status: healthy", common.to_owned())]),
            (Change::Health { status: HealthStatus::Starting }, vec![]),
            (Change::Removed, vec![("destroy", common.to_owned())]),
        ];
        for (change, expected) in table {
            let expected: Vec<_> =
                expected.into_iter().map(|(action, words)| (action.to_owned(), words)).collect();
            assert_eq!(told(change), expected);
        }
        let [line] = &lines(&event(Change::Paused), None)[..] else { panic!("one line") };
        assert!(line.text().ends_with(".500000 container pause abc (name=shop-web-1)\n"));
        assert_eq!(
            serde_json::to_string(&line).unwrap(),
            r#"{"action":"pause","attributes":{"name":"shop-web-1"},"id":"abc","service":"web","time":"2026-11-20T10:00:00.5Z","type":"container"}"#
        );
    }
}
