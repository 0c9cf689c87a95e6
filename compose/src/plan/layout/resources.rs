//! Networks and volumes, and what was left of containers: made before the containers that need them, gone after those that had
//! them.

use std::collections::BTreeSet;

use super::Layout;
use crate::plan::resource::Need;
use crate::plan::{Action, Cause, StepId};
use crate::record::ContainerRecord;

impl Layout<'_, '_> {
    pub(super) fn clear_remains(&mut self) {
        for garbage in &self.decided.observed.garbage {
            let action = Action::RemoveGarbage { id: garbage.id.clone() };
            let step = self.plan.push(action, Cause::CutOff, BTreeSet::new());
            // Which name it holds is not known any more.
            self.ground.insert(step);
        }
    }

    pub(super) fn make_resources(&mut self) {
        let resources = &self.decided.resources;
        for (name, (key, need)) in &resources.volumes {
            if let Need::Create(cause) = need {
                let action = Action::CreateVolume { key: (*key).clone(), name: (*name).to_owned() };
                let step = self.plan.push(action, cause.clone(), BTreeSet::new());
                self.ground.insert(step);
            }
        }
        for (name, (key, need)) in &resources.networks {
            if let Need::Create(cause) = need {
                let action =
                    Action::CreateNetwork { key: (*key).clone(), name: (*name).to_owned() };
                let step = self.plan.push(action, cause.clone(), BTreeSet::new());
                self.networks.insert(name, step);
            }
        }
    }

    pub(super) fn replace_networks(&mut self) {
        let decided = self.decided;
        for (name, (key, need)) in &decided.resources.networks {
            if let Need::Replace(cause) = need {
                let after = self.left(name);
                let action = Action::RemoveNetwork { name: (*name).to_owned() };
                let removed = self.plan.push(action, cause.clone(), after);
                let action =
                    Action::CreateNetwork { key: (*key).clone(), name: (*name).to_owned() };
                let step = self.plan.push(action, cause.clone(), BTreeSet::from([removed]));
                self.networks.insert(name, step);
            }
        }
    }

    pub(super) fn replace_volumes(&mut self) {
        let decided = self.decided;
        for (name, (key, need)) in &decided.resources.volumes {
            if let Need::Replace(cause) = need {
                let users = decided.going().map(|one| &one.record);
                let users = users.filter(|record| record.named_volumes().any(|one| one == *name));
                let after = users
                    .filter_map(|record| self.stopped.removals.get(record.id.as_str()).copied());
                let action = Action::RemoveVolume { name: (*name).to_owned() };
                let removed = self.plan.push(action, cause.clone(), after.collect());
                let action = Action::CreateVolume { key: (*key).clone(), name: (*name).to_owned() };
                let step = self.plan.push(action, cause.clone(), BTreeSet::from([removed]));
                self.ground.insert(step);
            }
        }
    }

    /// The steps after which nobody is left on `network` of those that leave it.
    fn left(&self, network: &str) -> BTreeSet<StepId> {
        let containers = self.decided.observed.containers.iter();
        let on_it = containers.filter(|container| is_on(&container.record, network));
        let ids = on_it.map(|container| container.record.id.as_str());
        ids.flat_map(|id| [self.stopped.stops.get(id), self.updates.get(id)])
            .flatten()
            .copied()
            .collect()
    }

    /// The steps after which the networks of a container are there.
    pub(super) fn ground_of(&self, record: &ContainerRecord) -> BTreeSet<StepId> {
        let networks = record.networks.iter().map(|endpoint| endpoint.network.as_str());
        networks.filter_map(|name| self.networks.get(name).copied()).collect()
    }

    /// Removes the networks of the project that the file does not have any
    /// more and that nobody is left on.
    pub(super) fn remove_stale_networks(&mut self) {
        let decided = self.decided;
        if !decided.options.services.is_empty() {
            return;
        }
        let project = decided.project;
        let going: BTreeSet<&str> = decided.going().map(|one| one.record.id.as_str()).collect();
        for (name, network) in &decided.observed.networks {
            let known = project.networks.values().any(|network| network.name == *name);
            let leaving = decided.leaving(name);
            let used = decided.observed.containers.iter().any(|container| {
                let id = container.record.id.as_str();
                is_on(&container.record, name) && !going.contains(id) && !leaving.contains(id)
            });
            if network.belongs_to(project.name.as_str()) && !known && !used {
                let after = self.left(name);
                let action = Action::RemoveNetwork { name: name.clone() };
                self.plan.push(action, Cause::Orphan, after);
            }
        }
    }
}

/// Whether a container has a place on `network`.
pub(in crate::plan) fn is_on(record: &ContainerRecord, network: &str) -> bool {
    record.networks.iter().any(|endpoint| endpoint.network == network)
}
