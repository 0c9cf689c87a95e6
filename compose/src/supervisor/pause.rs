//! Freezing a container and letting it go on, by its control groups.

use super::exit::place;
use super::live::Live;
use super::{Supervisor, start};
use crate::event::Change;
use crate::record::{Phase, RecordError};

/// A container could not be frozen, or could not go on.
#[derive(Debug, thiserror::Error)]
pub enum PauseError {
    /// It does not run.
    #[error("it is not running")]
    NotRunning,
    /// It is frozen.
    #[error("it is paused already")]
    Paused,
    /// It is not frozen.
    #[error("it is not paused")]
    NotPaused,
    /// It has no control groups any more.
    #[error("its control groups are gone")]
    Nowhere,
    /// The kernel refused.
    #[error(transparent)]
    Cgroup(#[from] runtime::cgroup::CgroupError),
    /// It cannot be written down.
    #[error(transparent)]
    Record(#[from] RecordError),
}

/// Freezes every process of `live`.
///
/// # Errors
///
/// [`PauseError`]; it runs on then.
pub async fn pause(supervisor: &Supervisor, live: &Live) -> Result<(), PauseError> {
    let _gate = live.gate.lock().await;
    match live.state().phase {
        Phase::Running => {}
        Phase::Paused => return Err(PauseError::Paused),
        _ => return Err(PauseError::NotRunning),
    }
    let place = place(live).ok_or(PauseError::Nowhere)?;
    if let Err(error) = place.freeze() {
        // Whatever has been frozen so far.
        let _ = place.thaw();
        return Err(error.into());
    }
    live.change(|state| state.phase = Phase::Paused)?;
    supervisor.tell(live, Change::Paused);
    Ok(())
}

/// Lets every process of `live` go on.
///
/// # Errors
///
/// [`PauseError`]; it stays frozen then.
pub async fn unpause(supervisor: &Supervisor, live: &Live) -> Result<(), PauseError> {
    let _gate = live.gate.lock().await;
    match live.state().phase {
        Phase::Paused => {}
        Phase::Running => return Err(PauseError::NotPaused),
        _ => return Err(PauseError::NotRunning),
    }
    place(live).ok_or(PauseError::Nowhere)?.thaw()?;
    live.change(|state| state.phase = Phase::Running)?;
    supervisor.tell(live, Change::Unpaused);
    Ok(())
}

/// Starts `live` if it does not run, and lets it go on if it is frozen.
///
/// # Errors
///
/// [`start::StartError`]; a thaw that fails is told by the container's state.
pub async fn start(
    supervisor: &std::rc::Rc<Supervisor>,
    live: &std::rc::Rc<Live>,
) -> Result<(), start::StartError> {
    if live.state().phase == Phase::Paused
        && let Err(error) = unpause(supervisor, live).await
    {
        tracing::warn!(container = live.record().name, %error, "unpause");
    }
    start::start(supervisor, live, start::Occasion::Request).await
}
