//! Where errors of all rooms become words for the user and an exit code.
//!
//! The libraries say what happened; the advice is added here, in the `From` of each error. The
//! chain of causes is walked once, by [`Failure::new`].
//!
//! | code | meaning |
//! |---|---|
//! | 0 | done |
//! | 1 | the project failed, or its files have mistakes |
//! | 2 | the words on the command line were wrong |
//! | 125, 126, 127 | `run` and `exec`: we failed; not executable; not found |
//! | 128 + n | ended by signal n; 130 for Ctrl-C |
//! | other | `run`, `exec`, `up --exit-code-from`: the container's own |

use std::error::Error;

use runtime::keeper::LaunchError;

use crate::client::{ClientError, StartError};
use crate::event::Failure;
use crate::platform::PlatformError;
use crate::record::RecordError;

/// A command that could not be carried out, as it is told to the user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandError {
    /// What went wrong, in order; empty when everything has been said already.
    pub failures: Vec<Failure>,
    /// Text that comes before the failures, drawn already, such as excerpts of a compose file.
    pub drawn: String,
    /// What the process ends with.
    pub code: u8,
}

/// The project failed.
pub const FAILED: u8 = 1;
/// The words were wrong.
pub const USAGE: u8 = 2;
/// Ctrl-C.
pub const INTERRUPTED: u8 = 130;
/// Whoever read our output has left.
pub const BROKEN_PIPE: u8 = 141;

impl CommandError {
    /// Takes down `error` and its causes.
    pub fn new(error: &dyn Error) -> Self {
        Self::from(Failure::new(error))
    }

    /// A failure in our own words.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::from(Failure { message: message.into(), ..Failure::default() })
    }

    /// Words on the command line that cannot be obeyed.
    pub fn usage(message: impl Into<String>) -> Self {
        Self { code: USAGE, ..Self::failed(message) }
    }

    /// An end of which everything has been said.
    #[must_use]
    pub const fn silent(code: u8) -> Self {
        Self { failures: Vec::new(), drawn: String::new(), code }
    }

    /// Messages that are drawn already.
    #[must_use]
    pub const fn drawn(drawn: String, code: u8) -> Self {
        Self { failures: Vec::new(), drawn, code }
    }

    /// The same with advice for the last failure.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        if let Some(failure) = self.failures.last_mut() {
            failure.help = Some(help.into());
        }
        self
    }

    /// The same with another exit code.
    #[must_use]
    pub const fn code(mut self, code: u8) -> Self {
        self.code = code;
        self
    }
}

impl From<Failure> for CommandError {
    fn from(failure: Failure) -> Self {
        Self::from(vec![failure])
    }
}

impl From<Vec<Failure>> for CommandError {
    fn from(failures: Vec<Failure>) -> Self {
        Self { failures, drawn: String::new(), code: FAILED }
    }
}

impl From<RecordError> for CommandError {
    fn from(error: RecordError) -> Self {
        let help = match &error {
            RecordError::Damaged { path, .. } => format!(
                "the record is not JSON of ours; remove {} if the container may be made again",
                path.parent().unwrap_or(path).display()
            ),
            RecordError::Newer { .. } => {
                "use the version of compose that wrote it, or a newer one".to_owned()
            }
            _ => "check that the data root is readable and not full; COMPOSE_DATA_ROOT moves it"
                .to_owned(),
        };
        Self::new(&error).help(help)
    }
}

impl From<PlatformError> for CommandError {
    fn from(error: PlatformError) -> Self {
        let said = Self::new(&error).help(error.help());
        match error {
            PlatformError::Unknown(_) => said.code(USAGE),
            PlatformError::NotBuilt { .. } => said,
        }
    }
}

impl From<ClientError> for CommandError {
    fn from(error: ClientError) -> Self {
        let help = match &error {
            ClientError::Absent { .. } => "start the project with `compose up`",
            ClientError::Unanswered { .. } | ClientError::CutOff { .. } => {
                "ask again: every command picks up where the last one was cut off"
            }
            ClientError::Nonsense { .. } => {
                "the supervisor may be of another version: `compose down` and `compose up` replace it"
            }
        };
        Self::new(&error).help(help)
    }
}

impl From<StartError> for CommandError {
    fn from(error: StartError) -> Self {
        let help = match error {
            StartError::Client(error) => return error.into(),
            StartError::Folder { .. } => {
                "it must be writable; COMPOSE_DATA_ROOT and COMPOSE_RUN_ROOT put data and sockets somewhere else"
            }
            StartError::Launch(LaunchError::Log { .. }) => {
                "COMPOSE_RUN_ROOT puts the run root somewhere else"
            }
            StartError::Launch(LaunchError::NotReady { .. } | LaunchError::Timeout { .. }) => {
                "the log above says what its supervisor met; `df` and `ulimit -a` say what is scarce"
            }
            StartError::Launch(_) => "check the limits of processes and memory (`ulimit -a`)",
        };
        Self::new(&error).help(help)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_a_library_gets_its_advice_here() {
        let absent = ClientError::Absent {
            path: "/run/compose/projects/p/api.sock".into(),
            source: std::io::ErrorKind::NotFound.into(),
        };
        let error = CommandError::from(StartError::Client(absent));
        assert_eq!(error.code, FAILED);
        let [failure] = error.failures.as_slice() else { panic!("{error:?}") };
        assert_eq!(
            failure.message,
            "no supervisor listens at /run/compose/projects/p/api.sock: entity not found"
        );
        assert_eq!(failure.help.as_deref(), Some("start the project with `compose up`"));
    }
}
