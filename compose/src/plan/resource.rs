//! Networks and volumes: what has to be made, and what may not be touched.

use std::collections::BTreeMap;

use super::{Cause, Refusal, Warning};
use crate::hash::{self, Definition};
use crate::model::{Network, NetworkKey, Place, Project, Volume, VolumeKey};
use crate::observe::Observed;
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
    /// By real name; volumes are never replaced.
    pub volumes: BTreeMap<&'a str, (&'a VolumeKey, Cause)>,
    pub warnings: Vec<Warning>,
    pub refusals: Vec<Refusal>,
}

impl<'a> Resources<'a> {
    /// Looks at the networks and volumes with these real names.
    pub fn check(
        project: &'a Project,
        observed: &Observed,
        is_needed_network: impl Fn(&str) -> bool,
        is_needed_volume: impl Fn(&str) -> bool,
    ) -> Self {
        let mut resources = Self::default();
        for (key, network) in &project.networks {
            if is_needed_network(&network.name) {
                resources.network(project, observed, key, network);
            }
        }
        for (key, volume) in &project.volumes {
            if is_needed_volume(&volume.name) {
                resources.volume(project, observed, key, volume);
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
    ) {
        let name = volume.name.clone();
        let place: Option<Place> = volume.place.clone();
        match observed.volumes.get(&volume.name) {
            None if volume.external => {
                self.refusals.push(Refusal::ExternalVolumeMissing { name, place });
            }
            None => {
                self.volumes.insert(&volume.name, (key, Cause::Missing));
            }
            Some(_) if volume.external => {}
            Some(found) if !found.belongs_to(project.name.as_str()) => {
                self.warnings.push(Warning::ForeignVolume { name, place });
            }
            Some(found) if is_other(&found.labels, &hash::volume(volume)) => {
                self.warnings.push(Warning::ChangedVolume { name, place });
            }
            Some(_) => {}
        }
    }
}

/// Whether something was made from another definition. What carries no hash
/// was not made by `up`, and is taken as it is.
fn is_other(found: &BTreeMap<String, String>, wanted: &Definition) -> bool {
    found.get(labels::CONFIG_HASH).is_some_and(|hash| *hash != wanted.hash())
}
