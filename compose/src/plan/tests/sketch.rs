//! Projects in a few words, for tests.

use std::collections::BTreeMap;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use crate::model::{
    Attachment, Dependency, DependencyCondition, Deploy, FailureAction, Grant, Mount, MountKind,
    Network, Networking, Port, PortMode, PortRange, PreStart, Project, Protocol, Published,
    RestartPolicy, RolloutConfig, RolloutOrder, Service, ServiceName, Volume, VolumeSource,
};

/// Reads one service a line: its name, then words.
///
/// | word | meaning |
/// |---|---|
/// | `image=app:2` | the image; `app:1` without |
/// | `x3` | replicas |
/// | `db`, `db.healthy`, `db.completed` | depends on `db` |
/// | `…?`, `…!` | and `required: false`, `restart: true` |
/// | `net=back` | is on this network; on `default` without |
/// | `with=db` | shares the network of `db` |
/// | `vol=data` | has this volume |
/// | `other=data` | has this volume, which the file defines otherwise |
/// | `anon` | has an anonymous volume |
/// | `port=80` | publishes this port |
/// | `called=name` | `container_name` |
/// | `env=1` | a variable |
/// | `check` | has a health check |
/// | `label=1`, `memory=64`, `grace=1` | a label, a limit in MiB, `stop_grace_period` in seconds |
/// | `alias=name` | is found by this name on all of its networks named before |
/// | `at=10.0.0.7` | has this address on all of them |
/// | `first` | starts its new containers before the old ones stop |
/// | `config=a`, `secret=a` | has the file `/config`, `/secret` from this one |
/// | `turns` | its containers are replaced in turn, five seconds after each other |
/// | `continue`, `rollback` | the `failure_action` of its updates |
/// | `ratio=0.4` | the share of its containers that may fail |
/// | `always` | `restart: always` |
/// | `hook`, `each` | has a `pre_start` hook, one for each replica |
pub(super) fn project(text: &str) -> Project {
    let mut project = Project {
        name: name("shop"),
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
    };
    let mut others = Vec::new();
    for line in text.split([';', '\n']).map(str::trim).filter(|line| !line.is_empty()) {
        let mut words = line.split_whitespace();
        let mut service = Service::new(name(words.next().unwrap()));
        service.image = Some("app:1".to_owned());
        for word in words {
            describe(&mut service, word);
            others.extend(word.strip_prefix("other="));
        }
        if service.networking == Networking::default() {
            attach(&mut service, "default");
        }
        project.services.insert(service.name.clone(), service);
    }
    declare(&mut project);
    for volume in others {
        define_otherwise(&mut project, volume);
    }
    project
}

pub(super) fn name<T: FromStr>(text: &str) -> T {
    text.parse().unwrap_or_else(|_| panic!("{text} is no name"))
}

fn describe(service: &mut Service, word: &str) {
    match word.split_once('=') {
        Some(("image", image)) => service.image = Some(image.to_owned()),
        Some(("net", network)) => attach(service, network),
        Some(("with", partner)) => {
            service.networking = Networking::Service(name(partner));
            service.depends_on.entry(name(partner)).or_default();
        }
        Some(("vol" | "other", volume)) => {
            mount(service, &format!("/{volume}"), VolumeSource::Named(name(volume)));
        }
        Some(("port", port)) => publish(service, port.parse().unwrap()),
        Some(("called", name)) => service.container_name = Some(name.to_owned()),
        Some(("label", value)) => {
            service.labels.insert("value".to_owned(), value.to_owned());
        }
        Some(("memory", mib)) => {
            service.limits.memory_bytes = Some(mib.parse::<u64>().unwrap() << 20);
        }
        Some(("grace", seconds)) => {
            service.stop_grace_period = Some(Duration::from_secs(seconds.parse().unwrap()));
        }
        Some(("alias", alias)) => {
            for place in places(service) {
                place.aliases.push(alias.to_owned());
            }
        }
        Some(("at", address)) => {
            for place in places(service) {
                place.ipv4 = Some(address.parse().unwrap());
            }
        }
        Some(("config", source)) => service.configs.push(grant(source, "/config")),
        Some(("secret", source)) => service.secrets.push(grant(source, "/secret")),
        Some(("env", value)) => {
            service.environment.insert("VALUE".to_owned(), Some(value.to_owned()));
        }
        Some(("ratio", ratio)) => {
            let deploy = service.deploy.get_or_insert_default();
            let update = deploy.update.get_or_insert_default();
            update.max_failure_ratio = Some(ratio.parse().unwrap());
        }
        Some((key, _)) => panic!("{key} means nothing"),
        None if word == "anon" => mount(service, "/anonymous", VolumeSource::Anonymous),
        None if word == "hook" || word == "each" => service.pre_start.push(PreStart {
            image: None,
            command: None,
            user: None,
            privileged: false,
            working_dir: None,
            environment: BTreeMap::new(),
            per_replica: word == "each",
        }),
        None if word == "first" => {
            let order = Some(RolloutOrder::StartFirst);
            let update = Some(RolloutConfig { order, ..RolloutConfig::default() });
            service.deploy = Some(Deploy { update, ..Deploy::default() });
        }
        None if word == "turns" => {
            let delay = Some(Duration::from_secs(5));
            let update = Some(RolloutConfig { delay, ..RolloutConfig::default() });
            service.deploy = Some(Deploy { update, ..Deploy::default() });
        }
        None if word == "continue" || word == "rollback" => {
            let deploy = service.deploy.get_or_insert_default();
            let update = deploy.update.get_or_insert_default();
            update.failure_action = Some(match word {
                "continue" => FailureAction::Continue,
                _ => FailureAction::Rollback,
            });
        }
        None if word == "always" => service.restart = RestartPolicy::Always,
        None if word == "check" => service.healthcheck = Some(Default::default()),
        None => match word.strip_prefix('x').and_then(|count| count.parse().ok()) {
            Some(replicas) => service.replicas = replicas,
            None => depend(service, word),
        },
    }
}

fn grant<K: FromStr>(source: &str, target: &str) -> Grant<K> {
    Grant { source: name(source), target: target.into(), uid: None, gid: None, mode: None }
}

fn attach(service: &mut Service, network: &str) {
    if let Networking::Attached(attachments) = &mut service.networking {
        attachments.insert(name(network), Attachment::default());
    }
}

fn places(service: &mut Service) -> impl Iterator<Item = &mut Attachment> {
    match &mut service.networking {
        Networking::Attached(attachments) => attachments.values_mut(),
        _ => panic!("it is on no network"),
    }
}

fn mount(service: &mut Service, target: &str, source: VolumeSource) {
    let labels = BTreeMap::new();
    let kind = MountKind::Volume { source, nocopy: false, subpath: None, labels };
    service.mounts.push(Mount { target: Path::new(target).into(), read_only: false, kind });
}

fn publish(service: &mut Service, port: u16) {
    service.ports.push(Port {
        host_ip: None,
        published: Published::Range(PortRange { first: port, last: port }),
        target: port,
        protocol: Protocol::Tcp,
        mode: PortMode::Ingress,
        name: None,
        app_protocol: None,
    });
}

fn depend(service: &mut Service, word: &str) {
    let bare = word.trim_end_matches(['?', '!']);
    let (dependency, condition) = match bare.split_once('.') {
        None => (bare, DependencyCondition::Started),
        Some((dependency, "healthy")) => (dependency, DependencyCondition::Healthy),
        Some((dependency, "completed")) => (dependency, DependencyCondition::CompletedSuccessfully),
        Some((_, other)) => panic!("{other} is no condition"),
    };
    let conditions =
        Dependency { condition, restart: word.contains('!'), required: !word.contains('?') };
    service.depends_on.insert(name::<ServiceName>(dependency), conditions);
}

/// Gives a volume another definition than it had.
pub(super) fn define_otherwise(project: &mut Project, volume: &str) {
    if let Some(volume) = project.volumes.get_mut(volume) {
        volume.labels.insert("other".to_owned(), String::new());
    }
}

/// Declares the networks and volumes that services name.
fn declare(project: &mut Project) {
    for service in project.services.values() {
        if let Networking::Attached(attachments) = &service.networking {
            for key in attachments.keys() {
                let name = format!("shop_{key}");
                let network = Network { name, ..Network::default() };
                project.networks.insert(key.clone(), network);
            }
        }
        for mount in &service.mounts {
            if let MountKind::Volume { source: VolumeSource::Named(key), .. } = &mount.kind {
                let name = format!("shop_{key}");
                let volume = Volume { name, ..Volume::default() };
                project.volumes.insert(key.clone(), volume);
            }
        }
    }
}
