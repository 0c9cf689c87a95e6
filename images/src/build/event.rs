//! What happens in a build, as it happens.

use std::time::Duration;

/// Something that has happened. Steps have numbers, since several are underway at the same time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A step has begun.
    Begun {
        /// Its number.
        step: usize,
        /// What it is: `[stage 2/5] RUN make`.
        name: String,
    },
    /// A step has said something.
    Said {
        /// Its number.
        step: usize,
        /// A line, without its end.
        line: String,
    },
    /// A step is done.
    Done {
        /// Its number.
        step: usize,
        /// Its result was in the cache.
        cached: bool,
        /// How long it took.
        took: Duration,
    },
    /// A step has failed.
    Failed {
        /// Its number.
        step: usize,
    },
    /// Something that is worth knowing.
    Warning(String),
}
