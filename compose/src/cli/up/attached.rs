//! `up` in the foreground: log lines and progress until everything has exited or the user has had
//! enough.
//!
//! One thread waits for all of it at once: the answer of the supervisor, the events of the
//! project, the log files, signals. What an event means is decided by [`Watch`].

use std::os::fd::AsFd;

use jiff::Timestamp;
use runtime::log::Stream;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::beside::Beside;
use super::keys::{Key, Keys};
use super::watch::{Reaction, Watch, Watched};
use crate::api::{KillOptions, KillRequest, StopOptions, StopRequest, UpRequest, path};
use crate::cli::context::Context;
use crate::cli::error::{CommandError, INTERRUPTED};
use crate::cli::logs::{print, short_name};
use crate::cli::session::{Outcome, Session, code, show, wait_for};
use crate::cli::signals::Signals;
use crate::cli::terminal::Terminal;
use crate::client::{Answer, ClientError};
use crate::event::{Change, ContainerEvent, Event};
use crate::logs::follow::{After, Follower, Wanted};
use crate::logs::paint::{Look, Painter};
use crate::record::Container;
use crate::record::names::separator;

/// Brings the project up and stays with it; calls `begin` when it is up.
///
/// # Errors
///
/// When it cannot be brought up; when the user interrupts, without words.
pub fn run(
    session: &Session<'_>,
    request: &UpRequest,
    watched: Watched,
    (look, menu): (Look, bool),
    beside: Beside<'_>,
    context: &Context,
    terminal: &mut Terminal,
) -> Result<u8, CommandError> {
    let mut painter = Painter::new(look);
    let names = expected_names(request, &watched);
    names.iter().for_each(|name| painter.expect(name));
    // Before anything is asked for: what is started for it may have said all it has to say a moment later.
    let begun = Timestamp::now();
    // Listening comes first: no event of the request is missed.
    let events = session.listen()?;
    let rising = session.ask(path::UP, request)?;
    let signals = Signals::catch()?;
    let keys = if menu { Keys::listen() } else { None };
    let attached = Attached {
        session,
        request,
        context,
        terminal,
        signals,
        keys,
        leaving: false,
        events,
        deaf: None,
        cut_off: Vec::new(),
        rising: Some(rising),
        beside,
        stopping: None,
        killing: None,
        interrupted: false,
        watch: Watch::new(watched),
        follower: Follower::new(painter, After::Wait),
        begun,
        greeting: Some(format!("Attaching to {}\n", names.join(", ")))
            .filter(|_| !names.is_empty()),
    };
    attached.run()
}

/// The short names of the containers that are going to be shown, in the order of services.
fn expected_names(request: &UpRequest, watched: &Watched) -> Vec<String> {
    let UpRequest { project, options } = request;
    let shown = project.services.values().filter(|service| watched.shown.contains(&service.name));
    shown
        .flat_map(|service| {
            let replicas = options.scale.get(&service.name).copied().unwrap_or(service.replicas);
            (1..=replicas).map(|number| match &service.container_name {
                Some(name) => short_name(name, project.name.as_str()).to_owned(),
                None => format!("{}{}{number}", service.name, separator(project)),
            })
        })
        .collect()
}

struct Attached<'a> {
    session: &'a Session<'a>,
    request: &'a UpRequest,
    context: &'a Context,
    terminal: &'a mut Terminal,
    signals: Signals,
    /// Somebody may type.
    keys: Option<Keys>,
    /// Somebody has typed that they leave.
    leaving: bool,
    /// What happens in the project.
    events: Answer,
    /// Why nothing is heard of that any longer.
    deaf: Option<ClientError>,
    /// Answers that ended before they were complete.
    cut_off: Vec<From>,
    /// The answer to the request itself.
    rising: Option<Answer>,
    /// The watch, which begins when everything is up if it was asked for.
    beside: Beside<'a>,
    /// The answer to the stop that follows an abort or a Ctrl-C.
    stopping: Option<Answer>,
    /// The answer to the kill that follows a second Ctrl-C.
    killing: Option<Answer>,
    interrupted: bool,
    watch: Watch,
    follower: Follower,
    begun: Timestamp,
    greeting: Option<String>,
}

/// Whose answer an event is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum From {
    Rising,
    Stopping,
    Killing,
}

/// What the records are looked into for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ends {
    /// What has run all along. An end is in the records before its supervisor has kept the last output, and tells.
    AreTold,
    /// What happened while nobody listened.
    MayBeMissed,
}

impl Attached<'_> {
    fn run(mut self) -> Result<u8, CommandError> {
        loop {
            self.take_events()?;
            for from in [From::Rising, From::Stopping, From::Killing] {
                if let Some(code) = self.take_answer(from)? {
                    return Ok(code);
                }
            }
            // Only after the answers: the last one may have come before the supervisor left.
            if self.deaf.is_some() || !self.cut_off.is_empty() {
                self.find_successor()?;
                continue;
            }
            self.show_logs()?;
            if self.leaving {
                self.terminal.settle();
                return Ok(0);
            }
            if self.watch.is_over() && !self.beside.is_on() {
                self.terminal.settle();
                return Ok(code(self.watch.code()));
            }
            self.wait()?;
        }
    }

    /// Waits until something happens, and reads it.
    fn wait(&mut self) -> Result<(), CommandError> {
        let answers = [&self.rising, &self.stopping, &self.killing];
        let mut descriptors: Vec<PollFd<'_>> = vec![
            PollFd::new(&self.events, PollFlags::IN),
            PollFd::new(&self.signals, PollFlags::IN),
        ];
        let asked: Vec<bool> = answers.iter().map(|answer| answer.is_some()).collect();
        let answers = answers.into_iter().flatten().map(AsFd::as_fd);
        let others = answers.chain(self.follower.changes());
        let stdin = std::io::stdin();
        let typed_at = self.keys.as_ref().map(|_| stdin.as_fd());
        let others = typed_at.into_iter().chain(others);
        descriptors.extend(others.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
        wait_for(&mut descriptors, self.terminal)?;
        let mut ready = descriptors.iter().map(|fd| !fd.revents().is_empty());
        let (event, signal) = (ready.next() == Some(true), ready.next() == Some(true));
        let typed = self.keys.is_some() && ready.next() == Some(true);
        let answered: Vec<bool> =
            asked.into_iter().map(|asked| asked && ready.next() == Some(true)).collect();
        drop(descriptors);

        if event && let Err(error) = self.events.fill() {
            self.deaf = Some(error);
        }
        for (from, ready) in [From::Rising, From::Stopping, From::Killing].into_iter().zip(answered)
        {
            if ready {
                self.fill(from)?;
            }
        }
        if typed {
            self.obey_keys()?;
        }
        if signal && self.signals.take()?.is_some() {
            self.interrupt()?;
        }
        Ok(())
    }

    fn obey_keys(&mut self) -> Result<(), CommandError> {
        let Some(typed) = self.keys.as_ref().and_then(Keys::take) else {
            self.keys = None;
            return Ok(());
        };
        for key in typed {
            match key {
                Key::Detach => self.leaving = true,
                Key::Gap => self.terminal.print("\n")?,
                // Before everything is up there is nothing to carry a save into.
                Key::Watch if self.rising.is_some() => {}
                Key::Watch => {
                    if let Err(error) = self.beside.toggle(self.terminal) {
                        self.terminal.fail(&error);
                    }
                }
            }
        }
        Ok(())
    }

    fn answer(&mut self, from: From) -> &mut Option<Answer> {
        match from {
            From::Rising => &mut self.rising,
            From::Stopping => &mut self.stopping,
            From::Killing => &mut self.killing,
        }
    }

    /// Reads more of an answer.
    fn fill(&mut self, from: From) -> Result<(), CommandError> {
        let Some(answer) = self.answer(from) else { return Ok(()) };
        match answer.fill() {
            Ok(_) => Ok(()),
            Err(ClientError::CutOff { .. }) => {
                self.cut_off.push(from);
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The supervisor went away: listens to its successor, then asks it what has not been
    /// answered. Every request picks up where it was cut off.
    fn find_successor(&mut self) -> Result<(), CommandError> {
        if let Some(error) = self.deaf.take() {
            self.listen_again(error)?;
        }
        for from in std::mem::take(&mut self.cut_off) {
            let again = match from {
                From::Rising => self.session.ask(path::UP, self.request)?,
                From::Stopping => self.ask_to_stop()?,
                From::Killing => self.ask_to_kill()?,
            };
            *self.answer(from) = Some(again);
        }
        Ok(())
    }

    /// Shows what an answer says; returns our exit code if it was the last one we waited for.
    fn take_answer(&mut self, from: From) -> Result<Option<u8>, CommandError> {
        loop {
            let Some(answer) = self.answer(from) else { return Ok(None) };
            let Some(event) = answer.ready()? else {
                if answer.without_end().is_some() {
                    self.cut_off.push(from);
                }
                return Ok(None);
            };
            let Some(end) = show(&event, self.terminal) else { continue };
            *self.answer(from) = None;
            let Outcome { .. } = end?;
            if from == From::Rising {
                self.risen()?;
                return Ok(None);
            }
            self.take_events()?;
            self.show_logs()?;
            self.terminal.settle();
            let stopped = if self.interrupted { INTERRUPTED } else { code(self.watch.code()) };
            return Ok(Some(stopped));
        }
    }

    /// Everything is up: what has been running all along is shown from here on as well.
    fn risen(&mut self) -> Result<(), CommandError> {
        self.terminal.settle();
        self.greet()?;
        self.catch_up()?;
        self.look_again(Ends::AreTold)?;
        self.watch.risen();
        self.beside.begin()
    }

    /// Takes the events that were told before the answer, which may have overtaken them.
    fn catch_up(&mut self) -> Result<(), CommandError> {
        let is_readable = |events: &Answer| {
            let mut events = [PollFd::new(events, PollFlags::IN)];
            poll(&mut events, Some(&Timespec::default())).is_ok_and(|count| count > 0)
        };
        // That nothing is heard any more is found out again where it matters.
        while is_readable(&self.events) && matches!(self.events.fill(), Ok(true)) {}
        self.take_events()
    }

    fn greet(&mut self) -> Result<(), CommandError> {
        match self.greeting.take() {
            Some(greeting) => self.terminal.print(greeting),
            None => Ok(()),
        }
    }

    fn take_events(&mut self) -> Result<(), CommandError> {
        while let Some(event) = self.events.ready()? {
            match event {
                Event::Container(event) => self.on(&event)?,
                // What the supervisor has to say of what nobody has asked for.
                Event::Warning { message } => self.terminal.warn(&message),
                _ => {}
            }
        }
        Ok(())
    }

    fn on(&mut self, event: &ContainerEvent) -> Result<(), CommandError> {
        if matches!(event.change, Change::Started { .. }) {
            self.attach(event)?;
        }
        let reaction = self.watch.on(event);
        match event.change {
            Change::Exited { code, oom, restarting } if reaction != Reaction::OldNews => {
                self.tell_exit(event, code, oom, restarting)?;
            }
            Change::Removed => self.follower.forget(&event.id),
            _ => {}
        }
        if reaction == Reaction::Abort {
            self.terminal.note("Aborting on container exit...");
            self.stop()?;
        }
        Ok(())
    }

    /// Shows what the container says from now on, or has said since the command began.
    fn attach(&mut self, event: &ContainerEvent) -> Result<(), CommandError> {
        let ContainerEvent { id, name, service, oneoff, .. } = event;
        if *oneoff || !self.watch.shows(service) || self.follower.has(id) {
            return Ok(());
        }
        let project = self.request.project.name.as_str();
        let folder = self.context.roots().container(project, id).log();
        let wanted = Wanted { since: Some(self.begun), ..Wanted::default() };
        Ok(self.follower.add(id, short_name(name, project), &folder, wanted)?)
    }

    fn tell_exit(
        &mut self,
        event: &ContainerEvent,
        code: i32,
        oom: bool,
        restarting: bool,
    ) -> Result<(), CommandError> {
        if !self.follower.has(&event.id) {
            return Ok(());
        }
        self.show_logs()?;
        let name = short_name(&event.name, self.request.project.name.as_str());
        let oom = if oom { " (out of memory)" } else { "" };
        let restarting = if restarting { " (restarting)" } else { "" };
        self.terminal.print(format!("{name} exited with code {code}{oom}{restarting}\n"))
    }

    fn show_logs(&mut self) -> Result<(), CommandError> {
        let (terminal, greeting) = (&mut *self.terminal, &mut self.greeting);
        self.follower.drain(|stream: Stream, text: &[u8]| {
            if let Some(greeting) = greeting.take() {
                terminal.print(greeting)?;
            }
            print(terminal, stream, text)
        })
    }

    /// Ctrl-C: the first one stops, the second one kills, the third one leaves.
    fn interrupt(&mut self) -> Result<(), CommandError> {
        if self.killing.is_some() {
            return Err(CommandError::silent(INTERRUPTED));
        }
        if self.interrupted {
            self.killing = Some(self.ask_to_kill()?);
            return Ok(());
        }
        self.interrupted = true;
        self.terminal.note("Gracefully Stopping... press Ctrl+C again to force");
        self.stop()
    }

    fn stop(&mut self) -> Result<(), CommandError> {
        // Whoever stops does not wait for a start any longer.
        self.rising = None;
        self.terminal.settle();
        self.watch.stopping();
        if self.stopping.is_none() {
            self.stopping = Some(self.ask_to_stop()?);
        }
        Ok(())
    }

    fn ask_to_stop(&self) -> Result<Answer, CommandError> {
        let UpRequest { project, options } = self.request;
        let options = StopOptions {
            services: options.services.clone(),
            only: Vec::new(),
            timeout_seconds: options.timeout_seconds,
            parallel: options.parallel,
        };
        self.session.ask(path::STOP, &StopRequest { project: Some(project.clone()), options })
    }

    fn ask_to_kill(&self) -> Result<Answer, CommandError> {
        let UpRequest { project, options } = self.request;
        let options = KillOptions { services: options.services.clone(), ..KillOptions::default() };
        self.session.ask(path::KILL, &KillRequest { project: Some(project.clone()), options })
    }

    /// The successor tells what happens from now on, the records what happened in between.
    fn listen_again(&mut self, error: ClientError) -> Result<(), CommandError> {
        if !matches!(error, ClientError::CutOff { .. }) {
            return Err(error.into());
        }
        self.events = self.session.listen()?;
        self.look_again(Ends::MayBeMissed)
    }

    /// Takes from the records what no event has told.
    fn look_again(&mut self, ends: Ends) -> Result<(), CommandError> {
        let containers = self.context.containers(self.request.project.name.as_str())?;
        let missed: Vec<ContainerEvent> =
            containers.iter().filter_map(|container| self.missed(container, ends)).collect();
        for event in missed {
            self.on(&event)?;
        }
        self.watch.keep_only(|id| containers.iter().any(|container| container.record.id == id));
        Ok(())
    }

    fn missed(&self, container: &Container, ends: Ends) -> Option<ContainerEvent> {
        let Container { record, state } = container;
        let ran = state.started.is_some_and(|started| started >= self.begun);
        let change = match (state.phase.is_up(), self.watch.knows(&record.id)) {
            (true, None | Some(false)) => Change::Started { restarts: state.restarts },
            // Its end is about to be told.
            (false, None) if ran && ends == Ends::AreTold => {
                Change::Started { restarts: state.restarts }
            }
            (false, Some(true)) if ends == Ends::MayBeMissed => Change::Exited {
                code: state.exit.map_or(255, |exit| exit.shell_code()),
                oom: state.oom,
                restarting: false,
            },
            _ => return None,
        };
        Some(ContainerEvent {
            at: Timestamp::now(),
            id: record.id.clone(),
            name: record.name.clone(),
            service: record.service.to_string(),
            number: record.number,
            oneoff: record.oneoff,
            change,
        })
    }
}

#[cfg(test)]
mod tests;
