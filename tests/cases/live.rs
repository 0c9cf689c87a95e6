//! What is changed while a container runs: the same process, and the new value in force.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use scenarios::{Stage, Verdict, eventually};

use super::build::base;
use crate::Scenario;

/// How long something may take on a machine that has much else to do.
const BOUND: Duration = Duration::from_secs(60);

pub(super) fn all() -> Vec<Scenario> {
    vec![
        Scenario::plain("live_limits_and_manners_are_changed_without_a_restart", manners),
        Scenario::plain("live_ports_are_published_and_taken_back_without_a_restart", ports),
        Scenario::plain("live_networks_are_joined_and_left_without_a_restart", networks),
        Scenario::plain("live_configs_and_secrets_are_replaced_without_a_restart", granted),
        Scenario::plain("who_depends_on_what_has_crashed_is_restarted", crashes),
        Scenario::plain("live_changes_that_are_cut_off_are_made_again", cut_off),
    ]
}

/// A container and its process: another one of either shows.
fn life(stage: &Stage, service: &str) -> Result<String, Box<dyn std::error::Error>> {
    let began = "set -- $(cat /proc/1/stat); echo ${22}";
    let began = stage.compose(["exec", "-T", service, "sh", "-c", began]).success()?.stdout;
    Ok(format!("{} {began}", stage.field(service, "ID")?))
}

fn up(stage: &Stage) -> Verdict {
    stage.compose(["up", "--detach"]).success()?;
    stage.compose(["plan"]).success()?.says("nothing to do")?;
    Ok(())
}

/// Requires that a plan for the file has nothing but live changes of `service`, and carries it out.
fn up_live(stage: &Stage, service: &str, keys: &str) -> Verdict {
    let before = life(stage, service)?;
    let planned = stage.compose(["plan"]).code(2)?;
    let planned = planned.says(&format!("update {keys} of {}-{service}-1 live", stage.project))?;
    for word in ["start ", "stop ", "create container", "remove "] {
        assert!(!planned.stdout.contains(word), "{}", planned.stdout);
    }
    up(stage)?;
    assert_eq!(life(stage, service)?, before);
    Ok(())
}

/// The value of a file of the control group of `service`, in whichever hierarchy it is.
fn limit(
    stage: &Stage,
    service: &str,
    names: &[&str],
) -> Result<String, Box<dyn std::error::Error>> {
    let id = stage.field(service, "ID")?;
    let found = groups(Path::new("/sys/fs/cgroup"), &id, 6)
        .into_iter()
        .find_map(|group| names.iter().find_map(|name| fs::read_to_string(group.join(name)).ok()));
    Ok(found.ok_or_else(|| format!("{id} has no {names:?}"))?.trim().to_owned())
}

fn groups(folder: &Path, id: &str, depth: usize) -> Vec<PathBuf> {
    let folders = fs::read_dir(folder).into_iter().flatten().flatten();
    let folders = folders.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    let mut found = Vec::new();
    for entry in folders {
        match entry.file_name().to_string_lossy().starts_with(id) {
            true => found.push(entry.path()),
            false if depth > 0 => found.append(&mut groups(&entry.path(), id, depth - 1)),
            false => {}
        }
    }
    found
}

fn manners(stage: &Stage) -> Verdict {
    base(stage)?;
    let file = |more: &str| {
        let text = format!(
            "services:\n  web:\n    image: base\n    init: false\n    command: sh -c 'trap \"echo asked; exit 3\" USR1; while :; do sleep 1; done'\n{more}"
        );
        stage.file("compose.yaml", &text)
    };
    file("    pids_limit: 100\n")?;
    up(stage)?;
    assert_eq!(limit(stage, "web", &["pids.max"])?, "100");
    file("    pids_limit: 200\n    mem_limit: 64m\n")?;
    up_live(stage, "web", "deploy.resources")?;
    assert_eq!(limit(stage, "web", &["pids.max"])?, "200");
    assert_eq!(limit(stage, "web", &["memory.max", "memory.limit_in_bytes"])?, "67108864");
    file("    labels: {colour: red}\n    healthcheck: {test: 'true', interval: 50ms}\n")?;
    up_live(stage, "web", "deploy.resources, healthcheck, labels.colour")?;
    assert!(stage.field("web", "Labels")?.contains("colour=red"));
    assert_ne!(limit(stage, "web", &["pids.max"])?, "200");
    let health = |wanted: &str| {
        eventually(BOUND, || match stage.field("web", "Health")?.as_str() {
            health if health == wanted => Ok(()),
            other => Err(other.into()),
        })
    };
    health("healthy")?;
    file("    healthcheck: {test: 'false', interval: 50ms, retries: 1}\n")?;
    up_live(stage, "web", "healthcheck, labels.colour")?;
    health("unhealthy")?;
    file("    restart: always\n    stop_signal: SIGUSR1\n    stop_grace_period: 50s\n")?;
    up_live(stage, "web", "healthcheck, restart, stop_signal, stop_grace_period")?;
    health("")?;
    // Its new signal ends it, and its new policy starts it again.
    let before = life(stage, "web")?;
    stage.compose(["kill", "--signal", "USR1"]).success()?;
    eventually(BOUND, || match life(stage, "web")? {
        same if same == before => Err("it has not been started again".into()),
        _ => Ok(()),
    })?;
    stage.compose(["stop"]).success()?;
    assert_eq!(stage.field("web", "ExitCode")?, "3");
    // What does not run is changed as well.
    file("    labels: {colour: blue}\n")?;
    let before = stage.field("web", "ID")?;
    up(stage)?;
    assert_eq!(stage.field("web", "ID")?, before);
    assert!(stage.field("web", "Labels")?.contains("colour=blue"));
    stage.compose(["up", "--detach", "--force-recreate", "--timeout", "0"]).success()?;
    assert_ne!(stage.field("web", "ID")?, before);
    stage.compose(["down", "--timeout", "0"]).success()?;
    Ok(())
}

fn granted(stage: &Stage) -> Verdict {
    base(stage)?;
    let file = |content: &str, how: &str| {
        let text = format!(
            "services:\n  web:\n    image: base\n    init: false\n    command: sleep 600\n    stop_grace_period: 0s\n    \
             configs: [{{source: app, target: /etc/app.conf{how}}}]\n    secrets: [key]\n\
             configs: {{app: {{content: {content}}}}}\nsecrets: {{key: {{file: key}}}}\n"
        );
        stage.file("compose.yaml", &text)
    };
    let is = |conf: &str, key: &str, look: &str| -> Verdict {
        let words = "cat /etc/app.conf /run/secrets/key; stat -c '%u %a' /etc/app.conf";
        let said = stage.compose(["exec", "-T", "web", "sh", "-c", words]).success()?.stdout;
        assert_eq!(said, format!("{conf}{key}{look}\n"));
        Ok(())
    };
    file("one", "")?;
    stage.file("key", "KEY")?;
    up(stage)?;
    is("one", "KEY", "0 444")?;
    file("two", "")?;
    up_live(stage, "web", "configs.app")?;
    is("two", "KEY", "0 444")?;
    // Another file in the place of the secret: the container has the old one until it is given the new one.
    stage.file("saved", "NEW")?;
    fs::rename(stage.folder.join("saved"), stage.folder.join("key"))?;
    up_live(stage, "web", "secrets.key.content")?;
    is("two", "NEW", "0 444")?;
    file("three", ", uid: '1000', mode: 0440")?;
    up_live(stage, "web", "configs, configs.app")?;
    is("three", "NEW", "1000 440")?;
    // The next start finds the same, and what does not run is changed as well.
    stage.compose(["restart"]).success()?;
    is("three", "NEW", "1000 440")?;
    stage.compose(["stop"]).success()?;
    let before = stage.field("web", "ID")?;
    file("four", ", mode: 0400")?;
    up(stage)?;
    assert_eq!(stage.field("web", "ID")?, before);
    is("four", "NEW", "0 400")?;
    // A container that has moved the place keeps what it has, and is told of.
    let moves = "mv /run/secrets /run/moved && mkdir /run/secrets";
    stage.compose(["exec", "-T", "web", "sh", "-c", moves]).success()?;
    stage.file("key", "LAST")?;
    stage.compose(["up", "--detach"]).code(1)?.complains("/run/secrets/key")?;
    stage.compose(["up", "--detach", "--force-recreate"]).success()?;
    assert_ne!(stage.field("web", "ID")?, before);
    is("four", "LAST", "0 400")?;
    stage.compose(["down"]).success()?;
    Ok(())
}

fn get(port: u16) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(BOUND))?;
    stream.write_all(b"GET /hostname HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

fn answers(port: u16) -> Verdict {
    eventually(BOUND, || match get(port)? {
        answer if answer.contains("200 OK") => Ok(()),
        answer => Err(answer.into()),
    })
}

/// A web server that is made of nothing but busybox.
const SERVER: &str =
    "image: base\n    command: /bin/busybox httpd -f -p 8000 -h /etc\n    stop_grace_period: 0s\n";

fn ports(stage: &Stage) -> Verdict {
    base(stage)?;
    let file = |web: &str, other: &str| {
        let text = format!(
            "services:\n  web:\n    {SERVER}    ports: [{web}]\n  other:\n    {SERVER}    ports: [{other}]\n"
        );
        stage.file("compose.yaml", &text)
    };
    file("'127.0.0.1:8080:8000'", "")?;
    up(stage)?;
    answers(8080)?;
    // A connection to a port that stays is not touched.
    let mut open = TcpStream::connect("127.0.0.1:8080")?;
    file("'127.0.0.1:8080:8000', '127.0.0.1:8081:8000'", "")?;
    up_live(stage, "web", "ports")?;
    answers(8080)?;
    answers(8081)?;
    open.write_all(b"GET /hostname HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    open.read_to_string(&mut answer)?;
    assert!(answer.contains("200 OK"), "{answer}");
    stage.compose(["port", "web", "8000"]).success()?;
    file("'127.0.0.1:8081:8000'", "'127.0.0.1:8082:8000'")?;
    let before = life(stage, "web")?;
    up(stage)?;
    assert_eq!(life(stage, "web")?, before);
    assert!(get(8080).is_err());
    answers(8081)?;
    answers(8082)?;
    // A port that is taken is told before anything changes.
    let _holder = std::net::TcpListener::bind("127.0.0.1:8083")?;
    file("'127.0.0.1:8083:8000'", "'127.0.0.1:8082:8000'")?;
    stage.compose(["up", "--detach"]).code(1)?.complains("8083")?;
    answers(8081)?;
    // From one to the other.
    file("", "'127.0.0.1:8081:8000'")?;
    up(stage)?;
    assert_eq!(life(stage, "web")?, before);
    answers(8081)?;
    assert!(get(8082).is_err());
    stage.compose(["down"]).success()?;
    Ok(())
}

fn networks(stage: &Stage) -> Verdict {
    base(stage)?;
    let file = |web: &str, networks: &str| {
        let text = format!(
            "services:\n  web:\n    {SERVER}    networks: {web}\n  left:\n    {SERVER}    networks: [left]\n  \
             right:\n    {SERVER}    networks: [right]\nnetworks: {networks}\n"
        );
        stage.file("compose.yaml", &text)
    };
    let asks = |from: &str, name: &str| {
        let url = format!("http://{name}:8000/passwd");
        stage.compose(["exec", "-T", from, "/bin/busybox", "wget", "-q", "-O", "-", &url])
    };
    let finds = |from: &str, name: &str| -> Verdict {
        eventually(BOUND, || Ok(asks(from, name).success()?.says("root").map(drop)?))
    };
    file("{left: {}}", "{left: {}, right: {}}")?;
    up(stage)?;
    finds("left", "web")?;
    asks("right", "web").code(1)?;
    file("{left: {aliases: [shop]}, right: {aliases: [store]}}", "{left: {}, right: {}}")?;
    up_live(stage, "web", "networks")?;
    for (from, name) in [("left", "shop"), ("right", "store"), ("right", "web"), ("web", "right")] {
        finds(from, name)?;
    }
    asks("right", "shop").code(1)?;
    // One that was put there by hand stays.
    stage.compose(["network", "create", "byhand"]).success()?;
    let name = format!("{}-web-1", stage.project);
    stage.compose(["network", "connect", "byhand", &name]).success()?;
    file("{right: {}}", "{left: {}, right: {}}")?;
    up_live(stage, "web", "networks")?;
    finds("right", "web")?;
    asks("right", "store").code(1)?;
    asks("left", "web").code(1)?;
    asks("web", "left").code(1)?;
    let addresses = ["exec", "-T", "web", "/bin/busybox", "ip", "-o", "-4", "addr"];
    let addresses = stage.compose(addresses).success()?.stdout;
    assert_eq!(addresses.lines().count(), 3, "{addresses}");
    // It is the same when it starts anew.
    stage.compose(["restart", "web"]).success()?;
    finds("right", "web")?;
    finds("web", "right")?;
    asks("left", "web").code(1)?;
    stage.compose(["network", "disconnect", "byhand", &name]).success()?;
    stage.compose(["down"]).success()?;
    stage.compose(["network", "rm", "byhand"]).success()?;
    Ok(())
}

/// The supervisor is killed while it changes a container: the next command ends at the same place.
fn cut_off(stage: &Stage) -> Verdict {
    base(stage)?;
    let file = |turn: usize| {
        let network = ["one", "two"][turn % 2];
        let text = format!(
            "services:\n  web:\n    {SERVER}    pids_limit: {}\n    labels: {{turn: '{turn}'}}\n    ports: ['127.0.0.1:{}:8000']\n    \
             networks: {{{network}: {{aliases: [a{turn}]}}}}\n  one:\n    {SERVER}    networks: [one]\n  two:\n    {SERVER}    networks: [two]\n\
             networks: {{one: {{}}, two: {{}}}}\n",
            100 + turn,
            8080 + turn,
        );
        stage.file("compose.yaml", &text)
    };
    file(0)?;
    up(stage)?;
    let before = life(stage, "web")?;
    for turn in 1..=8 {
        file(turn)?;
        let running = stage.start(stage.compose_command(["up", "--detach"]))?;
        std::thread::sleep(Duration::from_millis(turn as u64 * 7));
        super::kills::kill_supervisor(stage)?;
        let _how = running.finish(BOUND)?;
        up(stage)?;
        assert_eq!(life(stage, "web")?, before, "turn {turn}");
        assert_eq!(limit(stage, "web", &["pids.max"])?, (100 + turn).to_string());
        answers(8080 + u16::try_from(turn)?)?;
        assert!(get(8079 + u16::try_from(turn)?).is_err(), "turn {turn}");
        let (service, url) = (["one", "two"][turn % 2], format!("http://a{turn}:8000/passwd"));
        let ask = ["exec", "-T", service, "/bin/busybox", "wget", "-q", "-O", "-", &url];
        eventually(BOUND, || Ok(stage.compose(ask).success()?.says("root").map(drop)?))?;
    }
    stage.compose(["down"]).success()?;
    Ok(())
}

/// A dependency ends by itself, and its restart policy starts it again.
fn crashes(stage: &Stage) -> Verdict {
    base(stage)?;
    stage.file(
        "compose.yaml",
        "services:\n  db:\n    image: base\n    init: true\n    restart: always\n    stop_grace_period: 0s\n    \
         command: sh -c 'echo begun >> /starts; until test -e /crash; do sleep 0.05; done; rm /crash; exit 3'\n    \
         healthcheck: {test: test -e /starts, interval: 100ms, retries: 1000}\n  \
         web: &web\n    image: base\n    init: true\n    stop_grace_period: 0s\n    command: sh -c 'echo begun >> /starts; sleep 600'\n    \
         depends_on: {db: {condition: service_healthy, restart: true}}\n  \
         client:\n    <<: *web\n    depends_on: {web: {condition: service_started, restart: true}}\n  \
         other:\n    <<: *web\n    depends_on: [db]\n",
    )?;
    stage.compose(["up", "--detach", "--wait"]).success()?;
    let ids = stage.containers()?;
    let starts = |service: &str, wanted: &str| {
        eventually(BOUND, || {
            let said = stage.compose(["exec", "-T", service, "cat", "/starts"]).success()?.stdout;
            if said.trim_end() == wanted {
                Ok(())
            } else {
                Err(format!("{service}: {said}").into())
            }
        })
    };
    stage.compose(["exec", "-T", "db", "sh", "-c", "echo > /crash"]).success()?;
    for service in ["db", "web", "client"] {
        starts(service, "begun\nbegun")?;
    }
    starts("other", "begun")?;
    assert_eq!(stage.containers()?.len(), ids.len());
    stage.compose(["down"]).success()?;
    stage.check_nothing_left()
}
