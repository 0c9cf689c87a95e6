//! Between the user's terminal and one of a container.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{PollFd, PollFlags};
use rustix::fs::OFlags;
use rustix::io::Errno;

use super::run::hand_on;
use crate::exit::ExitStatus;
use crate::pty::{Raw, resize, size};

/// What is moved at a time.
const BUFFER: usize = 16 << 10;

/// What a terminal takes as the end of its input (`VEOF`, control-D).
const END_OF_INPUT: u8 = 4;

/// A terminal of a container, joined to ours until the process ends.
#[derive(Debug)]
pub(crate) struct Relay {
    master: OwnedFd,
    /// Puts our own terminal back when this is dropped.
    _raw: Option<Raw>,
    /// What was read and not taken yet.
    waiting: Vec<u8>,
    /// Whether there is more to read.
    open: bool,
}

impl Relay {
    /// Gives the terminal the size of ours, which becomes raw.
    pub(crate) fn begin(master: OwnedFd) -> io::Result<Self> {
        rustix::fs::fcntl_setfl(&master, OFlags::RDWR | OFlags::NONBLOCK)?;
        let raw = Raw::enter(rustix::stdio::stdin())?;
        let relay = Self { master, _raw: raw, waiting: Vec::new(), open: true };
        relay.fit();
        Ok(relay)
    }

    /// Gives the terminal the size of ours, if we have one.
    fn fit(&self) {
        if let Some(size) = size(rustix::stdio::stdin()).or_else(|| size(rustix::stdio::stdout())) {
            // A terminal that is gone needs no size; that it is gone is seen elsewhere.
            let _ = resize(&self.master, size);
        }
    }

    /// Moves bytes both ways until the process has ended and all that it said is shown.
    pub(crate) fn run(self, pidfd: &OwnedFd, signals: &OwnedFd) -> io::Result<ExitStatus> {
        self.until(pidfd, signals, |signal| hand_on(pidfd, signal))?;
        Ok(ExitStatus::from_wait_status(sys::process::wait_word(pidfd.as_fd())?))
    }

    /// Moves bytes both ways until `end` can be read and all that was said before is shown. `take` gets the signals that
    /// are not about the terminal.
    pub(crate) fn until(
        mut self,
        end: &OwnedFd,
        signals: &OwnedFd,
        take: impl Fn(i32),
    ) -> io::Result<()> {
        loop {
            let (ended, said, typed) = self.wait(end, signals)?;
            for signal in sys::process::pending_signals(signals.as_fd())? {
                if signal == libc::SIGWINCH { self.fit() } else { take(signal) }
            }
            if typed {
                self.take_input()?;
            }
            self.give_input()?;
            if said || ended {
                self.show()?;
            }
            if ended {
                return Ok(());
            }
        }
    }

    /// Whether the process has ended, has said something, and has something to read.
    fn wait(&self, end: &OwnedFd, signals: &OwnedFd) -> io::Result<(bool, bool, bool)> {
        let input = rustix::stdio::stdin();
        let events =
            if self.waiting.is_empty() { PollFlags::IN } else { PollFlags::IN | PollFlags::OUT };
        let mut polled = vec![
            PollFd::new(end, PollFlags::IN),
            PollFd::new(signals, PollFlags::IN),
            PollFd::new(&self.master, events),
        ];
        if self.open && self.waiting.is_empty() {
            polled.push(PollFd::new(&input, PollFlags::IN));
        }
        rustix::io::retry_on_intr(|| rustix::event::poll(&mut polled, None))?;
        let came =
            |index: usize| polled.get(index).is_some_and(|polled| !polled.revents().is_empty());
        let said = polled[2].revents();
        // A terminal without a process at its other end hangs up, again and again: then the end of ours comes soon.
        if said.contains(PollFlags::HUP) && !said.contains(PollFlags::IN) && !came(0) {
            let mut last = [PollFd::new(end, PollFlags::IN), PollFd::new(signals, PollFlags::IN)];
            rustix::io::retry_on_intr(|| rustix::event::poll(&mut last, None))?;
            return Ok((!last[0].revents().is_empty(), false, false));
        }
        Ok((came(0), came(2), came(3)))
    }

    fn take_input(&mut self) -> io::Result<()> {
        let mut buffer = [0; BUFFER];
        match rustix::io::read(rustix::stdio::stdin(), &mut buffer) {
            Ok(0) => {
                self.open = false;
                self.waiting.push(END_OF_INPUT);
            }
            Ok(length) => self.waiting.extend_from_slice(&buffer[..length]),
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    fn give_input(&mut self) -> io::Result<()> {
        while !self.waiting.is_empty() {
            match rustix::io::write(&self.master, &self.waiting) {
                Ok(length) => drop(self.waiting.drain(..length)),
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => {}
                // Nobody reads any more.
                Err(Errno::IO) => self.waiting.clear(),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Shows all that has been said so far.
    fn show(&mut self) -> io::Result<()> {
        let mut buffer = [0; BUFFER];
        loop {
            match rustix::io::read(&self.master, &mut buffer) {
                // EIO: the other end is closed.
                Ok(0) | Err(Errno::AGAIN | Errno::IO) => return Ok(()),
                Ok(length) => write_all(&buffer[..length])?,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

fn write_all(mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(rustix::stdio::stdout(), bytes) {
            Ok(length) => bytes = &bytes[length..],
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                let output = rustix::stdio::stdout();
                let mut polled = [PollFd::new(&output, PollFlags::OUT)];
                rustix::io::retry_on_intr(|| rustix::event::poll(&mut polled, None))?;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
