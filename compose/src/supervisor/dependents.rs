//! Who depends on a container that has ended by itself and runs again.
//!
//! docker compose restarts those with `restart: true` only when it restarts the other one itself; nobody is there to see
//! a crash. Here somebody is.

use std::rc::Rc;

use tokio::task::spawn_local;

use super::Supervisor;
use super::converge::{Work, once};
use super::live::Live;
use super::server::Reporter;
use crate::event::Event;
use crate::observe::Observed;
use crate::plan;
use crate::record::{HealthStatus, Phase};

/// Restarts those that depend on `live` with `restart: true`, once it is ready. If it ends again before, nothing is done.
pub fn restart(supervisor: &Rc<Supervisor>, live: &Rc<Live>) {
    let (supervisor, live) = (Rc::clone(supervisor), Rc::clone(live));
    spawn_local(async move {
        if !is_ready(&live).await {
            return;
        }
        let service = live.record().service.clone();
        let (reporter, _told) = Reporter::to_ourselves();
        let planner = |observed: &Observed| Ok(plan::recover(observed, &service));
        if let Event::Failed { failures } =
            once(&supervisor, &reporter, Work::of(None, None), planner).await
        {
            let words = failures.into_iter().map(|failure| failure.message);
            supervisor.warn(words.collect::<Vec<_>>().join("\n"));
        }
    });
}

/// Waits until a container that has just been started is healthy, if anybody can tell.
async fn is_ready(live: &Live) -> bool {
    let mut changes = live.watch();
    loop {
        let (phase, health) = {
            let state = live.state();
            (state.phase, state.health.as_ref().map(|health| health.status))
        };
        match (phase, health) {
            (Phase::Running, None | Some(HealthStatus::Healthy)) => return true,
            (Phase::Running, Some(_)) => {}
            _ => return false,
        }
        if changes.changed().await.is_err() {
            return false;
        }
    }
}
