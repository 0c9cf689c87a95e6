//! How a process ended.

use serde::{Deserialize, Serialize};

/// How a process ended: with a code or by a signal, never both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ExitStatus {
    /// What it gave to exit(2), 0 to 255.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
}

impl ExitStatus {
    /// A process that ended by itself.
    pub fn exited(code: i32) -> Self {
        Self { code: Some(code), signal: None }
    }

    /// A process that a signal ended.
    pub fn signaled(signal: i32) -> Self {
        Self { code: None, signal: Some(signal) }
    }

    /// Reads the status word of wait(2), which `PIDFD_GET_INFO` also gives.
    pub fn from_wait_status(status: i32) -> Self {
        match status & 0x7f {
            0 => Self::exited((status >> 8) & 0xff),
            signal => Self::signaled(signal),
        }
    }

    /// Whether the process ended with code 0.
    pub fn success(&self) -> bool {
        self.code == Some(0)
    }

    /// The one number that a shell shows: the code, or 128 and the signal.
    pub fn shell_code(&self) -> i32 {
        self.code.unwrap_or_else(|| self.signal.map_or(255, |signal| 128 + signal))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_word_of_wait() {
        #[rustfmt::skip]
        let table = [
            (0x0000, ExitStatus::exited(0), 0),
            (0x2a00, ExitStatus::exited(42), 42),
            (0x0009, ExitStatus::signaled(9), 137),
            (0x008b, ExitStatus::signaled(11), 139),
        ];
        for (word, status, shell) in table {
            assert_eq!(ExitStatus::from_wait_status(word), status);
            assert_eq!(status.shell_code(), shell);
        }
    }
}
