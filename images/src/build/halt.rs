//! Stopping a build from outside.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use runtime::once::Attendant;

/// Stops a build: whoever has a copy may. Copies are one and the same, and are for one build.
#[derive(Debug, Clone, Default)]
pub struct Halt(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    stopped: Condvar,
}

#[derive(Debug, Default)]
struct State {
    stopped: bool,
    /// Those of the commands that run.
    attendants: Vec<Arc<Attendant>>,
}

impl Halt {
    /// Kills the commands that run, those that are on their way as well, and has nothing new begin.
    pub fn stop(&self) {
        let mut state = self.state();
        state.stopped = true;
        state.attendants.iter().for_each(|attendant| attendant.end());
        self.0.stopped.notify_all();
    }

    /// Whether anybody has.
    pub fn is_stopped(&self) -> bool {
        self.state().stopped
    }

    /// Waits for `time`, or until somebody stops the build.
    pub(super) fn rest(&self, time: Duration) {
        // Whether it is stopped is asked again.
        let _ = self.0.stopped.wait_timeout_while(self.state(), time, |state| !state.stopped);
    }

    /// A command is about to be started by `attendant`, which does so only if nobody has stopped the build.
    pub(super) fn enter(&self, attendant: &Arc<Attendant>) {
        let mut state = self.state();
        if state.stopped {
            attendant.end();
        }
        state.attendants.push(Arc::clone(attendant));
    }

    /// The command of `attendant` has ended.
    pub(super) fn leave(&self, attendant: &Arc<Attendant>) {
        self.state().attendants.retain(|known| !Arc::ptr_eq(known, attendant));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
