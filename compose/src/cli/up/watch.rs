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
    /// Not even to be told.
    OldNews,
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

/// A container that has run.
#[derive(Debug)]
struct Run {
    /// It runs, or is about to run again.
    up: bool,
    service: String,
}

/// The state of an attached `up`.
#[derive(Debug)]
pub struct Watch {
    watched: Watched,
    phase: Phase,
    /// The containers that have run since the command began, by id.
    up: BTreeMap<String, Run>,
    /// Those that somebody else has made since all was up and is about to start, with their services.
    coming: BTreeMap<String, String>,
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
            coming: BTreeMap::new(),
            abort_code: None,
            wanted_code: None,
        }
    }

    /// Whether the output of this service is shown.
    #[must_use]
    pub fn shows(&self, service: &str) -> bool {
        self.watched.shown.contains(service)
    }

    /// Whether the container `id` runs as far as events have told; none if they have not.
    #[must_use]
    pub fn knows(&self, id: &str) -> Option<bool> {
        self.up.get(id).map(|run| run.up)
    }

    /// Forgets containers that are no more.
    pub fn keep_only(&mut self, exists: impl Fn(&str) -> bool) {
        self.up.retain(|id, _| exists(id));
        // What becomes of them has not been heard.
        self.coming.clear();
    }

    /// Takes in what happened to a container.
    ///
    /// An exit counts once, and only of a container that is known to run: the records may have
    /// told it before, and one that ran before the command and is replaced is of no interest.
    pub fn on(&mut self, event: &ContainerEvent) -> Reaction {
        if event.oneoff {
            return Reaction::Nothing;
        }
        match event.change {
            Change::Started { .. } => {
                self.coming.remove(&event.id);
                self.up.insert(event.id.clone(), Run { up: true, service: event.service.clone() });
                Reaction::Nothing
            }
            Change::Exited { code, restarting, .. } => match self.up.get_mut(&event.id) {
                Some(run) if run.up => {
                    run.up = restarting;
                    self.exited(&event.service, code)
                }
                _ => Reaction::OldNews,
            },
            Change::Removed => {
                self.up.remove(&event.id);
                self.coming.remove(&event.id);
                Reaction::Nothing
            }
            Change::Created => {
                if self.phase == Phase::Up {
                    self.coming.insert(event.id.clone(), event.service.clone());
                }
                Reaction::Nothing
            }
            Change::Health { .. }
            | Change::Signalled { .. }
            | Change::Paused
            | Change::Unpaused
            | Change::Updated
            | Change::Stopped => Reaction::Nothing,
        }
    }

    fn exited(&mut self, service: &str, code: i32) -> Reaction {
        self.note_code(service, code);
        let wanted = self.watched.exit_code_from.as_ref().is_some_and(|name| name == service);
        if wanted || self.watched.monitored.contains(service) {
            self.react(code)
        } else {
            Reaction::Nothing
        }
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
        let monitored = |service: &str| self.watched.monitored.contains(service);
        self.phase == Phase::Up
            && !self.up.values().any(|run| run.up && monitored(&run.service))
            && !self.coming.values().any(|service| monitored(service))
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
        assert_eq!(watch.on(&exited("web", 1)), Reaction::OldNews);
        assert_eq!(watch.code(), 0);
    }

    #[test]
    fn goes_on_with_what_is_made_in_its_place() {
        let mut watch = watch(Abort::Never, None);
        watch.on(&started("web"));
        watch.risen();
        let successor =
            |change| ContainerEvent { id: "id-next".to_owned(), ..event("web", change) };
        watch.on(&successor(Change::Created));
        watch.on(&exited("web", 143));
        watch.on(&event("web", Change::Removed));
        assert!(!watch.is_over());
        watch.on(&successor(Change::Started { restarts: 0 }));
        assert!(!watch.is_over());
        watch.on(&successor(Change::Exited { code: 0, oom: false, restarting: false }));
        assert!(watch.is_over());
    }

    #[test]
    fn a_container_that_is_replaced_does_not_abort() {
        let mut watch = watch(Abort::OnExit, Some("web"));
        assert_eq!(watch.on(&exited("web", 143)), Reaction::OldNews);
        watch.on(&started("web"));
        assert_eq!(watch.on(&exited("web", 5)), Reaction::Abort);
        assert_eq!(watch.code(), 5);
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
            [started("db"), started("web"), started("other")].iter().for_each(|event| {
                watch.on(event);
            });
            watch.risen();
            let first = watch.on(&events[0]);
            for event in &events[1..] {
                assert_eq!(watch.on(event), Reaction::Nothing, "one abort is enough");
            }
            assert_eq!((first, watch.code()), (reaction, code), "{abort:?} {from:?}");
        }
    }
}
