//! Who sends what to where, one at a time.

use std::collections::HashSet;
use std::sync::{Condvar, Mutex, PoisonError};

use super::message::Place;
use crate::digest::Digest;

/// A blob of a repository: the registry, the repository in it, the digest.
type Goal = (String, String, Digest);

/// The blobs that are on their way. Two tags of one image are pushed side by side, and a registry that is given the
/// same blob twice at once may lose sight of it for a moment.
#[derive(Debug, Default)]
pub(super) struct Turns {
    taken: Mutex<HashSet<Goal>>,
    ended: Condvar,
}

/// A turn that is taken; dropping it ends it.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    turns: &'a Turns,
    goal: Goal,
}

impl Turns {
    /// Waits until nobody else sends this blob there.
    pub(super) fn take(&self, place: &Place, blob: Digest) -> Turn<'_> {
        let goal = (place.domain.clone(), place.repository.clone(), blob);
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let mut taken = self
            .ended
            .wait_while(taken, |taken| taken.contains(&goal))
            .unwrap_or_else(PoisonError::into_inner);
        taken.insert(goal.clone());
        Turn { turns: self, goal }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.turns.taken.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.goal);
        self.turns.ended.notify_all();
    }
}
