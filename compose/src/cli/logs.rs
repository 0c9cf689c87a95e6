//! `compose logs`.

use std::collections::BTreeSet;
use std::str::FromStr;

use jiff::Timestamp;
use runtime::log::Stream;
use rustix::event::{PollFd, PollFlags};

use super::context::{Context, Target};
use super::error::{CommandError, INTERRUPTED};
use super::pick::{self, Among};
use super::session::{Session, wait_for};
use super::signals::Signals;
use super::terminal::Terminal;
use crate::client::Answer;
use crate::event::{Change, Event};
use crate::logs::follow::{After, Follower, LogError, Wanted};
use crate::logs::paint::{Look, Painter};
use crate::logs::when;
use crate::model::ServiceName;
use crate::record::logging::LogTarget;
use crate::record::{Container, StartRecord};

/// Show the output of containers, in the order of time
#[derive(Debug, clap::Args)]
pub struct LogsArgs {
    /// Services whose output is shown (default: all but those with `attach: false`)
    #[arg(value_name = "SERVICE")]
    services: Vec<ServiceName>,
    /// Go on showing what they say
    #[arg(long, short)]
    follow: bool,
    /// Number of the container among the replicas of the one service
    #[arg(long, value_name = "N")]
    index: Option<u32>,
    /// Without colours
    #[arg(long)]
    no_color: bool,
    /// Without the name of the container
    #[arg(long)]
    no_log_prefix: bool,
    /// Lines since this time, or since this long ago (`10m`)
    #[arg(long, value_name = "TIME", value_parser = time)]
    since: Option<Timestamp>,
    /// Lines up to this time, or up to this long ago
    #[arg(long, value_name = "TIME", value_parser = time)]
    until: Option<Timestamp>,
    /// Lines from the end, of each container
    #[arg(
        long,
        short = 'n',
        value_name = "N",
        default_value = "all",
        allow_negative_numbers = true
    )]
    tail: Tail,
    /// With the time of each line
    #[arg(long, short)]
    timestamps: bool,
}

fn time(text: &str) -> Result<Timestamp, when::WhenError> {
    when::parse(text, Timestamp::now())
}

/// How many lines from the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Tail(Option<usize>);

impl FromStr for Tail {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "all" | "-1" => Ok(Self(None)),
            text => text
                .parse()
                .map(|count| Self(Some(count)))
                .map_err(|_| format!("`{text}` is neither a number of lines nor `all`")),
        }
    }
}

/// Prints log lines from the files of the containers; asks the supervisor, if there is one, only
/// for containers that start later.
///
/// # Errors
///
/// When a service is not known or a log cannot be read.
pub fn run(args: LogsArgs, context: &Context, terminal: &mut Terminal) -> Result<u8, CommandError> {
    context.require_root()?;
    if args.index.is_some() && args.services.len() != 1 {
        return Err(CommandError::usage("--index picks a replica of one service")
            .help("name exactly one service"));
    }
    let target = context.target(terminal)?;
    // Listening comes first: a container that starts meanwhile is not missed.
    let session = Session::new(context, target.name.as_str());
    let events = if args.follow { listen(&session) } else { None };
    let containers = context.containers(target.name.as_str())?;
    target.check(&args.services, &containers)?;
    if let (Some(_), [service]) = (args.index, args.services.as_slice()) {
        pick::container(&target, &containers, service, args.index, Among::All)?;
    }
    let look = Look {
        prefix: !args.no_log_prefix,
        colour: terminal.colours() && !args.no_color,
        timestamps: args.timestamps,
    };
    let after = if events.is_some() { After::Wait } else { After::Leave };
    let follower = Follower::new(Painter::new(look), after);
    let mut show =
        Show { args, target, context, follower, doubtful: true, coming: BTreeSet::new() };
    for container in &containers {
        let Container { record, .. } = container;
        show.add(&record.id, &record.name, record.service.as_str(), record.number, record.oneoff)?;
    }
    show.print(terminal)?;
    match events {
        Some(events) => show.follow(events, &session, terminal),
        None => Ok(0),
    }
}

fn listen(session: &Session<'_>) -> Option<Answer> {
    session.connect_if_there().and_then(|client| client.listen(crate::api::path::EVENTS)).ok()
}

struct Show<'a> {
    args: LogsArgs,
    target: Target,
    context: &'a Context,
    follower: Follower,
    /// Something has happened after which nothing may be left to follow.
    doubtful: bool,
    /// The ids of containers that are about to be started, as far as events have told.
    coming: BTreeSet<String>,
}

impl Show<'_> {
    fn add(
        &mut self,
        id: &str,
        name: &str,
        service: &str,
        number: u32,
        oneoff: bool,
    ) -> Result<(), CommandError> {
        if oneoff || !self.wants(service, number) || self.follower.has(id) {
            return Ok(());
        }
        let project = self.target.name.as_str();
        let paths = self.context.roots().container(project, id);
        let start = StartRecord::read(&paths).ok().flatten();
        if start.is_some_and(|start| start.log_target == LogTarget::Nowhere) {
            return Ok(());
        }
        let folder = paths.log();
        let LogsArgs { since, until, tail, .. } = self.args;
        let wanted = Wanted { tail: tail.0, since, until };
        Ok(self.follower.add(id, short_name(name, project), &folder, wanted)?)
    }

    fn wants(&self, service: &str, number: u32) -> bool {
        if self.args.index.is_some_and(|index| index != number) {
            return false;
        }
        if !self.args.services.is_empty() {
            return self.args.services.iter().any(|name| name == service);
        }
        let project = self.target.project.as_ref();
        project
            .and_then(|project| project.services.get(service))
            .is_none_or(|service| service.attach)
    }

    fn print(&mut self, terminal: &mut Terminal) -> Result<(), CommandError> {
        self.follower.drain(|stream: Stream, text: &[u8]| print(terminal, stream, text))
    }

    /// Goes on until nothing runs any more or the user has had enough.
    fn follow(
        mut self,
        mut events: Answer,
        session: &Session<'_>,
        terminal: &mut Terminal,
    ) -> Result<u8, CommandError> {
        let signals = Signals::catch()?;
        loop {
            while let Some(event) = events.ready()? {
                self.on(&event)?;
            }
            self.print(terminal)?;
            let doubtful = std::mem::take(&mut self.doubtful) && self.coming.is_empty();
            if doubtful && !self.anything_up()? {
                return Ok(0);
            }
            let (event, signal) = self.wait(&events, &signals, terminal)?;
            if signal && signals.take()?.is_some() {
                return Err(CommandError::silent(INTERRUPTED));
            }
            if event && events.fill().is_err() {
                let Some(again) = self.listen_again(session)? else {
                    self.print(terminal)?;
                    return Ok(0);
                };
                events = again;
            }
        }
    }

    fn on(&mut self, event: &Event) -> Result<(), CommandError> {
        let Event::Container(event) = event else { return Ok(()) };
        match event.change {
            Change::Started { .. } => {
                self.coming.remove(&event.id);
                self.add(&event.id, &event.name, &event.service, event.number, event.oneoff)
            }
            Change::Created | Change::Exited { restarting: true, .. } => {
                if !event.oneoff && self.wants(&event.service, event.number) {
                    self.coming.insert(event.id.clone());
                }
                Ok(())
            }
            Change::Exited { restarting: false, .. } => {
                self.doubtful = true;
                Ok(())
            }
            Change::Removed => {
                self.doubtful |= self.coming.remove(&event.id);
                self.follower.forget(&event.id);
                Ok(())
            }
            Change::Health { .. }
            | Change::Signalled { .. }
            | Change::Paused
            | Change::Unpaused
            | Change::Updated
            | Change::Stopped => Ok(()),
        }
    }

    /// A supervisor that was killed comes back; one that had nothing left to do does not.
    fn listen_again(&mut self, session: &Session<'_>) -> Result<Option<Answer>, CommandError> {
        self.coming.clear();
        if !self.anything_up()? {
            return Ok(None);
        }
        Ok(Some(session.listen()?))
    }

    fn anything_up(&self) -> Result<bool, CommandError> {
        let containers = self.context.containers(self.target.name.as_str())?;
        Ok(containers.iter().any(|one| {
            one.state.phase.is_up() && self.wants(one.record.service.as_str(), one.record.number)
        }))
    }

    /// Waits for an event, a signal (both are told) or a change of a log.
    fn wait(
        &self,
        events: &Answer,
        signals: &Signals,
        terminal: &mut Terminal,
    ) -> Result<(bool, bool), CommandError> {
        let mut descriptors =
            vec![PollFd::new(events, PollFlags::IN), PollFd::new(signals, PollFlags::IN)];
        let changes = self.follower.changes();
        descriptors.extend(changes.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
        wait_for(&mut descriptors, terminal)?;
        let ready = |index: usize| {
            descriptors.get(index).is_some_and(|descriptor| !descriptor.revents().is_empty())
        };
        Ok((ready(0), ready(1)))
    }
}

/// Writes log lines to where the container wrote them.
///
/// # Errors
///
/// When standard output does not take them.
pub fn print(terminal: &mut Terminal, stream: Stream, text: &[u8]) -> Result<(), CommandError> {
    match stream {
        Stream::Stdout => terminal.print(text),
        Stream::Stderr => {
            terminal.print_error(text);
            Ok(())
        }
    }
}

/// The name of a container without that of its project: `web-1`.
#[must_use]
pub fn short_name<'a>(name: &'a str, project: &str) -> &'a str {
    name.strip_prefix(project).and_then(|rest| rest.strip_prefix(['-', '_'])).unwrap_or(name)
}

impl From<LogError> for CommandError {
    fn from(error: LogError) -> Self {
        match error {
            LogError::Follow(error) => error.into(),
            LogError::Read { .. } => Self::new(&error)
                .help("a log that is damaged goes with its container: `compose rm`"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tails() {
        assert_eq!("all".parse(), Ok(Tail(None)));
        assert_eq!("0".parse(), Ok(Tail(Some(0))));
        assert!("ten".parse::<Tail>().is_err());
    }

    #[test]
    fn short_names_lack_the_project_and_nothing_else() {
        let table =
            [("shop-web-1", "web-1"), ("shopping", "shopping"), ("other-web-1", "other-web-1")];
        for (name, short) in table {
            assert_eq!(short_name(name, "shop"), short);
        }
    }
}
