//! Our terminal and a container's, tied together by frames.

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use nix::sys::signal::Signal;
use runtime::pty;
use rustix::event::{PollFd, PollFlags};

use super::keys::DetachKeys;
use crate::api::frame::{Frame, Size};
use crate::cli::error::CommandError;
use crate::cli::session::{code, wait_for};
use crate::cli::signals::Signals;
use crate::cli::terminal::Terminal;
use crate::event::Failure;

/// What is tied to the container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ends {
    /// Standard input is passed on.
    pub input: bool,
    /// The container has a terminal, and so have we.
    pub terminal: bool,
}

/// What a user may do who is tied to a container.
#[derive(Debug, Clone)]
pub struct Ways {
    /// What to type to leave the container running; looked for on a terminal only.
    pub keys: DetachKeys,
    /// Signals are passed on; else those that ask us to end let go of the container.
    pub signals: bool,
}

impl Default for Ways {
    fn default() -> Self {
        Self { keys: DetachKeys::default(), signals: true }
    }
}

/// How the connection ended.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    /// The container has exited with this code.
    Exited(u8),
    /// The container could not be started; what we end with.
    Failed(Failure, u8),
    /// The user has let go of the container, which runs on.
    Detached,
    /// The supervisor went away; the container may be running.
    CutOff,
}

/// Signals that are passed on to the container; the size of the terminal travels by itself.
const PASSED_ON: [Signal; 6] = [
    Signal::SIGINT,
    Signal::SIGTERM,
    Signal::SIGHUP,
    Signal::SIGQUIT,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
];

/// No more input is read while so many bytes wait to be sent.
const BACKLOG: usize = 256 * 1024;

/// Passes bytes and signals both ways until the container has exited.
///
/// # Errors
///
/// When our own terminal or output fails.
pub fn run(
    (socket, early): (UnixStream, Vec<u8>),
    ends: Ends,
    ways: Ways,
    terminal: &mut Terminal,
) -> Result<End, CommandError> {
    let failed = |error: io::Error| CommandError::failed(format!("cannot attach: {error}"));
    socket.set_nonblocking(true).map_err(failed)?;
    let signals = Signals::catch_these(&[&PASSED_ON[..], &[Signal::SIGWINCH]].concat())?;
    let _raw = match ends.terminal {
        true => pty::Raw::enter(io::stdin()).map_err(failed)?,
        false => None,
    };
    let mut attached = Attached {
        socket,
        signals,
        incoming: early,
        outgoing: Vec::new(),
        input: ends.input,
        keys: ends.terminal.then_some(ways.keys),
        pass_on: ways.signals,
        detached: false,
        failure: None,
        terminal,
    };
    if ends.terminal {
        attached.send_size();
    }
    if !ends.input {
        attached.send(&Frame::Stdin(Vec::new()));
    }
    attached.run()
}

struct Attached<'a> {
    socket: UnixStream,
    signals: Signals,
    incoming: Vec<u8>,
    outgoing: Vec<u8>,
    /// Whether more input may come.
    input: bool,
    /// What to type to leave.
    keys: Option<DetachKeys>,
    pass_on: bool,
    detached: bool,
    failure: Option<Failure>,
    terminal: &'a mut Terminal,
}

impl Attached<'_> {
    fn run(mut self) -> Result<End, CommandError> {
        loop {
            if let Some(end) = self.take_frames()? {
                return Ok(end);
            }
            let [socket, signal, input] = self.wait()?;
            if signal {
                self.pass_signals()?;
            }
            if input {
                self.read_input();
            }
            if self.detached {
                return Ok(End::Detached);
            }
            self.write();
            if socket && !self.read() {
                return Ok(match self.take_frames()? {
                    Some(end) => end,
                    None => {
                        self.failure.take().map_or(End::CutOff, |failure| End::Failed(failure, 125))
                    }
                });
            }
        }
    }

    fn wait(&mut self) -> Result<[bool; 3], CommandError> {
        let stdin = io::stdin();
        let mut wanted = PollFlags::IN;
        wanted.set(PollFlags::OUT, !self.outgoing.is_empty());
        let mut descriptors =
            vec![PollFd::new(&self.socket, wanted), PollFd::new(&self.signals, PollFlags::IN)];
        if self.input && self.outgoing.len() < BACKLOG {
            descriptors.push(PollFd::from_borrowed_fd(stdin.as_fd(), PollFlags::IN));
        }
        wait_for(&mut descriptors, self.terminal)?;
        let ready = |index: usize| {
            descriptors.get(index).map_or(PollFlags::empty(), |descriptor| descriptor.revents())
        };
        let gone = PollFlags::IN | PollFlags::HUP | PollFlags::ERR;
        Ok([ready(0).intersects(gone), !ready(1).is_empty(), !ready(2).is_empty()])
    }

    fn take_frames(&mut self) -> Result<Option<End>, CommandError> {
        loop {
            let frame = Frame::decode(&mut self.incoming);
            match frame.map_err(|error| CommandError::new(&error).code(125))? {
                None => return Ok(None),
                Some(Frame::Stdout(bytes)) => self.terminal.print(bytes)?,
                Some(Frame::Stderr(bytes)) => self.terminal.print_error(&bytes),
                Some(Frame::Failed(failure)) => self.failure = Some(failure),
                Some(Frame::Exit(number)) => {
                    return Ok(Some(match self.failure.take() {
                        Some(failure) => End::Failed(failure, code(number)),
                        None => End::Exited(code(number)),
                    }));
                }
                // Frames for the other direction.
                Some(Frame::Stdin(_) | Frame::Resize(_) | Frame::Signal(_)) => {}
            }
        }
    }

    fn pass_signals(&mut self) -> Result<(), CommandError> {
        while let Some(signal) = self.signals.take()? {
            if signal == Signal::SIGWINCH as i32 {
                self.send_size();
            } else if self.pass_on {
                self.send(&Frame::Signal(signal));
            } else {
                self.detached = true;
            }
        }
        Ok(())
    }

    fn send_size(&mut self) {
        if let Some(size) = pty::size(io::stdout()) {
            self.send(&Frame::Resize(Size { rows: size.ws_row, columns: size.ws_col }));
        }
    }

    fn send(&mut self, frame: &Frame) {
        self.outgoing.extend(frame.encode());
    }

    fn read_input(&mut self) {
        let mut buffer = vec![0; 16 * 1024];
        // An error of our input is the end of it, as for any program.
        let count =
            rustix::io::retry_on_intr(|| rustix::io::read(io::stdin(), &mut buffer)).unwrap_or(0);
        self.input = count > 0;
        buffer.truncate(count);
        if let Some(keys) = &mut self.keys
            && count > 0
        {
            buffer = keys.filter(&buffer);
            self.detached = keys.are_typed();
            if buffer.is_empty() {
                return;
            }
        }
        self.send(&Frame::Stdin(buffer));
    }

    /// Writes what the socket takes. That it is closed is found out by reading.
    fn write(&mut self) {
        if self.outgoing.is_empty() {
            return;
        }
        if let Ok(count) = self.socket.write(&self.outgoing) {
            self.outgoing.drain(..count);
        }
    }

    /// Reads what has arrived; returns whether the connection may go on.
    fn read(&mut self) -> bool {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            match self.socket.read(&mut buffer) {
                Ok(0) => return false,
                Ok(count) => {
                    self.incoming.extend_from_slice(&buffer[..count]);
                    return true;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::terminal::{Ansi, ProgressMode};

    fn ended_by(frames: &[Frame]) -> End {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        for frame in frames {
            theirs.write_all(&frame.encode()).unwrap();
        }
        theirs.shutdown(std::net::Shutdown::Write).unwrap();
        let mut terminal = Terminal::new(ProgressMode::Quiet, Ansi::Never, "run", false);
        let ends = Ends { input: false, terminal: false };
        let end = run((ours, Vec::new()), ends, Ways::default(), &mut terminal).unwrap();
        let mut said = Vec::new();
        theirs.read_to_end(&mut said).unwrap();
        assert_eq!(said, Frame::Stdin(Vec::new()).encode(), "the end of input");
        end
    }

    #[test]
    fn the_last_frame_says_how_it_ended() {
        let failure = Failure { message: "no such file".into(), ..Failure::default() };
        #[rustfmt::skip]
        let table = [
            (vec![Frame::Exit(3)], End::Exited(3)),
            (vec![Frame::Failed(failure.clone()), Frame::Exit(127)], End::Failed(failure.clone(), 127)),
            (vec![Frame::Failed(failure.clone())], End::Failed(failure, 125)),
            (vec![], End::CutOff),
        ];
        for (frames, end) in table {
            assert_eq!(ended_by(&frames), end);
        }
    }
}
