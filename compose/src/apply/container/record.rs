//! The record of a container: what is known of it when it has been made.

use std::collections::BTreeSet;

use images::Image;
use jiff::Timestamp;

use crate::file;
use crate::model::{
    DEFAULT_STOP_GRACE, Expose, HealthTest, Healthcheck, MacAddress, Project, RestartPolicy,
    Service, Signal,
};
use crate::plan::CreateContainer;
use crate::record::start::{NetworkStart, Place};
use crate::record::{
    ContainerRecord, EndpointRecord, Join, MountRecord, ProjectRecord, RECORD_VERSION,
};

/// What the record of a container is put together from.
pub struct Parts<'a> {
    pub project: &'a Project,
    pub service: &'a Service,
    pub image: &'a Image,
    pub create: &'a CreateContainer,
    pub id: &'a str,
    pub command: Vec<String>,
    pub mounts: Vec<MountRecord>,
    pub joins: Vec<Join>,
    pub network: &'a NetworkStart,
}

/// The record of a container that is made now.
pub fn record(parts: Parts<'_>) -> ContainerRecord {
    let Parts { project, service, image, create, id, command, mounts, joins, network } = parts;
    let places = match network {
        NetworkStart::Own(places) => places.as_slice(),
        NetworkStart::Shared(_) | NetworkStart::Host => &[],
    };
    let stop_signal = service.stop_signal.or_else(|| {
        image.execution().stop_signal().as_ref().and_then(|signal| signal.parse().ok())
    });
    let mut record = ContainerRecord {
        version: RECORD_VERSION,
        id: id.to_owned(),
        name: create.instance.name.clone(),
        project: project.name.to_string(),
        service: service.name.clone(),
        number: create.instance.number,
        oneoff: create.oneoff,
        image: create.image.clone(),
        image_id: image.id.to_string(),
        config_hash: create.config_hash.clone(),
        definition: crate::hash::service(project, service),
        depends_on: service.depends_on.clone(),
        created: Timestamp::now(),
        labels: service.labels.clone(),
        command,
        tty: service.tty,
        stdin_open: service.stdin_open,
        stop_signal: stop_signal.unwrap_or(Signal::TERM),
        stop_grace: service.stop_grace_period.unwrap_or(DEFAULT_STOP_GRACE),
        restart: if create.oneoff { RestartPolicy::No } else { service.restart },
        restart_details: service
            .deploy
            .as_ref()
            .and_then(|deploy| deploy.restart)
            .filter(|_| !create.oneoff)
            .unwrap_or_default(),
        healthcheck: healthcheck(service.healthcheck.as_ref(), image.health_check.as_ref()),
        networks: places.iter().map(endpoint_record).collect(),
        ports: service.ports.clone(),
        expose: exposed(service, image),
        mounts,
        joins,
    };
    let of_project = ProjectRecord::new(
        project.name.to_string(),
        project.working_dir.clone(),
        project.files.clone(),
    );
    record.labels.extend(record.compose_labels(&of_project));
    record
}

/// An image may say what is no port: docker shows the others.
fn exposed(service: &Service, image: &Image) -> Vec<Expose> {
    let execution = image.execution();
    let of_image = execution.exposed_ports().iter().flatten();
    let of_image = of_image.filter_map(|text| file::exposed(text));
    let all: BTreeSet<Expose> = service.expose.iter().copied().chain(of_image).collect();
    all.into_iter().collect()
}

fn endpoint_record(place: &Place) -> EndpointRecord {
    let Place { network, wish, links: _ } = place;
    EndpointRecord {
        network: network.clone(),
        aliases: wish.names.clone(),
        lease_key: wish.lease_key.clone(),
        ipv4: wish.ipv4,
        ipv6: wish.ipv6,
        mac: wish.mac.map(|mac| MacAddress(mac.0)),
        connected: false,
    }
}

/// The health check of the service over that of its image, field by field (A084).
fn healthcheck(
    own: Option<&Healthcheck>,
    of_image: Option<&images::HealthCheck>,
) -> Option<Healthcheck> {
    let base = of_image.map(|check| Healthcheck {
        test: health_test(&check.test),
        interval: check.interval,
        timeout: check.timeout,
        retries: check.retries,
        start_period: check.start_period,
        start_interval: check.start_interval,
    });
    let (own, base) = match (own, base) {
        (None, base) => return base.filter(runs),
        (Some(own), base) => (own, base.unwrap_or_default()),
    };
    let merged = Healthcheck {
        test: own.test.clone().or(base.test),
        interval: own.interval.or(base.interval),
        timeout: own.timeout.or(base.timeout),
        retries: own.retries.or(base.retries),
        start_period: own.start_period.or(base.start_period),
        start_interval: own.start_interval.or(base.start_interval),
    };
    Some(merged).filter(runs)
}

fn runs(check: &Healthcheck) -> bool {
    matches!(check.test, Some(HealthTest::Exec(_) | HealthTest::Shell(_)))
}

fn health_test(words: &[String]) -> Option<HealthTest> {
    match words {
        [] => None,
        [none] if none == "NONE" => Some(HealthTest::Disabled),
        [shell, line] if shell == "CMD-SHELL" => Some(HealthTest::Shell(line.clone())),
        [cmd, args @ ..] if cmd == "CMD" => Some(HealthTest::Exec(args.to_vec())),
        words => Some(HealthTest::Exec(words.to_vec())),
    }
}
