//! What of a container is changed while it runs, and what makes it anew.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use super::resource::{Need, Resources};
use super::service::Wish;
use super::{Cause, Named};
use crate::apply::{foreign, storage};
use crate::hash::{Change, Definition};
use crate::model::{
    Attachment, ConfigKey, DEFAULT_STOP_GRACE, Expose, Grant, Networking, Port, SecretKey, Service,
};
use crate::observe::Observed;
use crate::record::{Container, ContainerRecord, Join, JoinKind};

/// The port on which names are answered inside of a container.
const DNS_PORT: u16 = 53;

/// What a container is changed in without being made anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Update {
    /// The first of its reasons.
    pub cause: Cause,
    /// The keys of the file that say something else.
    pub keys: Vec<String>,
    /// Networks that it is put on, by real name.
    pub join: BTreeSet<String>,
    /// Networks that it is taken off, by real name.
    pub leave: BTreeSet<String>,
}

/// What is around a container, as far as it decides what can be changed while it runs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Surroundings<'s> {
    pub observed: &'s Observed,
    pub resources: &'s Resources<'s>,
}

impl Surroundings<'_> {
    /// Whether none of the networks of a container, those that it has and those that it is to have, is about to be made
    /// anew.
    pub fn networks_stay(&self, record: &ContainerRecord, wish: &Wish<'_>) -> bool {
        let before = record.networks.iter().map(|endpoint| endpoint.network.as_str());
        let mut all = before.chain(wish.networks.iter().copied());
        all.all(|name| {
            let need = self.resources.networks.get(name);
            !matches!(need, Some((_, Need::Replace(_))))
        })
    }
}

/// Compares a container with what it is to be, key by key.
#[derive(Debug)]
pub(super) struct Comparison<'c> {
    wish: &'c Wish<'c>,
    have: &'c Container,
    around: Surroundings<'c>,
    before: &'c Definition,
}

impl<'c> Comparison<'c> {
    pub fn new(wish: &'c Wish<'c>, have: &'c Container, around: Surroundings<'c>) -> Self {
        Self { wish, have, around, before: &have.record.definition }
    }

    /// Why what the file says takes a new container, if it does.
    pub fn recreates(&self) -> Option<Cause> {
        if self.have.record.config_hash == self.wish.hash {
            return None;
        }
        let mut differences = self.before.differences(&self.wish.definition).peekable();
        if differences.peek().is_none() {
            // The hash differs and the definition does not: an older version hashed otherwise.
            return Some(Cause::DefinitionChanged { place: self.wish.service.place.clone() });
        }
        let cause = differences.find(|(key, _)| !self.is_live(key)).map(|(_, change)| change);
        cause.map(|change| self.cause(change))
    }

    /// A network that it has to be on and cannot be put on as it is.
    pub fn lacks_network(&self) -> Option<Cause> {
        let missing = self.missing_networks().next()?;
        (!self.moves()).then(|| Cause::NotOnNetwork(Named::new(missing)))
    }

    /// What is changed while it runs, if anything is; nothing of it takes a new container.
    pub fn update(&self) -> Option<Update> {
        let mut changes: Vec<Change> = Vec::new();
        if self.have.record.config_hash != self.wish.hash {
            changes.extend(self.before.differences(&self.wish.definition).map(|(_, one)| one));
        }
        changes.extend(self.grace());
        let join: BTreeSet<String> = self.missing_networks().map(str::to_owned).collect();
        let cause = match (changes.first(), join.first()) {
            (Some(change), _) => self.cause(change.clone()),
            (None, Some(network)) => Cause::NotOnNetwork(Named::new(network)),
            (None, None) => return None,
        };
        let mut keys: Vec<String> = changes.into_iter().map(|change| change.key).collect();
        let moves = !join.is_empty() || keys.iter().any(|key| key == "networks");
        if moves && !keys.iter().any(|key| key == "networks") {
            keys.push("networks".to_owned());
        }
        let leave = if moves { self.surplus_networks() } else { BTreeSet::new() };
        Some(Update { cause, keys, join, leave })
    }

    fn cause(&self, change: Change) -> Cause {
        let service = self.wish.service;
        let place = service.places.of(&change.key).or(service.place.as_ref());
        Cause::Changed { place: place.cloned(), change }
    }

    /// Whether a difference in this key is one that a container takes on as it is.
    fn is_live(&self, key: &str) -> bool {
        // What comes from the image as well can only be told with the image.
        if self.wish.image_id.is_none() {
            return false;
        }
        let comes_from_outside = key == "networks" || key == "expose" || of_grants(key);
        if comes_from_outside && foreign::is_sandbox(self.wish.service) {
            return false;
        }
        match key {
            "deploy.resources"
            | "deploy.resources.reservations.cpus"
            | "deploy.restart_policy"
            | "healthcheck"
            | "pre_stop"
            | "restart"
            | "stop_signal" => true,
            // Labels that are written with every log line belong to the log.
            "labels" => !logs_labels(self.wish.service),
            "expose" => !self.answers_names_itself(),
            "ports" => !self.answers_names_itself() && self.ports_are_free(),
            "networks" => self.moves(),
            "storage_opt" => self.stays_limited(),
            _ if of_grants(key) => self.grants_stay(),
            _ => false,
        }
    }

    /// Whether only how much it may write is another one: a layer that was not limited cannot become so.
    fn stays_limited(&self) -> bool {
        let before: BTreeMap<String, String> = self.before.value("storage_opt");
        let after = &self.wish.service.storage_opt;
        [&before, after].into_iter().all(|options| matches!(storage::size(options), Ok(Some(_))))
    }

    /// Whether its secrets and configs are at the places at which they were: what is mounted there can be replaced, unless
    /// another container has it as well (`volumes_from`).
    fn grants_stay(&self) -> bool {
        let service = self.wish.service;
        let (secrets, configs): (Vec<Grant<SecretKey>>, Vec<Grant<ConfigKey>>) =
            (self.before.value("secrets"), self.before.value("configs"));
        let before = granted_places(&secrets, &configs);
        let after = granted_places(&service.secrets, &service.configs);
        let is_alone = |place: &&Path| !service.mounts.iter().any(|mount| mount.target == *place);
        let id = &self.have.record.id;
        let takes = |join: &Join| join.kind == JoinKind::Volumes && join.container == *id;
        after.len() == service.secrets.len() + service.configs.len()
            && before == after
            && after.iter().all(is_alone)
            && !self.others().any(|other| other.record.joins.iter().any(takes))
    }

    /// Whether the container listens, now or then, where its names are answered.
    fn answers_names_itself(&self) -> bool {
        let service = self.wish.service;
        let ports: Vec<Port> = self.before.value("ports");
        let exposed: Vec<Expose> = self.before.value("expose");
        ports.iter().chain(&service.ports).any(|port| port.target == DNS_PORT)
            || exposed.iter().chain(&service.expose).any(|one| one.has(DNS_PORT))
    }

    /// Whether no other container of the project has a port that this one is to publish: what changes hands does so
    /// while nobody serves it.
    fn ports_are_free(&self) -> bool {
        let before = &self.have.record.ports;
        let mut added = self.wish.service.ports.iter().filter(|port| !before.contains(port));
        !added.any(|port| {
            self.others().any(|other| other.record.ports.iter().any(|has| port.meets(has)))
        })
    }

    fn others(&self) -> impl Iterator<Item = &Container> {
        let id = &self.have.record.id;
        self.around.observed.containers.iter().filter(move |other| other.record.id != *id)
    }

    /// Whether it can be put on the networks that it is to be on, and taken off the others.
    fn moves(&self) -> bool {
        if foreign::is_sandbox(self.wish.service) {
            return false;
        }
        let before: Networking = self.before.value("networks");
        let (Networking::Attached(old), Networking::Attached(new)) =
            (&before, &self.wish.service.networking)
        else {
            return false;
        };
        // A fixed hardware address belongs to the first network, and which one that is may change.
        if self.wish.service.mac_address.is_some() {
            return false;
        }
        let stays = |new: &Attachment, old: &Attachment| {
            *new == Attachment { aliases: new.aliases.clone(), ..old.clone() }
        };
        let comes = |new: &Attachment| new.interface_name.is_none() && new.driver_opts.is_empty();
        new.iter().all(|(key, place)| match old.get(key) {
            Some(before) => stays(place, before),
            None => comes(place),
        }) && self.around.networks_stay(&self.have.record, self.wish)
            && self.addresses_are_free(new.values())
    }

    fn addresses_are_free<'a>(&self, places: impl Iterator<Item = &'a Attachment>) -> bool {
        let mut wanted = places.flat_map(Attachment::fixed_addresses);
        !wanted.any(|address| {
            self.others().any(|one| one.record.networks.iter().any(|place| place.has(address)))
        })
    }

    fn missing_networks(&self) -> impl Iterator<Item = &'c str> {
        let places = &self.have.record.networks;
        let on = move |name: &str| places.iter().any(|endpoint| endpoint.network == name);
        self.wish.networks.iter().copied().filter(move |name| !on(name))
    }

    /// Those that the file put it on and does not name any more; `network connect` is not undone.
    fn surplus_networks(&self) -> BTreeSet<String> {
        let places = self.have.record.networks.iter();
        places
            .filter(|place| {
                !place.connected && !self.wish.networks.contains(place.network.as_str())
            })
            .map(|place| place.network.clone())
            .collect()
    }

    /// The time it may take to stop is no part of what it is made from, and written down with it all the same.
    fn grace(&self) -> Option<Change> {
        let new = self.wish.service.stop_grace_period.unwrap_or(DEFAULT_STOP_GRACE);
        let old = self.have.record.stop_grace;
        let words = |grace: Duration| Some(format!("{grace:?}"));
        let key = "stop_grace_period".to_owned();
        (old != new).then(|| Change { key, old: words(old), new: words(new) })
    }
}

/// Whether `key` is about secrets or configs, or about one of them.
fn of_grants(key: &str) -> bool {
    let kind = key.split('.').next();
    matches!(kind, Some("secrets" | "configs"))
}

/// Where secrets and configs are in the container.
fn granted_places<'g>(
    secrets: &'g [Grant<SecretKey>],
    configs: &'g [Grant<ConfigKey>],
) -> BTreeSet<&'g Path> {
    let secrets = secrets.iter().map(|grant| grant.target.as_path());
    secrets.chain(configs.iter().map(|grant| grant.target.as_path())).collect()
}

/// Whether labels of the container are written with its log lines.
fn logs_labels(service: &Service) -> bool {
    let options = service.logging.iter().flat_map(|logging| logging.options.keys());
    options.into_iter().any(|option| option.starts_with("labels"))
}
