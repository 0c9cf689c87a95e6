//! Stopping a build from outside.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use runtime::cgroup::Place;

/// Stops a build: whoever has a copy may. Copies are one and the same, and are for one build.
#[derive(Debug, Clone, Default)]
pub struct Halt(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    stopped: bool,
    /// Of the commands that run.
    places: Vec<Place>,
}

impl Halt {
    /// Kills the commands that run, and has nothing new begin. One that is on its way at this very moment may be missed:
    /// whoever waits for the end says it again until that has come.
    pub fn stop(&self) {
        let mut state = self.state();
        state.stopped = true;
        for place in &state.places {
            // One that has ended is gone.
            let _ = place.kill();
        }
    }

    /// Whether anybody has.
    pub fn is_stopped(&self) -> bool {
        self.state().stopped
    }

    /// A command is about to run in `place`.
    pub(super) fn enter(&self, place: &Place) {
        self.state().places.push(place.clone());
    }

    /// The command in `place` has ended.
    pub(super) fn leave(&self, place: &Place) {
        self.state().places.retain(|known| known != place);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
