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
        let command = record.command.join(" ");
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
            ports: ports(&state.published),
            project: &record.project,
            publishers: state.published.iter().map(Publisher::from).collect(),
            running_for: format!("{} ago", since(record.created, now)),
            service: record.service.as_str(),
            size: "0B".to_owned(),
            state: state.phase.as_str(),
            status: status(container, now),
        }
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

/// `0.0.0.0:8080->80/tcp, 127.0.0.1:9000-9001->9000-9001/tcp`: neighbours are one range.
fn ports(published: &[PublishedPort]) -> String {
    let mut sorted: Vec<&PublishedPort> = published.iter().collect();
    sorted.sort_by_key(|port| (port.protocol, port.host.ip(), port.target, port.host.port()));
    let mut ranges: Vec<(&PublishedPort, u16)> = Vec::new();
    for port in sorted {
        match ranges.last_mut() {
            Some((first, length)) if follows(first, *length, port) => *length += 1,
            _ => ranges.push((port, 0)),
        }
    }
    let words: Vec<String> = ranges
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
        .collect();
    words.join(", ")
}

/// Whether `next` is the port right behind the range of `length` more ports from `first`.
fn follows(first: &PublishedPort, length: u16, next: &PublishedPort) -> bool {
    let step = length.checked_add(1);
    first.protocol == next.protocol
        && first.host.ip() == next.host.ip()
        && step.and_then(|step| first.target.checked_add(step)) == Some(next.target)
        && step.and_then(|step| first.host.port().checked_add(step)) == Some(next.host.port())
}
