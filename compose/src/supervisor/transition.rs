//! The life of one container as a function: what follows when something happens to it.
//!
//! Without a clock, a signal or a process; the loops of the supervisor obey it and decide nothing.
//!
//! | phase \ event | started | start failed | exited | due | stop requested |
//! |---|---|---|---|---|---|
//! | resting | – | – | – | – | – |
//! | starting | running | resting; settle | resting or waiting | – | stopping |
//! | starting again | running | waiting or resting | resting or waiting | – | stopping |
//! | running | – | – | resting or waiting | – | stopping; terminate |
//! | waiting | – | – | – | starting again; start | resting; settle |
//! | stopping | stopping; terminate | resting; settle | resting; settle | – | – |
//!
//! A dash is no change: late and repeated events are harmless. "Resting or waiting" is decided by the restart policy;
//! waiting comes with a wake-up, resting with a settlement.
//!
//! Source: moby `container/restartmanager.go` for the policies, the waits and the ten seconds.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use runtime::exit::ExitStatus;

use crate::record::{ContainerState, Phase as Recorded, Terms};

/// The wait before the first restart; each further one is twice as long.
const FIRST_WAIT: Duration = Duration::from_millis(100);
/// The longest wait.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// A run of this length counts as a success: the waits begin anew.
const SETTLED: SignedDuration = SignedDuration::from_secs(10);

/// Where a container is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Life {
    /// What it does.
    pub phase: Phase,
    /// How often its restart policy has started it since somebody asked for a start.
    pub restarts: u32,
    /// Ends in a row that came within ten seconds of the start.
    pub early_ends: u32,
    /// How often its restart policy has started it since a run that counted as a success.
    pub attempts: u32,
}

/// What a container does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// It has no process, and will get one only when somebody asks for it.
    Resting,
    /// It is about to have a process.
    Starting,
    /// The same, because its restart policy wants it.
    StartingAgain,
    /// It has a process.
    Running {
        /// Since when.
        since: Timestamp,
    },
    /// It has no process, and will get one by itself.
    Waiting {
        /// When.
        until: Timestamp,
    },
    /// It has a process, which has been asked to end.
    Stopping,
}

/// What can happen to a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// Its process runs its own program.
    Started,
    /// Its process never got to its own program.
    StartFailed,
    /// Its process is gone; how is not known if nobody saw it.
    Exited(Option<ExitStatus>),
    /// The time has come for which a wake-up was asked.
    Due,
    /// Somebody wants it to stop.
    StopRequested,
}

/// What has to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Nothing.
    Nothing,
    /// Start its process.
    Start,
    /// Send [`Event::Due`] at this time.
    WakeAt(Timestamp),
    /// Send its stop signal, and SIGKILL when its grace period has passed.
    Terminate,
    /// Give back what only a container with a process or a future needs.
    Settle,
}

impl Life {
    /// A container that somebody has asked to start.
    #[must_use]
    pub const fn asked_to_start() -> Self {
        Self { phase: Phase::Starting, restarts: 0, early_ends: 0, attempts: 0 }
    }

    /// Where a container with this state is, for a supervisor that has not lived through it.
    #[must_use]
    pub fn of(state: &ContainerState) -> Self {
        let phase = match state.phase {
            Recorded::Created | Recorded::Exited | Recorded::Dead => Phase::Resting,
            Recorded::Running | Recorded::Paused if state.stop_requested => Phase::Stopping,
            Recorded::Running | Recorded::Paused => {
                Phase::Running { since: state.started.unwrap_or_default() }
            }
            Recorded::Restarting => Phase::Waiting { until: state.next_start.unwrap_or_default() },
        };
        let ContainerState { restarts, early_ends, attempts, .. } = *state;
        Self { phase, restarts, early_ends, attempts }
    }

    const fn resting(self) -> (Self, Effect) {
        (Self { phase: Phase::Resting, ..self }, Effect::Settle)
    }
}

/// The whole behaviour of a container under a restart policy.
#[must_use]
pub fn next(life: Life, event: Event, terms: Terms, now: Timestamp) -> (Life, Effect) {
    use {Effect as Do, Event as On, Phase as In};
    match (life.phase, event) {
        (In::Starting | In::StartingAgain, On::Started) => {
            (Life { phase: In::Running { since: now }, ..life }, Do::Nothing)
        }
        // What never ran is not restarted: it would fail the same way, and whoever asked is told.
        (In::Starting, On::StartFailed) => life.resting(),
        (In::StartingAgain, On::StartFailed) => ended(life, None, terms, now, now),
        (In::Starting | In::StartingAgain, On::Exited(status)) => {
            ended(life, status, terms, now, now)
        }
        (In::Running { since }, On::Exited(status)) => ended(life, status, terms, since, now),
        (In::Running { .. }, On::StopRequested) => {
            (Life { phase: In::Stopping, ..life }, Do::Terminate)
        }
        // The process is not there yet: it is told when it is.
        (In::Starting | In::StartingAgain, On::StopRequested) => {
            (Life { phase: In::Stopping, ..life }, Do::Nothing)
        }
        (In::Stopping, On::Started) => (life, Do::Terminate),
        (In::Stopping, On::Exited(_) | On::StartFailed) => life.resting(),
        (In::Waiting { until }, On::Due) if now >= until => {
            let restarts = life.restarts.saturating_add(1);
            let attempts = life.attempts.saturating_add(1);
            (Life { phase: In::StartingAgain, restarts, attempts, ..life }, Do::Start)
        }
        (In::Waiting { until }, On::Due) => (life, Do::WakeAt(until)),
        (In::Waiting { .. }, On::StopRequested) => life.resting(),
        // Late or repeated events change nothing.
        (In::Resting | In::Running { .. } | In::Waiting { .. }, On::Started | On::StartFailed)
        | (In::Resting | In::Waiting { .. }, On::Exited(_))
        | (
            In::Resting | In::Starting | In::StartingAgain | In::Running { .. } | In::Stopping,
            On::Due,
        )
        | (In::Resting | In::Stopping, On::StopRequested) => (life, Do::Nothing),
    }
}

/// A run from `since` to `now` has ended by itself.
fn ended(
    life: Life,
    status: Option<ExitStatus>,
    terms: Terms,
    since: Timestamp,
    now: Timestamp,
) -> (Life, Effect) {
    let ran = now.duration_since(since);
    let success = |window: Duration| ran.unsigned_abs() >= window;
    let attempts = if terms.details.window.is_some_and(success) { 0 } else { life.attempts };
    if !terms.restarts(status, attempts) {
        return life.resting();
    }
    let early_ends = if ran >= SETTLED { 0 } else { life.early_ends };
    let until = now + terms.details.delay.unwrap_or_else(|| wait(early_ends));
    let early_ends = early_ends.saturating_add(1);
    (Life { phase: Phase::Waiting { until }, early_ends, attempts, ..life }, Effect::WakeAt(until))
}

/// The wait before a restart after this many early ends in a row.
fn wait(early_ends: u32) -> Duration {
    // Ten doublings of the first wait exceed the longest.
    FIRST_WAIT.saturating_mul(1 << early_ends.min(10)).min(LONGEST_WAIT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{DeployRestart, RestartPolicy};

    /// Milliseconds after some moment.
    fn at(ms: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_millis(ms)
    }

    fn exit(code: i32) -> Event {
        Event::Exited(Some(ExitStatus::exited(code)))
    }

    /// Tells what follows from each event, in one line.
    fn story(terms: Terms, events: &[(i64, Event)]) -> Vec<String> {
        let mut life = Life::asked_to_start();
        let mut lines = Vec::new();
        for (ms, event) in events {
            let effect;
            (life, effect) = next(life, *event, terms, at(*ms));
            let time = |time: Timestamp| time.duration_since(Timestamp::UNIX_EPOCH).as_millis();
            let phase = match life.phase {
                Phase::Running { since } => format!("running since {}", time(since)),
                Phase::Waiting { until } => format!("waiting until {}", time(until)),
                other => format!("{other:?}").to_lowercase(),
            };
            let effect = match effect {
                Effect::WakeAt(until) => format!("wake at {}", time(until)),
                other => format!("{other:?}").to_lowercase(),
            };
            lines.push(format!("{phase}, {} restarts: {effect}", life.restarts));
        }
        lines
    }

    #[test]
    fn the_life_of_a_container() {
        use Event::{Due, Exited, StartFailed, Started, StopRequested};
        use RestartPolicy::{Always, No, OnFailure, UnlessStopped};
        type Row<'r> = (&'r str, RestartPolicy, &'r [(i64, Event)], &'r [&'r str]);
        #[rustfmt::skip]
        let table: [Row<'_>; 12] = [
            ("ends and rests", No, &[(1, Started), (5, exit(1))], &[
                "running since 1, 0 restarts: nothing",
                "resting, 0 restarts: settle",
            ]),
            ("waits twice as long each time", Always, &[(0, Started), (1, exit(0)), (101, Due), (102, Started), (103, exit(0)), (303, Due), (304, Started), (305, exit(0))], &[
                "running since 0, 0 restarts: nothing",
                "waiting until 101, 0 restarts: wake at 101",
                "startingagain, 1 restarts: start",
                "running since 102, 1 restarts: nothing",
                "waiting until 303, 1 restarts: wake at 303",
                "startingagain, 2 restarts: start",
                "running since 304, 2 restarts: nothing",
                "waiting until 705, 2 restarts: wake at 705",
            ]),
            ("begins anew after ten seconds", Always, &[(0, Started), (1, exit(0)), (101, Due), (102, Started), (10_102, exit(0)), (10_202, Due), (10_203, Started), (10_204, exit(0))], &[
                "running since 0, 0 restarts: nothing",
                "waiting until 101, 0 restarts: wake at 101",
                "startingagain, 1 restarts: start",
                "running since 102, 1 restarts: nothing",
                "waiting until 10202, 1 restarts: wake at 10202",
                "startingagain, 2 restarts: start",
                "running since 10203, 2 restarts: nothing",
                "waiting until 10404, 2 restarts: wake at 10404",
            ]),
            ("a success is no failure", OnFailure { max_retries: None }, &[(0, Started), (1, exit(0))], &[
                "running since 0, 0 restarts: nothing",
                "resting, 0 restarts: settle",
            ]),
            ("an end that nobody saw is one", OnFailure { max_retries: None }, &[(0, Started), (1, Exited(None))], &[
                "running since 0, 0 restarts: nothing",
                "waiting until 101, 0 restarts: wake at 101",
            ]),
            ("gives up", OnFailure { max_retries: Some(1) }, &[(0, Started), (1, exit(3)), (101, Due), (102, Started), (103, exit(3))], &[
                "running since 0, 0 restarts: nothing",
                "waiting until 101, 0 restarts: wake at 101",
                "startingagain, 1 restarts: start",
                "running since 102, 1 restarts: nothing",
                "resting, 1 restarts: settle",
            ]),
            ("is stopped", UnlessStopped, &[(0, Started), (1, StopRequested), (2, StopRequested), (3, exit(143)), (9, Due)], &[
                "running since 0, 0 restarts: nothing",
                "stopping, 0 restarts: terminate",
                "stopping, 0 restarts: nothing",
                "resting, 0 restarts: settle",
                "resting, 0 restarts: nothing",
            ]),
            ("is stopped while it waits", Always, &[(0, Started), (1, exit(1)), (2, StopRequested), (101, Due)], &[
                "running since 0, 0 restarts: nothing",
                "waiting until 101, 0 restarts: wake at 101",
                "resting, 0 restarts: settle",
                "resting, 0 restarts: nothing",
            ]),
            ("is stopped while it starts", Always, &[(0, StopRequested), (1, Started), (2, exit(0))], &[
                "stopping, 0 restarts: nothing",
                "stopping, 0 restarts: terminate",
                "resting, 0 restarts: settle",
            ]),
            ("a first start that fails is told, not repeated", Always, &[(0, StartFailed)], &[
                "resting, 0 restarts: settle",
            ]),
            ("a later one is repeated", Always, &[(0, Started), (1, exit(0)), (101, Due), (102, StartFailed)], &[
                "running since 0, 0 restarts: nothing",
                "waiting until 101, 0 restarts: wake at 101",
                "startingagain, 1 restarts: start",
                "waiting until 302, 1 restarts: wake at 302",
            ]),
            ("an early wake-up goes back to sleep", Always, &[(0, Started), (1, exit(0)), (50, Due)], &[
                "running since 0, 0 restarts: nothing",
                "waiting until 101, 0 restarts: wake at 101",
                "waiting until 101, 0 restarts: wake at 101",
            ]),
        ];
        for (case, policy, events, expected) in table {
            let terms = Terms { policy, ..Terms::default() };
            assert_eq!(story(terms, events), expected, "{case}");
        }
    }

    #[test]
    fn deploy_has_more_to_say() {
        use Event::{Due, Exited, StartFailed, Started};
        let ms = |ms| Some(Duration::from_millis(ms));
        let terms = |policy, delay, max_attempts, window| Terms {
            policy,
            details: DeployRestart { delay, max_attempts, window },
        };
        let failure = RestartPolicy::OnFailure { max_retries: Some(1) };
        let run_twice = [(0, Started), (1, Exited(None)), (51, Due), (52, Started), (60, exit(1))];
        // The delay is the same each time, and any end counts for `any`.
        assert_eq!(
            story(terms(RestartPolicy::Always, ms(50), Some(1), None), &run_twice),
            [
                "running since 0, 0 restarts: nothing",
                "waiting until 51, 0 restarts: wake at 51",
                "startingagain, 1 restarts: start",
                "running since 52, 1 restarts: nothing",
                "resting, 1 restarts: settle",
            ]
        );
        // A run as long as the window was a success: attempts begin anew, restarts are counted on.
        let long = story(terms(failure, ms(50), Some(1), ms(8)), &run_twice);
        assert_eq!(long[4], "waiting until 110, 1 restarts: wake at 110");
        let short = story(terms(failure, ms(50), Some(1), ms(9)), &run_twice);
        assert_eq!(short[4], "resting, 1 restarts: settle");
        // A start that fails is an attempt too.
        let events = [(0, Started), (1, exit(1)), (1, Due), (2, StartFailed)];
        let failing = story(terms(failure, ms(0), Some(1), ms(9)), &events);
        assert_eq!(failing[3], "resting, 1 restarts: settle");
    }

    #[test]
    fn waits_grow_up_to_a_minute() {
        let waits: Vec<_> = (0..12).map(|ends| wait(ends).as_millis()).collect();
        let expected =
            [100, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 51_200, 60_000, 60_000];
        assert_eq!(waits, expected);
        assert_eq!(wait(u32::MAX), LONGEST_WAIT);
    }
}
