//! How many steps are carried out at a time.

use std::sync::{Condvar, Mutex};

/// How many steps are carried out at a time.
pub(super) struct Slots {
    pub(super) free: Mutex<usize>,
    pub(super) freed: Condvar,
}

impl Slots {
    pub(super) fn take(&self) -> Slot<'_> {
        let mut free = self.free.lock().expect("nobody panics with it");
        while *free == 0 {
            free = self.freed.wait(free).expect("nobody panics with it");
        }
        *free -= 1;
        Slot(self)
    }
}

/// The right to carry out a step.
pub(in crate::build) struct Slot<'a>(&'a Slots);

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        *self.0.free.lock().expect("nobody panics with it") += 1;
        self.0.freed.notify_one();
    }
}
