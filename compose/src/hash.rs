//! What changes a container: the part of a service that its containers are made from.
//!
//! A [`Definition`] is that part, key by key and only as far as the file says
//! something; its hash is the `com.docker.compose.config-hash` label. The
//! definition itself is kept in the container's record, so that a plan can say
//! which key changed, from what to what, and whether the container can take that
//! on while it runs (`plan/live.rs`) or is made anew.
//!
//! Keys at their default are left out, so that a later version with more keys
//! does not recreate everything there is.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::model::{Config, Deploy, Kept, Network, Project, Secret, Service, Volume};

/// What a container, network or volume is made from, by key of the file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Definition {
    keys: BTreeMap<String, Value>,
}

/// One key that differs between two definitions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The key of the file: `image`, `environment.DEBUG`.
    pub key: String,
    /// What it was, if that can be said in a few words and gives away no secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old: Option<String>,
    /// What it is to be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new: Option<String>,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.old, &self.new) {
            (Some(old), Some(new)) => write!(f, "{} {old} -> {new}", self.key),
            (Some(old), None) => write!(f, "{} {old} -> nothing", self.key),
            (None, Some(new)) => write!(f, "{} nothing -> {new}", self.key),
            (None, None) => write!(f, "{} changed", self.key),
        }
    }
}

impl Definition {
    /// The hash: SHA-256 of the canonical JSON, in hexadecimal digits.
    #[must_use]
    pub fn hash(&self) -> String {
        let json = serde_json::to_vec(&self.keys).expect("keys are strings");
        Sha256::digest(json).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The keys, in the order of the alphabet, in which `new` differs, and how.
    pub fn differences<'d>(&'d self, new: &'d Self) -> impl Iterator<Item = (&'d str, Change)> {
        let keys: BTreeSet<&String> = self.keys.keys().chain(new.keys.keys()).collect();
        let differing = keys.into_iter().filter(|key| self.keys.get(*key) != new.keys.get(*key));
        differing.map(|key| (key.as_str(), descend(key, self.keys.get(key), new.keys.get(key))))
    }

    /// What `key` says; its default, if it says nothing or what nobody understands any more.
    pub fn value<T: DeserializeOwned + Default>(&self, key: &str) -> T {
        let value = self.keys.get(key).cloned();
        value.and_then(|value| serde_json::from_value(value).ok()).unwrap_or_default()
    }

    fn insert(&mut self, key: &str, value: impl Serialize) {
        let value = serde_json::to_value(value).expect("the model has string keys only");
        self.keys.insert(key.to_owned(), canonical(value));
    }
}

/// Names a difference. In a mapping whose keys are those of the file, a
/// difference in one key only is named by that key.
fn descend(key: &str, old: Option<&Value>, new: Option<&Value>) -> Change {
    let hidden = SECRET_KEYS.iter().chain(&RESPELT_KEYS).any(|hidden| key.starts_with(hidden));
    let words = |value: Option<&Value>| value.filter(|_| !hidden).and_then(in_few_words);
    if MAPPINGS.contains(&key) {
        let entries = |value: Option<&Value>| -> BTreeMap<String, Value> {
            let mapping = value.and_then(Value::as_object);
            mapping.into_iter().flatten().map(|(key, value)| (key.clone(), value.clone())).collect()
        };
        let (old, new) = (entries(old), entries(new));
        let keys: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
        let mut differing = keys.into_iter().filter(|key| old.get(*key) != new.get(*key));
        if let (Some(only), None) = (differing.next(), differing.next()) {
            let (old, new) = (words(old.get(only)), words(new.get(only)));
            return Change { key: format!("{key}.{only}"), old, new };
        }
    }
    Change { key: key.to_owned(), old: words(old), new: words(new) }
}

/// Keys whose values are mappings with the keys of the file.
const MAPPINGS: [&str; 8] = [
    "annotations",
    "environment",
    "healthcheck",
    "labels",
    "logging",
    "storage_opt",
    "sysctls",
    "ulimits",
];

/// Keys whose values are not for the eyes of whoever reads a plan.
const SECRET_KEYS: [&str; 3] = ["environment", "secrets", "configs"];

/// Keys whose values the model spells in its own way.
const RESPELT_KEYS: [&str; 6] = ["restart", "pid", "ipc", "uts", "cgroup", "userns_mode"];

/// A scalar or a list of scalars as one would write it in the file, if it is short.
fn in_few_words(value: &Value) -> Option<String> {
    let is_scalar = |value: &Value| !value.is_object() && !value.is_array() && !value.is_null();
    let words = match value {
        Value::String(text) => text.clone(),
        Value::Array(list) if list.iter().all(is_scalar) => value.to_string(),
        scalar if is_scalar(scalar) => scalar.to_string(),
        _ => return None,
    };
    (words.chars().count() <= 60).then_some(words)
}

/// Sorts the keys of all mappings: values that were kept as they are written
/// may have them in any order.
fn canonical(value: Value) -> Value {
    match value {
        Value::Object(mapping) => {
            let sorted: BTreeMap<String, Value> =
                mapping.into_iter().map(|(key, value)| (key, canonical(value))).collect();
            Value::Object(sorted.into_iter().collect())
        }
        Value::Array(list) => Value::Array(list.into_iter().map(canonical).collect()),
        other => other,
    }
}

/// Puts the named fields into a definition where they differ from `$base`, and
/// names the ignored ones, so that a field which is neither does not compile.
macro_rules! define {
    ($type:ident, $value:expr, $base:expr;
     recreate { $($field:ident => $key:literal),* $(,)? }
     ignore { $($ignored:ident),* $(,)? }) => {{
        let $type { $($field,)* $($ignored: _,)* } = $value;
        let base: &$type = $base;
        let mut definition = Definition::default();
        $(if *$field != base.$field {
            definition.insert($key, $field);
        })*
        definition
    }};
}

/// The part of `service` that its containers are made from.
///
/// Beside what the service itself says it holds what `project` says about the
/// configs and secrets that the service is granted, so that their content counts:
/// that of a file by its digest.
///
/// Source: docker/compose `pkg/compose/hash.go` leaves out `build`,
/// `pull_policy`, `scale`, `deploy.replicas`, `depends_on` and `profiles`. We
/// leave out as well what only the supervisor or the command line looks at and
/// takes from the file at the time: `attach`, `stop_grace_period`,
/// `develop.watch` and how a service is rolled out.
#[must_use]
pub fn service(project: &Project, service: &Service) -> Definition {
    let mut definition = define!(
        Service, service, &Service::new(service.name.clone());
        recreate {
            image => "image",
            platform => "platform",
            provider => "provider",
            container_name => "container_name",
            command => "command",
            entrypoint => "entrypoint",
            environment => "environment",
            user => "user",
            group_add => "group_add",
            working_dir => "working_dir",
            tty => "tty",
            stdin_open => "stdin_open",
            init => "init",
            stop_signal => "stop_signal",
            restart => "restart",
            healthcheck => "healthcheck",
            pre_start => "pre_start",
            post_start => "post_start",
            pre_stop => "pre_stop",
            links => "links",
            external_links => "external_links",
            networking => "networks",
            mac_address => "mac_address",
            ports => "ports",
            expose => "expose",
            hostname => "hostname",
            domainname => "domainname",
            dns => "dns",
            dns_opt => "dns_opt",
            dns_search => "dns_search",
            extra_hosts => "extra_hosts",
            mounts => "volumes",
            tmpfs => "tmpfs",
            volumes_from => "volumes_from",
            secrets => "secrets",
            configs => "configs",
            read_only => "read_only",
            shm_size_bytes => "shm_size",
            storage_opt => "storage_opt",
            limits => "deploy.resources",
            ulimits => "ulimits",
            sysctls => "sysctls",
            oom_kill_disable => "oom_kill_disable",
            oom_score_adj => "oom_score_adj",
            privileged => "privileged",
            cap_add => "cap_add",
            cap_drop => "cap_drop",
            security => "security_opt",
            devices => "devices",
            device_cgroup_rules => "device_cgroup_rules",
            gpus => "gpus",
            pid => "pid",
            ipc => "ipc",
            uts => "uts",
            cgroup => "cgroup",
            userns => "userns_mode",
            cgroup_parent => "cgroup_parent",
            runtime => "runtime",
            labels => "labels",
            annotations => "annotations",
            logging => "logging",
        }
        ignore {
            name, place, places, build, pull_policy, profiles, replicas, attach,
            stop_grace_period, depends_on, deploy, watch, kept,
        }
    );
    if let Some(deploy) = &service.deploy {
        definition.keys.extend(deployment(deploy).keys);
    }
    for (key, Kept { value, place: _ }) in &service.kept {
        definition.insert(key, value);
    }
    granted(project, service, &mut definition);
    definition
}

/// What of `deploy` a container is made from.
fn deployment(deploy: &Deploy) -> Definition {
    define!(
        Deploy, deploy, &Deploy::default();
        recreate {
            restart => "deploy.restart_policy",
            reserved_nano_cpus => "deploy.resources.reservations.cpus",
            devices => "deploy.resources.reservations.devices",
        }
        ignore { labels, update, rollback }
    )
}

/// Where the configs and secrets of `service` come from.
fn granted(project: &Project, service: &Service, definition: &mut Definition) {
    for grant in &service.configs {
        if let Some(Config { source, digest, name: _, labels: _, place: _ }) =
            project.configs.get(&grant.source)
        {
            definition.insert(&format!("configs.{}", grant.source), source);
            if let Some(digest) = digest {
                definition.insert(&format!("configs.{}.content", grant.source), digest);
            }
        }
    }
    for grant in &service.secrets {
        if let Some(Secret { source, digest, name: _, labels: _, place: _ }) =
            project.secrets.get(&grant.source)
        {
            definition.insert(&format!("secrets.{}", grant.source), source);
            if let Some(digest) = digest {
                definition.insert(&format!("secrets.{}.content", grant.source), digest);
            }
        }
    }
}

/// What a network is made from; its hash is a label of the network.
#[must_use]
pub fn network(network: &Network) -> Definition {
    define!(
        Network, network, &Network::default();
        recreate {
            driver => "driver",
            driver_opts => "driver_opts",
            internal => "internal",
            attachable => "attachable",
            enable_ipv4 => "enable_ipv4",
            enable_ipv6 => "enable_ipv6",
            ipam => "ipam",
            labels => "labels",
        }
        ignore { name, external, place }
    )
}

/// What a volume is made from; its hash is a label of the volume.
#[must_use]
pub fn volume(volume: &Volume) -> Definition {
    define!(
        Volume, volume, &Volume::default();
        recreate {
            driver => "driver",
            driver_opts => "driver_opts",
            labels => "labels",
        }
        ignore { name, external, place }
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::{Dependency, FileSource, Grant};

    fn project() -> Project {
        Project {
            name: "shop".parse().unwrap(),
            working_dir: "/shop".into(),
            files: Vec::new(),
            environment: BTreeMap::new(),
            services: BTreeMap::new(),
            disabled: BTreeMap::new(),
            networks: BTreeMap::new(),
            volumes: BTreeMap::new(),
            secrets: BTreeMap::new(),
            configs: BTreeMap::new(),
            kept: BTreeMap::new(),
            compatibility: false,
        }
    }

    fn web() -> Service {
        Service { image: Some("app:1".to_owned()), ..Service::new("web".parse().unwrap()) }
    }

    fn define(service_: &Service) -> Definition {
        service(&project(), service_)
    }

    #[test]
    fn an_unchanged_hash_is_stable_over_versions() {
        // Whoever changes this recreates every container of every user at the next update.
        assert_eq!(serde_json::to_string(&define(&web())).unwrap(), r#"{"image":"app:1"}"#);
        assert_eq!(
            define(&web()).hash(),
            "88efdf3c85b52cdc04296c1f94d1960562e0337d58037ebf8122cd2572ac0aa6"
        );
    }

    #[test]
    fn what_recreates_and_what_does_not() {
        type Edit = fn(&mut Service);
        #[rustfmt::skip]
        let table: [(Edit, Option<&str>); 12] = [
            (|s| s.image = Some("app:2".into()), Some("image app:1 -> app:2")),
            (|s| s.command = Some(vec!["run".into()]), Some(r#"command nothing -> ["run"]"#)),
            (|s| s.command = Some(vec![]), Some("command nothing -> []")),
            (|s| { s.environment.insert("PASSWORD".into(), Some("x".into())); }, Some("environment.PASSWORD changed")),
            (|s| { s.labels.insert("a".into(), "b".into()); }, Some("labels.a nothing -> b")),
            (|s| s.limits.memory_bytes = Some(7), Some("deploy.resources changed")),
            (|s| s.tty = true, Some("tty nothing -> true")),
            (|s| s.replicas = 3, None),
            (|s| s.stop_grace_period = Some(Duration::from_secs(1)), None),
            (|s| { s.depends_on.insert("db".parse().unwrap(), Dependency::default()); }, None),
            (|s| { s.profiles.insert("debug".into()); }, None),
            (|s| s.deploy = Some(Deploy::default()), None),
        ];
        let before = define(&web());
        for (edit, expected) in table {
            let mut changed = web();
            edit(&mut changed);
            let after = define(&changed);
            let change = before.differences(&after).next().map(|(_, change)| change.to_string());
            assert_eq!(change.as_deref(), expected);
            assert_eq!(before.hash() == after.hash(), expected.is_none());
        }
    }

    #[test]
    fn the_content_of_a_granted_config_counts() {
        let mut project = project();
        let key: crate::model::ConfigKey = "site".parse().unwrap();
        let config = |content: &str| Config {
            name: "shop_site".to_owned(),
            source: FileSource::Content(content.to_owned()),
            digest: None,
            labels: BTreeMap::new(),
            place: None,
        };
        let mut web = web();
        let target = "/site".into();
        web.configs.push(Grant { source: key.clone(), target, uid: None, gid: None, mode: None });
        project.configs.insert(key.clone(), config("old"));
        let before = service(&project, &web);
        project.configs.insert(key.clone(), config("new"));
        let after = service(&project, &web);
        let (_, change) = before.differences(&after).next().unwrap();
        assert_eq!(change.to_string(), "configs.site changed");
        let digest = Some("0123".to_owned());
        project.configs.insert(key, Config { digest, ..config("old") });
        let after = service(&project, &web);
        let (_, change) = before.differences(&after).next().unwrap();
        assert_eq!(change.to_string(), "configs.site.content changed");
    }
}
