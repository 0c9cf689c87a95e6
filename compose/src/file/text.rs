//! Reads a file as text, in bounded time and memory, whatever stands at its path.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use super::report::{Finding, Report};
use super::source::{FileId, Span};
use super::trace::Cause;

/// A compose file of this size has more services than one machine can run.
const MAX_BYTES: u64 = 64 << 20;
/// Who opens a FIFO to write into it has done so by then.
const PATIENCE: Duration = Duration::from_secs(2);

/// A file that cannot be read as text.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    /// The kernel refuses, or it is something that has no text.
    #[error("cannot read {path}: {source}", path = shown(path))]
    Io { path: PathBuf, source: io::Error },
    /// A FIFO into which nobody writes.
    #[error("cannot read {path}: it is a FIFO, and nobody writes into it", path = shown(path))]
    Silent { path: PathBuf },
    /// A mistake, or something without an end.
    #[error("{path} is larger than {limit} MiB", path = shown(path), limit = MAX_BYTES >> 20)]
    TooLarge { path: PathBuf },
    /// Bytes that are no text.
    #[error("{path} is not text: {what}", path = shown(path))]
    NotText {
        path: PathBuf,
        what: &'static str,
        /// What there is, with replacements for what is no text.
        text: String,
        /// The first byte that is none.
        at: usize,
    },
}

fn shown(path: &Path) -> String {
    if path == Path::new("-") { "standard input".into() } else { path.display().to_string() }
}

/// Reads the file at `path`, without the mark that some editors put at the beginning; `-` is
/// standard input.
pub(super) fn read(path: &Path) -> Result<String, ReadError> {
    let mut bytes = bytes(path)?;
    if bytes.starts_with("\u{feff}".as_bytes()) {
        bytes.drain(.."\u{feff}".len());
    }
    let zero = bytes.iter().position(|byte| *byte == 0).map(|at| (at, "this byte is zero"));
    let (broken, bytes) = match (String::from_utf8(bytes), zero) {
        (Ok(text), None) => return Ok(text),
        (Ok(text), Some(_)) => (None, text.into_bytes()),
        (Err(error), _) => {
            let at = error.utf8_error().valid_up_to();
            (Some((at, "this byte is not UTF-8")), error.into_bytes())
        }
    };
    let (at, what) = [zero, broken].into_iter().flatten().min().unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    Err(ReadError::NotText { path: path.to_owned(), what, text, at })
}

/// SHA-256 of the regular file at `path`; none if it cannot be read, which whoever needs it finds out.
pub(super) fn digest(path: &Path) -> Option<String> {
    if !fs::metadata(path).ok()?.is_file() {
        return None;
    }
    let digest = Sha256::digest(bytes(path).ok()?);
    Some(digest.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn bytes(path: &Path) -> Result<Vec<u8>, ReadError> {
    let failed = |source| ReadError::Io { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    let mut reader: Box<dyn Read> =
        if path == Path::new("-") { Box::new(io::stdin().lock()) } else { Box::new(open(path)?) };
    reader.by_ref().take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(ReadError::TooLarge { path: path.to_owned() });
    }
    Ok(bytes)
}

fn open(path: &Path) -> Result<File, ReadError> {
    let failed = |source| ReadError::Io { path: path.to_owned(), source };
    // What was handed over open, as in `-f <(…)`, has somebody at its other end.
    let handed_over = path.starts_with("/dev/fd") || path.starts_with("/proc/self/fd");
    let metadata = fs::metadata(path).map_err(failed)?;
    if metadata.is_dir() {
        return Err(failed(io::Error::other("it is a directory")));
    }
    if metadata.is_file() && metadata.len() > MAX_BYTES {
        return Err(ReadError::TooLarge { path: path.to_owned() });
    }
    if !metadata.file_type().is_fifo() || handed_over {
        return File::open(path).map_err(failed);
    }
    let nonblocking = libc::O_NONBLOCK;
    let file = File::options().read(true).custom_flags(nonblocking).open(path).map_err(failed)?;
    if !written_to(&file).map_err(failed)? {
        return Err(ReadError::Silent { path: path.to_owned() });
    }
    rustix::io::ioctl_fionbio(&file, false).map_err(|errno| failed(errno.into()))?;
    Ok(file)
}

/// Waits until somebody writes into a FIFO; false if nobody does.
fn written_to(file: &File) -> io::Result<bool> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut fds = [rustix::event::PollFd::new(file, rustix::event::PollFlags::IN)];
        let left = deadline.saturating_duration_since(Instant::now());
        let left = rustix::event::Timespec::try_from(left).map_err(io::Error::other)?;
        match rustix::event::poll(&mut fds, Some(&left)) {
            Ok(ready) => return Ok(ready > 0),
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

impl ReadError {
    const fn help(&self) -> &'static str {
        match self {
            Self::Io { .. } => "name a file that is there and can be read",
            Self::Silent { .. } => "start the program that writes first, or use a plain file",
            Self::TooLarge { .. } => "is this the right file?",
            Self::NotText { .. } => "save the file as UTF-8 text",
        }
    }
}

/// Notes that a file cannot be read: at the bytes that are no text, or where the file is named.
pub(super) fn refuse<'r>(
    report: &'r mut Report,
    error: ReadError,
    named: Option<Span>,
    from: Option<Cause>,
) -> Finding<'r> {
    let (message, help) = (error.to_string(), error.help());
    let finding = match (error, named) {
        (ReadError::NotText { path, text, at, .. }, _) => {
            let file: FileId = report.sources.add(&path, text, from);
            report.error(file.start().part(at, 1), message)
        }
        (_, Some(span)) => report.error(span, message),
        (_, None) => report.error_without_place(message),
    };
    finding.help(help)
}
