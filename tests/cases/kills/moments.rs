//! When to kill: random, and the same again for the same seed.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Random moments. `TEST_SEED` repeats those of an earlier run, whose failures name it.
#[derive(Debug)]
pub(in crate::cases) struct Moments {
    /// What all of them follow from.
    pub seed: u64,
    state: u64,
}

impl Moments {
    /// Those of `TEST_SEED`, or of the clock.
    pub fn new() -> Self {
        let given = std::env::var("TEST_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = given.unwrap_or_else(|| {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            u64::from(now.subsec_nanos()) ^ now.as_secs()
        });
        Self { seed, state: seed }
    }

    /// The next one, within `span`.
    pub fn within(&mut self, span: Duration) -> Duration {
        let nanoseconds = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX).max(1);
        Duration::from_nanos(self.next() % nanoseconds)
    }

    /// Sebastiano Vigna's splitmix64, which is good enough for everything but secrets.
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}
