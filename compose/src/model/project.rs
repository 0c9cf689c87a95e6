//! Everything that one set of compose files describes.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{
    Config, ConfigKey, Kept, Network, NetworkKey, ProjectName, Secret, SecretKey, Service,
    ServiceName, Volume, VolumeKey,
};

/// Everything that one set of compose files describes.
///
/// Invariants, checked by the loader: each network, volume, secret and config that an enabled
/// service names is in its map; each required dependency of an enabled service is enabled; the
/// dependencies have no cycle; no two services claim the same container name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Project {
    /// Its name, with which all that it makes begins.
    pub name: ProjectName,
    /// The absolute directory against which relative paths were resolved.
    pub working_dir: PathBuf,
    /// The compose files, absolute; `-` for standard input.
    pub files: Vec<PathBuf>,
    /// The variables with which the files were interpolated.
    pub environment: BTreeMap<String, String>,
    /// The services that are on.
    pub services: BTreeMap<ServiceName, Service>,
    /// The services that no active profile switches on.
    pub disabled: BTreeMap<ServiceName, Service>,
    /// Networks, the implicit `default` included if a service uses it.
    pub networks: BTreeMap<NetworkKey, Network>,
    /// Named volumes.
    pub volumes: BTreeMap<VolumeKey, Volume>,
    /// Secrets.
    pub secrets: BTreeMap<SecretKey, Secret>,
    /// Configs.
    pub configs: BTreeMap<ConfigKey, Config>,
    /// Everything else, by attribute (`models`).
    pub kept: BTreeMap<String, Kept>,
    /// `--compatibility`: containers are called as version 1 of docker compose called them, with `_`.
    #[serde(default)]
    pub compatibility: bool,
}

impl Project {
    /// The service of that name, whether it is on or not.
    #[must_use]
    pub fn declared(&self, name: &ServiceName) -> Option<&Service> {
        self.services.get(name).or_else(|| self.disabled.get(name))
    }

    /// The image that is meant where the name of an image or of a service may stand.
    #[must_use]
    pub fn image_of(&self, name: &str) -> String {
        let service = self.services.values().find(|service| service.name.as_str() == name);
        service.map_or_else(|| name.to_owned(), |service| service.image_reference(&self.name))
    }
}
