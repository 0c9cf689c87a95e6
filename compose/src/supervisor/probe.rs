//! Health checks: when to probe, and what the answers mean.

use std::rc::Rc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::task::spawn_local;
use tokio::time::sleep;

use super::Supervisor;
use super::command::{self, Command};
use super::live::Live;
use crate::event::Change;
use crate::model::{HealthTest, Healthcheck};
use crate::record::{Health, HealthStatus, ProbeRecord};

/// Docker's defaults (runtime.md section 3.1).
const INTERVAL: Duration = Duration::from_secs(30);
const TIMEOUT: Duration = Duration::from_secs(30);
const START_INTERVAL: Duration = Duration::from_secs(5);
const RETRIES: u32 = 3;
/// The second probe comes this long after the first; until the first success each wait is twice as long.
const FIRST_WAIT: Duration = Duration::from_millis(50);
/// How many answers are kept.
const KEPT: usize = 5;

/// The health of a container that has just been started; none without a health check.
pub fn initial(live: &Live) -> Option<Health> {
    live.record.healthcheck.as_ref().map(|_| Health {
        status: HealthStatus::Starting,
        failing_streak: 0,
        log: Vec::new(),
    })
}

/// Probes `live` for as long as it runs.
pub fn begin(supervisor: &Rc<Supervisor>, live: &Rc<Live>) {
    let Some(check) = live.record.healthcheck.clone() else { return };
    let Some(args) = args(&check) else { return };
    let task = spawn_local(watch(Rc::clone(supervisor), Rc::clone(live), check, args));
    live.tasks.borrow_mut().services.push(task);
}

fn args(check: &Healthcheck) -> Option<Vec<String>> {
    match check.test.as_ref()? {
        HealthTest::Disabled => None,
        HealthTest::Exec(args) => Some(args.clone()),
        HealthTest::Shell(line) => Some(vec!["/bin/sh".into(), "-c".into(), line.clone()]),
    }
}

async fn watch(supervisor: Rc<Supervisor>, live: Rc<Live>, check: Healthcheck, args: Vec<String>) {
    let command = Command { args, ..Command::default() };
    let interval = check.interval.unwrap_or(INTERVAL);
    let mut wait = FIRST_WAIT;
    loop {
        let start = Timestamp::now();
        let limit = check.timeout.unwrap_or(TIMEOUT);
        let outcome = command::run(&supervisor, &live, &command, Some(limit)).await;
        let (code, output) = match outcome {
            Ok(outcome) => (outcome.status.map(|status| status.shell_code()), outcome.output),
            Err(error) => (Some(126), crate::event::Failure::new(&error).message),
        };
        let probe = ProbeRecord { start, end: Timestamp::now(), code, output };
        let status = record(&supervisor, &live, &check, probe);
        let pause = match status {
            HealthStatus::Starting => {
                let ceiling = check.start_interval.unwrap_or(START_INTERVAL).min(interval);
                let pause = wait.min(ceiling);
                wait = wait.saturating_mul(2);
                pause
            }
            HealthStatus::Healthy | HealthStatus::Unhealthy => interval,
        };
        sleep(pause).await;
    }
}

fn record(
    supervisor: &Supervisor,
    live: &Live,
    check: &Healthcheck,
    probe: ProbeRecord,
) -> HealthStatus {
    let old = live.state().health.clone().or_else(|| initial(live));
    let Some(mut health) = old else { return HealthStatus::Starting };
    let before = health.status;
    let grace = check.start_period.unwrap_or_default();
    let age = live.state().started.map(|started| probe.start.duration_since(started).unsigned_abs());
    // Until the first success probes come much faster than `interval`; the failures among them count only as often as
    // they would have come with it, or a slow starter would be unhealthy within a blink.
    let due = check.interval.unwrap_or(INTERVAL).saturating_mul(health.failing_streak + 1);
    let in_grace =
        before == HealthStatus::Starting && age.is_some_and(|age| age < grace.max(due));
    if probe.code == Some(0) {
        health.status = HealthStatus::Healthy;
        health.failing_streak = 0;
    } else if !in_grace {
        health.failing_streak += 1;
        if health.failing_streak >= check.retries.unwrap_or(RETRIES) {
            health.status = HealthStatus::Unhealthy;
        }
    }
    health.log.push(probe);
    let surplus = health.log.len().saturating_sub(KEPT);
    health.log.drain(..surplus);
    let status = health.status;
    if let Err(error) = live.change(|state| state.health = Some(health)) {
        tracing::warn!(%error, "state");
    }
    if status != before {
        let status = match status {
            HealthStatus::Starting => crate::event::HealthStatus::Starting,
            HealthStatus::Healthy => crate::event::HealthStatus::Healthy,
            HealthStatus::Unhealthy => crate::event::HealthStatus::Unhealthy,
        };
        supervisor.tell(live, Change::Health { status });
    }
    status
}
