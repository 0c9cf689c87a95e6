//! `compose ui`: the project on the whole screen.
//!
//! | file | holds |
//! |---|---|
//! | [`keys`] | bytes that are typed -> keys -> messages (pure) |
//! | [`feed`] | everything else that messages come from |
//! | [`message`], [`state`] | what is shown, and how messages change it (pure) |
//! | [`log`], [`text`], [`paint`] | the lines of the log pane, what is harmless of them, and their colours (pure) |
//! | [`view`], [`list`], [`usage`], [`palette`] | a state -> a frame (pure) |
//! | [`act`] | what keys do to the project |
//!
//! The loop here waits for messages, has the state take them in, does what that asks for, and draws. It never waits for
//! anything else: requests run in threads. Only `up` and `exec` have the terminal for themselves.

pub mod act;
pub mod feed;
pub mod keys;
pub mod list;
pub mod log;
pub mod message;
pub mod paint;
pub mod palette;
pub mod state;
pub mod text;
pub mod usage;
pub mod view;

#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::context::{Context, Target};
use super::error::{CommandError, INTERRUPTED};
use super::logs::short_name;
use super::terminal::Terminal;
use super::terminal::screen::Screen;
use feed::{Arrival, Feed};
use keys::Decoder;
use message::{Effect, Message, Tone};
use state::State;

/// Show services, logs, events and use of the machine on the whole screen, and act on them by keys
///
/// `?` shows the keys. Leaving stops nothing.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct UiArgs {}

/// The time between two frames that nobody has asked for by a key.
const FRAME: Duration = Duration::from_millis(40);

/// Shows the project until somebody leaves.
///
/// # Errors
///
/// When there is no terminal, the project cannot be read, or no supervisor answers.
pub fn run(_: UiArgs, context: &Context, terminal: &mut Terminal) -> Result<u8, CommandError> {
    context.require_root()?;
    if !Screen::is_there() {
        return Err(CommandError::usage("the view needs a terminal on which it can draw").help(
            "without one, `compose ps`, `compose logs --follow`, `compose events` and `compose stats` show the same",
        ));
    }
    if context.global().dry_run {
        return Err(CommandError::usage("--dry-run: what keys do cannot be told beforehand"));
    }
    let target = context.target(terminal)?;
    let services = target.project.iter().flat_map(|project| project.services.keys().cloned());
    let name = target.name.as_str();
    let feed = Feed::open(context, name)?;
    let zone = TimeZone::system();
    let state = State::new(name, services.collect(), zone, Timestamp::now(), Screen::size());
    let mut ui = Ui {
        context,
        target: &target,
        feed,
        state,
        screen: Screen::take()?,
        decoder: Decoder::default(),
        colours: terminal.colours(),
        terminal,
    };
    ui.begin()?;
    let interrupted = ui.run()?;
    drop(ui);
    if interrupted { Err(CommandError::silent(INTERRUPTED)) } else { Ok(0) }
}

/// The view and what it is made of.
struct Ui<'c> {
    context: &'c Context,
    target: &'c Target,
    feed: Feed<'c>,
    state: State,
    screen: Screen,
    decoder: Decoder,
    colours: bool,
    /// For what is asked while the screen is lent.
    terminal: &'c mut Terminal,
}

/// What is done after a message.
enum Then {
    GoOn,
    /// By Ctrl-C or a signal, or because somebody wanted to.
    Leave {
        interrupted: bool,
    },
}

impl Ui<'_> {
    fn begin(&mut self) -> Result<(), CommandError> {
        for message in self.feed.past() {
            self.state.update(message);
        }
        self.renew()?;
        let message = self.feed.measure(&self.state.containers);
        self.state.update(message);
        Ok(())
    }

    /// Returns whether it was interrupted.
    fn run(&mut self) -> Result<bool, CommandError> {
        let mut drawn = None::<Instant>;
        let mut due = true;
        loop {
            let at = drawn.map_or_else(Instant::now, |drawn| drawn + FRAME);
            if due && at <= Instant::now() {
                let (state, colours) = (&self.state, self.colours);
                self.screen.draw(|frame| view::draw(frame, state, colours))?;
                (drawn, due) = (Some(Instant::now()), false);
            }
            let arrival = self.feed.wait(due.then_some(at))?;
            if !arrival.typed.is_empty() {
                // Who types sees at once what comes of it.
                drawn = None;
            }
            if let Then::Leave { interrupted } = self.take(arrival)? {
                return Ok(interrupted);
            }
            for line in self.feed.lines() {
                self.state.update(line);
            }
            due = true;
        }
    }

    fn take(&mut self, arrival: Arrival) -> Result<Then, CommandError> {
        if arrival.over {
            return Ok(Then::Leave { interrupted: true });
        }
        if arrival.resized {
            let (rows, columns) = Screen::size();
            self.state.update(Message::Size(rows, columns));
            self.screen.renew()?;
        }
        for message in arrival.messages {
            self.state.update(message);
        }
        if arrival.stale {
            self.renew()?;
        }
        if arrival.struck {
            let message = self.feed.measure(&self.state.containers);
            self.state.update(message);
        }
        let mut follow = None;
        for key in self.decoder.decode(&arrival.typed) {
            let Some(message) = keys::message(key, &self.state.mode) else { continue };
            match self.state.update(message) {
                // Where many keys have been typed, the logs of the last selection are enough.
                Some(Effect::Follow { anew }) => follow = Some(follow.unwrap_or(false) || anew),
                Some(effect) => {
                    if let Then::Leave { interrupted } = self.carry_out(effect)? {
                        return Ok(Then::Leave { interrupted });
                    }
                }
                None => {}
            }
        }
        if let Some(anew) = follow {
            self.follow(anew);
        }
        Ok(Then::GoOn)
    }

    /// Reads the records again.
    fn renew(&mut self) -> Result<(), CommandError> {
        let containers = self.feed.containers()?;
        if let Some(Effect::Follow { anew }) = self.state.update(Message::Containers(containers)) {
            self.follow(anew);
        }
        Ok(())
    }

    fn follow(&mut self, anew: bool) {
        let failed = self.feed.follow(self.state.selection(), &self.state.containers, anew);
        if let Some(message) = failed {
            self.state.update(message);
        }
    }

    fn carry_out(&mut self, effect: Effect) -> Result<Then, CommandError> {
        match effect {
            Effect::Leave { interrupted } => return Ok(Then::Leave { interrupted }),
            Effect::Ask(verb, meant, names) => {
                act::ask(verb, meant, names, (self.context, self.target), self.feed.post());
            }
            Effect::Shell(service, number) => {
                let (target, signals) = (self.target, self.feed.signals());
                let ran = self.screen.lend(|| act::shell(&service, number, target, signals))?;
                let Ok(message) = ran else { return Ok(Then::Leave { interrupted: true }) };
                self.come_back(message)?;
            }
            Effect::Up(services) => {
                let (terminal, signals) = (&mut *self.terminal, self.feed.signals());
                let ran = self.screen.lend(|| act::up(&services, signals, terminal))?;
                let Ok(message) = ran else { return Ok(Then::Leave { interrupted: true }) };
                self.come_back(message)?;
            }
            Effect::Suspend => {
                let own = rustix::process::getpid();
                let stop = rustix::process::Signal::STOP;
                let stopped = self.screen.lend(|| rustix::process::kill_process(own, stop))?;
                let failed = |error| Message::Note(Tone::Bad, format!("cannot suspend: {error}"));
                self.come_back(stopped.err().map(failed))?;
            }
            Effect::Redraw => self.screen.renew()?,
            Effect::Follow { anew } => self.follow(anew),
        }
        Ok(Then::GoOn)
    }

    /// The terminal is ours again; its size may be another one.
    fn come_back(&mut self, message: Option<Message>) -> Result<(), CommandError> {
        let (rows, columns) = Screen::size();
        self.state.update(Message::Size(rows, columns));
        if let Some(message) = message {
            self.state.update(message);
        }
        self.renew()
    }
}
