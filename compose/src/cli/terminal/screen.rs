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
use ratatui::layout::Rect;
use ratatui::{Frame, Terminal, TerminalOptions, Viewport};
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

    /// Rows and columns; those of old for a terminal that does not know.
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

    /// Draws everything from nothing at the next time, on a screen that may have another size by now.
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
    let (rows, columns) = Screen::size();
    let viewport = Viewport::Fixed(Rect::new(0, 0, columns, rows));
    let backend = CrosstermBackend::new(BufWriter::with_capacity(64 << 10, io::stdout()));
    Terminal::with_options(backend, TerminalOptions { viewport })
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

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::process::{Command, Stdio};

    use rustix::termios::tcgetattr;

    use super::*;

    /// Set for the process that takes the screen of [`a_panic_gives_the_terminal_back`].
    const PANICS: &str = "COMPOSE_TEST_PANICS_WITH_THE_SCREEN";

    #[test]
    #[expect(clippy::exit, reason = "the end of a process that panics")]
    fn a_panic_gives_the_terminal_back() {
        if std::env::var_os(PANICS).is_some() {
            let _screen = Screen::take().unwrap();
            // As in a release build, where nothing is dropped.
            let panicked = std::thread::spawn(|| panic!("at a bad moment")).join();
            std::process::exit(if panicked.is_err() { 7 } else { 0 });
        }
        let pair = runtime::pty::open().unwrap();
        let before = tcgetattr(&pair.slave).unwrap();
        let name = "cli::terminal::screen::tests::a_panic_gives_the_terminal_back";
        let end = || Stdio::from(pair.slave.try_clone().unwrap());
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", name, "--nocapture"]).env(PANICS, "1").env("TERM", "xterm");
        child.stdin(end()).stdout(end()).stderr(Stdio::null());
        assert_eq!(child.status().unwrap().code(), Some(7));
        let after = tcgetattr(&pair.slave).unwrap();
        assert_eq!(
            (before.local_modes, before.input_modes, before.output_modes),
            (after.local_modes, after.input_modes, after.output_modes)
        );
        drop((child, pair.slave));
        let mut said = Vec::new();
        // At the end a terminal without a slave fails with EIO.
        let _end = std::fs::File::from(pair.master).read_to_end(&mut said);
        let said = String::from_utf8_lossy(&said);
        let (entered, left) = (said.find("\x1b[?1049h"), said.rfind("\x1b[?1049l"));
        assert!(entered.is_some() && entered < left, "{said:?}");
    }
}
