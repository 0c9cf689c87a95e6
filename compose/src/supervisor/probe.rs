//! Carrying out health checks: the loop that obeys [`super::health`].

use std::rc::Rc;

use jiff::Timestamp;
use tokio::task::spawn_local;
use tokio::time::sleep;

use super::Supervisor;
use super::command::{self, Command};
use super::health::{Answer, Check, Effect, Event, Vitals, next};
use super::live::Live;
use crate::event::{Change, Failure};
use crate::record::{Health, HealthStatus, Phase, ProbeRecord};

/// How many answers are kept.
const KEPT: usize = 5;

/// The exit code of a probe that could not be run.
const NOT_RUN: i32 = 126;

/// The health of a container that has just been started; none without a health check.
pub fn initial(live: &Live) -> Option<Health> {
    check(live).map(|_| Health {
        status: HealthStatus::Starting,
        failing_streak: 0,
        log: Vec::new(),
    })
}

/// Probes `live` for as long as it runs, and in no other way.
pub fn begin(supervisor: &Rc<Supervisor>, live: &Rc<Live>) {
    let begin = |check| spawn_local(watch(Rc::clone(supervisor), Rc::clone(live), check));
    let probe = check(live).map(begin);
    let before = std::mem::replace(&mut live.tasks.borrow_mut().probe, probe);
    if let Some(before) = before {
        before.abort();
    }
}

fn check(live: &Live) -> Option<Check> {
    live.record().healthcheck.as_ref().and_then(Check::of)
}

async fn watch(supervisor: Rc<Supervisor>, live: Rc<Live>, check: Check) {
    let started = live.state().started.unwrap_or_else(Timestamp::now);
    let mut vitals = match &live.state().health {
        None => Vitals::new(&check, started),
        Some(known) => Vitals::resumed(&check, started, known.status, known.failing_streak),
    };
    let mut event = Event::Due;
    loop {
        let (now_known, effect) = next(vitals, event, &check, Timestamp::now());
        vitals = now_known;
        event = match effect {
            // A frozen container answers nothing, and is not unhealthy for that.
            Effect::Probe if live.state().phase == Phase::Paused => {
                let mut changes = live.watch();
                while live.state().phase == Phase::Paused && changes.changed().await.is_ok() {}
                Event::Due
            }
            Effect::Probe => {
                let probe = probe(&supervisor, &live, &check).await;
                let answer = answer(&probe);
                let (expected, _) = next(vitals, Event::Answered(answer), &check, probe.end);
                write_down(&supervisor, &live, expected, probe);
                Event::Answered(answer)
            }
            Effect::Wait(wait) => {
                sleep(wait).await;
                Event::Due
            }
        };
    }
}

async fn probe(supervisor: &Supervisor, live: &Live, check: &Check) -> ProbeRecord {
    let start = Timestamp::now();
    let command = Command { args: check.command.clone(), ..Command::default() };
    let (code, output) = match command::run(supervisor, live, &command, Some(check.timeout)).await {
        Ok(outcome) => (outcome.status.map(|status| status.shell_code()), outcome.output),
        Err(error) => (Some(NOT_RUN), Failure::new(&error).message),
    };
    ProbeRecord { start, end: Timestamp::now(), code, output }
}

fn answer(probe: &ProbeRecord) -> Answer {
    if probe.code == Some(0) { Answer::Success } else { Answer::Failure }
}

fn write_down(supervisor: &Supervisor, live: &Live, vitals: Vitals, probe: ProbeRecord) {
    let (before, mut log) = match live.state().health.clone() {
        Some(health) => (health.status, health.log),
        None => (HealthStatus::Starting, Vec::new()),
    };
    log.push(probe);
    let surplus = log.len().saturating_sub(KEPT);
    log.drain(..surplus);
    let Vitals { status, failing_streak, .. } = vitals;
    let written = live.change(|state| state.health = Some(Health { status, failing_streak, log }));
    if let Err(error) = written {
        tracing::warn!(container = live.record().name, %error, "state");
    }
    if status != before {
        supervisor.tell(live, Change::Health { status: status.into() });
    }
}
