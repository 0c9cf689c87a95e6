//! `down`: takes away what `up` has made.

use std::collections::{BTreeMap, BTreeSet};

use super::command::Topology;
use super::hooks::is_hook;
use super::images::is_directory;
use super::layout::is_on;
use super::stopping::{Anonymous, Stop, Stopped, Then, grace, stop_all};
use super::up::orphans;
use super::{Action, Cause, Plan, StepId, Warning};
use crate::api::{DownOptions, ImageRemoval, Orphans};
use crate::model::Project;
use crate::observe::Observed;
use crate::record::Container;

/// Plans what takes a project away, or some of its services and what depends
/// on them. Without a file the records say what there is.
///
/// Volumes stay unless asked for, and what somebody else still uses stays in
/// any case. External networks and volumes carry no label of this project and
/// are never touched.
#[must_use]
pub fn down(
    name: &str,
    project: Option<&Project>,
    observed: &Observed,
    options: &DownOptions,
) -> Plan {
    let topology = Topology::new(project, observed);
    let graph = topology.graph();
    let orphaned: BTreeSet<&str> = match project {
        Some(project) => orphans(project, observed).iter().map(|one| id(one)).collect(),
        None => BTreeSet::new(),
    };
    let scope = graph.with_dependents(&options.services);
    let is_meant = |container: &Container| {
        let record = &container.record;
        let in_scope = options.services.is_empty() || scope.contains(&record.service);
        let known = project.is_none_or(|project| project.services.contains_key(&record.service));
        let stray = (record.oneoff && !is_hook(record)) || orphaned.contains(id(container));
        if stray { options.orphans == Orphans::Remove } else { in_scope && known }
    };

    let mut plan = Plan::default();
    let (going, staying): (Vec<_>, Vec<_>) =
        observed.containers.iter().partition(|container| is_meant(container));
    warn(&mut plan, name, options, &staying, &orphaned);
    for garbage in &observed.garbage {
        let action = Action::RemoveGarbage { id: garbage.id.clone() };
        plan.push(action, Cause::CutOff, BTreeSet::new());
    }
    let anonymous = if options.volumes { Anonymous::Remove } else { Anonymous::Keep };
    let queue = going.iter().map(|container| Stop {
        container,
        because: Cause::Requested,
        after: BTreeSet::new(),
        after_end: BTreeSet::new(),
        then: Then::Remove(anonymous),
    });
    let grace = |container: &Container| grace(project, options.timeout_seconds, container);
    let stopped = stop_all(&mut plan, &graph, queue.collect(), grace);
    let mut removal = Removal { plan, name, project, observed, options, going, staying, stopped };
    removal.networks();
    removal.volumes();
    removal.images();
    removal.plan
}

fn id(container: &Container) -> &str {
    &container.record.id
}

fn warn(
    plan: &mut Plan,
    name: &str,
    options: &DownOptions,
    staying: &[&Container],
    orphaned: &BTreeSet<&str>,
) {
    let stray = staying.iter().filter(|one| orphaned.contains(id(one)));
    let containers: Vec<String> = stray.map(|one| one.record.name.clone()).collect();
    if options.orphans == Orphans::Warn && !containers.is_empty() {
        plan.warnings.push(Warning::Orphans { project: name.to_owned(), containers });
    }
}

/// What is removed when the containers are gone.
struct Removal<'a> {
    plan: Plan,
    name: &'a str,
    project: Option<&'a Project>,
    observed: &'a Observed,
    options: &'a DownOptions,
    going: Vec<&'a Container>,
    staying: Vec<&'a Container>,
    stopped: Stopped<'a>,
}

impl Removal<'_> {
    /// Whether a network or volume is one that the named services use; without
    /// names, all are.
    fn is_meant(&self, uses: impl Fn(&Container) -> bool) -> bool {
        self.options.services.is_empty() || self.going.iter().any(|container| uses(container))
    }

    /// Removes the networks of the project on which nothing runs any more, as
    /// soon as the containers on them have stopped. One that has ended by itself
    /// may be on its way off them: its removal waits for that.
    fn networks(&mut self) {
        for (network, found) in &self.observed.networks {
            let used = self
                .staying
                .iter()
                .any(|one| one.state.phase.is_up() && is_on(&one.record, network));
            if !found.belongs_to(self.name)
                || used
                || !self.is_meant(|container| is_on(&container.record, network))
            {
                continue;
            }
            let Stopped { stops, removals } = &self.stopped;
            let going = self.going.iter().filter(|one| is_on(&one.record, network));
            let step = |one: &&Container| stops.get(id(one)).or_else(|| removals.get(id(one)));
            let after = going.filter_map(|one| step(one).copied()).collect();
            let action = Action::RemoveNetwork { name: network.clone() };
            self.plan.push(action, Cause::Requested, after);
        }
    }

    /// Removes the volumes of the project, if that was asked for, as soon as
    /// the containers with them are gone.
    fn volumes(&mut self) {
        if !self.options.volumes {
            return;
        }
        for (volume, found) in &self.observed.volumes {
            let uses = |one: &Container| one.record.named_volumes().any(|name| name == volume);
            let used = self.staying.iter().any(|container| uses(container));
            if !found.belongs_to(self.name) || used || !self.is_meant(uses) {
                continue;
            }
            let after = self.after(&self.stopped.removals, uses);
            let action = Action::RemoveVolume { name: volume.clone() };
            self.plan.push(action, Cause::Requested, after);
        }
    }

    /// Removes images, if that was asked for, as soon as the containers made of them are gone.
    fn images(&mut self) {
        let (Some(project), Some(removal)) = (self.project, self.options.images) else { return };
        let services = project.services.values().filter(|service| {
            let named = self.options.services.contains(&service.name);
            let own = service.image.is_none() && service.build.is_some();
            (self.options.services.is_empty() || named) && (removal == ImageRemoval::All || own)
        });
        let references: BTreeSet<String> =
            services.map(|service| service.image_reference(&project.name)).collect();
        for reference in references {
            if self.observed.images.contains_key(&reference) && !is_directory(&reference) {
                let after = self.after(&self.stopped.removals, |one| one.record.image == reference);
                let action = Action::RemoveImage { reference };
                self.plan.push(action, Cause::Requested, after);
            }
        }
    }

    /// The steps of `steps` for the containers that `concerns` means.
    fn after(
        &self,
        steps: &BTreeMap<&str, StepId>,
        concerns: impl Fn(&Container) -> bool,
    ) -> BTreeSet<StepId> {
        let concerned = self.going.iter().filter(|container| concerns(container));
        concerned.filter_map(|container| steps.get(id(container)).copied()).collect()
    }
}
