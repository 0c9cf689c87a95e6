//! The supervisor as the keeper's child: started, and started again.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use sys::process::{Program, Session};

use super::config::{Config, environment};
use super::link::Link;

/// The first wait before it is started again.
const FIRST: Duration = Duration::from_millis(100);

/// The longest.
const LAST: Duration = Duration::from_secs(5);

/// One that has lived for as long has worked, and the waits begin anew.
const SETTLED: Duration = Duration::from_secs(1);

/// The process, and when the next one is due.
#[derive(Debug)]
pub(super) struct Supervisor {
    child: Option<(Pid, OwnedFd)>,
    began: Instant,
    wait: Duration,
    due: Option<Instant>,
    /// Whether one has ever asked for something: only then is it worth another try.
    pub served: bool,
}

impl Supervisor {
    /// One that another process has started, and that is at work.
    pub(super) fn foreign() -> Self {
        Self { child: None, began: Instant::now(), wait: FIRST, due: None, served: true }
    }

    /// Starts the first one. `ready` goes to it as descriptor 4.
    pub(super) fn first(config: &Config, ready: OwnedFd) -> io::Result<(Self, Link)> {
        let mut supervisor =
            Self { child: None, began: Instant::now(), wait: FIRST, due: None, served: false };
        let link = supervisor.start(config, Some(ready))?;
        Ok((supervisor, link))
    }

    /// Starts one: its descriptors are nothing, our log twice, its socket, and the pipe for "ready".
    fn start(&mut self, config: &Config, ready: Option<OwnedFd>) -> io::Result<Link> {
        let (ours, theirs) = sys::fds::message_pair()?;
        let executable = sys::executable::sealed()?;
        let null = File::open("/dev/null")?;
        let (output, error) = (rustix::stdio::stdout(), rustix::stdio::stderr());
        let mut descriptors = vec![null.as_fd(), output, error, theirs.as_fd()];
        descriptors.extend(ready.as_ref().map(AsFd::as_fd));
        let child = sys::process::start(&Program {
            executable: executable.as_fd(),
            arguments: config.supervisor_arguments()?,
            environment: environment()?,
            descriptors,
            session: Session::Inherited,
        })?;
        self.began = Instant::now();
        self.due = None;
        self.child = Some((child.pid, child.pidfd));
        Ok(Link::new(ours))
    }

    /// It has closed its end of the socket: plans the next one.
    pub(super) fn lost(&mut self) {
        if self.began.elapsed() >= SETTLED {
            self.wait = FIRST;
        }
        self.due = Some(Instant::now() + self.wait);
        self.wait = (self.wait * 2).min(LAST);
    }

    /// Whether a process that has ended was it.
    pub(super) fn ended(&mut self, pid: Pid) -> bool {
        self.child.take_if(|(child, _)| *child == pid).is_some()
    }

    /// How long it is until the next one is due.
    pub(super) fn due_in(&self) -> Option<Duration> {
        self.due.map(|due| due.saturating_duration_since(Instant::now()))
    }

    /// Starts the next one if it is due. One that cannot be started is tried again later.
    pub(super) fn start_if_due(&mut self, config: &Config) -> Option<Link> {
        if self.due? > Instant::now() {
            return None;
        }
        if let Some((_, pidfd)) = &self.child {
            // It has had the time to say why it ends. Without its keeper it is of no use, and it may hold the lock that the
            // next one needs.
            let _ = rustix::process::pidfd_send_signal(pidfd, Signal::KILL);
        }
        let link = self.start(config, None);
        if link.is_err() {
            self.lost();
        }
        link.ok()
    }
}
