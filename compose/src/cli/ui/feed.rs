//! Where messages come from: keys, signals, events of the supervisor, log files, a clock, and actions that end.
//!
//! One poll(2) over all of them. States come from the records and are read again when an event tells that they changed;
//! log lines come as `logs --follow` gets them; the clock is for the use of the machine, which nobody tells. What takes its
//! time is done by threads, which ring a bell.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use nix::sys::signal::Signal;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::Errno;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime,
};

use super::log::Line;
use super::message::{Message, Tone, Usage};
use super::state::Selection;
use super::{short_name, text};
use crate::cli::context::Context;
use crate::cli::error::CommandError;
use crate::cli::session::Session;
use crate::cli::signals::Signals;
use crate::cli::stats::sample::Sample;
use crate::cli::stats::samples_of;
use crate::client::Answer;
use crate::event::{Change, Event};
use crate::logs::follow::{After, Follower, Wanted};
use crate::logs::paint::{Look, Painter};
use crate::record::logging::LogTarget;
use crate::record::{Container, StartRecord, events};

/// Bytes of log lines that are taken between two looks at the keys.
const BATCH: usize = 256 << 10;
/// Lines that are read of what containers have said before, together.
const BEFORE: usize = 5000;
/// Events that are read of what happened before.
const PAST: usize = 100;

/// What can be waited for.
#[derive(Debug)]
pub struct Feed<'c> {
    context: &'c Context,
    project: String,
    /// None while the supervisor is gone.
    events: Option<Answer>,
    logs: Follower,
    /// More lines are there already.
    more: bool,
    clock: OwnedFd,
    signals: Signals,
    before: BTreeMap<String, Sample>,
    bell: Arc<OwnedFd>,
    post: (Sender<News>, Receiver<News>),
}

/// What threads tell.
#[derive(Debug)]
pub enum News {
    /// A message.
    Message(Message),
    /// The supervisor is there again.
    Heard(Answer),
}

/// What has come.
#[derive(Debug, Default)]
pub struct Arrival {
    /// Messages, in their order.
    pub messages: Vec<Message>,
    /// Bytes that were typed.
    pub typed: Vec<u8>,
    /// Standard input is at its end, or a signal asks to leave.
    pub over: bool,
    /// Something has happened after which the records are read again.
    pub stale: bool,
    /// The clock has struck.
    pub struck: bool,
    /// The terminal has another size.
    pub resized: bool,
}

/// Where a thread tells what has become of its work.
#[derive(Debug, Clone)]
pub struct Post {
    sender: Sender<News>,
    bell: Arc<OwnedFd>,
}

impl Post {
    /// Tells something, and wakes the view.
    pub fn send(&self, news: News) {
        // A view that has been left wants to know nothing.
        let _ = self.sender.send(news);
        let _ = rustix::io::write(&self.bell, &1_u64.to_ne_bytes());
    }

    /// Tells a message.
    pub fn say(&self, message: Message) {
        self.send(News::Message(message));
    }
}

impl<'c> Feed<'c> {
    /// Listens to everything but logs.
    ///
    /// # Errors
    ///
    /// When no supervisor answers, or the kernel has no descriptors left.
    pub fn open(context: &'c Context, project: &str) -> Result<Self, CommandError> {
        // Listening comes first: what happens while the records are read is not missed.
        let events = Session::new(context, project).listen()?;
        let failed = |what: &'static str| {
            move |error: Errno| CommandError::failed(format!("{what}: {error}"))
        };
        let clock = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC)
            .map_err(failed("timerfd"))?;
        let second = Timespec { tv_sec: 1, tv_nsec: 0 };
        let each = Itimerspec { it_interval: second, it_value: second };
        timerfd_settime(&clock, TimerfdTimerFlags::empty(), &each).map_err(failed("timerfd"))?;
        let bell = eventfd(0, EventfdFlags::CLOEXEC).map_err(failed("eventfd"))?;
        Ok(Self {
            context,
            project: project.to_owned(),
            events: Some(events),
            logs: follower(),
            more: false,
            clock,
            signals: caught()?,
            before: BTreeMap::new(),
            bell: Arc::new(bell),
            post: channel(),
        })
    }

    /// Where threads tell what has become of their work.
    #[must_use]
    pub fn post(&self) -> Post {
        Post { sender: self.post.0.clone(), bell: Arc::clone(&self.bell) }
    }

    /// The signals that are caught, to be waited for by somebody else for a while.
    #[must_use]
    pub const fn signals(&self) -> &Signals {
        &self.signals
    }

    /// What has been written down of the last events.
    #[must_use]
    pub fn past(&self) -> Vec<Message> {
        let path = self.context.roots().project(&self.project).events();
        // What cannot be read is not shown; what happens from now on is.
        let past = events::read(&path).unwrap_or_default();
        let last = past.len().saturating_sub(PAST);
        past.into_iter().skip(last).map(|event| Message::Event(Box::new(event))).collect()
    }

    /// The containers as the records say.
    ///
    /// # Errors
    ///
    /// When a record cannot be read.
    pub fn containers(&self) -> Result<Vec<Container>, CommandError> {
        self.context.containers(&self.project)
    }

    /// What `containers` use of the machine.
    pub fn measure(&mut self, containers: &[Container]) -> Message {
        // A container that is removed at this moment uses nothing that could be told.
        let now = samples_of(containers, self.context).unwrap_or_default();
        let usage = now.iter().map(|(id, now)| {
            let before = self.before.get(id);
            let usage = Usage {
                cpu: before.and_then(|before| now.cpu_since(before)),
                memory: now.stats.memory,
                limit: now.memory_limit(),
                received: now.received,
                sent: now.sent,
                read: now.stats.block_read.unwrap_or(0),
                written: now.stats.block_written.unwrap_or(0),
                pids: now.stats.pids.unwrap_or(0),
            };
            (id.clone(), usage)
        });
        let usage = usage.collect();
        self.before = now;
        Message::Usage(Timestamp::now(), usage)
    }

    /// Follows the logs of what `selection` has of `containers`; those that are followed already go on unless `anew`.
    /// Returns what went wrong.
    pub fn follow(
        &mut self,
        selection: &Selection,
        containers: &[Container],
        anew: bool,
    ) -> Option<Message> {
        if anew {
            self.logs = follower();
        }
        let mut failed = None;
        let all: Vec<&Container> = containers.iter().filter(|one| selection.has(one)).collect();
        for Container { record, .. } in &all {
            if self.logs.has(&record.id) {
                continue;
            }
            let paths = record.paths(self.context.roots());
            let start = StartRecord::read(&paths).ok().flatten();
            if start.is_some_and(|start| start.log_target == LogTarget::Nowhere) {
                continue;
            }
            let tail = (BEFORE / all.len().max(1)).max(10);
            let wanted = Wanted { tail: Some(tail), ..Wanted::default() };
            let name = short_name(&record.name, &self.project);
            if let Err(error) = self.logs.add(&record.id, name, &paths.log(), wanted) {
                failed = Some(Message::Note(Tone::Bad, told(&error.into())));
            }
        }
        self.more = true;
        failed
    }

    /// Log lines that are there.
    pub fn lines(&mut self) -> Vec<Message> {
        let mut lines = Vec::new();
        if !self.more {
            return lines;
        }
        let mut name: Arc<str> = "".into();
        let taken = self.logs.take(BATCH, |of, line| {
            if *name != *of {
                name = of.into();
            }
            let (text, paints) = text::read(&line.bytes);
            let (name, stream) = (Arc::clone(&name), line.stream);
            lines.push(Message::Line(Line { name, stream, text, paints }));
        });
        match taken {
            Ok(more) => self.more = more,
            Err(error) => {
                self.more = false;
                lines.push(Message::Note(Tone::Bad, told(&error.into())));
            }
        }
        lines
    }

    /// Waits until something has come, or until `until`.
    ///
    /// # Errors
    ///
    /// When poll(2) fails.
    pub fn wait(&mut self, until: Option<Instant>) -> Result<Arrival, CommandError> {
        let input = rustix::stdio::stdin();
        let mut polled = vec![
            PollFd::new(&input, PollFlags::IN),
            PollFd::new(&self.signals, PollFlags::IN),
            PollFd::new(&self.clock, PollFlags::IN),
            PollFd::new(&self.bell, PollFlags::IN),
        ];
        let heard = polled.len();
        polled.extend(self.events.as_ref().map(|events| PollFd::new(events, PollFlags::IN)));
        let changes = self.logs.changes();
        polled.extend(changes.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
        let left = match until {
            _ if self.more => Some(Duration::ZERO),
            until => until.map(|until| until.saturating_duration_since(Instant::now())),
        };
        let left = left.and_then(|left| Timespec::try_from(left).ok());
        match poll(&mut polled, left.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(CommandError::failed(format!("poll: {error}"))),
        }
        let ready: Vec<bool> = polled.iter().map(|one| !one.revents().is_empty()).collect();
        drop(polled);
        let logs = heard + usize::from(self.events.is_some());
        self.more |= ready[logs..].contains(&true);
        let mut arrival = Arrival { struck: ready[2], ..Arrival::default() };
        if ready[0] {
            read_input(&mut arrival);
        }
        if ready[1] {
            self.take_signals(&mut arrival)?;
        }
        if ready[2] || ready[3] {
            let mut counted = [0; 8];
            for (ready, counter) in [(ready[2], &self.clock), (ready[3], &*self.bell)] {
                if ready {
                    // How often is of no interest.
                    let _ = rustix::io::read(counter, &mut counted);
                }
            }
            self.take_post(&mut arrival);
        }
        if self.events.is_some() && ready[heard] {
            self.hear(&mut arrival);
        }
        Ok(arrival)
    }

    fn take_signals(&self, arrival: &mut Arrival) -> Result<(), CommandError> {
        while let Some(signal) = self.signals.take()? {
            match signal == Signal::SIGWINCH as i32 {
                true => arrival.resized = true,
                false => arrival.over = true,
            }
        }
        Ok(())
    }

    fn take_post(&mut self, arrival: &mut Arrival) {
        while let Ok(news) = self.post.1.try_recv() {
            match news {
                News::Message(message) => arrival.messages.push(message),
                News::Heard(answer) => {
                    self.events = Some(answer);
                    let text = "the supervisor is there again".to_owned();
                    arrival.messages.push(Message::Note(Tone::Good, text));
                }
            }
            arrival.stale = true;
        }
    }

    /// Takes the events that have arrived. A supervisor that went away is looked for by a thread.
    fn hear(&mut self, arrival: &mut Arrival) {
        let Some(events) = &mut self.events else { return };
        let goes_on = events.fill().is_ok_and(|goes_on| goes_on);
        let mut broken = !goes_on;
        loop {
            match events.ready() {
                Ok(Some(Event::Container(event))) => {
                    if event.change == Change::Removed {
                        self.logs.forget(&event.id);
                    }
                    arrival.stale = true;
                    arrival.messages.push(Message::Event(Box::new(event)));
                }
                Ok(Some(Event::Warning { message })) => {
                    arrival.messages.push(Message::Note(Tone::Bad, message));
                }
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(_) => {
                    broken = true;
                    break;
                }
            }
        }
        if broken {
            self.events = None;
            arrival.stale = true;
            let text = "the supervisor went away; it is started again".to_owned();
            arrival.messages.push(Message::Note(Tone::Working, text));
            let (post, context) = (self.post(), self.context.clone());
            let project = self.project.clone();
            std::thread::spawn(move || match Session::new(&context, &project).listen() {
                Ok(answer) => post.send(News::Heard(answer)),
                Err(error) => post.say(Message::Note(Tone::Bad, told(&error))),
            });
        }
    }
}

fn read_input(arrival: &mut Arrival) {
    let mut buffer = [0; 4096];
    match rustix::io::read(rustix::stdio::stdin(), &mut buffer) {
        Ok(0) => arrival.over = true,
        Ok(count) => arrival.typed.extend_from_slice(&buffer[..count]),
        Err(Errno::INTR | Errno::AGAIN) => {}
        // The terminal is gone.
        Err(_) => arrival.over = true,
    }
}

fn caught() -> Result<Signals, CommandError> {
    Signals::catch_these(&[Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGWINCH])
}

fn follower() -> Follower {
    let look = Look { prefix: false, colour: false, timestamps: false };
    Follower::new(Painter::new(look), After::Wait)
}

/// An error in one line, with what to do about it.
#[must_use]
pub fn told(error: &CommandError) -> String {
    let words = error.failures.iter().map(|failure| match &failure.help {
        Some(help) => format!("{}: {help}", failure.message),
        None => failure.message.clone(),
    });
    let words: Vec<String> = words.collect();
    text::clean(words.join("; ").replace('\n', " ").as_bytes())
}
