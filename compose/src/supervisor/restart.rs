//! When a container that has ended is started again.

use std::time::Duration;

use jiff::Timestamp;
use runtime::exit::ExitStatus;

use super::live::Live;
use crate::model::RestartPolicy;

/// The first wait before a restart; each further one is twice as long.
const FIRST: Duration = Duration::from_millis(100);
/// The longest wait.
const LONGEST: Duration = Duration::from_secs(60);
/// A run of this length counts as a success: the waits begin anew.
const SETTLED: Duration = Duration::from_secs(10);

/// The wait before `live` is started again; `None` if it is not.
pub fn delay(live: &Live, status: Option<ExitStatus>, ended: Timestamp) -> Option<Duration> {
    let state = live.state();
    let ran = state.started.map(|started| ended.duration_since(started).unsigned_abs());
    let failed = status.is_none_or(|status| !status.success());
    wait(live.record.restart, failed, state.restarts, ran.unwrap_or_default())
}

/// The wait after a start that failed.
pub fn delay_after_failure(live: &Live) -> Option<Duration> {
    wait(live.record.restart, true, live.state().restarts, Duration::ZERO)
}

fn wait(policy: RestartPolicy, failed: bool, restarts: u32, ran: Duration) -> Option<Duration> {
    let again = match policy {
        RestartPolicy::No => false,
        RestartPolicy::Always | RestartPolicy::UnlessStopped => true,
        RestartPolicy::OnFailure { max_retries } => {
            failed && max_retries.is_none_or(|most| restarts < most)
        }
    };
    let doubled = FIRST.saturating_mul(1 << restarts.min(10));
    again.then(|| if ran >= SETTLED { FIRST } else { doubled.min(LONGEST) })
}
