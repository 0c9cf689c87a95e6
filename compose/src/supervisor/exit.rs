//! What follows when a container has ended, and ending one on purpose.

use std::rc::Rc;
use std::time::Duration;

use jiff::Timestamp;
use runtime::cgroup::Place;
use runtime::foreign;
use runtime::launch::Launch;
use rustix::process::{Signal as KernelSignal, pidfd_send_signal};
use tokio::task::spawn_local;
use tokio::time::{Instant, timeout, timeout_at};

use super::keeper::Ended;
use super::live::{Descriptors, Live};
use super::start::{self, Occasion};
use super::transition::{Effect, Event, Life, Phase as LifePhase};
use super::{Supervisor, deaf, dependents, forward, hook, names, publish};
use crate::apply;
use crate::event::Change;
use crate::model::Signal;
use crate::record::{ContainerState, Phase, read_record};

/// How long the last output of a container may take into its log. It is no more than a pipe holds: only a full disk takes longer,
/// and who ends things may be about to make room.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Why a container could not be stopped.
#[derive(Debug, thiserror::Error)]
pub enum StopError {
    /// One of its `pre_stop` commands.
    #[error("a pre_stop hook failed")]
    Hook(#[from] hook::HookError),
    /// The kernel did not take the signal.
    #[error("cannot send {signal}")]
    Signal {
        /// Which one.
        signal: Signal,
        /// The kernel's words.
        source: std::io::Error,
    },
}

/// Sees to the end of a container: its last output is kept, its state is written down, what served it goes, and it is
/// started again if its restart policy says so.
pub async fn ended(supervisor: &Rc<Supervisor>, ended: Ended) {
    let Some(live) = supervisor.container(&ended.key) else { return };
    let gate = live.gate.lock().await;
    if live.state().process.as_ref().map(|process| process.pid) != Some(ended.pid) {
        return;
    }
    // With the process numbers of the host its children outlive PID 1, and hold its output open.
    kill(&live);
    let pumps = std::mem::take(&mut live.tasks.borrow_mut().pumps);
    for mut pump in pumps {
        if timeout(LAST_WORDS, &mut pump).await.is_err() {
            pump.abort();
            tracing::warn!(container = live.record().name, "what it said last could not be kept");
        }
    }
    forward::finish(&live).await;
    live.tasks.borrow_mut().end_services();
    *live.pidfd.borrow_mut() = None;
    let oom = was_oom_killed(&live);
    let requested = live.life.get().phase == LifePhase::Stopping;
    let effect = live.on(Event::Exited(ended.status));
    let again = matches!(effect, Effect::WakeAt(_));
    settle(supervisor, &live, again).await;
    let written = live.change(|state| {
        follow_up(state, live.life.get(), effect);
        state.process = None;
        state.exit = ended.status;
        state.finished = Some(ended.at);
        state.oom = oom;
        state.health = None;
        state.published = Vec::new();
        state.stop_requested = requested;
    });
    if let Err(error) = written {
        tracing::warn!(%error, "state");
    }
    // Only now: until the state says how it ended, whoever looks reads it from there.
    remove_cgroup(&live);
    forget(&live).await;
    let code = ended.status.map_or(255, |status| status.shell_code());
    let restarting = again || live.comes_back.get();
    supervisor.tell(&live, Change::Exited { code, oom, restarting });
    obey(supervisor, &live, effect);
    drop(gate);
    remove_if_asked(supervisor, &live).await;
    supervisor.idle.notify_one();
}

/// Writes down what follows the end of a run.
fn follow_up(state: &mut ContainerState, life: Life, effect: Effect) {
    let next_start = match effect {
        Effect::WakeAt(until) => Some(until),
        Effect::Nothing | Effect::Start | Effect::Terminate | Effect::Settle => None,
    };
    state.phase = if next_start.is_some() { Phase::Restarting } else { Phase::Exited };
    state.next_start = next_start;
    state.early_ends = life.early_ends;
    state.attempts = life.attempts;
}

/// Sees to a container that ended while no supervisor looked. Its state is true already but for what follows, which
/// depends on `before`, the state that the last supervisor has left.
pub async fn ended_unseen(supervisor: &Rc<Supervisor>, live: &Rc<Live>, before: &ContainerState) {
    live.life.set(Life::of(before));
    let oom = was_oom_killed(live);
    let effect = live.on(Event::Exited(live.state().exit));
    settle(supervisor, live, matches!(effect, Effect::WakeAt(_))).await;
    let written = live.change(|state| {
        follow_up(state, live.life.get(), effect);
        state.oom |= oom;
        state.published = Vec::new();
    });
    if let Err(error) = written {
        tracing::warn!(%error, "state");
    }
    remove_cgroup(live);
    forget(live).await;
    obey(supervisor, live, effect);
    remove_if_asked(supervisor, live).await;
}

/// Removes a container of `run --rm` that has ended, with its anonymous volumes.
pub async fn remove_if_asked(supervisor: &Rc<Supervisor>, live: &Rc<Live>) {
    if !live.start().remove || live.state().phase.is_up() {
        return;
    }
    let volumes: Vec<String> =
        live.record().anonymous_volumes().map(|(_, name)| name.to_owned()).collect();
    if let Err(error) = apply::remove(supervisor, &live.record().id, &volumes).await {
        tracing::warn!(container = live.record().name, %error, "remove");
    }
}

/// A container that will run again keeps its namespace and its ports; another one gives everything back.
pub async fn settle(supervisor: &Rc<Supervisor>, live: &Rc<Live>, again: bool) {
    if again {
        publish::pause(live);
        let mut descriptors = live.descriptors.borrow_mut();
        *descriptors =
            Descriptors { sandbox: descriptors.sandbox.take(), ..Descriptors::default() };
        return;
    }
    publish::end(live).await;
    names::detach(supervisor, live);
    *live.descriptors.borrow_mut() = Descriptors::default();
    supervisor.keeper.release(&live.record().id);
}

/// Does what an event of the life of `live` has as its effect, as far as that is for later.
pub fn obey(supervisor: &Rc<Supervisor>, live: &Rc<Live>, effect: Effect) {
    let Effect::WakeAt(until) = effect else { return };
    let (supervisor, live) = (Rc::clone(supervisor), Rc::clone(live));
    spawn_local(async move {
        let mut changes = live.watch();
        let due = Instant::now() + Timestamp::now().duration_until(until).unsigned_abs();
        while live.state().phase == Phase::Restarting {
            if timeout_at(due, changes.changed()).await.is_err() {
                break;
            }
        }
        match live.on(Event::Due) {
            Effect::Start => start_again(&supervisor, &live).await,
            effect => obey(&supervisor, &live, effect),
        }
    });
}

async fn start_again(supervisor: &Rc<Supervisor>, live: &Rc<Live>) {
    let Err(error) = start::start(supervisor, live, Occasion::Restart).await else {
        dependents::restart(supervisor, live);
        return;
    };
    tracing::warn!(container = live.record().name, %error, "restart");
    let effect = live.on(Event::StartFailed);
    if let Effect::WakeAt(_) = effect {
        let _ = live.change(|state| follow_up(state, live.life.get(), effect));
    }
    obey(supervisor, live, effect);
    supervisor.idle.notify_one();
}

/// Stops `live`: `pre_stop`, its signal, and SIGKILL when `grace` has passed.
///
/// # Errors
///
/// [`StopError`]. A container that is gone already is no error.
pub async fn stop(
    supervisor: &Rc<Supervisor>,
    live: &Rc<Live>,
    signal: Signal,
    grace: Duration,
) -> Result<(), StopError> {
    drop(live.gate.lock().await);
    want_stop(supervisor, live).await;
    if !live.is_running() {
        return Ok(());
    }
    hook::pre_stop(supervisor, live).await?;
    note_request(live);
    if is_deaf(live, signal) {
        // The grace is for those that can obey.
        kill(live);
        gone(live).await;
        supervisor.tell(live, Change::Stopped);
        return Ok(());
    }
    send(live, signal)?;
    supervisor.tell(live, Change::Signalled { signal: signal.number() });
    if live.state().phase == Phase::Paused {
        thaw(live);
    }
    let mut changes = live.watch();
    let due = Instant::now() + grace;
    while live.is_running() {
        if timeout_at(due, changes.changed()).await.is_err() {
            kill(live);
            break;
        }
    }
    gone(live).await;
    supervisor.tell(live, Change::Stopped);
    Ok(())
}

/// Whether its PID 1 cannot hear `signal`.
fn is_deaf(live: &Live, signal: Signal) -> bool {
    let state = live.state();
    let Some(process) = &state.process else { return false };
    // What was read is of this process if it is still there.
    deaf::is_deaf_now(process.pid, signal.number()) && process.is_alive_now()
}

/// Kills `live` and returns when it is gone.
async fn kill_and_wait(supervisor: &Rc<Supervisor>, live: &Rc<Live>) {
    drop(live.gate.lock().await);
    want_stop(supervisor, live).await;
    if live.is_running() {
        note_request(live);
        kill(live);
        supervisor.tell(live, Change::Signalled { signal: Signal::KILL.number() });
        gone(live).await;
    }
}

/// Sends one signal to PID 1.
///
/// # Errors
///
/// [`StopError::Signal`], but not for a process that is gone.
pub fn send(live: &Live, signal: Signal) -> Result<(), StopError> {
    let pidfd = live.pidfd.borrow();
    let Some(pidfd) = pidfd.as_ref() else { return Ok(()) };
    match sys::pidfd::send(pidfd, signal.number()) {
        Err(source) if source.raw_os_error() != Some(rustix::io::Errno::SRCH.raw_os_error()) => {
            Err(StopError::Signal { signal, source })
        }
        _ => Ok(()),
    }
}

/// Sends one signal, and for SIGKILL waits until the container is gone: nothing survives that.
///
/// # Errors
///
/// As [`send`].
pub async fn signal(
    supervisor: &Rc<Supervisor>,
    live: &Rc<Live>,
    signal: Signal,
) -> Result<(), StopError> {
    if signal == Signal::KILL {
        kill_and_wait(supervisor, live).await;
        return Ok(());
    }
    send(live, signal)?;
    supervisor.tell(live, Change::Signalled { signal: signal.number() });
    Ok(())
}

async fn gone(live: &Live) {
    let mut changes = live.watch();
    while live.is_running() {
        if changes.changed().await.is_err() {
            return;
        }
    }
}

/// Writes down that the coming end is wanted: whoever sees it, another supervisor perhaps, starts nothing again.
fn note_request(live: &Live) {
    if let Err(error) = live.change(|state| state.stop_requested = true) {
        tracing::warn!(%error, "state");
    }
}

/// Lets `live` know that somebody wants it to stop. One that waits to be started again gives that up, and what it holds.
pub async fn want_stop(supervisor: &Rc<Supervisor>, live: &Rc<Live>) {
    if live.on(Event::StopRequested) != Effect::Settle {
        return;
    }
    settle(supervisor, live, false).await;
    let written = live.change(|state| {
        state.phase = Phase::Exited;
        state.stop_requested = true;
    });
    if let Err(error) = written {
        tracing::warn!(%error, "state");
    }
    supervisor.idle.notify_one();
}

/// Kills every process of the container at once.
pub fn kill(live: &Live) {
    // With process numbers of its own, all of it. The control groups kill the rest, but may be locked for a moment: whoever moves
    // a process waits in there.
    if let Some(pidfd) = live.pidfd.borrow().as_ref() {
        let _ = pidfd_send_signal(pidfd, KernelSignal::KILL);
    }
    if let Some(Err(error)) = place(live).map(|place| place.kill()) {
        tracing::debug!(container = live.record().name, %error, "kill");
    }
}

fn thaw(live: &Live) {
    if let Some(place) = place(live)
        && let Err(error) = place.thaw()
    {
        tracing::warn!(%error, "thaw");
    }
}

/// The control groups of the last start.
pub fn place(live: &Live) -> Option<Place> {
    let mut known = live.place.borrow_mut();
    if known.is_none() {
        let launch: Option<Launch> = read_record(&live.paths.launch()).ok()?;
        *known = launch?.cgroup.or_else(|| leftover(live));
    }
    known.clone()
}

/// The control groups of a start that was cut off before it was written down.
fn leftover(live: &Live) -> Option<Place> {
    let start = live.start();
    let parent = start.cgroup_parent.as_deref();
    let name = runtime::cgroup::name(parent, &live.record().project, &live.record().id);
    runtime::cgroup::existing(&name).ok().flatten()
}

/// Whether the kernel has killed something of the last start for want of memory.
fn was_oom_killed(live: &Live) -> bool {
    live.has_cgroup.get() && place(live).is_some_and(|place| place.was_oom_killed())
}

/// Has another runtime that has made the container forget the last start of it.
pub async fn forget(live: &Live) {
    let Some(runtime) = live.start().foreign.clone() else { return };
    let id = live.record().id.clone();
    let deleted = tokio::task::spawn_blocking(move || foreign::delete(&runtime, &id)).await;
    if let Ok(Err(error)) = deleted {
        tracing::warn!(container = live.record().name, %error, "runtime");
    }
}

/// Removes the control groups of the last start.
pub fn remove_cgroup(live: &Live) {
    if !live.has_cgroup.get() {
        return;
    }
    let Some(place) = place(live) else { return };
    match place.remove() {
        Ok(()) => live.has_cgroup.set(false),
        Err(error) => tracing::warn!(container = live.record().name, %error, "cgroup"),
    }
}
