//! Networks and volumes: what has to be made, and what may not be touched.

use std::collections::{BTreeMap, BTreeSet};

use super::{Cause, Refusal, Warning, service};
use crate::hash::{self, Definition};
use crate::model::{Network, NetworkKey, Place, Project, ServiceName, Volume, VolumeKey};
use crate::observe::{Observed, ObservedVolume};
use crate::record::labels;

/// What has to be done about a network or volume that is needed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Need {
    /// It, or its live part, has to be made.
    Create(Cause),
    /// It has to be removed and made again.
    Replace(Cause),
}

/// The networks and volumes that a command needs and that are not as they should be.
#[derive(Debug, Default)]
pub(super) struct Resources<'a> {
    /// By real name.
    pub networks: BTreeMap<&'a str, (&'a NetworkKey, Need)>,
    /// By real name; volumes are replaced only if their names are among those that may be.
    pub volumes: BTreeMap<&'a str, (&'a VolumeKey, Need)>,
    pub warnings: Vec<Warning>,
    pub refusals: Vec<Refusal>,
}

impl<'a> Resources<'a> {
    /// Looks at the networks and volumes with these real names; the volumes in `replaceable` may lose their data.
    pub fn check(
        project: &'a Project,
        observed: &Observed,
        is_needed_network: impl Fn(&str) -> bool,
        is_needed_volume: impl Fn(&str) -> bool,
        replaceable: &BTreeSet<String>,
    ) -> Self {
        let mut resources = Self::default();
        for (key, network) in &project.networks {
            if is_needed_network(&network.name) {
                resources.network(project, observed, key, network);
            }
        }
        for (key, volume) in &project.volumes {
            if is_needed_volume(&volume.name) {
                resources.volume(project, observed, key, volume, replaceable);
            }
        }
        resources
    }

    fn network(
        &mut self,
        project: &Project,
        observed: &Observed,
        key: &'a NetworkKey,
        network: &'a Network,
    ) {
        let name = network.name.clone();
        let place = network.place.clone();
        let need = match observed.networks.get(&network.name) {
            _ if network.is_common_bridge() => return,
            None if network.external => {
                self.refusals.push(Refusal::ExternalNetworkMissing { name, place });
                return;
            }
            None => Need::Create(Cause::Missing),
            Some(found) => {
                let ours = found.belongs_to(project.name.as_str());
                if !ours && !network.external {
                    self.warnings.push(Warning::ForeignNetwork { name, place: place.clone() });
                }
                if ours && !network.external && is_other(&found.labels, &hash::network(network)) {
                    Need::Replace(Cause::DefinitionChanged { place })
                } else if found.live {
                    return;
                } else {
                    Need::Create(Cause::NotRunning)
                }
            }
        };
        self.networks.insert(&network.name, (key, need));
    }

    fn volume(
        &mut self,
        project: &Project,
        observed: &Observed,
        key: &'a VolumeKey,
        volume: &'a Volume,
        replaceable: &BTreeSet<String>,
    ) {
        let name = volume.name.clone();
        let place: Option<Place> = volume.place.clone();
        match observed.volumes.get(&volume.name) {
            None if volume.external => {
                self.refusals.push(Refusal::ExternalVolumeMissing { name, place });
            }
            None => {
                self.volumes.insert(&volume.name, (key, Need::Create(Cause::Missing)));
            }
            Some(_) if volume.external => {}
            Some(found) if !found.belongs_to(project.name.as_str()) => {
                self.warnings.push(Warning::ForeignVolume { name, place });
            }
            Some(found) if is_changed(volume, found) => match replaceable.contains(&name) {
                true => {
                    let need = Need::Replace(Cause::DefinitionChanged { place });
                    self.volumes.insert(&volume.name, (key, need));
                }
                false => self.warnings.push(Warning::ChangedVolume { name, place }),
            },
            Some(_) => {}
        }
    }

    /// Whether the network with this real name is replaced.
    pub fn replaces_network(&self, name: &str) -> bool {
        self.networks.get(name).is_some_and(|(_, need)| matches!(need, Need::Replace(_)))
    }

    /// Whether the volume with this real name is replaced.
    pub fn replaces_volume(&self, name: &str) -> bool {
        self.volumes.get(name).is_some_and(|(_, need)| matches!(need, Need::Replace(_)))
    }
}

/// The volumes of `project` that `services` use, or all that it has, and that were made from another definition: the data in
/// them is lost if they are made again.
#[must_use]
pub fn changed_volumes(
    project: &Project,
    volumes: &BTreeMap<String, ObservedVolume>,
    services: &BTreeSet<ServiceName>,
) -> Vec<String> {
    let used: BTreeSet<&str> = project
        .services
        .values()
        .filter(|service| services.contains(&service.name))
        .flat_map(|service| service::volumes(project, service))
        .collect();
    let ours = project.volumes.values().filter(|volume| !volume.external);
    ours.filter(|volume| used.contains(volume.name.as_str()))
        .filter(|volume| {
            volumes.get(&volume.name).is_some_and(|found| {
                found.belongs_to(project.name.as_str()) && is_changed(volume, found)
            })
        })
        .map(|volume| volume.name.clone())
        .collect()
}

fn is_changed(volume: &Volume, found: &ObservedVolume) -> bool {
    is_other(&found.labels, &hash::volume(volume))
}

/// Whether something was made from another definition. What carries no hash
/// was not made by `up`, and is taken as it is.
fn is_other(found: &BTreeMap<String, String>, wanted: &Definition) -> bool {
    found.get(labels::CONFIG_HASH).is_some_and(|hash| *hash != wanted.hash())
}
