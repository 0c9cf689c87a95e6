//! The only place that prints.
//!
//! Results go to standard output; progress, warnings and errors to standard error. Progress is
//! a [`board`] redrawn in place on a terminal, a line for each step elsewhere, JSON or nothing.
//! Everything is written in whole lines with one write(2), so that the output of two commands
//! never mixes within a line.

pub mod board;
mod mistakes;
pub mod screen;
pub mod sizes;
pub mod sparkline;
pub mod table;

use std::io::{self, BufRead, IsTerminal, Write};
use std::time::{Duration, Instant};

use anstyle::{AnsiColor, Style};
use serde::Serialize;

use crate::cli::error::{BROKEN_PIPE, CommandError, FAILED};
use crate::diagnostic::{self, Diagnostic};
use crate::event::{Event, Failure, Place, Progress, Step};
use crate::model;
use board::Board;

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum ProgressMode {
    /// `tty` on a terminal, else `plain`
    #[value(alias = "")]
    Auto,
    /// Redrawn in place
    Tty,
    /// A line for each step
    Plain,
    /// A JSON object for each step
    Json,
    /// Nothing
    #[value(alias = "none")]
    Quiet,
}

/// When colours and cursor movements may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
#[expect(missing_docs, reason = "words of the command line, where nothing is to be added")]
pub enum Ansi {
    Never,
    Always,
    #[value(alias = "")]
    Auto,
}

/// The terminal, or whatever stands in its place.
#[derive(Debug)]
pub struct Terminal {
    mode: Mode,
    colour_out: bool,
    colour_err: bool,
    begun: Instant,
    dry_run: bool,
    progress_to: ProgressTo,
}

/// Where progress goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ProgressTo {
    /// Standard error, beside what is a result.
    Error,
    /// Standard output, as `COMPOSE_STATUS_STDOUT` asks for.
    Output,
}

#[derive(Debug)]
enum Mode {
    Live(Live),
    Plain,
    Json,
    Quiet,
}

#[derive(Debug)]
struct Live {
    board: Board,
    /// Lines of the board that are on the screen now.
    drawn: usize,
}

const ERROR: Style = AnsiColor::Red.on_default().bold();
const WARNING: Style = AnsiColor::Yellow.on_default().bold();
const HELP: Style = AnsiColor::Cyan.on_default();

impl Terminal {
    /// The terminal of this process. `NO_COLOR` and `TERM=dumb` are respected.
    pub fn new(progress: ProgressMode, ansi: Ansi, title: &str, dry_run: bool) -> Self {
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let colour = |terminal: bool| match ansi {
            Ansi::Never => false,
            Ansi::Always => true,
            Ansi::Auto => terminal && !plain && !dumb,
        };
        let live = || Mode::Live(Live { board: Board::new(title), drawn: 0 });
        let err = io::stderr().is_terminal();
        let asked = std::env::var("COMPOSE_STATUS_STDOUT");
        let (progress_to, moves) = match asked.as_deref() {
            Ok("1" | "true" | "yes") => (ProgressTo::Output, io::stdout().is_terminal()),
            _ => (ProgressTo::Error, err),
        };
        let mode = match progress {
            ProgressMode::Auto if moves && !dumb && ansi != Ansi::Never && !dry_run => live(),
            ProgressMode::Tty => live(),
            ProgressMode::Auto | ProgressMode::Plain => Mode::Plain,
            ProgressMode::Json => Mode::Json,
            ProgressMode::Quiet => Mode::Quiet,
        };
        Self {
            mode,
            colour_out: colour(io::stdout().is_terminal()),
            colour_err: colour(err),
            begun: Instant::now(),
            dry_run,
            progress_to,
        }
    }

    /// Shows no progress from here on.
    pub fn hush(&mut self) {
        self.settle();
        self.mode = Mode::Quiet;
    }

    /// Whether standard output takes colours.
    #[must_use]
    pub const fn colours(&self) -> bool {
        self.colour_out
    }

    /// Whether standard output is a terminal.
    #[must_use]
    pub fn is_terminal(&self) -> bool {
        io::stdout().is_terminal()
    }

    /// Rows and columns of the terminal at standard output, if it is one.
    #[must_use]
    pub fn output_size(&self) -> Option<(usize, usize)> {
        let size = || match runtime::pty::size(io::stdout()) {
            Some(size) => (size.ws_row.into(), size.ws_col.into()),
            None => (24, 80),
        };
        self.is_terminal().then(size)
    }

    /// Whether standard error takes colours.
    #[must_use]
    pub const fn colours_error(&self) -> bool {
        self.colour_err
    }

    /// Whether progress, warnings and errors are lines of JSON.
    #[must_use]
    pub const fn speaks_json(&self) -> bool {
        matches!(self.mode, Mode::Json)
    }

    /// From here on progress, warnings and errors are lines of JSON.
    pub fn speak_json(&mut self) {
        self.mode = Mode::Json;
    }

    /// How often [`Self::tick`] is to be called, if at all.
    #[must_use]
    pub const fn pace(&self) -> Option<Duration> {
        match &self.mode {
            Mode::Live(live) if live.drawn > 0 => Some(Duration::from_millis(100)),
            _ => None,
        }
    }

    /// Shows an event of a request.
    pub fn draw(&mut self, event: &Event) {
        match event {
            Event::Step(step) => self.step(step),
            Event::Warning { message } => self.warn(message),
            Event::Build(event) => self.note(&event.to_string()),
            Event::Container(_) | Event::Done { .. } | Event::Failed { .. } => {}
        }
    }

    /// Redraws what changes with time alone.
    pub fn tick(&mut self) {
        let to = self.progress_to;
        let now = self.begun.elapsed();
        let colour = self.colour_err;
        if let Mode::Live(live) = &mut self.mode {
            write_progress(to, &live.redraw(b"", now, colour));
        }
    }

    /// Leaves the progress as it is on the screen; what follows is written below it.
    pub fn settle(&mut self) {
        let to = self.progress_to;
        let now = self.begun.elapsed();
        let colour = self.colour_err;
        if let Mode::Live(live) = &mut self.mode {
            write_progress(to, &live.finish(now, colour));
        }
    }

    /// Writes a result, as it is.
    ///
    /// # Errors
    ///
    /// When standard output does not take it; without words if its reader has left.
    pub fn print(&mut self, text: impl AsRef<[u8]>) -> Result<(), CommandError> {
        let to = self.progress_to;
        let text = text.as_ref();
        let now = self.begun.elapsed();
        let colour = self.colour_err;
        let Mode::Live(live) = &mut self.mode else { return write_out(text) };
        if live.drawn == 0 {
            return write_out(text);
        }
        write_progress(to, &live.erase());
        let result = write_out(text);
        write_progress(to, &live.redraw(b"", now, colour));
        result
    }

    /// Writes log lines that go to standard error.
    pub fn print_error(&mut self, text: &[u8]) {
        self.above(text);
    }

    /// Writes a result as one line of JSON.
    ///
    /// # Errors
    ///
    /// As [`Self::print`].
    pub fn print_json(&mut self, value: &impl Serialize) -> Result<(), CommandError> {
        let mut line = serde_json::to_vec(value).map_err(|error| CommandError::new(&error))?;
        line.push(b'\n');
        self.print(line)
    }

    /// Says something to the user that is no result.
    pub fn note(&mut self, text: &str) {
        match self.mode {
            Mode::Quiet => {}
            Mode::Json => {
                let line = serde_json::json!({ "message": text });
                self.above(format!("{line}\n").as_bytes());
            }
            _ => self.above(format!("{text}\n").as_bytes()),
        }
    }

    /// Writes a question to standard error, without a line feed, whatever the mode.
    pub fn ask(&mut self, question: &str) {
        self.settle();
        write_err(question.as_bytes());
    }

    /// Asks whether to go on; only a yes is one. `without_asking` is the command that does not ask.
    ///
    /// # Errors
    ///
    /// When standard input is no terminal: nobody can be asked.
    pub fn confirm(&mut self, what: &str, without_asking: &str) -> Result<bool, CommandError> {
        if !io::stdin().is_terminal() {
            self.ask(&format!("{what}\n"));
            let message = "cannot ask whether to go on: standard input is no terminal";
            return Err(
                CommandError::failed(message).help(format!("{without_asking} does not ask"))
            );
        }
        self.answered(&format!("{what}\nAre you sure? [yN] "))
    }

    /// Asks a question to which silence is a no: where standard input is no terminal, nobody is asked.
    ///
    /// # Errors
    ///
    /// When the answer cannot be read.
    pub fn is_asked(&mut self, question: &str) -> Result<bool, CommandError> {
        if self.dry_run || !io::stdin().is_terminal() {
            return Ok(false);
        }
        self.answered(&format!("{question} [yN] "))
    }

    fn answered(&mut self, question: &str) -> Result<bool, CommandError> {
        self.ask(question);
        let mut answer = String::new();
        let read = io::stdin().lock().read_line(&mut answer);
        read.map_err(|error| CommandError::failed(format!("cannot read the answer: {error}")))?;
        Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
    }

    /// Says something that the user should know.
    pub fn warn(&mut self, message: &str) {
        if matches!(self.mode, Mode::Json) {
            let line = Diagnostic::warning(message).to_json();
            self.above(format!("{line}\n").as_bytes());
        } else {
            let line = format!("{} {message}\n", paint(WARNING, "warning:", self.colour_err));
            self.above(line.as_bytes());
        }
    }

    /// Shows warnings that are drawn already.
    pub fn warn_drawn(&mut self, text: &str) {
        if !text.is_empty() && !matches!(self.mode, Mode::Quiet) {
            self.above(text.as_bytes());
        }
    }

    /// Says why the command failed.
    pub fn fail(&mut self, error: &CommandError) {
        self.settle();
        let mut text = error.drawn.clone();
        for failure in &error.failures {
            text.push_str(&match self.mode {
                Mode::Json => failure_json(failure),
                _ => failure_text(failure, self.colour_err),
            });
        }
        write_err(text.as_bytes());
    }

    fn step(&mut self, step: &Step) {
        let to = self.progress_to;
        let now = self.begun.elapsed();
        let colour = self.colour_err;
        match &mut self.mode {
            Mode::Live(live) => {
                live.board.step(step, now);
                write_progress(to, &live.redraw(b"", now, colour));
            }
            // How far something is would be a line again and again.
            Mode::Plain if step.amount.is_some() => {}
            Mode::Plain => write_progress(to, plain_line(step, self.dry_run).as_bytes()),
            Mode::Json => write_progress(to, json_line(step, self.dry_run).as_bytes()),
            Mode::Quiet => {}
        }
    }

    fn above(&mut self, text: &[u8]) {
        let to = self.progress_to;
        let now = self.begun.elapsed();
        let colour = self.colour_err;
        match &mut self.mode {
            Mode::Live(live) if live.drawn > 0 => {
                write_progress(to, &live.redraw(text, now, colour))
            }
            _ => write_err(text),
        }
    }
}

impl Live {
    /// The bytes that put `text` where the board is and the board below it.
    fn redraw(&mut self, text: &[u8], now: Duration, colour: bool) -> Vec<u8> {
        let (rows, columns) = size();
        let board = self.board.render(now, rows, columns, colour);
        self.replace(text, &board)
    }

    /// The bytes that leave the whole board on the screen; the next one starts empty.
    fn finish(&mut self, now: Duration, colour: bool) -> Vec<u8> {
        let (_, columns) = size();
        let board = self.board.render(now, usize::MAX, columns, colour);
        let bytes = self.replace(b"", &board);
        self.drawn = 0;
        self.board.clear();
        bytes
    }

    fn replace(&mut self, text: &[u8], board: &str) -> Vec<u8> {
        let mut bytes = self.erase();
        bytes.extend_from_slice(text);
        bytes.extend_from_slice(board.as_bytes());
        self.drawn = board.lines().count();
        bytes
    }

    fn erase(&self) -> Vec<u8> {
        match self.drawn {
            0 => Vec::new(),
            lines => format!("\x1b[{lines}A\x1b[J").into_bytes(),
        }
    }
}

/// Rows and columns of the terminal at standard error.
fn size() -> (usize, usize) {
    match rustix::termios::tcgetwinsize(io::stderr()) {
        Ok(size) if size.ws_col > 0 => (size.ws_row.into(), size.ws_col.into()),
        _ => (24, 80),
    }
}

/// `text` in `style`, or as it is.
#[must_use]
pub fn paint(style: Style, text: &str, colour: bool) -> String {
    if colour { format!("{style}{text}{style:#}") } else { text.to_owned() }
}

fn plain_line(step: &Step, dry_run: bool) -> String {
    let mode = if dry_run { " DRY-RUN MODE - " } else { "" };
    let details = step.details.as_ref().map(|details| format!("  {details}")).unwrap_or_default();
    format!("{mode} {}  {}{details}\n", step.subject, step.status)
}

fn json_line(step: &Step, dry_run: bool) -> String {
    #[derive(Serialize)]
    struct Line<'a> {
        #[serde(rename = "dry-run", skip_serializing_if = "std::ops::Not::not")]
        dry_run: bool,
        id: String,
        status: &'a str,
        text: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        details: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        current: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        total: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        percent: Option<u64>,
    }
    let line = Line {
        dry_run,
        id: step.subject.to_string(),
        status: match step.status.progress() {
            Progress::Working => "Working",
            Progress::Done => "Done",
            Progress::Failed => "Error",
        },
        text: step.status.to_string(),
        details: step.details.as_deref(),
        current: step.amount.map(|amount| amount.done),
        total: step.amount.map(|amount| amount.total),
        percent: step.amount.map(|amount| amount.done.saturating_mul(100) / amount.total.max(1)),
    };
    serde_json::to_string(&line).expect("a struct of strings") + "\n"
}

/// A failure in the shape of all messages; see [`crate::diagnostic`].
fn failure_json(failure: &Failure) -> String {
    let all = match &failure.build {
        Some(build) => mistakes::diagnostics(build),
        None => vec![as_diagnostic(failure)],
    };
    all.iter().map(|one| format!("{}\n", one.to_json())).collect()
}

/// A failure as a message about its place in the file.
fn as_diagnostic(failure: &Failure) -> Diagnostic {
    let mut diagnostic = Diagnostic::error(failure.message.as_str());
    diagnostic.help.extend(failure.help.clone());
    match &failure.place {
        None => diagnostic,
        Some(Place { file, line, column }) => {
            let place = model::Place { file: file.as_path().into(), line: *line, column: *column };
            diagnostic.at(&place, "")
        }
    }
}

fn failure_text(failure: &Failure, colour: bool) -> String {
    let style = diagnostic::Style { color: colour, base: std::env::current_dir().ok() };
    if let Some(build) = &failure.build {
        return mistakes::drawn(build, &style);
    }
    if failure.place.is_some() {
        // As mistakes in a file are shown: what fails at run time may have its reason there.
        return as_diagnostic(failure).render(&style).trim_end().to_owned() + "\n";
    }
    let mut text = format!("{} {}\n", paint(ERROR, "error:", colour), failure.message);
    if let Some(help) = &failure.help {
        text.push_str(&format!(" {} {help}\n", paint(HELP, "help:", colour)));
    }
    text
}

fn write_out(text: &[u8]) -> Result<(), CommandError> {
    let mut out = io::stdout().lock();
    out.write_all(text).and_then(|()| out.flush()).map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => CommandError::silent(BROKEN_PIPE),
        _ => CommandError::failed(format!("cannot write the result: {error}")).code(FAILED),
    })
}

/// Progress that cannot be written is no reason to stop what it is about.
fn write_progress(to: ProgressTo, text: &[u8]) {
    match to {
        ProgressTo::Error => write_err(text),
        ProgressTo::Output => {
            let mut out = io::stdout().lock();
            let _ = out.write_all(text).and_then(|()| out.flush());
        }
    }
}

/// What is said beside a result; who does not hear it has asked for that.
fn write_err(text: &[u8]) {
    let _ = io::stderr().lock().write_all(text);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Kind, Status, Subject};

    fn step(status: Status, details: Option<&str>) -> Step {
        let subject = Subject { kind: Kind::Container, name: "shop-web-1".into() };
        Step { subject, status, details: details.map(str::to_owned), amount: None }
    }

    #[test]
    fn a_step_is_one_line() {
        #[rustfmt::skip]
        let table = [
            (plain_line(&step(Status::Started, None), false), " Container shop-web-1  Started\n"),
            (
                plain_line(&step(Status::Recreate, Some("image changed")), true),
                " DRY-RUN MODE -  Container shop-web-1  Recreate  image changed\n",
            ),
            (
                json_line(&step(Status::Creating, None), false),
                "{\"id\":\"Container shop-web-1\",\"status\":\"Working\",\"text\":\"Creating\"}\n",
            ),
            (
                json_line(&step(Status::Created, Some("x")), true),
                "{\"dry-run\":true,\"id\":\"Container shop-web-1\",\"status\":\"Done\",\"text\":\"Created\",\"details\":\"x\"}\n",
            ),
        ];
        for (line, expected) in table {
            assert_eq!(line, expected);
        }
    }

    #[test]
    fn a_failure_shows_place_and_help() {
        let place = Place { file: "/p/compose.yaml".into(), line: 3, column: 7 };
        let failure = Failure {
            message: "0.0.0.0:80 is already in use".into(),
            help: Some("stop nginx (pid 7)".into()),
            place: Some(place),
            ..Failure::default()
        };
        assert_eq!(
            failure_text(&failure, false),
            "error: 0.0.0.0:80 is already in use\n--> /p/compose.yaml:3:7\n = help: stop nginx (pid 7)\n"
        );
        assert_eq!(
            failure_json(&failure),
            "{\"severity\":\"error\",\"message\":\"0.0.0.0:80 is already in use\",\"file\":\"/p/compose.yaml\",\"line\":3,\"column\":7,\"end\":{\"line\":3,\"column\":8},\"text\":\"\",\"labels\":[],\"notes\":[],\"help\":[\"stop nginx (pid 7)\"]}\n"
        );
    }
}
