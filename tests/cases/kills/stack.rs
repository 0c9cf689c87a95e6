//! The stack that is killed at, and what must be true of it afterwards.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::time::Duration;

use scenarios::{Stage, Verdict, eventually, world};

/// Seven services that have something to lose: lines, ports, names, volumes, a verdict on their health, an exit code.
pub(super) const FILE: &str = r#"
services:
  counter:
    image: rootfs:/
    command: &count
      - bash
      - -c
      - "exec 9<> <(:); i=0; while :; do i=$$((i + 1)); echo out $$i; echo err $$i >&2; read -t 0.01 -u 9; done"
    networks: [front, back]
    volumes: ['data:/mnt', /srv]
  reaped:
    image: rootfs:/
    init: true
    command: *count
    networks: [back]
    volumes: ['data:/mnt']
  web:
    image: rootfs:/
    init: true
    command:
      - python3
      - -c
      - |
        import socket
        server = socket.create_server(("", 80), backlog=64)
        while True:
            client, _ = server.accept()
            client.sendall(b"web\n")
            client.close()
    ports: ['8080:80']
    networks: [front]
  healthy:
    image: rootfs:/
    init: true
    command: sleep infinity
    healthcheck: {test: [CMD, "true"], interval: 500ms, retries: 10}
    networks: [back]
  waiting:
    image: rootfs:/
    init: true
    command: sleep infinity
    depends_on: {healthy: {condition: service_healthy}}
    networks: [back]
    volumes: [/srv]
  restless:
    image: rootfs:/
    command: sh -c 'sleep 0.4; exit 4'
    restart: always
    networks: [back]
  short:
    image: rootfs:/
    command: sh -c 'echo bye; sleep 0.2; echo last words; exit 7'
    networks: [front]
networks: {front: {}, back: {}}
volumes: {data: {}}
"#;

/// The services whose containers live until they are stopped.
pub(super) const LASTING: [&str; 5] = ["counter", "healthy", "reaped", "waiting", "web"];

/// How long something that is on its way may take on a machine with other things to do.
pub(super) const BOUND: Duration = Duration::from_secs(60);

/// Process 1 of each container that lasts: its number, and when it was started.
pub(super) type Lives = BTreeMap<String, (i32, u64)>;

/// Who lives, by service. Asks `ps` for the ids and the kernel for the rest.
pub(super) fn lives(stage: &Stage) -> Result<Lives, Box<dyn Error>> {
    let first = first_processes(&stage.project);
    let mut lives = Lives::new();
    for container in stage.containers()? {
        let text = |key: &str| container[key].as_str().unwrap_or_default();
        let (service, id) = (text("Service"), text("ID"));
        if !LASTING.contains(&service) {
            continue;
        }
        let mut found = first.iter().filter(|(group, _)| group.starts_with(id));
        let (Some((_, life)), None) = (found.next(), found.next()) else {
            return Err(format!("{service} has not one process 1, but: {first:?}").into());
        };
        lives.insert(service.to_owned(), *life);
    }
    match lives.len() {
        all if all == LASTING.len() => Ok(lives),
        _ => Err(format!("only these live: {lives:?}").into()),
    }
}

/// The processes that are number 1 of their namespace and in a control group of the project: id of the container, number
/// on the host, start time in clock ticks.
fn first_processes(project: &str) -> Vec<(String, (i32, u64))> {
    let of_container = |pid: i32| {
        let read = |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}")).ok();
        let status = read("status")?;
        let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:"))?;
        let numbers: Vec<_> = numbers.split_whitespace().collect();
        if numbers.len() < 2 || numbers.last() != Some(&"1") {
            return None;
        }
        // One that has ended and that nobody has waited for is called (deleted).
        let groups = read("cgroup").filter(|groups| !groups.contains("(deleted)"))?;
        let (_, rest) = groups.split_once(&format!("/{project}/"))?;
        let id = rest.split(['/', '\n']).next()?.to_owned();
        Some((id, (pid, started(pid)?)))
    };
    pids().into_iter().filter_map(of_container).collect()
}

/// Whether a process has no process numbers but those of the host.
pub(super) fn is_of_host(pid: i32) -> bool {
    let of = |process: &str| fs::read_link(format!("/proc/{process}/ns/pid")).ok();
    of(&pid.to_string()) == of("self")
}

/// When a process was started: field 22 of its stat (proc_pid_stat(5)).
fn started(pid: i32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit(") ").next()?.split(' ').nth(19)?.parse().ok()
}

fn pids() -> Vec<i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// Requires that all lines of `service` are in its log, on both streams, once and in order; returns how many there are.
pub(super) fn lines(stage: &Stage, service: &str) -> Result<usize, Box<dyn Error>> {
    let words = ["logs", "--no-log-prefix", "--no-color", service];
    let log = stage.compose(words).success()?;
    let mut least = usize::MAX;
    for (stream, said) in [("out", &log.stdout), ("err", &log.stderr)] {
        // The last line may be on its way.
        let whole = said.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
        let mut count = 0;
        for line in whole {
            count += 1;
            if line != format!("{stream} {count}") {
                return Err(format!("{service}: {line:?} where {stream} {count} should be").into());
            }
        }
        least = least.min(count);
    }
    Ok(least)
}

/// Requires that `short`, which has ended, had its last words each time.
pub(super) fn no_word_is_lost(stage: &Stage) -> Verdict {
    let log = stage.compose(["logs", "--no-log-prefix", "--no-color", "short"]).success()?.stdout;
    let lines: Vec<_> = log.lines().collect();
    match lines.chunks(2).find(|words| **words != ["bye", "last words"]) {
        None => Ok(()),
        Some(_) => Err(format!("short said {lines:?}").into()),
    }
}

/// Requires that the published port answers, by the way of loopback and by that of the kernel.
pub(in crate::cases) fn port_answers() -> Verdict {
    for host in [Ipv4Addr::LOCALHOST, Ipv4Addr::new(192, 0, 2, 2)] {
        eventually(BOUND, || {
            let mut stream =
                TcpStream::connect_timeout(&(host, 8080).into(), Duration::from_secs(30))?;
            stream.set_read_timeout(Some(Duration::from_secs(30)))?;
            let mut said = String::new();
            stream.read_to_string(&mut said)?;
            let _closed = stream.flush();
            if said == "web\n" { Ok(()) } else { Err(format!("{host} says {said:?}").into()) }
        })?;
    }
    Ok(())
}

/// Requires that containers find each other by name.
pub(super) fn names_answer(stage: &Stage) -> Verdict {
    eventually(BOUND, || {
        let words = ["exec", "-T", "counter", "getent", "hosts", "web", "healthy"];
        Ok(stage.compose(words).success().map(drop)?)
    })
}

/// Requires that the container with a restart policy is there, or about to be.
pub(super) fn restless_goes_on(stage: &Stage) -> Verdict {
    match stage.field("restless", "State")?.as_str() {
        "running" | "restarting" => Ok(()),
        other => Err(format!("restless is {other}").into()),
    }
}

/// Requires that the next `up` finishes the work, and that the one after that finds nothing to do.
pub(super) fn converges(stage: &Stage) -> Verdict {
    stage.compose(["up", "--detach"]).success()?;
    // A container that ends by itself is started again by every `up`.
    let lasting = ["up", "--detach"].into_iter().chain(LASTING);
    stage.compose(lasting).success()?.complains("nothing to do")?;
    lives(stage)?;
    Ok(())
}

/// Takes everything down; nothing may be left of it, volumes and namespaces included.
pub(super) fn goes_without_trace(stage: &Stage) -> Verdict {
    let namespaces = namespaces_of(stage);
    stage.compose(["down", "--volumes", "--timeout", "2"]).success()?;
    stage.check_nothing_left()?;
    let volumes = stage.roots.join("data/volumes");
    let kept: Vec<_> = fs::read_dir(&volumes)?
        .flatten()
        .map(|entry| entry.file_name())
        .filter(|name| !name.to_string_lossy().ends_with("lock"))
        .collect();
    if !kept.is_empty() {
        return Err(format!("volumes left: {kept:?}").into());
    }
    eventually(BOUND, || match users_of(&namespaces) {
        users if users.is_empty() => Ok(()),
        users => Err(format!("namespaces left in use: {users:?}").into()),
    })
}

/// The namespaces that the project's processes have to themselves, and who was in them.
fn namespaces_of(stage: &Stage) -> BTreeMap<String, BTreeSet<(i32, Option<u64>)>> {
    let own: BTreeSet<_> = namespaces(Path::new("/proc/thread-self")).into_iter().collect();
    let ours: BTreeSet<i32> =
        world::processes(&stage.project, &stage.roots).into_iter().map(|(pid, _)| pid).collect();
    let mut found = BTreeMap::<String, BTreeSet<_>>::new();
    for pid in &ours {
        for namespace in namespaces(&Path::new("/proc").join(pid.to_string())) {
            if !own.contains(&namespace) {
                found.entry(namespace).or_default();
            }
        }
    }
    // Whoever is in one of them now and stays is left over, whatever it is called. A later process is none of ours: the
    // kernel gives the numbers of dead namespaces to new ones.
    for pid in pids() {
        for namespace in namespaces(&Path::new("/proc").join(pid.to_string())) {
            if let Some(members) = found.get_mut(&namespace) {
                members.insert((pid, started(pid)));
            }
        }
    }
    found
}

fn users_of(
    namespaces_before: &BTreeMap<String, BTreeSet<(i32, Option<u64>)>>,
) -> Vec<(i32, String)> {
    let mut users = Vec::new();
    for (namespace, members) in namespaces_before {
        for (pid, began) in members {
            let now = namespaces(&Path::new("/proc").join(pid.to_string()));
            if started(*pid) == *began && now.contains(namespace) {
                users.push((*pid, namespace.clone()));
            }
        }
    }
    users
}

fn namespaces(process: &Path) -> Vec<String> {
    let links = fs::read_dir(process.join("ns")).into_iter().flatten().flatten();
    let names = links.filter_map(|link| fs::read_link(link.path()).ok());
    names.map(|name| name.display().to_string()).collect()
}
