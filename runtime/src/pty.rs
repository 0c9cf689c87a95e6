//! Pseudo-terminals of the host, and the terminal of the user in raw mode.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::pty::OpenptFlags;
use rustix::termios::{OptionalActions, Termios, Winsize};

/// A pseudo-terminal.
#[derive(Debug)]
pub struct Pair {
    /// Our end.
    pub master: OwnedFd,
    /// The end of the process whose terminal it is.
    pub slave: OwnedFd,
}

/// Makes a pseudo-terminal of the host, for a container's PID 1: one process and its terminal end at the same time, so
/// that nobody else comes to use it.
///
/// # Errors
///
/// What opening `/dev/ptmx` or its slave says; ENOSPC when there are too many.
pub fn open() -> io::Result<Pair> {
    let master =
        rustix::pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    rustix::pty::grantpt(&master)?;
    rustix::pty::unlockpt(&master)?;
    // By name, since a container binds its terminal to /dev/console by the name that is seen in /proc/self/fd.
    let name = rustix::pty::ptsname(&master, Vec::new())?;
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let slave = rustix::fs::openat(CWD, OsStr::from_bytes(name.as_bytes()), flags, Mode::empty())?;
    Ok(Pair { master, slave })
}

/// The size of a terminal, `None` for what is none.
pub fn size(terminal: impl AsFd) -> Option<Winsize> {
    rustix::termios::tcgetwinsize(terminal).ok().filter(|size| size.ws_row > 0 && size.ws_col > 0)
}

/// Gives a pseudo-terminal a size; its foreground gets SIGWINCH.
///
/// # Errors
///
/// ENOTTY for what is no terminal.
pub fn resize(master: impl AsFd, size: Winsize) -> io::Result<()> {
    Ok(rustix::termios::tcsetwinsize(master, size)?)
}

/// The user's terminal in raw mode, until this is dropped: every key goes to the process behind it.
#[derive(Debug)]
pub struct Raw {
    terminal: OwnedFd,
    before: Termios,
}

impl Raw {
    /// Puts a terminal into raw mode; `None` for what is none.
    ///
    /// # Errors
    ///
    /// What the terminal says.
    pub fn enter(terminal: impl AsFd) -> io::Result<Option<Self>> {
        if !rustix::termios::isatty(&terminal) {
            return Ok(None);
        }
        let before = rustix::termios::tcgetattr(&terminal)?;
        let mut raw = before.clone();
        raw.make_raw();
        let kept = Self { terminal: terminal.as_fd().try_clone_to_owned()?, before };
        rustix::termios::tcsetattr(&terminal, OptionalActions::Now, &raw)?;
        Ok(Some(kept))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing.
        let _ = rustix::termios::tcsetattr(&self.terminal, OptionalActions::Now, &self.before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raw_mode_ends_with_its_value() {
        let pair = open().unwrap();
        let echoes = || {
            let modes = rustix::termios::tcgetattr(&pair.slave).unwrap();
            modes.local_modes.contains(rustix::termios::LocalModes::ECHO)
        };
        assert!(echoes());
        let raw = Raw::enter(&pair.slave).unwrap().unwrap();
        assert!(!echoes());
        drop(raw);
        assert!(echoes());
        assert!(Raw::enter(std::fs::File::open("/dev/null").unwrap()).unwrap().is_none());
    }

    #[test]
    fn a_size_is_read_back() {
        let pair = open().unwrap();
        assert_eq!(size(&pair.slave), None);
        resize(&pair.master, Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 })
            .unwrap();
        assert_eq!(size(&pair.slave).map(|size| (size.ws_row, size.ws_col)), Some((24, 80)));
    }
}
