//! What an attached `up` does about what happens: pure, without clock, socket or terminal.

use std::collections::{BTreeMap, BTreeSet};

use crate::event::{Change, ContainerEvent};
use crate::model::ServiceName;

/// Which services an attached `up` is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watched {
    /// Those whose output is shown.
    pub shown: BTreeSet<ServiceName>,
    /// Those whose exits count.
    pub monitored: BTreeSet<ServiceName>,
    /// Which exits stop everything.
    pub abort: Abort,
    /// The service whose exit code becomes ours.
    pub exit_code_from: Option<ServiceName>,
}

/// Which exits stop everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Abort {
    /// None.
    Never,
    /// Any.
    OnExit,
    /// Those with a code other than 0.
    OnFailure,
}

/// What is to be done about an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reaction {
    /// Nothing.
    Nothing,
    /// Stop all containers.
    Abort,
}

/// How far an attached `up` is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The supervisor brings the project up.
    Rising,
    /// All is up.
    Up,
    /// It is being stopped, by abort or by Ctrl-C.
    Stopping,
}

/// The state of an attached `up`.
#[derive(Debug)]
pub struct Watch {
    watched: Watched,
    phase: Phase,
    /// The monitored containers, and whether they run or are about to run again.
    up: BTreeMap<String, bool>,
    /// Of the container that caused the abort.
    abort_code: Option<i32>,
    /// The first one of the service in `exit_code_from`.
    wanted_code: Option<i32>,
}

impl Watch {
    /// At the moment at which the request is sent.
    #[must_use]
    pub const fn new(watched: Watched) -> Self {
        Self {
            watched,
            phase: Phase::Rising,
            up: BTreeMap::new(),
            abort_code: None,
            wanted_code: None,
        }
    }

    /// Whether the output of this service is shown.
    #[must_use]
    pub fn shows(&self, service: &str) -> bool {
        self.watched.shown.contains(service)
    }

    /// Takes in what happened to a container.
    pub fn on(&mut self, event: &ContainerEvent) -> Reaction {
        if event.oneoff || !self.watched.monitored.contains(event.service.as_str()) {
            return self.on_other(event);
        }
        match event.change {
            Change::Started { .. } => {
                self.up.insert(event.id.clone(), true);
                Reaction::Nothing
            }
            Change::Exited { code, restarting, .. } => {
                self.up.insert(event.id.clone(), restarting);
                self.note_code(&event.service, code);
                self.react(code)
            }
            Change::Removed => {
                self.up.remove(&event.id);
                Reaction::Nothing
            }
            Change::Created | Change::Health { .. } => Reaction::Nothing,
        }
    }

    /// A service that is not monitored may still be the one whose exit code is asked for.
    fn on_other(&mut self, event: &ContainerEvent) -> Reaction {
        if let (false, Change::Exited { code, .. }) = (event.oneoff, &event.change) {
            self.note_code(&event.service, *code);
            if self.watched.exit_code_from.as_ref().is_some_and(|name| *name == *event.service) {
                return self.react(*code);
            }
        }
        Reaction::Nothing
    }

    fn note_code(&mut self, service: &str, code: i32) {
        if self.watched.exit_code_from.as_ref().is_some_and(|name| name == service) {
            self.wanted_code.get_or_insert(code);
        }
    }

    fn react(&mut self, code: i32) -> Reaction {
        let aborts = match self.watched.abort {
            Abort::Never => false,
            Abort::OnExit => true,
            Abort::OnFailure => code != 0,
        };
        if !aborts || self.phase == Phase::Stopping {
            return Reaction::Nothing;
        }
        self.phase = Phase::Stopping;
        self.abort_code = Some(code);
        Reaction::Abort
    }

    /// The supervisor has brought everything up.
    pub fn risen(&mut self) {
        if self.phase == Phase::Rising {
            self.phase = Phase::Up;
        }
    }

    /// Everything is being stopped because the user asked for it.
    pub const fn stopping(&mut self) {
        self.phase = Phase::Stopping;
    }

    /// Whether nothing that is monitored runs, and nothing is going to be started.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.phase == Phase::Up && !self.up.values().any(|up| *up)
    }

    /// What `up` ends with when it ends by itself or by abort.
    #[must_use]
    pub fn code(&self) -> i32 {
        match self.watched.exit_code_from {
            Some(_) => self.wanted_code.or(self.abort_code).unwrap_or(0),
            None => self.abort_code.unwrap_or(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watch(abort: Abort, exit_code_from: Option<&str>) -> Watch {
        let names = || ["db", "web"].map(|name| name.parse().unwrap()).into();
        Watch::new(Watched {
            shown: names(),
            monitored: names(),
            abort,
            exit_code_from: exit_code_from.map(|name| name.parse().unwrap()),
        })
    }

    fn event(service: &str, change: Change) -> ContainerEvent {
        ContainerEvent {
            at: "2026-11-20T10:00:00Z".parse().unwrap(),
            id: format!("id-{service}"),
            name: format!("p-{service}-1"),
            service: service.to_owned(),
            number: 1,
            oneoff: false,
            change,
        }
    }

    fn started(service: &str) -> ContainerEvent {
        event(service, Change::Started { restarts: 0 })
    }

    fn exited(service: &str, code: i32) -> ContainerEvent {
        event(service, Change::Exited { code, oom: false, restarting: false })
    }

    #[test]
    fn ends_when_the_last_container_has_exited() {
        let mut watch = watch(Abort::Never, None);
        for event in [started("db"), started("web"), exited("db", 3)] {
            assert_eq!(watch.on(&event), Reaction::Nothing);
        }
        watch.risen();
        assert!(!watch.is_over());
        watch.on(&event("web", Change::Exited { code: 1, oom: false, restarting: true }));
        assert!(!watch.is_over(), "it is going to be restarted");
        watch.on(&exited("web", 1));
        assert!(watch.is_over());
        assert_eq!(watch.code(), 0);
    }

    #[test]
    fn is_not_over_before_everything_was_started() {
        let mut watch = watch(Abort::Never, None);
        watch.on(&started("db"));
        watch.on(&exited("db", 0));
        assert!(!watch.is_over());
        watch.risen();
        assert!(watch.is_over());
    }

    #[test]
    fn abort_takes_the_first_code() {
        #[rustfmt::skip]
        let table = [
            (Abort::Never, None, vec![exited("db", 3)], Reaction::Nothing, 0),
            (Abort::OnExit, None, vec![exited("db", 3), exited("web", 143)], Reaction::Abort, 3),
            (Abort::OnFailure, None, vec![exited("db", 0)], Reaction::Nothing, 0),
            (Abort::OnFailure, None, vec![exited("db", 2)], Reaction::Abort, 2),
            (Abort::OnExit, Some("web"), vec![exited("db", 0), exited("web", 143)], Reaction::Abort, 143),
            (Abort::OnExit, Some("web"), vec![exited("web", 7), exited("db", 143)], Reaction::Abort, 7),
            (Abort::OnExit, None, vec![exited("other", 9)], Reaction::Nothing, 0),
            (Abort::OnExit, Some("other"), vec![exited("other", 9)], Reaction::Abort, 9),
        ];
        for (abort, from, events, reaction, code) in table {
            let mut watch = watch(abort, from);
            watch.risen();
            let first = watch.on(&events[0]);
            for event in &events[1..] {
                assert_eq!(watch.on(event), Reaction::Nothing, "one abort is enough");
            }
            assert_eq!((first, watch.code()), (reaction, code), "{abort:?} {from:?}");
        }
    }
}
