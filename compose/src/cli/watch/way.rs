//! The way into control groups, opened while a save is waited for.

use std::thread::{self, JoinHandle};

use runtime::cgroup::{self, Hierarchy};

use crate::model::WatchAction;
use crate::watch::rule::Rule;

/// Opens the way into control groups: see [`cgroup::expect_moves`].
#[derive(Debug, Default)]
pub struct Way {
    opening: Option<JoinHandle<()>>,
}

impl Way {
    /// Opens it, beside whatever is done next, for what `rules` start after a save. It closes by itself, and is kept open by asking
    /// again.
    pub fn open(&mut self, rules: &[Rule]) {
        let starts = |rule: &Rule| match rule.action {
            WatchAction::Restart | WatchAction::SyncRestart | WatchAction::SyncExec => true,
            // A build takes longer than the way stays open.
            WatchAction::Sync | WatchAction::Rebuild => false,
        };
        let is_opening = self.opening.as_ref().is_some_and(|thread| !thread.is_finished());
        if is_opening
            || !rules.iter().any(starts)
            || matches!(cgroup::detect(), Ok(Hierarchy::Unified))
        {
            return;
        }
        let open = || {
            if let Err(error) = cgroup::expect_moves() {
                tracing::debug!(%error, "control groups");
            }
        };
        // Without a thread more, it only takes longer.
        self.opening = thread::Builder::new().spawn(open).ok();
    }
}
