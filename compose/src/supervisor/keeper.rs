//! The supervisor's side of its keeper: requests with tickets out, answers back to whoever waits.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use jiff::Timestamp;
use runtime::exit::ExitStatus;
use runtime::failure::Failure;
use runtime::keeper::{Keeper, Reply, Request, Running};
use runtime::launch::NamespaceKind;
use rustix::pipe::{PipeFlags, pipe_with};
use tokio::io::unix::AsyncFd;
use tokio::sync::oneshot;

use super::readiness::{self, Source};

/// Why the keeper did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum KeeperError {
    /// The container's own set-up failed.
    #[error(transparent)]
    Failed(#[from] Failure),
    /// The keeper could not be reached, or died before it answered.
    #[error("the keeper of this project does not answer")]
    Unreachable(#[source] io::Error),
}

/// A process that the keeper has started.
#[derive(Debug)]
pub struct Started {
    /// Its names and times.
    pub running: Running,
    /// Its pidfd.
    pub pidfd: OwnedFd,
}

/// A container on its way, which waits before its program. Dropped, it gives up.
#[derive(Debug)]
pub struct Waiting {
    opener: OwnedFd,
    answer: Answer,
}

/// What the keeper says to a request for a process.
type Answer = oneshot::Receiver<Result<Started, Failure>>;

impl Waiting {
    /// Whether it is still on its way: it has not failed, and its keeper lives.
    pub fn is_on_its_way(&mut self) -> bool {
        matches!(self.answer.try_recv(), Err(oneshot::error::TryRecvError::Empty))
    }

    /// Lets it execute its program, and returns when it does.
    ///
    /// # Errors
    ///
    /// [`KeeperError::Failed`] names the step of the set-up that failed.
    pub async fn go_on(self) -> Result<Started, KeeperError> {
        // One that has failed does not read it.
        let _ = rustix::io::write(&self.opener, &[1]);
        answered(self.answer).await
    }
}

async fn answered(answer: Answer) -> Result<Started, KeeperError> {
    match answer.await {
        Ok(Ok(started)) => Ok(started),
        Ok(Err(failure)) => Err(KeeperError::Failed(failure)),
        Err(_) => Err(KeeperError::Unreachable(io::ErrorKind::ConnectionReset.into())),
    }
}

/// The end of a container, as the keeper tells it.
#[derive(Debug, Clone)]
pub struct Ended {
    /// The container's id.
    pub key: String,
    /// Its number.
    pub pid: i32,
    /// How it ended, if the kernel could tell.
    pub status: Option<ExitStatus>,
    /// When.
    pub at: Timestamp,
}

/// What came from the keeper that no ticket waits for.
#[derive(Debug)]
pub enum News {
    /// A container has ended.
    Ended(Ended),
    /// The keeper itself is gone.
    Lost,
}

/// What the keeper holds under one key.
#[derive(Debug)]
pub struct Held {
    /// The container's id.
    pub key: String,
    /// The container, while it runs.
    pub running: Option<Running>,
    /// Its pidfd first if it runs, then what was given to [`Link::hold`].
    pub descriptors: Vec<OwnedFd>,
}

/// The connection to the keeper; can be given a new one when the old one has died.
#[derive(Debug)]
pub struct Link {
    socket: RefCell<Rc<AsyncFd<Source<Keeper>>>>,
    generation: Cell<u64>,
    next_ticket: Cell<u64>,
    starts: RefCell<HashMap<u64, oneshot::Sender<Result<Started, Failure>>>>,
    ends: RefCell<HashMap<u64, oneshot::Sender<Option<ExitStatus>>>>,
    held: RefCell<Vec<Held>>,
    listed: tokio::sync::Notify,
}

impl Link {
    /// Takes over the connection. Tickets begin above `last_ticket`, the highest that a container still runs under.
    ///
    /// # Errors
    ///
    /// Those of registering the descriptor with the event loop.
    pub fn new(keeper: Keeper) -> io::Result<Self> {
        Ok(Self {
            socket: RefCell::new(Rc::new(readiness::register(keeper)?)),
            generation: Cell::new(0),
            next_ticket: Cell::new(1),
            starts: RefCell::default(),
            ends: RefCell::default(),
            held: RefCell::default(),
            listed: tokio::sync::Notify::new(),
        })
    }

    /// Takes `keeper` in the place of one that has died. Whoever waits for that one learns that it is gone.
    ///
    /// # Errors
    ///
    /// Those of registering the descriptor with the event loop.
    pub fn replace(&self, keeper: Keeper) -> io::Result<()> {
        *self.socket.borrow_mut() = Rc::new(readiness::register(keeper)?);
        self.generation.set(self.generation.get() + 1);
        Ok(())
    }

    /// How many keepers have been replaced.
    pub fn generation(&self) -> u64 {
        self.generation.get()
    }

    /// Begins to start a container, which comes up to its program and goes on when it is [told to](Waiting::go_on).
    ///
    /// # Errors
    ///
    /// [`KeeperError::Unreachable`].
    pub fn start(
        &self,
        key: &str,
        joins: Vec<NamespaceKind>,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<Waiting, KeeperError> {
        let (gate, opener) = pipe_with(PipeFlags::CLOEXEC)
            .map_err(|error| KeeperError::Unreachable(error.into()))?;
        let descriptors: Vec<BorrowedFd<'_>> =
            descriptors.iter().copied().chain([gate.as_fd()]).collect();
        let ticket = self.ticket();
        let request = Request::Start { ticket, key: key.to_owned(), joins, gated: true };
        let answer = self.begin(ticket, &request, &descriptors)?;
        Ok(Waiting { opener, answer })
    }

    /// Runs a process in a container; the receiver gets its end.
    ///
    /// # Errors
    ///
    /// [`KeeperError::Failed`] names the step of the set-up that failed.
    pub async fn exec(
        &self,
        key: &str,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<(u64, oneshot::Receiver<Option<ExitStatus>>), KeeperError> {
        let ticket = self.ticket();
        let (sender, end) = oneshot::channel();
        self.ends.borrow_mut().insert(ticket, sender);
        let request = Request::Exec { ticket, key: key.to_owned() };
        let begun = match self.begin(ticket, &request, descriptors) {
            Ok(answer) => answered(answer).await,
            Err(error) => Err(error),
        };
        if begun.is_err() {
            self.ends.borrow_mut().remove(&ticket);
        }
        begun.map(|_| (ticket, end))
    }

    /// Kills the process of an [`Link::exec`].
    pub fn kill(&self, ticket: u64) {
        let _ = self.send(&Request::Kill { ticket }, &[]);
    }

    /// Has the keeper hold `descriptors` under `key`, in the place of what it held there.
    ///
    /// # Errors
    ///
    /// [`KeeperError::Unreachable`].
    pub fn hold(&self, key: &str, descriptors: &[BorrowedFd<'_>]) -> Result<(), KeeperError> {
        self.send(&Request::Hold { key: key.to_owned() }, descriptors)
    }

    /// Has the keeper forget what it holds under `key`.
    pub fn release(&self, key: &str) {
        let _ = self.send(&Request::Release { key: key.to_owned() }, &[]);
    }

    /// Gives a container of a dead keeper to this one.
    ///
    /// # Errors
    ///
    /// [`KeeperError::Unreachable`].
    pub fn adopt(
        &self,
        key: &str,
        running: Running,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<(), KeeperError> {
        self.send(&Request::Adopt { key: key.to_owned(), running }, descriptors)
    }

    /// Asks for everything that is held. Needs [`Link::next`] to be called meanwhile.
    ///
    /// # Errors
    ///
    /// [`KeeperError::Unreachable`].
    pub async fn list(&self) -> Result<Vec<Held>, KeeperError> {
        self.send(&Request::List, &[])?;
        self.listed.notified().await;
        Ok(self.held.take())
    }

    /// Tells the keeper to leave, and comes back when it has.
    pub async fn quit(&self) {
        if self.send(&Request::Quit, &[]).is_err() {
            return;
        }
        let socket = Rc::clone(&self.socket.borrow());
        while let Ok(mut ready) = socket.readable().await {
            match ready.get_inner().0.receive() {
                Ok(Some(_)) => {}
                Ok(None) => ready.clear_ready(),
                Err(_) => return,
            }
        }
    }

    /// Reads until there is something that no ticket waits for.
    pub async fn next(&self) -> News {
        loop {
            let socket = Rc::clone(&self.socket.borrow());
            let Ok(mut ready) = socket.readable().await else { return self.lost() };
            match ready.get_inner().0.receive() {
                Ok(Some((reply, descriptors))) => {
                    if let Some(news) = self.dispatch(reply, descriptors) {
                        return news;
                    }
                }
                Ok(None) => ready.clear_ready(),
                Err(error) => {
                    tracing::warn!(%error, "keeper");
                    return self.lost();
                }
            }
        }
    }

    fn ticket(&self) -> u64 {
        let ticket = self.next_ticket.get();
        self.next_ticket.set(ticket + 1);
        ticket
    }

    fn begin(
        &self,
        ticket: u64,
        request: &Request,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<Answer, KeeperError> {
        let (sender, answer) = oneshot::channel();
        self.starts.borrow_mut().insert(ticket, sender);
        if let Err(error) = self.send(request, descriptors) {
            self.starts.borrow_mut().remove(&ticket);
            return Err(error);
        }
        Ok(answer)
    }

    fn send(&self, request: &Request, descriptors: &[BorrowedFd<'_>]) -> Result<(), KeeperError> {
        // A keeper always reads, so that this does not wait.
        self.socket
            .borrow()
            .get_ref()
            .0
            .send(request, descriptors)
            .map_err(KeeperError::Unreachable)
    }

    fn dispatch(&self, reply: Reply, mut descriptors: Vec<OwnedFd>) -> Option<News> {
        match reply {
            Reply::Started { ticket, pid, pid_started, started } => {
                let waiting = self.starts.borrow_mut().remove(&ticket)?;
                let running = Running { ticket, pid, pid_started, started };
                let pidfd = descriptors.pop()?;
                let _ = waiting.send(Ok(Started { running, pidfd }));
                None
            }
            Reply::Failed { ticket, failure } => {
                let waiting = self.starts.borrow_mut().remove(&ticket)?;
                let _ = waiting.send(Err(failure));
                None
            }
            Reply::Exited { key, ticket, pid, status, at } => {
                if let Some(waiting) = self.ends.borrow_mut().remove(&ticket) {
                    let _ = waiting.send(status);
                    return None;
                }
                Some(News::Ended(Ended { key, pid, status, at }))
            }
            Reply::Held { key, running } => {
                if let Some(running) = &running {
                    // A ticket is never used twice, not even by the next supervisor.
                    self.next_ticket.set(self.next_ticket.get().max(running.ticket + 1));
                }
                self.held.borrow_mut().push(Held { key, running, descriptors });
                None
            }
            Reply::Listed => {
                self.listed.notify_one();
                None
            }
        }
    }

    fn lost(&self) -> News {
        self.starts.borrow_mut().clear();
        self.ends.borrow_mut().clear();
        self.listed.notify_one();
        News::Lost
    }
}

/// The descriptors of `owned`, lent.
pub fn lend(owned: &[OwnedFd]) -> Vec<BorrowedFd<'_>> {
    owned.iter().map(AsFd::as_fd).collect()
}
