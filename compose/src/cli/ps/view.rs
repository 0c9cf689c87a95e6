//! A container in the words of docker.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;

use crate::cli::terminal::table::{shortened, since};
use crate::model::Protocol;
use crate::record::{Container, HealthStatus, MountSource, Phase, PublishedPort};

/// What `ps` shows of a container; the fields are the keys of docker's JSON, in its order, and
/// `OOMKilled`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct View<'a> {
    pub command: String,
    pub created_at: String,
    pub exit_code: i32,
    pub health: &'static str,
    #[serde(rename = "ID")]
    pub id: &'a str,
    pub image: &'a str,
    pub labels: String,
    pub local_volumes: String,
    pub mounts: String,
    pub name: &'a str,
    pub names: &'a str,
    pub networks: String,
    #[serde(rename = "OOMKilled")]
    pub oom_killed: bool,
    pub ports: String,
    pub project: &'a str,
    pub publishers: Vec<Publisher>,
    pub running_for: String,
    pub service: &'a str,
    pub size: String,
    pub state: &'static str,
    pub status: String,
}

/// A published port as docker's JSON has it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Publisher {
    #[serde(rename = "URL")]
    url: String,
    target_port: u16,
    published_port: u16,
    protocol: Protocol,
}

impl<'a> View<'a> {
    /// The container as seen at the time `now`; id and command are cut off unless `whole`.
    pub fn new(container: &'a Container, now: Timestamp, whole: bool) -> Self {
        let Container { record, state } = container;
        let labels: Vec<String> =
            record.labels.iter().map(|(label, value)| format!("{label}={value}")).collect();
        let networks: Vec<&str> =
            record.networks.iter().map(|endpoint| endpoint.network.as_str()).collect();
        let mounts: Vec<String> = record
            .mounts
            .iter()
            .filter_map(|mount| match &mount.source {
                MountSource::Bind { path } => Some(path.display().to_string()),
                MountSource::Volume { name, .. } => Some(name.clone()),
                MountSource::Image { image, .. } => Some(image.clone()),
                MountSource::Tmpfs => None,
            })
            .collect();
        let volumes =
            record.mounts.iter().filter(|mount| matches!(mount.source, MountSource::Volume { .. }));
        let created = record.created.to_zoned(TimeZone::system());
        let open = open(container);
        let published = state.published.iter().map(Publisher::from);
        let command = in_words(&record.command);
        let command = if whole { command } else { shortened(&command, 20) };
        Self {
            command: format!("\"{command}\""),
            created_at: created.strftime("%Y-%m-%d %H:%M:%S %z %Z").to_string(),
            exit_code: state.exit.map_or(0, |exit| exit.shell_code()),
            health: health(container).unwrap_or_default(),
            id: if whole { &record.id } else { record.short_id() },
            image: &record.image,
            labels: labels.join(","),
            local_volumes: volumes.count().to_string(),
            mounts: mounts.join(","),
            name: &record.name,
            names: &record.name,
            networks: networks.join(","),
            oom_killed: state.oom,
            ports: ports(&open, &state.published),
            project: &record.project,
            publishers: open.iter().map(Publisher::of_open).chain(published).collect(),
            running_for: format!("{} ago", since(record.created, now)),
            service: record.service.as_str(),
            size: "0B".to_owned(),
            state: state.phase.as_str(),
            status: status(container, now),
        }
    }
}

impl Publisher {
    /// A port that is not published.
    fn of_open(port: &Open) -> Self {
        let (target_port, protocol) = *port;
        Self { url: String::new(), target_port, published_port: 0, protocol }
    }
}

impl From<&PublishedPort> for Publisher {
    fn from(port: &PublishedPort) -> Self {
        Self {
            url: port.host.ip().to_string(),
            target_port: port.target,
            published_port: port.host.port(),
            protocol: port.protocol,
        }
    }
}

fn health(container: &Container) -> Option<&'static str> {
    container.state.health.as_ref().map(|health| match health.status {
        HealthStatus::Starting => "starting",
        HealthStatus::Healthy => "healthy",
        HealthStatus::Unhealthy => "unhealthy",
    })
}

/// A command as docker shows it: arguments with a space in them are quoted.
fn in_words(command: &[String]) -> String {
    let words = command.iter().enumerate().map(|(at, word)| match at > 0 && word.contains(' ') {
        true => format!("'{word}'"),
        false => word.clone(),
    });
    words.collect::<Vec<_>>().join(" ")
}

/// `Up 2 minutes (healthy)`, `Exited (137) 3 seconds ago (out of memory)` and so on.
fn status(container: &Container, now: Timestamp) -> String {
    let state = &container.state;
    let up =
        || state.started.map_or_else(|| "Up".to_owned(), |at| format!("Up {}", since(at, now)));
    let ago = || state.finished.map(|at| format!(" {} ago", since(at, now))).unwrap_or_default();
    let code = || match state.exit {
        Some(exit) => exit.shell_code().to_string(),
        None => "?".to_owned(),
    };
    let oom = if state.oom { " (out of memory)" } else { "" };
    match state.phase {
        Phase::Created => "Created".to_owned(),
        Phase::Running => match health(container) {
            Some("starting") => format!("{} (health: starting)", up()),
            Some(verdict) => format!("{} ({verdict})", up()),
            None => up(),
        },
        Phase::Paused => format!("{} (Paused)", up()),
        Phase::Restarting => format!("Restarting ({}){}{oom}", code(), ago()),
        Phase::Exited => format!("Exited ({}){}{oom}", code(), ago()),
        Phase::Dead => match &state.error {
            Some(error) => format!("Dead: {error}"),
            None => "Dead".to_owned(),
        },
    }
}

/// A port on which a container listens for others on its networks only.
type Open = (u16, Protocol);

/// Those of a container that runs and has networks.
fn open(container: &Container) -> Vec<Open> {
    let Container { record, state } = container;
    if !state.phase.is_up() || record.networks.is_empty() {
        return Vec::new();
    }
    let is_published =
        |open: &Open| state.published.iter().any(|port| (port.target, port.protocol) == *open);
    let exposed = record.expose.iter();
    let mut open: Vec<Open> = exposed
        .flat_map(|one| (one.ports.first..=one.ports.last).map(|port| (port, one.protocol)))
        .filter(|open| !is_published(open))
        .collect();
    open.sort_by_key(|(port, protocol)| (*protocol, *port));
    open.dedup();
    open
}

/// `9000-9001/tcp, 0.0.0.0:8080->80/tcp`: neighbours are one range.
fn ports(open: &[Open], published: &[PublishedPort]) -> String {
    let mut words = open_ports(open);
    words.extend(published_ports(published));
    words.join(", ")
}

fn open_ports(open: &[Open]) -> Vec<String> {
    let is_next = |one: &Open, next: &Open| one.1 == next.1 && one.0.checked_add(1) == Some(next.0);
    let ranges = open.chunk_by(is_next);
    let words = ranges.filter_map(|range| match range {
        [] => None,
        [(port, protocol)] => Some(format!("{port}/{protocol}")),
        [(first, protocol), .., (last, _)] => Some(format!("{first}-{last}/{protocol}")),
    });
    words.collect()
}

/// `0.0.0.0:8080->80/tcp, 127.0.0.1:9000-9001->9000-9001/tcp`: neighbours are one range.
fn published_ports(published: &[PublishedPort]) -> Vec<String> {
    let mut sorted: Vec<&PublishedPort> = published.iter().collect();
    sorted.sort_by_key(|port| (port.protocol, port.host.ip(), port.target, port.host.port()));
    let mut ranges: Vec<(&PublishedPort, u16)> = Vec::new();
    for port in sorted {
        match ranges.last_mut() {
            Some((first, length)) if follows(first, *length, port) => *length += 1,
            _ => ranges.push((port, 0)),
        }
    }
    ranges
        .iter()
        .map(|(first, length)| {
            let range = |from: u16| match length {
                0 => from.to_string(),
                length => format!("{from}-{}", from + length),
            };
            let ip = match first.host.ip() {
                std::net::IpAddr::V4(ip) => ip.to_string(),
                std::net::IpAddr::V6(ip) => format!("[{ip}]"),
            };
            let (host, target) = (range(first.host.port()), range(first.target));
            format!("{ip}:{host}->{target}/{}", first.protocol)
        })
        .collect()
}

/// Whether `next` is the port right behind the range of `length` more ports from `first`.
fn follows(first: &PublishedPort, length: u16, next: &PublishedPort) -> bool {
    let step = length.checked_add(1);
    first.protocol == next.protocol
        && first.host.ip() == next.host.ip()
        && step.and_then(|step| first.target.checked_add(step)) == Some(next.target)
        && step.and_then(|step| first.host.port().checked_add(step)) == Some(next.host.port())
}
