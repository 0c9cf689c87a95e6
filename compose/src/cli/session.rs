//! A command that the supervisor carries out: ask, show how it goes, return how it ended.

use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use runtime::keeper::{Config, LaunchError, launch};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use serde::Serialize;

use super::context::Context;
use super::dry_run::{self, Plannable};
use super::error::{CommandError, INTERRUPTED};
use super::signals::Signals;
use super::terminal::Terminal;
use crate::client::{Answer, Client, ClientError, connect_or_start};
use crate::event::Event;
use crate::record::ProjectPaths;

/// How a request ended that did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// Whether anything had to be changed.
    pub changed: bool,
    /// What the command ends with.
    pub code: u8,
    /// The supervisor ends when we leave.
    pub leaves: bool,
}

/// The supervisor of one project, as a command sees it.
#[derive(Debug)]
pub struct Session<'c> {
    context: &'c Context,
    paths: ProjectPaths,
    keeper: Config,
    launch: Launch,
}

/// Starts a keeper and its supervisor, and waits until that listens.
type Launch = fn(&Config) -> Result<(), LaunchError>;

/// What ends the waiting for an answer before that is complete.
#[derive(Debug, Clone, Copy)]
pub enum Interrupt<'i> {
    /// Ctrl-C: the command ends, without words.
    Signal,
    /// Something that can be read: what was asked for is carried out without us.
    Readable(Option<BorrowedFd<'i>>),
}

/// How often a request is asked again after the supervisor went away: it may leave for want of
/// work at the moment of the question, or be killed; every request picks up where it was cut off.
const TRIES: u32 = 5;

impl<'c> Session<'c> {
    /// The supervisor of the project `name`. Does not connect yet.
    #[must_use]
    pub fn new(context: &'c Context, name: &str) -> Self {
        Self::starting_with(context, name, launch)
    }

    /// As [`Self::new`], with another way to start the supervisor.
    #[must_use]
    pub fn starting_with(context: &'c Context, name: &str, launch: Launch) -> Self {
        let paths = context.roots().project(name);
        let keeper = Config {
            project: name.to_owned(),
            data: paths.data().to_owned(),
            run: paths.run().to_owned(),
        };
        Self { context, paths, keeper, launch }
    }

    /// The name of the project.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.keeper.project
    }

    /// Connects; starts keeper and supervisor if there are none.
    ///
    /// # Errors
    ///
    /// When they cannot be started.
    pub fn connect(&self) -> Result<Client, CommandError> {
        Ok(connect_or_start(&self.paths, || (self.launch)(&self.keeper))?)
    }

    /// Connects to a supervisor that is there already.
    ///
    /// # Errors
    ///
    /// [`ClientError::Absent`].
    pub fn connect_if_there(&self) -> Result<Client, ClientError> {
        Client::connect(&self.paths.socket())
    }

    /// Asks, and starts the supervisor if there is none.
    ///
    /// # Errors
    ///
    /// When no supervisor answers.
    pub fn ask<T: Serialize>(&self, path: &str, request: &T) -> Result<Answer, CommandError> {
        self.persist(|client| client.post(path, request))
    }

    /// Listens to the events of the project, and starts the supervisor if there is none.
    ///
    /// # Errors
    ///
    /// When no supervisor answers.
    pub fn listen(&self) -> Result<Answer, CommandError> {
        self.persist(|client| client.listen(crate::api::path::EVENTS))
    }

    /// Asks for a connection that carries frames, and starts the supervisor if there is none. Bytes that came with the
    /// answer are returned beside it.
    ///
    /// # Errors
    ///
    /// When no supervisor answers.
    pub fn upgrade(&self, path: &str) -> Result<(UnixStream, Vec<u8>), CommandError> {
        self.persist(|client| client.upgrade(path))
    }

    fn persist<T>(
        &self,
        ask: impl Fn(Client) -> Result<T, ClientError>,
    ) -> Result<T, CommandError> {
        let mut tries = 1;
        loop {
            match ask(self.connect()?) {
                Err(ClientError::Unanswered { .. }) if tries < TRIES => tries += 1,
                answer => return Ok(answer?),
            }
        }
    }

    /// Asks, shows the events, and waits for the end. With `--dry-run`, prints the plan instead.
    ///
    /// # Errors
    ///
    /// When the request failed, and when the user gave up waiting (then without words).
    pub fn carry_out<T: Serialize + Plannable>(
        &self,
        path: &str,
        request: &T,
        terminal: &mut Terminal,
    ) -> Result<Outcome, CommandError> {
        self.carry_out_seeing(path, request, terminal, |_| {})
    }

    /// As [`Self::carry_out`], and tells each event to `see`.
    ///
    /// # Errors
    ///
    /// As [`Self::carry_out`].
    pub fn carry_out_seeing<T: Serialize + Plannable>(
        &self,
        path: &str,
        request: &T,
        terminal: &mut Terminal,
        mut see: impl FnMut(&Event),
    ) -> Result<Outcome, CommandError> {
        if self.context.global().dry_run {
            dry_run::print(self.name(), request, self.context, terminal)?;
            return Ok(Outcome { changed: true, code: 0, leaves: false });
        }
        self.insist(path, request, terminal, &mut see, Interrupt::Signal)
    }

    /// As [`Self::carry_out`], for a request that has no plan: the caller has seen to `--dry-run`.
    ///
    /// # Errors
    ///
    /// As [`Self::carry_out`].
    pub fn carry_out_now<T: Serialize>(
        &self,
        path: &str,
        request: &T,
        terminal: &mut Terminal,
    ) -> Result<Outcome, CommandError> {
        self.carry_out_until(path, request, terminal, Interrupt::Signal)
    }

    /// As [`Self::carry_out_now`], until `interrupt`.
    ///
    /// # Errors
    ///
    /// As [`Self::carry_out`].
    pub fn carry_out_until<T: Serialize>(
        &self,
        path: &str,
        request: &T,
        terminal: &mut Terminal,
        interrupt: Interrupt<'_>,
    ) -> Result<Outcome, CommandError> {
        self.insist(path, request, terminal, &mut |_| {}, interrupt)
    }

    /// Asks and waits for the end, without a terminal: what happens is told to `see` only. For a thread of its own.
    ///
    /// # Errors
    ///
    /// When the request failed, or no supervisor answers.
    pub fn carry_out_beside<T: Serialize>(
        &self,
        path: &str,
        request: &T,
        see: &mut dyn FnMut(&Event),
    ) -> Result<Outcome, CommandError> {
        let mut tries = 1;
        loop {
            match hear(self.ask(path, request)?, see) {
                Ok(end) => return end,
                Err(ClientError::CutOff { .. }) if tries < TRIES => tries += 1,
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn insist<T: Serialize>(
        &self,
        path: &str,
        request: &T,
        terminal: &mut Terminal,
        see: &mut dyn FnMut(&Event),
        interrupt: Interrupt<'_>,
    ) -> Result<Outcome, CommandError> {
        let mut tries = 1;
        loop {
            let mut answer = self.ask(path, request)?;
            match wait(&mut answer, interrupt, terminal, see)? {
                Ok(outcome) => {
                    terminal.settle();
                    if outcome.leaves {
                        answer.see_off();
                    }
                    return Ok(outcome);
                }
                Err(ClientError::CutOff { .. }) if tries < TRIES => tries += 1,
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Shows the events of `answer` until it ends. The inner error is one of the connection.
fn wait(
    answer: &mut Answer,
    interrupt: Interrupt<'_>,
    terminal: &mut Terminal,
    see: &mut dyn FnMut(&Event),
) -> Result<Result<Outcome, ClientError>, CommandError> {
    let signals = matches!(interrupt, Interrupt::Signal).then(Signals::catch).transpose()?;
    loop {
        loop {
            match answer.ready() {
                Ok(Some(event)) => {
                    see(&event);
                    if let Some(end) = show(&event, terminal) {
                        return end.map(Ok);
                    }
                }
                Ok(None) => match answer.without_end() {
                    Some(error) => return Ok(Err(error)),
                    None => break,
                },
                Err(error) => return Ok(Err(error)),
            }
        }
        let stop = match (&signals, interrupt) {
            (Some(signals), _) => Some(signals.as_fd()),
            (None, Interrupt::Readable(stop)) => stop,
            (None, Interrupt::Signal) => None,
        };
        let watched = [Some((*answer).as_fd()), stop].into_iter().flatten();
        let mut descriptors: Vec<PollFd<'_>> =
            watched.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
        wait_for(&mut descriptors, terminal)?;
        let ready = |at: usize| descriptors.get(at).is_some_and(|fd| !fd.revents().is_empty());
        let (asked, stopped) = (ready(0), ready(1));
        drop(descriptors);
        match &signals {
            Some(signals) if stopped && signals.take()?.is_some() => {
                terminal.settle();
                return Err(CommandError::silent(INTERRUPTED));
            }
            None if stopped => return Ok(Ok(Outcome { changed: true, code: 0, leaves: false })),
            _ => {}
        }
        if asked && let Err(error) = answer.fill() {
            return Ok(Err(error));
        }
    }
}

/// Tells the events of `answer` to `see` until it ends. The outer error is one of the connection.
fn hear(
    mut answer: Answer,
    see: &mut dyn FnMut(&Event),
) -> Result<Result<Outcome, CommandError>, ClientError> {
    loop {
        while let Some(event) = answer.ready()? {
            match end_of(&event) {
                Some(end) => return Ok(end),
                None => see(&event),
            }
        }
        if let Some(error) = answer.without_end() {
            return Err(error);
        }
        answer.fill()?;
    }
}

/// Shows one event; returns how the request ended if it was the last one.
///
/// # Errors
///
/// The failures of the request, inside of `Some`.
pub fn show(event: &Event, terminal: &mut Terminal) -> Option<Result<Outcome, CommandError>> {
    let end = end_of(event);
    if end.is_none() {
        terminal.draw(event);
    }
    end
}

/// How a request ended, if `event` is its last one.
fn end_of(event: &Event) -> Option<Result<Outcome, CommandError>> {
    match event {
        Event::Done { changed, exit_code, leaves } => {
            Some(Ok(Outcome { changed: *changed, code: code(*exit_code), leaves: *leaves }))
        }
        Event::Failed { failures } => Some(Err(CommandError::from(failures.clone()))),
        _ => None,
    }
}

/// An exit code as a process can have it.
#[must_use]
pub fn code(code: i32) -> u8 {
    u8::try_from(code & 0xff).unwrap_or(u8::MAX)
}

/// Waits until a descriptor is ready; redraws the progress in the meantime.
///
/// # Errors
///
/// When poll(2) fails.
pub fn wait_for(
    descriptors: &mut [PollFd<'_>],
    terminal: &mut Terminal,
) -> Result<(), CommandError> {
    loop {
        let pace = terminal.pace().and_then(|pace| Timespec::try_from(pace).ok());
        match poll(descriptors, pace.as_ref()) {
            Ok(0) => terminal.tick(),
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(error) => return Err(CommandError::failed(format!("poll: {error}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixListener;

    use super::*;
    use crate::cli::terminal::{Ansi, ProgressMode};
    use crate::cli::testing;
    use crate::event::{Kind, Status};
    use crate::record::Roots;

    #[test]
    fn a_connection_is_asked_for_again_when_the_supervisor_leaves() {
        let folder = tempfile::tempdir().unwrap();
        let roots = Roots::new(folder.path().join("data"), folder.path().join("run"));
        std::fs::create_dir_all(roots.project("p").run()).unwrap();
        let listener = UnixListener::bind(roots.project("p").socket()).unwrap();
        let context = Context::new(testing::args(&[]), roots);
        let supervisor = std::thread::spawn(move || {
            drop(listener.accept().unwrap());
            let (mut client, _) = listener.accept().unwrap();
            let asked = client.read(&mut [0; 4096]).unwrap();
            client.write_all(b"HTTP/1.1 101 Switching Protocols\r\n\r\nearly").unwrap();
            asked
        });
        let session = Session::starting_with(&context, "p", |_| {
            Err(LaunchError::Start(std::io::ErrorKind::NotFound.into()))
        });
        let (_socket, early) = session.upgrade("/v1/x").unwrap();
        assert_eq!(early, b"early");
        assert!(supervisor.join().unwrap() > 0);
    }
    #[test]
    fn an_answer_without_an_end_is_cut_off() {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join("api.sock")).unwrap();
        let ours = Client::connect(&folder.path().join("api.sock")).unwrap();
        let (mut theirs, _) = listener.accept().unwrap();
        let line = Event::step(Kind::Network, "p_default", Status::Creating).to_line();
        let line = String::from_utf8(line).unwrap();
        let body = format!("{:x}\r\n{line}\r\n0\r\n\r\n", line.len());
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        theirs.write_all(format!("{head}{body}").as_bytes()).unwrap();
        let mut answer = ours.post("/v1/up", &serde_json::json!({})).unwrap();
        let mut terminal = Terminal::new(ProgressMode::Quiet, Ansi::Never, "up", false);
        let ended =
            wait(&mut answer, Interrupt::Readable(None), &mut terminal, &mut |_| {}).unwrap();
        // The connection is still there: only the answer is over.
        assert!(matches!(ended, Err(ClientError::CutOff { .. })), "{ended:?}");
        drop(theirs);
    }
}
