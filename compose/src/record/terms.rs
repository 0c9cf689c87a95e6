//! What is written down of a container about the end of its process: whether another one comes.

use runtime::exit::ExitStatus;

use super::ContainerRecord;
use crate::model::{DeployRestart, RestartPolicy};

/// When and how a container that has ended is started again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Terms {
    /// When.
    pub policy: RestartPolicy,
    /// `deploy.restart_policy` has more to say.
    pub details: DeployRestart,
}

impl Terms {
    /// Those of the container with this record.
    #[must_use]
    pub const fn of(record: &ContainerRecord) -> Self {
        Self { policy: record.restart, details: record.restart_details }
    }

    /// Whether a container that has ended is started again.
    ///
    /// `always` and `unless-stopped` are the same here: a stop that somebody requested never gets here.
    #[must_use]
    pub fn restarts(self, status: Option<ExitStatus>, attempts: u32) -> bool {
        let more = |most: Option<u32>| most.is_none_or(|most| attempts < most);
        more(self.details.max_attempts)
            && match self.policy {
                RestartPolicy::No => false,
                RestartPolicy::Always | RestartPolicy::UnlessStopped => true,
                RestartPolicy::OnFailure { max_retries } => {
                    !status.is_some_and(|status| status.success()) && more(max_retries)
                }
            }
    }
}
