//! `restart`.

use serde::{Deserialize, Serialize};

/// When a container that has ended is started again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum RestartPolicy {
    /// Never.
    #[default]
    No,
    /// Always, also after a reboot.
    Always,
    /// When its exit code is not 0.
    OnFailure {
        /// At most this often; nothing means without limit.
        max_retries: Option<u32>,
    },
    /// As `Always`, but not when it was stopped by hand before.
    UnlessStopped,
}
