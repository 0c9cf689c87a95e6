//! The whole screen of the terminal, until it is given back.
//!
//! Whatever ends the process puts the terminal back to what it was: a value of [`Screen`] that is dropped, a panic (by a
//! hook, since a panic of a release build ends the process at once), and signals, which whoever has a screen catches.

use std::io::{self, BufWriter, IsTerminal, Stdout};
use std::panic;
use std::sync::{Arc, Mutex, PoisonError};

use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::Show;
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen};
use ratatui::{Frame, Terminal};
use runtime::pty::Raw;

use crate::cli::error::CommandError;

/// The screen, raw and empty, until this is dropped.
#[derive(Debug)]
pub struct Screen {
    terminal: Terminal<CrosstermBackend<BufWriter<Stdout>>>,
    raw: Arc<Mutex<Option<Raw>>>,
}

impl Screen {
    /// Takes the screen.
    ///
    /// # Errors
    ///
    /// When standard input or output is no terminal that can be drawn on, or it refuses.
    pub fn take() -> Result<Self, CommandError> {
        let raw = Arc::new(Mutex::new(None));
        let terminal = enter(&raw)?;
        let (kept, before) = (Arc::clone(&raw), panic::take_hook());
        panic::set_hook(Box::new(move |words| {
            leave(&kept);
            before(words);
        }));
        Ok(Self { terminal, raw })
    }

    /// Whether there is a terminal that can be drawn on.
    #[must_use]
    pub fn is_there() -> bool {
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb" || term.is_empty());
        io::stdin().is_terminal() && io::stdout().is_terminal() && !dumb
    }

    /// Rows and columns.
    #[must_use]
    pub fn size() -> (u16, u16) {
        runtime::pty::size(io::stdout()).map_or((24, 80), |size| (size.ws_row, size.ws_col))
    }

    /// Shows what `draw` makes.
    ///
    /// # Errors
    ///
    /// When the terminal is gone.
    pub fn draw(&mut self, draw: impl FnOnce(&mut Frame<'_>)) -> Result<(), CommandError> {
        self.terminal.draw(draw).map(drop).map_err(failed)
    }

    /// Gives the terminal to somebody else while `what` is done, and takes it again.
    ///
    /// # Errors
    ///
    /// When the terminal refuses.
    pub fn lend<T>(&mut self, what: impl FnOnce() -> T) -> Result<T, CommandError> {
        leave(&self.raw);
        let done = what();
        self.terminal = enter(&self.raw)?;
        Ok(done)
    }

    /// Draws everything from nothing at the next time.
    ///
    /// # Errors
    ///
    /// As [`Self::draw`].
    pub fn renew(&mut self) -> Result<(), CommandError> {
        self.terminal = empty().map_err(failed)?;
        Ok(())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        leave(&self.raw);
    }
}

fn failed(error: io::Error) -> CommandError {
    CommandError::failed(format!("cannot draw on the terminal: {error}"))
}

fn enter(
    raw: &Mutex<Option<Raw>>,
) -> Result<Terminal<CrosstermBackend<BufWriter<Stdout>>>, CommandError> {
    let entered = Raw::enter(io::stdin()).map_err(failed)?;
    *raw.lock().unwrap_or_else(PoisonError::into_inner) = entered;
    let begin = || {
        execute!(io::stdout(), EnterAlternateScreen)?;
        empty()
    };
    begin().map_err(|error| {
        leave(raw);
        failed(error)
    })
}

fn empty() -> io::Result<Terminal<CrosstermBackend<BufWriter<Stdout>>>> {
    execute!(io::stdout(), Clear(ClearType::All))?;
    Terminal::new(CrosstermBackend::new(BufWriter::with_capacity(64 << 10, io::stdout())))
}

/// Puts the terminal back. Does nothing the second time.
fn leave(raw: &Mutex<Option<Raw>>) {
    let mut raw = raw.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(raw) = raw.take() {
        // A terminal that is gone needs nothing.
        let _ = execute!(io::stdout(), LeaveAlternateScreen, Show);
        drop(raw);
    }
}
