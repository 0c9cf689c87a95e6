//! Signals as something to wait for, beside sockets and files (signalfd(2)).

use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use super::error::CommandError;

/// The signals that ask a command to end, caught for as long as this lives.
///
/// Meant for a process with one thread. A child that is started meanwhile inherits the mask, so
/// catch them after the keeper has been started.
#[derive(Debug)]
pub struct Signals {
    before: SigSet,
    descriptor: SignalFd,
}

impl Signals {
    /// Catches SIGINT, SIGTERM and SIGHUP.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn catch() -> Result<Self, CommandError> {
        Self::catch_these(&[Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP])
    }

    /// Catches `signals`.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn catch_these(signals: &[Signal]) -> Result<Self, CommandError> {
        let failed = |error| CommandError::failed(format!("signalfd: {error}"));
        let caught: SigSet = signals.iter().copied().collect();
        let mut before = SigSet::empty();
        sigprocmask(SigmaskHow::SIG_BLOCK, Some(&caught), Some(&mut before)).map_err(failed)?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        let descriptor = SignalFd::with_flags(&caught, flags).map_err(failed)?;
        Ok(Self { before, descriptor })
    }

    /// The number of a signal that has arrived; never waits.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn take(&self) -> Result<Option<i32>, CommandError> {
        let signal = self.descriptor.read_signal();
        let signal = signal.map_err(|error| CommandError::failed(format!("signalfd: {error}")))?;
        Ok(signal.and_then(|signal| i32::try_from(signal.ssi_signo).ok()))
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        // Cannot fail: the mask is one that the kernel gave (sigprocmask(2)).
        let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&self.before), None);
    }
}
