//! Health checks as a function: when to probe, and what the answers mean.
//!
//! Without a clock and without a process; the loop that runs the probes obeys it.
//!
//! | status \ answer | success | failure that does not count | failure | the one too many |
//! |---|---|---|---|---|
//! | starting | healthy | starting | starting, streak + 1 | unhealthy |
//! | healthy | healthy, streak 0 | – | healthy, streak + 1 | unhealthy |
//! | unhealthy | healthy, streak 0 | – | unhealthy, streak + 1 | – |
//!
//! # Probes
//!
//! The first comes at once, then after 50 ms, and until the first success each wait is twice as long as the one
//! before, up to `start_interval` or `interval`, whichever is shorter. After that they come every `interval`. Docker
//! waits a whole `interval` before the first one, 30 seconds by default, and everybody who depends on the service
//! waits with it.
//!
//! # Failures
//!
//! Until the first success a failure counts only when one would have counted that came every `interval`: not within
//! `start_period`, not within the first `interval`, and not within an `interval` of the one that counted before. A
//! slow starter has as much time as Docker gives it, however often it is asked.

use std::time::Duration;

use jiff::Timestamp;

use crate::model::{HealthTest, Healthcheck};
use crate::record::HealthStatus;

/// The wait between the first two probes.
const FIRST_WAIT: Duration = Duration::from_millis(50);
/// Docker's defaults (moby `daemon/health.go`).
const INTERVAL: Duration = Duration::from_secs(30);
const TIMEOUT: Duration = Duration::from_secs(30);
const START_INTERVAL: Duration = Duration::from_secs(5);
const RETRIES: u32 = 3;

/// A health check with nothing left open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// What is run.
    pub command: Vec<String>,
    /// From the end of a probe to the start of the next.
    pub interval: Duration,
    /// A probe that takes longer has failed.
    pub timeout: Duration,
    /// Failures in a row that make a container unhealthy, at least 1.
    pub retries: u32,
    /// Time after the start in which failures do not count.
    pub start_period: Duration,
    /// The longest wait between probes until the first success.
    pub start_interval: Duration,
}

impl Check {
    /// Fills in the defaults; `None` if there is nothing to run.
    ///
    /// A value of zero is Docker's way to write "the default".
    #[must_use]
    pub fn of(check: &Healthcheck) -> Option<Self> {
        let Healthcheck { test, interval, timeout, retries, start_period, start_interval } = check;
        let command = match test.as_ref()? {
            HealthTest::Disabled => return None,
            HealthTest::Exec(command) => command.clone(),
            HealthTest::Shell(line) => {
                vec!["/bin/sh".to_owned(), "-c".to_owned(), line.clone()]
            }
        };
        let or = |value: &Option<Duration>, default| {
            value.filter(|value| !value.is_zero()).unwrap_or(default)
        };
        Some(Self {
            command,
            interval: or(interval, INTERVAL),
            timeout: or(timeout, TIMEOUT),
            retries: retries.filter(|retries| *retries > 0).unwrap_or(RETRIES),
            start_period: start_period.unwrap_or_default(),
            start_interval: or(start_interval, START_INTERVAL),
        })
    }
}

/// What is known of the health of a running container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vitals {
    /// The verdict.
    pub status: HealthStatus,
    /// Failures that counted, since the last success.
    pub failing_streak: u32,
    /// Until the first success: how many probes there were, and from when on a failure counts.
    awaiting: Option<Awaiting>,
}

/// How the first success is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Awaiting {
    probes: u32,
    counts_from: Timestamp,
}

/// What can happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The wait is over.
    Due,
    /// A probe has ended.
    Answered(Answer),
}

/// What a probe says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It exited with 0.
    Success,
    /// It exited otherwise, took too long, or could not be run.
    Failure,
}

/// What has to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Run the probe, for [`Check::timeout`] at most.
    Probe,
    /// Send [`Event::Due`] after this time.
    Wait(Duration),
}

impl Vitals {
    /// Those of a container that has been started at `started`; its first probe is due.
    #[must_use]
    pub fn new(check: &Check, started: Timestamp) -> Self {
        let counts_from = started + check.start_period.max(check.interval);
        Self {
            status: HealthStatus::Starting,
            failing_streak: 0,
            awaiting: Some(Awaiting { probes: 0, counts_from }),
        }
    }

    /// Those of a container that another supervisor has watched before.
    #[must_use]
    pub fn resumed(
        check: &Check,
        started: Timestamp,
        status: HealthStatus,
        failing_streak: u32,
    ) -> Self {
        let awaiting = Self::new(check, started).awaiting.map(|awaiting| Awaiting {
            // Each failure so far has moved it by an interval, or more.
            counts_from: awaiting.counts_from + check.interval.saturating_mul(failing_streak),
            ..awaiting
        });
        let starting = status == HealthStatus::Starting;
        Self { status, failing_streak, awaiting: awaiting.filter(|_| starting) }
    }
}

/// What follows when something happens.
#[must_use]
pub fn next(vitals: Vitals, event: Event, check: &Check, now: Timestamp) -> (Vitals, Effect) {
    match event {
        Event::Due => (vitals, Effect::Probe),
        Event::Answered(Answer::Success) => {
            let status = HealthStatus::Healthy;
            (Vitals { status, failing_streak: 0, awaiting: None }, Effect::Wait(check.interval))
        }
        Event::Answered(Answer::Failure) => {
            let vitals = failed(vitals, check, now);
            (vitals, Effect::Wait(wait(vitals, check)))
        }
    }
}

fn failed(vitals: Vitals, check: &Check, now: Timestamp) -> Vitals {
    let Vitals { status, failing_streak, awaiting } = vitals;
    let counts = awaiting.is_none_or(|awaiting| now >= awaiting.counts_from);
    let awaiting = awaiting.map(|Awaiting { probes, counts_from }| Awaiting {
        probes: probes.saturating_add(1),
        counts_from: if counts { now + check.interval } else { counts_from },
    });
    let failing_streak = failing_streak.saturating_add(counts.into());
    let status = if failing_streak >= check.retries { HealthStatus::Unhealthy } else { status };
    Vitals { status, failing_streak, awaiting }
}

/// The wait after a failure.
fn wait(vitals: Vitals, check: &Check) -> Duration {
    match vitals.awaiting {
        Some(Awaiting { probes, .. }) if vitals.status == HealthStatus::Starting => {
            let doublings = probes.saturating_sub(1).min(16);
            let longest = check.start_interval.min(check.interval);
            FIRST_WAIT.saturating_mul(1 << doublings).min(longest)
        }
        _ => check.interval,
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;
    use proptest::prelude::*;

    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn check() -> Check {
        let test = Some(HealthTest::Exec(vec!["probe".to_owned()]));
        Check::of(&Healthcheck { test, ..Healthcheck::default() }).unwrap()
    }

    /// Probes that take no time, and what they lead to: `(seconds, status, streak)`.
    fn watch(
        check: &Check,
        until: Duration,
        answer: impl Fn(Duration) -> Answer,
    ) -> Vec<(f64, HealthStatus, u32)> {
        let mut vitals = Vitals::new(check, Timestamp::UNIX_EPOCH);
        let mut age = Duration::ZERO;
        let mut story = Vec::new();
        while age <= until {
            let now = Timestamp::UNIX_EPOCH + SignedDuration::try_from(age).unwrap();
            assert_eq!(next(vitals, Event::Due, check, now), (vitals, Effect::Probe));
            let effect;
            (vitals, effect) = next(vitals, Event::Answered(answer(age)), check, now);
            story.push((age.as_secs_f64(), vitals.status, vitals.failing_streak));
            let Effect::Wait(wait) = effect else { panic!("a probe was answered") };
            age += wait;
        }
        story
    }

    #[test]
    fn first_probes_come_fast() {
        let fails = |_| Answer::Failure;
        let times = |check: &Check, until| -> Vec<f64> {
            watch(check, until, fails).into_iter().map(|(time, ..)| time).collect()
        };
        assert_eq!(
            times(&check(), seconds(20)),
            [0.0, 0.05, 0.15, 0.35, 0.75, 1.55, 3.15, 6.35, 11.35, 16.35]
        );
        let hasty = Check { interval: Duration::from_millis(100), retries: 99, ..check() };
        assert_eq!(times(&hasty, Duration::from_millis(400)), [0.0, 0.05, 0.15, 0.25, 0.35]);
    }

    #[test]
    fn failures_count_as_seldom_as_with_docker() {
        use HealthStatus::{Starting, Unhealthy};
        let changes = |check: &Check| -> Vec<(u32, HealthStatus, f64)> {
            let mut story = watch(check, seconds(300), |_| Answer::Failure);
            story.dedup_by_key(|(_, status, streak)| (*status, *streak));
            story.into_iter().map(|(time, status, streak)| (streak, status, time.floor())).collect()
        };
        #[rustfmt::skip]
        assert_eq!(changes(&check())[..4], [
            (0, Starting, 0.0), (1, Starting, 31.0), (2, Starting, 61.0), (3, Unhealthy, 91.0),
        ]);
        let patient = Check { start_period: seconds(60), ..check() };
        #[rustfmt::skip]
        assert_eq!(changes(&patient)[..4], [
            (0, Starting, 0.0), (1, Starting, 61.0), (2, Starting, 91.0), (3, Unhealthy, 121.0),
        ]);
    }

    #[test]
    fn health_comes_and_goes() {
        use HealthStatus::{Healthy, Starting, Unhealthy};
        // Well from 0.1 s to 40 s, and again from 170 s.
        let story = watch(&check(), seconds(200), |age| {
            let well =
                (Duration::from_millis(100)..seconds(40)).contains(&age) || age >= seconds(170);
            if well { Answer::Success } else { Answer::Failure }
        });
        #[rustfmt::skip]
        assert_eq!(story, [
            (0.0, Starting, 0), (0.05, Starting, 0), (0.15, Healthy, 0), (30.15, Healthy, 0),
            (60.15, Healthy, 1), (90.15, Healthy, 2), (120.15, Unhealthy, 3), (150.15, Unhealthy, 4),
            (180.15, Healthy, 0),
        ]);
    }

    #[test]
    fn defaults_are_filled_in_and_a_disabled_check_is_none() {
        let check_of = |test| Check::of(&Healthcheck { test, ..Healthcheck::default() });
        assert_eq!(check_of(None), None);
        assert_eq!(check_of(Some(HealthTest::Disabled)), None);
        let shell = check_of(Some(HealthTest::Shell("true".to_owned()))).unwrap();
        assert_eq!(shell.command, ["/bin/sh", "-c", "true"]);
        assert_eq!((shell.interval, shell.timeout, shell.retries), (seconds(30), seconds(30), 3));
    }

    #[test]
    fn a_new_supervisor_goes_on_where_the_old_one_was() {
        let resumed = Vitals::resumed(&check(), Timestamp::UNIX_EPOCH, HealthStatus::Healthy, 2);
        let now = Timestamp::UNIX_EPOCH + SignedDuration::from_secs(1);
        let failure = Event::Answered(Answer::Failure);
        let (vitals, effect) = next(resumed, failure, &check(), now);
        assert_eq!((vitals.status, vitals.failing_streak), (HealthStatus::Unhealthy, 3));
        assert_eq!(effect, Effect::Wait(seconds(30)));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// However the probes answer, there is always a next one, and nobody is
        /// unhealthy before as many intervals have passed as there are retries.
        #[test]
        fn nobody_is_judged_early(
            interval in 1..60u64, retries in 1..5u32, start_period in 0..100u64, seed in any::<u64>(),
        ) {
            let check = Check {
                interval: seconds(interval), retries, start_period: seconds(start_period), ..check()
            };
            let story = watch(&check, seconds(600), |age| {
                match (seed >> (age.as_secs() % 64)) & 1 {
                    0 => Answer::Failure,
                    _ => Answer::Success,
                }
            });
            let patience = (interval * u64::from(retries)) as f64;
            let verdict = story.iter().find(|(_, status, _)| *status == HealthStatus::Unhealthy);
            let well = story.iter().any(|(_, status, _)| *status == HealthStatus::Healthy);
            if let (Some((time, ..)), false) = (verdict, well) {
                prop_assert!(*time >= patience, "{time} {patience}");
            }
            prop_assert!(story.len() as u64 >= 600 / interval);
        }
    }
}
