//! `up`: from what exists to what the file says.
//!
//! First everything is decided, then the steps are laid out in the order in
//! which nothing refers to a later step:
//!
//! 1. remains of cut-off commands go,
//! 2. networks and volumes that are missing are made,
//! 3. new containers are made beside the old ones,
//! 4. old ones stop, dependents first, and are removed,
//! 5. networks that are to be replaced are, while nothing runs on them, and volumes, while there is no container with them,
//! 6. new containers that had to wait for a removal are made,
//! 7. containers that can be changed as they are, running or not, are,
//! 8. containers start, dependencies first, with the waits between them,
//! 9. networks that nothing needs any more go.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::hooks::{is_hook, missing_image};
use super::layout::lay_out;
use super::live::Surroundings;
use super::resource::Resources;
use super::rollout::{self, Obstacle};
use super::scope::{Scope, Standing};
use super::service::{Fate, Outcome, Partner, Policy, Replica, Wish, decide, leave};
use super::{Cause, Instance, Named, Plan, PlanError, Refusal, Rollout, Warning};
use crate::api::{Orphans, RunOptions, UpOptions};
use crate::graph::Graph;
use crate::model::{Networking, Project, ServiceName};
use crate::observe::Observed;
use crate::record::names::NameHolder;
use crate::record::{Container, ContainerRecord, Phase};

/// Plans what brings `project` to what its file says.
///
/// `began` is when the command began: what was made or started since then was
/// made or started by it, so that planning again after the plan was carried
/// out finds nothing, even if containers are replaced always, or have exited
/// by themselves in the meantime.
///
/// # Errors
///
/// [`PlanError`] with everything that can be told before anything is changed.
pub fn up(
    project: &Project,
    observed: &Observed,
    options: &UpOptions,
    began: Timestamp,
) -> Result<Plan, PlanError> {
    let graph = Graph::new(project).map_err(Refusal::Cycle)?;
    let scope = Scope::new(project, &graph, options)?;
    let decided = Decided::new(project, observed, options, began, &graph, &scope)?;
    Ok(lay_out(&decided, None))
}

/// Plans a `run`: what the service depends on, then a one-off container of it
/// called `name`. The container is started only if the command detaches from
/// it; otherwise whoever attaches starts it when the plan is carried out.
///
/// # Errors
///
/// [`PlanError`] with everything that can be told before anything is changed.
pub fn run(
    project: &Project,
    observed: &Observed,
    options: &RunOptions,
    name: &str,
    began: Timestamp,
) -> Result<Plan, PlanError> {
    let graph = Graph::new(project).map_err(Refusal::Cycle)?;
    let RunOptions { service, dependencies, orphans, detach, .. } = options;
    let up = UpOptions {
        services: vec![service.clone()],
        dependencies: *dependencies,
        orphans: *orphans,
        ..UpOptions::default()
    };
    let scope = Scope::for_one_off(project, &graph, service, &up)?;
    let decided = Decided::new(project, observed, &up, began, &graph, &scope)?;
    let wish = &decided.wishes[service];
    if wish.image_id.is_none() {
        return Err(decided.image_missing(wish).into());
    }
    let instance = Instance { service: service.clone(), number: 1, name: name.to_owned() };
    if let Some(refusal) = decided.name_taken(wish, &instance, &BTreeSet::new()) {
        return Err(refusal.into());
    }
    Ok(lay_out(&decided, Some(&OneOff { instance, starts: *detach })))
}

/// The container of a `run`.
#[derive(Debug)]
pub(super) struct OneOff {
    pub instance: Instance,
    /// It starts as part of the plan.
    pub starts: bool,
}

/// Everything that is decided before the first step is laid out.
pub(super) struct Decided<'a> {
    pub project: &'a Project,
    pub observed: &'a Observed,
    pub options: &'a UpOptions,
    pub began: Timestamp,
    pub graph: &'a Graph<'a>,
    pub scope: &'a Scope<'a>,
    pub wishes: BTreeMap<&'a ServiceName, Wish<'a>>,
    pub resources: Resources<'a>,
    pub outcomes: BTreeMap<&'a ServiceName, Outcome<'a>>,
    /// Containers that stay and have to stop and start, by id.
    pub restarts: BTreeMap<&'a str, Cause>,
    pub orphans: Vec<&'a Container>,
    /// The replicas whose new containers start before the old ones stop, or why they do not.
    pub rollouts: BTreeMap<(&'a ServiceName, u32), Result<Rollout, Obstacle>>,
}

impl<'a> Decided<'a> {
    fn new(
        project: &'a Project,
        observed: &'a Observed,
        options: &'a UpOptions,
        began: Timestamp,
        graph: &'a Graph<'a>,
        scope: &'a Scope<'a>,
    ) -> Result<Self, PlanError> {
        let wishes: BTreeMap<_, _> = project
            .services
            .values()
            .map(|service| (&service.name, Wish::new(project, observed, service)))
            .collect();
        let needed =
            || wishes.iter().filter(|(name, _)| scope.needs_resources_of(name)).map(|(_, w)| w);
        let resources = Resources::check(
            project,
            observed,
            |network| {
                // The default network is in every project, whether the file has it or not.
                let declared = || {
                    project.networks.values().any(|one| one.name == network && one.place.is_some())
                };
                needed().any(|wish| wish.networks.contains(network))
                    || options.all_resources && declared()
            },
            |volume| options.all_resources || needed().any(|wish| wish.volumes.contains(volume)),
            &options.replace_volumes,
        );
        let mut decided = Self {
            project,
            observed,
            options,
            began,
            graph,
            scope,
            wishes,
            resources,
            outcomes: BTreeMap::new(),
            restarts: BTreeMap::new(),
            orphans: orphans(project, observed),
            rollouts: BTreeMap::new(),
        };
        for service in graph.start_order() {
            let mut outcome = decided.decide(service);
            decided.make_way(&mut outcome);
            decided.outcomes.insert(service, outcome);
            decided.decide_restarts(service);
        }
        decided.decide_other_restarts();
        decided.rollouts = rollout::decide(&decided);
        decided.refuse();
        match std::mem::take(&mut decided.resources.refusals) {
            refusals if refusals.is_empty() => Ok(decided),
            refusals => Err(PlanError { refusals }),
        }
    }

    fn decide(&self, service: &ServiceName) -> Outcome<'a> {
        let wish = &self.wishes[service];
        let have: Vec<&Container> = self
            .observed
            .containers
            .iter()
            .filter(|found| !found.record.oneoff && found.record.service == *service)
            .collect();
        let partner = |name: &ServiceName| self.partner(name);
        let recreate = match self.scope.standing(service) {
            Some(Standing::Named) => self.options.recreate,
            Some(Standing::Dependency) => self.options.recreate_dependencies,
            None => return leave(wish, &have, partner),
        };
        let policy = Policy { recreate, began: self.began };
        let around = Surroundings { observed: self.observed, resources: &self.resources };
        let replicas = self.scope.replicas(service);
        decide(wish, self.project, &have, replicas, policy, around, partner)
    }

    /// Has containers replaced that stay, and use a volume that is replaced.
    fn make_way(&self, outcome: &mut Outcome<'a>) {
        for replica in &mut outcome.replicas {
            if let Some(container) = replica.kept()
                && let Some(volume) = self.replaced_volume(&container.record)
            {
                let cause = Cause::VolumeReplaced(Named::new(volume));
                replica.fate = Fate::Replace(container, cause);
            }
        }
    }

    /// A volume of a container that is replaced.
    pub fn replaced_volume<'r>(&self, record: &'r ContainerRecord) -> Option<&'r str> {
        record.named_volumes().find(|name| self.resources.replaces_volume(name))
    }

    /// Whether a container of `service` can be made only when a volume has been replaced.
    pub fn waits_for_a_volume(&self, service: &ServiceName) -> bool {
        let mut volumes = self.wishes[service].volumes.iter();
        volumes.any(|name| self.resources.replaces_volume(name))
    }

    /// Whether a container of `service` can be made only when a network has been replaced: its address may not be one of
    /// the network as it is.
    pub fn waits_for_a_network(&self, service: &ServiceName) -> bool {
        let wish = &self.wishes[service];
        let Networking::Attached(places) = &wish.service.networking else { return false };
        places.values().any(|place| place.fixed_addresses().next().is_some())
            && wish.networks.iter().any(|name| self.resources.replaces_network(name))
    }

    /// What will stand in the place of the first container of `service`.
    fn partner(&self, service: &ServiceName) -> Option<Partner<'a>> {
        let first = self.outcomes.get(service)?.replicas.first()?;
        Some(match first.kept() {
            Some(container) => Partner::Kept(&container.record.id),
            None => Partner::New,
        })
    }

    /// Finds out which containers of `service` stay but cannot run on as they are.
    fn decide_restarts(&mut self, service: &ServiceName) {
        let mut restarts = Vec::new();
        let up = self.kept(service).filter(|container| container.state.phase.is_up());
        for container in up.filter(|container| !container.state.aside) {
            let cause = self
                .lost_resource(&container.record)
                .or_else(|| self.lost_partner(service))
                .or_else(|| self.restarted_dependency(service));
            restarts.extend(cause.map(|cause| (container.record.id.as_str(), cause)));
        }
        self.restarts.extend(restarts);
    }

    /// The same for containers that are no replicas: orphans and one-offs.
    fn decide_other_restarts(&mut self) {
        let going: BTreeSet<&str> = self.going().map(|one| one.record.id.as_str()).collect();
        for container in &self.observed.containers {
            let id = container.record.id.as_str();
            if container.state.phase.is_up()
                && !going.contains(id)
                && !self.restarts.contains_key(id)
                && let Some(cause) = self.lost_resource(&container.record)
            {
                self.restarts.insert(id, cause);
            }
        }
    }

    fn lost_resource(&self, record: &ContainerRecord) -> Option<Cause> {
        let mut networks = record.networks.iter().map(|endpoint| endpoint.network.as_str());
        let network = networks.find(|name| self.resources.networks.contains_key(name));
        let volume =
            || record.named_volumes().find(|name| self.resources.volumes.contains_key(name));
        network
            .map(|name| Cause::NetworkReplaced(Named::new(name)))
            .or_else(|| volume().map(|name| Cause::VolumeReplaced(Named::new(name))))
    }

    /// A service whose namespaces are shared, and which gets new ones by starting anew.
    fn lost_partner(&self, service: &ServiceName) -> Option<Cause> {
        let starts_anew = |partner: &&ServiceName| {
            self.outcomes
                .get(*partner)
                .and_then(|outcome| outcome.replicas.first())
                .and_then(Replica::kept)
                .is_some_and(|container| {
                    self.restarts.contains_key(container.record.id.as_str())
                        || self.is_to_start(partner, container)
                })
        };
        let mut partners = self.wishes[service].joins.iter().map(|(_, partner)| *partner);
        partners.find(starts_anew).map(|partner| Cause::PartnerRestarted(Named::new(partner)))
    }

    fn restarted_dependency(&self, service: &ServiceName) -> Option<Cause> {
        let mut dependencies = self.graph.dependencies(service);
        dependencies
            .find(|(name, dependency)| dependency.restart && self.is_disturbed(name))
            .map(|(name, _)| Cause::DependencyRestarted(Named::new(name)))
    }

    /// Whether a container of `service` is replaced or restarted.
    fn is_disturbed(&self, service: &ServiceName) -> bool {
        self.outcomes.get(service).is_some_and(|outcome| {
            outcome.replicas.iter().any(|replica| match &replica.fate {
                Fate::Replace(..) | Fate::Succeed(..) => true,
                Fate::Keep(container) | Fate::Update(container, _) => {
                    self.restarts.contains_key(container.record.id.as_str())
                }
                Fate::Create => false,
            })
        })
    }

    /// Whether a container that stays does not run and should.
    pub fn is_to_start(&self, service: &ServiceName, container: &Container) -> bool {
        let state = &container.state;
        let at_rest =
            matches!(state.phase, Phase::Created | Phase::Exited | Phase::Dead | Phase::Paused);
        let ours = state.started.is_some_and(|started| started >= self.began);
        self.options.start && self.scope.contains(service) && at_rest && !ours
    }

    /// Whether a container of `service` runs, and stays.
    pub fn any_runs_on(&self, service: &ServiceName) -> bool {
        self.kept(service).any(|container| {
            container.state.phase.is_up()
                && !self.restarts.contains_key(container.record.id.as_str())
                && !self.is_to_start(service, container)
        })
    }

    fn kept(&self, service: &ServiceName) -> impl Iterator<Item = &'a Container> {
        let outcome = self.outcomes.get(service);
        outcome.into_iter().flat_map(|outcome| outcome.replicas.iter().filter_map(Replica::kept))
    }

    /// The replicas of `service` that are to be made.
    pub fn made(&self, service: &ServiceName) -> impl Iterator<Item = &Replica<'a>> {
        let outcome = self.outcomes.get(service);
        outcome
            .into_iter()
            .flat_map(|outcome| outcome.replicas.iter().filter(|replica| replica.kept().is_none()))
    }

    /// Containers in whose place nothing comes.
    pub fn surplus(&self) -> impl Iterator<Item = (&'a Container, Cause)> {
        let orphans = match self.options.orphans {
            Orphans::Remove => self.orphans.as_slice(),
            Orphans::Warn | Orphans::Ignore => &[],
        };
        let services = self.outcomes.values().flat_map(|outcome| outcome.surplus.iter().cloned());
        let hooks = self.observed.containers.iter().filter(|one| is_hook(&one.record));
        let hooks = hooks.filter(|one| self.scope.contains(&one.record.service));
        let services = services.chain(hooks.map(|hook| (hook, Cause::Superseded)));
        services.chain(orphans.iter().map(|orphan| (*orphan, Cause::Orphan)))
    }

    /// All containers that go.
    pub fn going(&self) -> impl Iterator<Item = &'a Container> {
        let replicas = self.outcomes.values().flat_map(|outcome| outcome.replicas.iter());
        let replaced = replicas.filter_map(Replica::predecessor);
        self.surplus().map(|(container, _)| container).chain(replaced)
    }

    /// The ids of the containers that stay and are taken off `network`.
    pub fn leaving(&self, network: &str) -> BTreeSet<&'a str> {
        let replicas = self.outcomes.values().flat_map(|outcome| outcome.replicas.iter());
        let leaving = replicas.filter_map(|replica| match &replica.fate {
            Fate::Update(one, update) if update.leave.contains(network) => Some(&one.record.id),
            _ => None,
        });
        leaving.map(String::as_str).collect()
    }

    /// The containers that stay and that others may wait for.
    pub fn present(&self) -> BTreeMap<&'a ServiceName, Vec<&'a Container>> {
        let services = self.wishes.keys().copied();
        services
            .filter(|name| self.options.dependencies || self.scope.contains(name))
            .map(|name| (name, self.kept(name).collect()))
            .collect()
    }

    /// Collects what stands in the way of the containers that are to be made.
    fn refuse(&mut self) {
        let going: BTreeSet<&str> = self.going().map(|one| one.record.id.as_str()).collect();
        let mut refusals = Vec::new();
        for (service, outcome) in &self.outcomes {
            let wish = &self.wishes[*service];
            if self.options.start && self.scope.contains(service) && !self.any_runs_on(service) {
                let missing = missing_image(self.project, self.observed, wish.service);
                refusals.extend(missing.filter(|_| !outcome.replicas.is_empty()));
            }
            let made: Vec<_> =
                outcome.replicas.iter().filter(|replica| replica.kept().is_none()).collect();
            if made.is_empty() {
                continue;
            }
            if wish.image_id.is_none() {
                refusals.push(self.image_missing(wish));
            }
            let lonely = |name: &&ServiceName| self.partner(name).is_none();
            if let Some(partner) = wish.joins.iter().map(|(_, name)| *name).find(lonely) {
                refusals.push(Refusal::PartnerMissing {
                    service: (*service).clone(),
                    partner: partner.clone(),
                });
            }
            for replica in made {
                refusals.extend(self.name_taken(wish, &replica.instance, &going));
            }
        }
        let staying =
            self.observed.containers.iter().filter(|one| !going.contains(one.record.id.as_str()));
        for container in staying {
            if let Some(volume) = self.replaced_volume(&container.record) {
                refusals.push(Refusal::VolumeInUse {
                    volume: volume.to_owned(),
                    container: container.record.name.clone(),
                });
            }
        }
        self.resources.refusals.append(&mut refusals);
    }

    fn image_missing(&self, wish: &Wish<'_>) -> Refusal {
        let service = wish.service.name.clone();
        let place = wish.service.places.of("image").or(wish.service.place.as_ref()).cloned();
        match self.observed.no_images.get(&wish.image) {
            Some(reason) => Refusal::ImageImpossible { service, reason: reason.clone(), place },
            None => Refusal::ImageMissing { service, image: wish.image.clone(), place },
        }
    }

    /// Whether somebody who stays has the name of a container that is to be made.
    fn name_taken(
        &self,
        wish: &Wish<'_>,
        instance: &Instance,
        going: &BTreeSet<&str>,
    ) -> Option<Refusal> {
        let name = &instance.name;
        let neighbour = || {
            let mut staying = self
                .observed
                .containers
                .iter()
                .filter(|found| !going.contains(found.record.id.as_str()));
            let found = staying.find(|found| found.record.name == *name)?;
            let record = &found.record;
            Some(NameHolder { project: record.project.clone(), id: record.id.clone() })
        };
        let holder = self.observed.foreign_names.get(name).cloned().or_else(neighbour)?;
        let place = wish.service.places.of("container_name").or(wish.service.place.as_ref());
        Some(Refusal::NameTaken {
            service: wish.service.name.clone(),
            name: name.clone(),
            holder,
            place: place.cloned(),
        })
    }

    /// What the user should know.
    pub fn warnings(&self) -> Vec<Warning> {
        let mut warnings = self.resources.warnings.clone();
        warnings.extend(rollout::warnings(self));
        if self.options.orphans == Orphans::Warn && !self.orphans.is_empty() {
            warnings.push(Warning::Orphans {
                project: self.project.name.to_string(),
                containers: self.orphans.iter().map(|one| one.record.name.clone()).collect(),
            });
        }
        warnings
    }
}

/// Containers of services that the file does not have, and one-offs that are over.
pub(super) fn orphans<'a>(project: &Project, observed: &'a Observed) -> Vec<&'a Container> {
    let is_orphan = |container: &&Container| {
        let Container { record, state } = container;
        let known = project.services.contains_key(&record.service)
            || project.disabled.contains_key(&record.service);
        let over = matches!(state.phase, Phase::Exited | Phase::Dead);
        !known || (record.oneoff && over && !is_hook(record))
    };
    observed.containers.iter().filter(is_orphan).collect()
}
