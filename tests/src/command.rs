//! Runs programs with a bound on their time, and keeps what they said.

use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

/// A program that ended, or had to be ended.
#[derive(Debug)]
#[must_use = "look at how it ended: success(), code() or failed()"]
pub struct Run {
    /// The words, for messages.
    pub line: String,
    /// How it ended; by SIGKILL if the time was up.
    pub status: ExitStatus,
    /// Whether its time was up.
    pub timed_out: bool,
    /// How long it took.
    pub took: Duration,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

/// A program that ended as it should have. What it said may be of interest, or not.
#[derive(Debug)]
pub struct Checked {
    /// The words, for messages.
    pub line: String,
    /// How long it took.
    pub took: Duration,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

/// A program ended otherwise than it should have.
#[derive(Debug)]
pub struct Unexpected(String);

impl fmt::Display for Unexpected {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl std::error::Error for Unexpected {}

impl Run {
    /// Requires exit code 0.
    ///
    /// # Errors
    ///
    /// Everything the program said.
    pub fn success(self) -> Result<Checked, Unexpected> {
        self.code(0)
    }

    /// Requires this exit code.
    ///
    /// # Errors
    ///
    /// Everything the program said.
    pub fn code(self, code: i32) -> Result<Checked, Unexpected> {
        if !self.timed_out && self.status.code() == Some(code) {
            let Self { line, took, stdout, stderr, .. } = self;
            return Ok(Checked { line, took, stdout, stderr });
        }
        Err(self.unexpected(&format!("exit code {code}")))
    }

    fn unexpected(&self, wanted: &str) -> Unexpected {
        let ended = match (self.timed_out, self.status.code(), self.status.signal()) {
            (true, ..) => format!("was killed after {:.1?}", self.took),
            (_, Some(code), _) => format!("ended with exit code {code}"),
            (_, _, signal) => format!("was ended by signal {}", signal.unwrap_or_default()),
        };
        Unexpected::new(
            &self.line,
            &format!("{ended}, not with {wanted}"),
            &self.stdout,
            &self.stderr,
        )
    }
}

impl Checked {
    /// Requires that `text` is part of what it said on standard output.
    ///
    /// # Errors
    ///
    /// Everything the program said.
    pub fn says(self, text: &str) -> Result<Self, Unexpected> {
        if self.stdout.contains(text) {
            Ok(self)
        } else {
            Err(self.unexpected(&format!("did not say {text:?}")))
        }
    }

    /// Requires that `text` is part of what it said on standard error.
    ///
    /// # Errors
    ///
    /// Everything the program said.
    pub fn complains(self, text: &str) -> Result<Self, Unexpected> {
        if self.stderr.contains(text) {
            Ok(self)
        } else {
            Err(self.unexpected(&format!("did not say {text:?} on standard error")))
        }
    }

    fn unexpected(&self, what: &str) -> Unexpected {
        Unexpected::new(&self.line, what, &self.stdout, &self.stderr)
    }
}

impl Unexpected {
    fn new(line: &str, what: &str, stdout: &str, stderr: &str) -> Self {
        let (stdout, stderr) = (end_of(stdout), end_of(stderr));
        Self(format!("`{line}` {what}\n--- stdout\n{stdout}\n--- stderr\n{stderr}"))
    }
}

/// The last 4000 bytes: what one reads of a long output.
fn end_of(text: &str) -> &str {
    let start = text.len().saturating_sub(4000);
    text.char_indices().map(|(at, _)| at).find(|at| *at >= start).map_or(text, |at| &text[at..])
}

/// A program that runs beside the scenario.
#[derive(Debug)]
pub struct Running {
    child: Child,
    line: String,
    started: Instant,
    stdout: PathBuf,
    stderr: PathBuf,
}

/// Starts `command` with its output in files of `folder`: a background process that inherits them cannot hold us up.
///
/// # Errors
///
/// When the program or the files cannot be opened.
pub fn start(command: Command, folder: &Path, input: Option<&str>) -> std::io::Result<Running> {
    let stdin = if input.is_some() { Stdio::piped() } else { Stdio::null() };
    let mut running = spawn(command, folder, stdin)?;
    if let (Some(mut stdin), Some(input)) = (running.child.stdin.take(), input) {
        // A program that does not read to the end says so by its exit code.
        let _closed = stdin.write_all(input.as_bytes());
    }
    Ok(running)
}

/// As [`start`], with a pipe as its standard input that [`Running::say`] writes to.
///
/// # Errors
///
/// As [`start`].
pub fn start_typing(command: Command, folder: &Path) -> std::io::Result<Running> {
    spawn(command, folder, Stdio::piped())
}

fn spawn(mut command: Command, folder: &Path, stdin: Stdio) -> std::io::Result<Running> {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let words: Vec<OsString> =
        std::iter::once(command.get_program()).chain(command.get_args()).map(Into::into).collect();
    let line = words.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ");
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let file = |kind: &str| folder.join(format!("{number:04}.{kind}"));
    fs::write(file("command"), format!("{line}\n"))?;
    let (stdout, stderr) = (file("stdout"), file("stderr"));
    command.stdout(File::create(&stdout)?).stderr(File::create(&stderr)?);
    command.stdin(stdin);
    let started = Instant::now();
    let child = command
        .spawn()
        .map_err(|error| std::io::Error::new(error.kind(), format!("{line}: {error}")))?;
    Ok(Running { child, line, started, stdout, stderr })
}

impl Running {
    /// The process id, to send signals to while it runs.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Types at it.
    ///
    /// # Errors
    ///
    /// When it was not started to be typed at, or does not listen any more.
    pub fn say(&mut self, text: &str) -> std::io::Result<()> {
        let stdin = self.child.stdin.as_mut().ok_or(std::io::ErrorKind::Unsupported)?;
        stdin.write_all(text.as_bytes())
    }

    /// What it has said on standard output so far.
    pub fn said(&self) -> String {
        read(&self.stdout)
    }

    /// Sends a signal.
    ///
    /// # Errors
    ///
    /// Those of kill(2).
    pub fn signal(&self, signal: nix::sys::signal::Signal) -> nix::Result<()> {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(self.child.id().cast_signed()), signal)
    }

    /// Waits for the end, and makes one when `bound` is over.
    ///
    /// # Errors
    ///
    /// Those of wait(2).
    pub fn finish(mut self, bound: Duration) -> std::io::Result<Run> {
        let timed_out = !ends_within(&self.child, bound)?;
        if timed_out {
            self.child.kill()?;
        }
        let status = self.child.wait()?;
        Ok(Run {
            status,
            timed_out,
            took: self.started.elapsed(),
            stdout: read(&self.stdout),
            stderr: read(&self.stderr),
            line: self.line,
        })
    }
}

fn read(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}

fn ends_within(child: &Child, bound: Duration) -> std::io::Result<bool> {
    let pid = Pid::from_child(child);
    let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
    let deadline = Instant::now() + bound;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let left =
            Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() };
        match poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&left)) {
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
            Ok(ready) => return Ok(ready > 0),
        }
    }
}
