//! A world of values that obeys plans, and protests when a step comes too early.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use runtime::exit::ExitStatus;

use crate::hash;
use crate::model::{
    Attachment, DEFAULT_STOP_GRACE, DependencyCondition, MountKind, Networking, Project,
    RolloutOrder, Service, ServiceName, VolumeSource,
};
use crate::observe::{Observed, ObservedNetwork, ObservedVolume};
use crate::plan::{Action, CreateContainer, Instance, Plan, StepId, Target, UpdateContainer};
use crate::record::{
    Container, ContainerRecord, ContainerState, EndpointRecord, Health, HealthStatus, Join,
    JoinKind, MountRecord, MountSource, Phase, labels,
};

/// Everything that exists, and a clock that ticks with each step.
#[derive(Debug, Clone, Default)]
pub(super) struct World {
    pub observed: Observed,
    now: u32,
    serial: u32,
}

impl World {
    /// A world with these images and nothing else.
    pub fn with_images(images: &[&str]) -> Self {
        let mut world = Self::default();
        for image in images {
            world.observed.images.insert((*image).to_owned(), format!("id-of-{image}"));
        }
        world
    }

    /// The time; two looks at the clock never show the same.
    pub fn now(&mut self) -> Timestamp {
        self.now += 1;
        Timestamp::UNIX_EPOCH + SignedDuration::from_secs(self.now.into())
    }

    /// Carries out the whole plan, in the order that `choose` makes of the
    /// steps that may come next.
    pub fn carry_out(
        &mut self,
        project: &Project,
        plan: &Plan,
        choose: impl FnMut(usize) -> usize,
    ) {
        self.carry_out_some(project, plan, plan.steps.len(), choose);
    }

    /// Carries out `count` steps and dies.
    pub fn carry_out_some(
        &mut self,
        project: &Project,
        plan: &Plan,
        count: usize,
        mut choose: impl FnMut(usize) -> usize,
    ) {
        let mut waiting: Vec<StepId> = plan.numbered().map(|(id, _)| id).collect();
        let mut created = BTreeMap::new();
        for _ in 0..count {
            let ready: Vec<usize> = (0..waiting.len())
                .filter(|index| {
                    let step = &plan.steps[waiting[*index].index()];
                    let mut before = step.after.iter().chain(&step.after_end);
                    !before.any(|id| waiting.contains(id))
                })
                .collect();
            assert!(!ready.is_empty(), "the steps wait for each other:\n{plan}");
            let id = waiting.remove(ready[choose(ready.len()) % ready.len()]);
            let action = &plan.steps[id.index()].action;
            if let Err(protest) = self.obey(project, id, action, &mut created) {
                panic!("#{id} {action}: {protest}\n{plan}");
            }
        }
    }

    fn obey(
        &mut self,
        project: &Project,
        step: StepId,
        action: &Action,
        created: &mut BTreeMap<StepId, String>,
    ) -> Result<(), String> {
        match action {
            Action::CreateNetwork { key, name } => {
                let definition = hash::network(&project.networks[key]);
                let network = self.observed.networks.entry(name.clone()).or_insert_with(|| {
                    let labels = owner(project, &definition.hash());
                    ObservedNetwork { labels, live: true }
                });
                network.live = true;
            }
            Action::RemoveNetwork { name } => {
                if let Some(held) = self.running().find(|one| is_on(one, name)) {
                    return Err(format!("{} is on it", held.record.name));
                }
                self.observed.networks.remove(name).ok_or("not there")?;
            }
            Action::CreateVolume { key, name } => {
                let definition = hash::volume(&project.volumes[key]);
                let labels = owner(project, &definition.hash());
                self.observed.volumes.insert(name.clone(), ObservedVolume { labels });
            }
            Action::RemoveVolume { name } => {
                if let Some(held) = self.observed.containers.iter().find(|one| has(one, name)) {
                    return Err(format!("{} has it", held.record.name));
                }
                self.observed.volumes.remove(name).ok_or("not there")?;
            }
            Action::CreateContainer(create) => {
                let id = self.create(project, create, created)?;
                created.insert(step, id);
            }
            Action::UpdateContainer(update) => self.update(project, update)?,
            Action::StartContainer { instance, target } => {
                self.start(project, instance, &resolve(target, created))?;
            }
            Action::HandOver { instance, target, from, rollout, .. } => {
                let id = resolve(target, created);
                match rollout.order {
                    RolloutOrder::StartFirst => {
                        self.hand_over(project, instance, &id, from.as_deref())?;
                    }
                    RolloutOrder::StopFirst => {
                        if let Some(from) = from {
                            self.container(from)?.state.phase = Phase::Exited;
                        }
                        self.start(project, instance, &id)?;
                    }
                }
            }
            Action::RunHook { target, .. } => {
                if self.container(&resolve(target, created))?.state.phase.is_up() {
                    return Err("it comes before the start".to_owned());
                }
            }
            Action::Await { .. } => {}
            Action::StopContainer { id, .. } => {
                let now = self.now();
                let container = self.container(id)?;
                if !container.state.phase.is_up() {
                    return Err("does not run".to_owned());
                }
                container.state.phase = Phase::Exited;
                container.state.health = None;
                container.state.finished = Some(now);
                container.state.exit = Some(ExitStatus::signaled(15));
            }
            Action::PauseContainer { id, .. } => {
                self.container(id)?.state.phase = Phase::Paused;
            }
            Action::UnpauseContainer { id, .. } => {
                self.container(id)?.state.phase = Phase::Running;
            }
            Action::SignalContainer { id, .. } => {
                self.container(id)?;
            }
            Action::RemoveContainer { id, volumes, .. } => {
                if self.container(id)?.state.phase.is_up() {
                    return Err("still runs".to_owned());
                }
                self.observed.containers.retain(|one| one.record.id != *id);
                for volume in volumes {
                    if self.observed.containers.iter().any(|one| has(one, volume)) {
                        return Err(format!("its volume {volume} is in use"));
                    }
                }
            }
            Action::RemoveGarbage { id } => self.observed.garbage.retain(|one| one.id != *id),
            Action::PullImage { image, .. } | Action::BuildImage { image, .. } => {
                self.observed.images.insert(image.clone(), format!("fetched {image}"));
            }
            Action::RemoveImage { reference } => {
                self.observed.images.remove(reference);
            }
        }
        Ok(())
    }

    fn create(
        &mut self,
        project: &Project,
        create: &CreateContainer,
        created: &BTreeMap<StepId, String>,
    ) -> Result<String, String> {
        let CreateContainer { instance, replaces, .. } = create;
        let service = &project.services[&instance.service];
        let mut holders = self.observed.containers.iter();
        if let Some(holder) = holders.find(|one| {
            one.record.name == instance.name
                && replaces.as_ref() != Some(&one.record.id)
                && one.record.service != instance.service
        }) {
            return Err(format!("{} has its name", holder.record.id));
        }
        self.serial += 1;
        let id = format!("{}-{}", instance.name, self.serial);
        let record = self.record(project, service, create, id.clone(), created)?;
        for volume in record.named_volumes() {
            if !self.observed.volumes.contains_key(volume) {
                return Err(format!("there is no volume {volume}"));
            }
        }
        for join in &record.joins {
            self.container(&join.container)?;
        }
        let state = ContainerState { aside: create.aside, ..ContainerState::default() };
        self.observed.containers.push(Container { record, state });
        self.observed.containers.sort_by(|a, b| {
            let key = |one: &Container| (one.record.service.clone(), one.record.number);
            key(a).cmp(&key(b))
        });
        Ok(id)
    }

    fn update(&mut self, project: &Project, update: &UpdateContainer) -> Result<(), String> {
        let service = &project.services[&update.instance.service];
        let container = self.container(&update.id)?;
        let (runs, record) = (container.state.phase.is_up(), container.record.clone());
        let networks = endpoints(project, service);
        let missing = networks.iter().map(|place| &place.network).find(|name| {
            let is_new = !record.networks.iter().any(|place| place.network == **name);
            is_new && !self.observed.networks.get(*name).is_some_and(|one| one.live)
        });
        if let (Some(missing), true) = (missing, runs) {
            return Err(format!("there is no network {missing}"));
        }
        let on: BTreeSet<&String> = record.networks.iter().map(|place| &place.network).collect();
        let wanted: BTreeSet<&String> = networks.iter().map(|place| &place.network).collect();
        let moved: BTreeSet<&String> =
            &(&on - &update.leave.iter().collect()) | &update.join.iter().collect();
        if moved != wanted {
            return Err(format!("is on {moved:?} then, and not on {wanted:?}"));
        }
        self.container(&update.id)?.record = ContainerRecord {
            config_hash: update.config_hash.clone(),
            definition: hash::service(project, service),
            healthcheck: service.healthcheck.clone(),
            networks,
            ports: service.ports.clone(),
            labels: service.labels.clone(),
            restart: service.restart,
            stop_grace: service.stop_grace_period.unwrap_or(DEFAULT_STOP_GRACE),
            ..record
        };
        Ok(())
    }

    fn record(
        &mut self,
        project: &Project,
        service: &Service,
        create: &CreateContainer,
        id: String,
        created: &BTreeMap<StepId, String>,
    ) -> Result<ContainerRecord, String> {
        let definition = hash::service(project, service);
        let mut joins = Vec::new();
        for join in &create.joins {
            joins.push(Join { kind: join.kind, container: resolve(&join.target, created) });
        }
        let name = project.name.as_str();
        let base = crate::record::tests::container_record(name, service.name.as_str(), 0);
        Ok(ContainerRecord {
            name: create.instance.name.clone(),
            number: create.instance.number,
            oneoff: create.oneoff,
            image: create.image.clone(),
            image_id: create.image_id.clone(),
            config_hash: create.config_hash.clone(),
            definition,
            depends_on: service.depends_on.clone(),
            created: self.now(),
            healthcheck: service.healthcheck.clone(),
            networks: endpoints(project, service),
            ports: service.ports.clone(),
            labels: service.labels.clone(),
            restart: service.restart,
            mounts: self.mounts(project, service, create, &id),
            stop_grace: service.stop_grace_period.unwrap_or(DEFAULT_STOP_GRACE),
            id,
            joins,
            ..base
        })
    }

    fn mounts(
        &self,
        project: &Project,
        service: &Service,
        create: &CreateContainer,
        id: &str,
    ) -> Vec<MountRecord> {
        let source = |kind: &MountKind, target: &std::path::Path| match kind {
            MountKind::Volume { source: VolumeSource::Named(key), .. } => {
                MountSource::Volume { name: project.volumes[key].name.clone(), anonymous: false }
            }
            _ => {
                let inherited = create.inherits.get(target).cloned();
                let name = inherited.unwrap_or_else(|| format!("anonymous-of-{id}"));
                MountSource::Volume { name, anonymous: true }
            }
        };
        let mounts = service.mounts.iter().map(|mount| MountRecord {
            source: source(&mount.kind, &mount.target),
            target: mount.target.clone(),
            read_only: mount.read_only,
        });
        mounts.collect()
    }

    fn start(&mut self, project: &Project, instance: &Instance, id: &str) -> Result<(), String> {
        let now = self.now();
        let record = self.container(id)?.record.clone();
        for endpoint in &record.networks {
            if !self.observed.networks.get(&endpoint.network).is_some_and(|one| one.live) {
                return Err(format!("there is no network {}", endpoint.network));
            }
        }
        for join in record.joins.iter().filter(|join| join.kind != JoinKind::Volumes) {
            if !self.running().any(|one| one.record.id == join.container) {
                return Err(format!("{} does not run", join.container));
            }
        }
        let place = (&record.service, record.number, record.oneoff);
        let aside = self.container(id)?.state.aside;
        let rival = self.running().find(|one| {
            one.record.id != id
                && !record.oneoff
                && !aside
                && (&one.record.service, one.record.number, one.record.oneoff) == place
        });
        if let Some(rival) = rival {
            return Err(format!("{} runs in its place", rival.record.id));
        }
        let job = is_job(project, &instance.service);
        let container = self.container(id)?;
        if container.state.phase == Phase::Running {
            return Err("runs already".to_owned());
        }
        let health = Health { status: HealthStatus::Healthy, failing_streak: 0, log: Vec::new() };
        container.state = ContainerState {
            phase: if job { Phase::Exited } else { Phase::Running },
            started: Some(now),
            exit: job.then(|| ExitStatus::exited(0)),
            health: (!job).then_some(health),
            aside,
            ..ContainerState::default()
        };
        Ok(())
    }

    fn hand_over(
        &mut self,
        project: &Project,
        instance: &Instance,
        id: &str,
        from: Option<&str>,
    ) -> Result<(), String> {
        if !self.container(id)?.state.aside {
            return Err("is in place".to_owned());
        }
        if !self.container(id)?.state.phase.is_up() {
            self.start(project, instance, id)?;
        }
        self.container(id)?.state.aside = false;
        if let Some(from) = from {
            self.container(from)?.state.aside = true;
        }
        Ok(())
    }

    pub fn container(&mut self, id: &str) -> Result<&mut Container, String> {
        let mut containers = self.observed.containers.iter_mut();
        containers.find(|one| one.record.id == id).ok_or_else(|| format!("there is no {id}"))
    }

    fn running(&self) -> impl Iterator<Item = &Container> {
        self.observed.containers.iter().filter(|one| one.state.phase.is_up())
    }
}

fn resolve(target: &Target, created: &BTreeMap<StepId, String>) -> String {
    match target {
        Target::Existing(id) => id.clone(),
        Target::Created(step) => created[step].clone(),
    }
}

fn owner(project: &Project, hash: &str) -> BTreeMap<String, String> {
    BTreeMap::from([
        (labels::PROJECT.to_owned(), project.name.to_string()),
        (labels::CONFIG_HASH.to_owned(), hash.to_owned()),
    ])
}

fn endpoints(project: &Project, service: &Service) -> Vec<EndpointRecord> {
    let Networking::Attached(attachments) = &service.networking else { return Vec::new() };
    let endpoint = |(key, attachment): (_, &Attachment)| EndpointRecord {
        network: project.networks[key].name.clone(),
        aliases: attachment.aliases.clone(),
        lease_key: String::new(),
        ipv4: attachment.ipv4,
        ipv6: attachment.ipv6,
        mac: None,
        connected: false,
    };
    attachments.iter().map(endpoint).collect()
}

fn is_on(container: &Container, network: &str) -> bool {
    container.record.networks.iter().any(|endpoint| endpoint.network == network)
}

fn has(container: &Container, volume: &str) -> bool {
    container
        .record
        .mounts
        .iter()
        .any(|mount| matches!(&mount.source, MountSource::Volume { name, .. } if name == volume))
}

/// Services that others wait for to complete do so at once.
pub(super) fn is_job(project: &Project, service: &ServiceName) -> bool {
    project.services.values().any(|other| {
        other.depends_on.get(service).is_some_and(|dependency| {
            dependency.condition == DependencyCondition::CompletedSuccessfully
        })
    })
}
