//! The watch beside an attached `up`: begun with it (`up --watch`), or begun and ended by a key.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::thread::JoinHandle;

use rustix::event::{EventfdFlags, eventfd};

use crate::api::BuildWhen;
use crate::cli::context::Context;
use crate::cli::error::CommandError;
use crate::cli::terminal::{ProgressMode, Terminal};
use crate::cli::watch::engine::{Engine, Wishes};
use crate::cli::watch::{WatchLock, rules};
use crate::file::Loaded;

/// A watch that can be begun and ended while something else goes on.
#[derive(Debug)]
pub struct Beside<'c> {
    context: &'c Context,
    wishes: Wishes,
    /// When images are built, as far as the command line says.
    when: BuildWhen,
    ready: Option<(Engine, WatchLock)>,
    running: Option<Running>,
}

/// A watch in a thread of its own.
#[derive(Debug)]
struct Running {
    stop: Arc<OwnedFd>,
    thread: JoinHandle<()>,
}

impl<'c> Beside<'c> {
    /// None yet.
    pub const fn new(context: &'c Context, wishes: Wishes, when: BuildWhen) -> Self {
        Self { context, wishes, when, ready: None, running: None }
    }

    /// Watches the files of `loaded` from here on; what is saved is followed from [`Self::begin`] on.
    ///
    /// # Errors
    ///
    /// When another command watches the project, when a rule cannot be followed, and when the kernel has no watches left.
    pub fn prepare(&mut self, loaded: Loaded, terminal: &mut Terminal) -> Result<(), CommandError> {
        let lock = WatchLock::acquire(self.context.roots(), loaded.project.name.as_str())?;
        let rules = rules(&loaded.project, &self.wishes.services, self.when, terminal)?;
        let engine = Engine::new(self.context, loaded, rules, self.wishes.clone())?;
        self.ready = Some((engine, lock));
        Ok(())
    }

    /// Begins to follow what has been prepared.
    ///
    /// # Errors
    ///
    /// When the kernel has no more descriptors.
    pub fn begin(&mut self) -> Result<(), CommandError> {
        let Some((engine, lock)) = self.ready.take() else { return Ok(()) };
        let made = eventfd(0, EventfdFlags::CLOEXEC);
        let made = made.map_err(|error| CommandError::failed(format!("eventfd: {error}")))?;
        let (stop, ansi) = (Arc::new(made), self.context.global().ansi);
        let bell = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let _held = lock;
            let mut terminal = Terminal::new(ProgressMode::Plain, ansi, "watch", false);
            if let Err(error) = engine.run(Some(bell.as_fd()), &mut terminal) {
                terminal.fail(&error);
            }
        });
        self.running = Some(Running { stop, thread });
        Ok(())
    }

    /// Whether a watch goes on, or is about to begin: it replaces containers, so that the end of the last one is no end.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.ready.is_some() || self.running.as_ref().is_some_and(|one| !one.thread.is_finished())
    }

    /// Ends the watch if there is one, and begins one if there is none.
    ///
    /// # Errors
    ///
    /// As [`Self::prepare`].
    pub fn toggle(&mut self, terminal: &mut Terminal) -> Result<(), CommandError> {
        if let Some(Running { stop, .. }) = self.running.take_if(|one| !one.thread.is_finished()) {
            // What it is doing is finished without us.
            let _ = rustix::io::write(&stop, &1_u64.to_ne_bytes());
            terminal.note("Watch disabled");
            return Ok(());
        }
        let loaded = self.context.load_to_follow(&self.wishes.services, terminal)?;
        self.prepare(loaded, terminal)?;
        self.begin()
    }
}
