//! What becomes of the containers of one service.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::live::{Comparison, Surroundings, Update};
use super::{Cause, Instance, Named};
use crate::api::Recreate;
use crate::hash::{self, Definition};
use crate::model::{
    IpcMode, Mount, MountKind, Networking, PidMode, Project, Service, ServiceName, UtsMode,
    VolumeSource, VolumesFromSource,
};
use crate::observe::Observed;
use crate::record::{Container, JoinKind, names};

/// What the containers of a service are to be, with every name resolved.
#[derive(Debug)]
pub(super) struct Wish<'a> {
    pub service: &'a Service,
    pub definition: Definition,
    pub hash: String,
    pub image: String,
    /// `None` if the image is not here.
    pub image_id: Option<&'a str>,
    /// Real names of the networks it is to be on.
    pub networks: BTreeSet<&'a str>,
    /// Real names of the named volumes it is to have.
    pub volumes: BTreeSet<&'a str>,
    /// Services it shares something with.
    pub joins: Vec<(JoinKind, &'a ServiceName)>,
}

impl<'a> Wish<'a> {
    pub fn new(project: &'a Project, observed: &'a Observed, service: &'a Service) -> Self {
        let definition = hash::service(project, service);
        let image = service.image_reference(&project.name);
        Self {
            service,
            hash: definition.hash(),
            definition,
            image_id: observed.images.get(&image).map(String::as_str),
            image,
            networks: networks(project, service),
            volumes: volumes(project, service),
            joins: joins(service),
        }
    }
}

fn networks<'a>(project: &'a Project, service: &'a Service) -> BTreeSet<&'a str> {
    match &service.networking {
        Networking::Attached(attachments) => attachments
            .keys()
            .filter_map(|key| project.networks.get(key))
            .map(|network| network.name.as_str())
            .collect(),
        Networking::Named(name) => BTreeSet::from([name.as_str()]),
        Networking::None
        | Networking::Host
        | Networking::Bridge
        | Networking::Service(_)
        | Networking::Container(_) => BTreeSet::new(),
    }
}

/// The real names of the volumes that `service` has by name.
pub(super) fn volumes<'a>(project: &'a Project, service: &'a Service) -> BTreeSet<&'a str> {
    let named = |mount: &'a Mount| match &mount.kind {
        MountKind::Volume { source: VolumeSource::Named(key), .. } => project.volumes.get(key),
        _ => None,
    };
    service.mounts.iter().filter_map(named).map(|volume| volume.name.as_str()).collect()
}

/// What `service` shares with other services of the project.
pub(super) fn joins(service: &Service) -> Vec<(JoinKind, &ServiceName)> {
    let mut joins = Vec::new();
    if let Networking::Service(partner) = &service.networking {
        joins.push((JoinKind::Network, partner));
    }
    if let PidMode::Service(partner) = &service.pid {
        joins.push((JoinKind::Pid, partner));
    }
    if let IpcMode::Service(partner) = &service.ipc {
        joins.push((JoinKind::Ipc, partner));
    }
    if let UtsMode::Service(partner) = &service.uts {
        joins.push((JoinKind::Uts, partner));
    }
    joins.extend(service.volumes_from.iter().filter_map(|from| match &from.source {
        VolumesFromSource::Service(partner) => Some((JoinKind::Volumes, partner)),
        VolumesFromSource::Container(_) => None,
    }));
    joins
}

/// What becomes of the containers of one service.
#[derive(Debug, Default)]
pub(super) struct Outcome<'a> {
    /// Those that there will be, by number.
    pub replicas: Vec<Replica<'a>>,
    /// Those that go.
    pub surplus: Vec<(&'a Container, Cause)>,
}

/// One container that there will be.
#[derive(Debug)]
pub(super) struct Replica<'a> {
    pub instance: Instance,
    pub fate: Fate<'a>,
}

/// How there will be a container.
#[derive(Debug)]
pub(super) enum Fate<'a> {
    /// It is there.
    Keep(&'a Container),
    /// It is there, and is changed as it is.
    Update(&'a Container, Update),
    /// It is there, stands aside, and takes over from the other one, if that is still there: an update that starts
    /// first was cut off.
    Succeed(&'a Container, Option<&'a Container>),
    /// It is made in the place of this one.
    Replace(&'a Container, Cause),
    /// It is made.
    Create,
}

impl<'a> Replica<'a> {
    /// Why there are steps for it.
    pub fn cause(&self) -> Cause {
        match &self.fate {
            Fate::Keep(_) | Fate::Update(..) => Cause::NotRunning,
            Fate::Succeed(..) => Cause::CutOff,
            Fate::Replace(_, cause) => cause.clone(),
            Fate::Create => Cause::Missing,
        }
    }

    /// The container that will still stand in this place.
    pub fn kept(&self) -> Option<&'a Container> {
        match self.fate {
            Fate::Keep(container) | Fate::Update(container, _) | Fate::Succeed(container, _) => {
                Some(container)
            }
            Fate::Replace(..) | Fate::Create => None,
        }
    }

    /// The container that serves in this place and will not.
    pub fn predecessor(&self) -> Option<&'a Container> {
        match self.fate {
            Fate::Replace(container, _) => Some(container),
            Fate::Succeed(_, predecessor) => predecessor,
            Fate::Keep(_) | Fate::Update(..) | Fate::Create => None,
        }
    }
}

/// When containers of a service are replaced.
#[derive(Debug, Clone, Copy)]
pub(super) struct Policy {
    pub recreate: Recreate,
    /// Whatever was made since then is new enough for [`Recreate::Always`].
    pub began: Timestamp,
}

/// Decides about a service that the command is about.
///
/// `partner` says what will stand in the place of the first container of
/// another service: an id, or something new.
pub(super) fn decide<'a>(
    wish: &Wish<'a>,
    project: &Project,
    have: &[&'a Container],
    replicas: u32,
    policy: Policy,
    around: Surroundings<'_>,
    partner: impl Fn(&ServiceName) -> Option<Partner<'a>>,
) -> Outcome<'a> {
    let mut outcome = Outcome::default();
    let judge =
        |container: &&'a Container| (*container, divergence(wish, container, around, &partner));
    let judged = have.iter().map(judge);
    let may_succeed = |container: &Container| may_succeed(container, wish, policy, around);
    let mut beside = BTreeMap::new();
    let mut standing = unique(judged.collect(), may_succeed, &mut beside, &mut outcome.surplus);
    scale_down(&mut standing, replicas as usize, &mut outcome.surplus);
    let scaled_down = beside.extract_if(.., |number, _| !standing.contains_key(number));
    outcome.surplus.extend(scaled_down.map(|(_, container)| (container, Cause::ScaledDown)));

    let instance = |number| Instance {
        service: wish.service.name.clone(),
        number,
        name: names::container_name(project, wish.service, number),
    };
    let taken: BTreeSet<u32> = standing.keys().copied().collect();
    let missing = (replicas as usize).saturating_sub(standing.len());
    for number in (1..).filter(|number| !taken.contains(number)).take(missing) {
        outcome.replicas.push(Replica { instance: instance(number), fate: Fate::Create });
    }
    for (number, (container, diverged)) in standing {
        let fate =
            match container.state.aside && may_succeed(container) && diverged == Divergence::None {
                true => Fate::Succeed(container, beside.remove(&number)),
                false => fate(container, diverged, policy),
            };
        outcome.replicas.push(Replica { instance: instance(number), fate });
    }
    // In the place of these there is one that serves already.
    outcome.surplus.extend(beside.into_values().map(|container| (container, Cause::Superseded)));
    outcome.replicas.sort_by_key(|replica| replica.instance.number);
    outcome
}

/// Decides about a service that the command is not about: its containers stay
/// as they are, unless they share something with one that does not.
pub(super) fn leave<'a>(
    wish: &Wish<'a>,
    have: &[&'a Container],
    partner: impl Fn(&ServiceName) -> Option<Partner<'a>>,
) -> Outcome<'a> {
    let replicas = have.iter().map(|container| {
        let fate = match lost_partner(wish, container, &partner) {
            Some(cause) => Fate::Replace(container, cause),
            None => Fate::Keep(container),
        };
        let record = &container.record;
        let (number, name) = (record.number, record.name.clone());
        Replica { instance: Instance { service: record.service.clone(), number, name }, fate }
    });
    Outcome { replicas: replicas.collect(), surplus: Vec::new() }
}

type Judged<'a> = (&'a Container, Divergence);

/// How a container differs from what it is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Divergence {
    /// In nothing.
    None,
    /// In what it can take on as it is.
    Live(Update),
    /// In what takes a new one.
    Recreate(Cause),
}

impl Divergence {
    const fn recreates(&self) -> bool {
        matches!(self, Self::Recreate(_))
    }
}

/// Whether a container that stands aside may still take over: it is not to be made anew once more, and its networks stay.
fn may_succeed(
    container: &Container,
    wish: &Wish<'_>,
    policy: Policy,
    around: Surroundings<'_>,
) -> bool {
    let is_new = policy.recreate != Recreate::Always || container.record.created >= policy.began;
    let mut networks = container.record.networks.iter();
    let all_there =
        networks.all(|place| !around.resources.networks.contains_key(place.network.as_str()));
    is_new && all_there && around.networks_stay(&container.record, wish)
}

/// Keeps one container of each number: a command that was cut off between the
/// creation of a new one and the removal of the old one has left both. Of a new
/// one that stands aside the other is kept in mind: it serves until it hands over.
fn unique<'a>(
    judged: Vec<Judged<'a>>,
    may_succeed: impl Fn(&Container) -> bool,
    beside: &mut BTreeMap<u32, &'a Container>,
    surplus: &mut Vec<(&'a Container, Cause)>,
) -> BTreeMap<u32, Judged<'a>> {
    let mut standing: BTreeMap<u32, Judged<'a>> = BTreeMap::new();
    for candidate in judged {
        let rank = |(container, diverged): &Judged<'a>| {
            let aside = container.state.aside;
            let fits = match aside {
                true => *diverged == Divergence::None && may_succeed(container),
                false => !diverged.recreates(),
            };
            // Of two that are made anew in any case, the one that serves is what there is to go on from.
            let serves = !fits && !aside && container.state.phase.is_up();
            let record = &container.record;
            (fits, !aside, serves, record.created, record.id.clone())
        };
        let number = candidate.0.record.number;
        let loser = match standing.remove(&number) {
            Some(other) if rank(&other) > rank(&candidate) => {
                standing.insert(number, other);
                Some(candidate)
            }
            other => {
                standing.insert(number, candidate);
                other
            }
        };
        let Some((loser, _)) = loser else { continue };
        let serves = !loser.state.aside && standing[&number].0.state.aside;
        let other = if serves { beside.insert(number, loser) } else { Some(loser) };
        surplus.extend(other.map(|container| (container, Cause::Superseded)));
    }
    standing
}

/// Takes away what is too many: first what would have to be replaced anyway,
/// then the highest numbers.
fn scale_down<'a>(
    standing: &mut BTreeMap<u32, Judged<'a>>,
    replicas: usize,
    surplus: &mut Vec<(&'a Container, Cause)>,
) {
    while standing.len() > replicas {
        let diverged = standing.iter().rev().find(|(_, (_, diverged))| diverged.recreates());
        let Some(number) = diverged.or_else(|| standing.last_key_value()).map(|(key, _)| *key)
        else {
            return;
        };
        surplus
            .extend(standing.remove(&number).map(|(container, _)| (container, Cause::ScaledDown)));
    }
}

fn fate(container: &Container, diverged: Divergence, policy: Policy) -> Fate<'_> {
    let always = policy.recreate == Recreate::Always && container.record.created < policy.began;
    match diverged {
        _ if policy.recreate == Recreate::Never => Fate::Keep(container),
        Divergence::Recreate(cause) => Fate::Replace(container, cause),
        Divergence::Live(update) if always => Fate::Replace(container, update.cause),
        Divergence::None if always => Fate::Replace(container, Cause::Requested),
        Divergence::Live(update) => Fate::Update(container, update),
        Divergence::None => Fate::Keep(container),
    }
}

/// What will stand in the place of the first container of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Partner<'a> {
    /// The container with this id.
    Kept(&'a str),
    /// One that is not there yet.
    New,
}

/// Says how a container no longer matches its service.
///
/// Asks in the order in which the answers help the user: what the file says,
/// then what lies behind its words.
fn divergence<'a>(
    wish: &Wish<'_>,
    have: &Container,
    around: Surroundings<'_>,
    partner: &impl Fn(&ServiceName) -> Option<Partner<'a>>,
) -> Divergence {
    let comparison = Comparison::new(wish, have, around);
    let recreates = comparison
        .recreates()
        .or_else(|| {
            wish.image_id.filter(|id| **id != have.record.image_id).map(|_| Cause::ImageUpdated)
        })
        .or_else(|| comparison.lacks_network())
        .or_else(|| lacks_volume(wish, have))
        .or_else(|| lost_partner(wish, have, partner));
    match recreates {
        Some(cause) => Divergence::Recreate(cause),
        None => comparison.update().map_or(Divergence::None, Divergence::Live),
    }
}

fn lacks_volume(wish: &Wish<'_>, have: &Container) -> Option<Cause> {
    let has: BTreeSet<&str> = have.record.named_volumes().collect();
    let missing = wish.volumes.iter().find(|name| !has.contains(*name));
    missing.map(|volume| Cause::LacksVolume(Named::new(volume)))
}

/// Says with which service a container no longer shares what it should.
fn lost_partner<'a>(
    wish: &Wish<'_>,
    have: &Container,
    partner: &impl Fn(&ServiceName) -> Option<Partner<'a>>,
) -> Option<Cause> {
    let strays = |(kind, service): &&(JoinKind, &ServiceName)| match partner(service) {
        Some(Partner::New) => true,
        Some(Partner::Kept(id)) => {
            let mut joins = have.record.joins.iter();
            !joins.any(|join| join.kind == *kind && join.container == id)
        }
        None => false,
    };
    wish.joins.iter().find(strays).map(|(_, name)| Cause::PartnerReplaced(Named::new(name)))
}
