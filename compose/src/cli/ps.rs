//! `compose ps`.

pub(super) mod view;

use jiff::Timestamp;

use super::context::{Context, Target};
use super::error::CommandError;
use super::format::{self, Column, Json, List, Row, column};
use super::terminal::Terminal;
use crate::model::ServiceName;
use crate::record::{Container, Phase};
use view::View;

/// List containers
#[derive(Debug, clap::Args)]
pub struct PsArgs {
    /// Services whose containers are listed (default: all)
    #[arg(value_name = "SERVICE")]
    services: Vec<ServiceName>,
    /// Stopped containers and those of `run` as well
    #[arg(long, short)]
    all: bool,
    /// Only containers in this state (`status=running`)
    #[arg(long, value_name = "status=STATE", value_parser = status_filter)]
    filter: Vec<Phase>,
    /// Only containers in this state
    #[arg(long, value_name = "STATE", value_parser = phase)]
    status: Vec<Phase>,
    /// How to show them: `table`, `table TEMPLATE`, `json` or a Go template
    #[arg(long, value_name = "FORMAT")]
    format: Option<format::Format>,
    /// Do not cut off ids and commands
    #[arg(long)]
    no_trunc: bool,
    /// Containers of services that the file does not have as well
    #[arg(long, value_name = "WHETHER", num_args = 0..=1, require_equals = true, default_value_t = true, default_missing_value = "true", action = clap::ArgAction::Set)]
    orphans: bool,
    /// Only the ids
    #[arg(long, short)]
    quiet: bool,
    /// Only the services
    #[arg(long = "services")]
    services_only: bool,
}

/// How a list is shown
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Columns below titles
    Table,
    /// JSON
    Json,
}

fn status_filter(text: &str) -> Result<Phase, String> {
    match text.split_once('=') {
        Some(("status", word)) => phase(word),
        _ => Err("the only filter is status=STATE".to_owned()),
    }
}

fn phase(word: &str) -> Result<Phase, String> {
    const PHASES: [Phase; 6] = [
        Phase::Created,
        Phase::Running,
        Phase::Restarting,
        Phase::Paused,
        Phase::Exited,
        Phase::Dead,
    ];
    PHASES.into_iter().find(|phase| phase.as_str() == word).ok_or_else(|| {
        let words = PHASES.map(Phase::as_str).join(", ");
        format!("`{word}` is no state; there are {words}")
    })
}

/// Prints the containers of the project from their records; asks no supervisor.
///
/// # Errors
///
/// When a record cannot be read or a service is not known.
pub fn run(
    mut args: PsArgs,
    context: &Context,
    terminal: &mut Terminal,
) -> Result<u8, CommandError> {
    context.require_root()?;
    args.format = args.format.or_else(configured);
    let target = context.target(terminal)?;
    let containers = context.containers(target.name.as_str())?;
    target.check(&args.services, &containers)?;
    let problem = context.roots().project(target.name.as_str()).problem();
    if let Ok(problem) = std::fs::read_to_string(problem) {
        terminal.warn(&format!("the project is not as its files say: {problem}"));
    }
    let shown = containers.iter().filter(|one| args.shows(one, &target)).collect();
    terminal.print(args.text(shown, Timestamp::now())?)?;
    Ok(0)
}

impl PsArgs {
    fn shows(&self, container: &Container, target: &Target) -> bool {
        let Container { record, state } = container;
        let by_service = self.services.is_empty() || self.services.contains(&record.service);
        let orphan = target.project.as_ref().is_some_and(|project| {
            !project.services.contains_key(record.service.as_str())
                && !project.disabled.contains_key(record.service.as_str())
        });
        let mut phases = self.status.iter().chain(&self.filter).peekable();
        let by_phase = match phases.peek() {
            Some(_) => phases.any(|phase| *phase == state.phase),
            None => self.all || state.phase.is_up(),
        };
        by_service && by_phase && (self.orphans || !orphan)
    }

    fn text(&self, mut shown: Vec<&Container>, now: Timestamp) -> Result<String, CommandError> {
        shown.sort_by(|one, other| one.record.name.cmp(&other.record.name));
        if self.quiet {
            return Ok(shown.iter().map(|one| format!("{}\n", one.record.id)).collect());
        }
        if self.services_only {
            let mut services: Vec<&str> =
                shown.iter().map(|one| one.record.service.as_str()).collect();
            services.sort_unstable();
            services.dedup();
            return Ok(services.iter().map(|service| format!("{service}\n")).collect());
        }
        let row = |container: &&Container| {
            let view = View::new(container, now, self.no_trunc);
            Ok(Row::of(&view)?.labelled(&container.record.labels))
        };
        let rows = shown.iter().map(row).collect::<Result<_, CommandError>>()?;
        let list = List { columns: &COLUMNS, titles: &TITLES, json: Json::Lines, rows };
        list.render(self.format.as_ref().unwrap_or(&format::Format::Usual))
    }
}

const COLUMNS: [Column; 7] = [
    column("NAME", "Name"),
    column("IMAGE", "Image"),
    column("COMMAND", "Command"),
    column("SERVICE", "Service"),
    column("CREATED", "RunningFor"),
    column("STATUS", "Status"),
    column("PORTS", "Ports"),
];

/// What docker calls the other fields.
const TITLES: [Column; 4] = [
    column("CONTAINER ID", "ID"),
    column("CREATED AT", "CreatedAt"),
    column("EXIT CODE", "ExitCode"),
    column("LOCAL VOLUMES", "LocalVolumes"),
];

/// The format that the user's configuration of docker wants for `ps`.
fn configured() -> Option<format::Format> {
    let folder = std::env::var_os("DOCKER_CONFIG").map(std::path::PathBuf::from);
    let home = || Some(std::path::PathBuf::from(std::env::var_os("HOME")?).join(".docker"));
    let text = std::fs::read_to_string(folder.or_else(home)?.join("config.json")).ok()?;
    let config: serde_json::Value = serde_json::from_str(&text).ok()?;
    config.get("psFormat")?.as_str()?.parse().ok()
}

#[cfg(test)]
#[expect(missing_docs, reason = "tests")]
pub mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::time::Duration;

    use runtime::exit::ExitStatus;

    use clap::Parser;

    use crate::model::{Protocol, RestartPolicy, Signal};
    use crate::record::{
        ContainerRecord, ContainerState, EndpointRecord, Health, HealthStatus, MountRecord,
        MountSource, PublishedPort, RECORD_VERSION,
    };

    /// A container of the project `shop` for tests.
    pub fn container(service: &str, number: u32, phase: Phase) -> Container {
        let record = ContainerRecord {
            version: RECORD_VERSION,
            id: format!("{number}f").repeat(32),
            name: format!("shop-{service}-{number}"),
            project: "shop".to_owned(),
            service: service.parse().unwrap(),
            number,
            oneoff: false,
            image: format!("{service}:1"),
            image_id: "sha256:00".to_owned(),
            config_hash: "0".to_owned(),
            definition: crate::hash::Definition::default(),
            depends_on: BTreeMap::new(),
            created: "2026-11-20T10:00:00Z".parse().unwrap(),
            labels: BTreeMap::from([("tier".to_owned(), "front".to_owned())]),
            command: vec!["docker-entrypoint.sh".to_owned(), "serve".to_owned()],
            tty: false,
            stdin_open: false,
            stop_signal: Signal::TERM,
            stop_grace: Duration::from_secs(10),
            restart: RestartPolicy::No,
            restart_details: Default::default(),
            healthcheck: None,
            networks: vec![EndpointRecord {
                network: "shop_default".to_owned(),
                aliases: vec![service.to_owned()],
                lease_key: format!("shop/{service}/{number}"),
                ipv4: None,
                ipv6: None,
                mac: None,
                connected: false,
            }],
            ports: Vec::new(),
            expose: Vec::new(),
            mounts: vec![MountRecord {
                source: MountSource::Volume { name: "shop_data".to_owned(), anonymous: false },
                target: "/data".into(),
                read_only: false,
            }],
            joins: Vec::new(),
        };
        let started = Some("2026-11-20T10:00:01Z".parse().unwrap());
        Container { record, state: ContainerState { phase, started, ..ContainerState::default() } }
    }

    fn shop() -> Vec<Container> {
        let mut web = container("web", 1, Phase::Running);
        let publish = |host: &str, target| PublishedPort {
            host: host.parse().unwrap(),
            target,
            protocol: Protocol::Tcp,
        };
        web.state.published = vec![
            publish("0.0.0.0:8080", 80),
            publish("127.0.0.1:9000", 9000),
            publish("127.0.0.1:9001", 9001),
        ];
        web.state.health =
            Some(Health { status: HealthStatus::Healthy, failing_streak: 0, log: Vec::new() });
        let mut hog = container("hog", 1, Phase::Exited);
        hog.state.exit = Some(ExitStatus { code: None, signal: Some(9) });
        hog.state.finished = Some("2026-11-20T10:02:00Z".parse().unwrap());
        hog.state.oom = true;
        vec![web, hog, container("new", 1, Phase::Created)]
    }

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: PsArgs,
    }

    fn shown(words: &[&str]) -> String {
        let args = Line::parse_from([&["ps"], words].concat()).args;
        let target = Target { name: "shop".parse().unwrap(), project: None };
        let all = shop();
        let shown = all.iter().filter(|one| args.shows(one, &target)).collect();
        args.text(shown, "2026-11-20T10:05:00Z".parse().unwrap()).unwrap()
    }

    #[test]
    fn tables_as_docker_prints_them() {
        insta::assert_snapshot!(shown(&[]));
        insta::assert_snapshot!(shown(&["-a"]));
    }

    #[test]
    fn ports_that_are_not_published_are_shown_while_it_runs() {
        use crate::model::{Expose, PortRange};
        let mut web = shop().remove(0);
        let expose = |first, last, protocol| Expose { ports: PortRange { first, last }, protocol };
        web.record.expose = vec![
            expose(53, 53, Protocol::Udp),
            expose(3000, 3001, Protocol::Tcp),
            expose(3002, 3002, Protocol::Tcp),
            expose(80, 80, Protocol::Tcp),
        ];
        web.record.command = vec!["sh".to_owned(), "-c".to_owned(), "echo a b".to_owned()];
        let now = "2026-11-20T10:05:00Z".parse().unwrap();
        let view = View::new(&web, now, true);
        assert_eq!(
            view.ports,
            "3000-3002/tcp, 53/udp, 0.0.0.0:8080->80/tcp, 127.0.0.1:9000-9001->9000-9001/tcp"
        );
        let json = serde_json::to_value(&view.publishers[3]).unwrap();
        let wanted = r#"{"URL":"","TargetPort":53,"PublishedPort":0,"Protocol":"udp"}"#;
        assert_eq!(json, serde_json::from_str::<serde_json::Value>(wanted).unwrap());
        assert_eq!(view.publishers.len(), 4 + 3);
        assert_eq!(view.command, r#""sh -c 'echo a b'""#);
        web.state.phase = Phase::Exited;
        web.state.published.clear();
        assert_eq!(View::new(&web, now, true).ports, "");
        web.state.phase = Phase::Running;
        web.record.networks.clear();
        assert_eq!(View::new(&web, now, true).ports, "");
    }

    #[test]
    fn json_has_the_keys_of_docker() {
        insta::assert_snapshot!(shown(&["--format", "json"]));
    }

    #[test]
    fn filters_and_short_forms() {
        assert_eq!(shown(&["-q", "web"]), format!("{}\n", "1f".repeat(32)));
        assert_eq!(shown(&["-a", "--services"]), "hog\nnew\nweb\n");
        assert_eq!(shown(&["--status", "exited", "--services"]), "hog\n");
        assert_eq!(shown(&["--filter", "status=created", "--services"]), "new\n");
        assert!(phase("up").is_err());
    }

    #[test]
    fn templates_show_what_is_asked_for() {
        assert_eq!(shown(&["--format", "{{.Name}} {{.Label \"tier\"}}"]), "shop-web-1 front\n");
        assert_eq!(
            shown(&["--format", "table {{.ID}}\\t{{.Health}}"]),
            "CONTAINER ID   HEALTH\n1f1f1f1f1f1f   healthy\n"
        );
        let ports = "{{range .Publishers}}{{.PublishedPort}} {{end}}";
        assert_eq!(shown(&["--format", ports]), "8080 9000 9001 \n");
        assert!(Line::try_parse_from(["ps", "--format", "{{.Name"]).is_err());
    }
}
