//! `start-first`: the new container serves before the old one stops.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use scenarios::{Stage, Verdict, eventually};

use super::build::base;
use crate::Scenario;

/// How long something may take on a machine that has much else to do.
const BOUND: Duration = Duration::from_secs(60);

/// How many ask at the same time.
const CLIENTS: usize = 4;

/// How often the service is updated under load.
const UPDATES: usize = 20;

pub(super) fn all() -> Vec<Scenario> {
    vec![
        Scenario::plain("updates_that_start_first_lose_no_request", loses_nothing),
        Scenario::plain("an_update_that_does_not_get_ready_is_taken_back", taken_back),
        Scenario::plain("an_update_that_starts_first_survives_kills", survives_kills),
        Scenario::plain("an_update_that_cannot_start_first_says_so", says_so),
    ]
}

/// A web server that says its version; it is healthy when it answers, and never with the version 0.
fn file(stage: &Stage, version: usize, asks: &str, more: &str) -> Verdict {
    let text = format!(
        "services:\n  web:\n    image: base\n    init: true\n    command: sh -c 'echo $$VERSION > /tmp/index && /bin/busybox httpd -f -p 8000 -h /tmp'\n    \
         environment: {{VERSION: '{version}'}}\n    ports: ['127.0.0.1:8080:8000']\n    stop_grace_period: 20s\n    healthcheck:\n      \
         test: test $$VERSION != 0 && wget -q -O /tmp/seen http://127.0.0.1:8000/index\n      interval: 100ms\n      timeout: 20s\n      retries: 3\n    \
         {asks}\n{more}  client:\n    image: base\n    init: true\n    command: sleep 600\n"
    );
    Ok(stage.file("compose.yaml", &text)?)
}

const ASKS: &str = "deploy: {update_config: {order: start-first}}";

/// What the service says on its published port.
fn version() -> Result<usize, Box<dyn std::error::Error>> {
    let mut stream = TcpStream::connect("127.0.0.1:8080")?;
    stream.set_read_timeout(Some(BOUND))?;
    stream.write_all(b"GET /index HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(|| format!("{answer:?}"))?;
    if !head.contains("200 OK") {
        return Err(answer.into());
    }
    Ok(body.trim().parse()?)
}

/// What the others find by its name.
fn named(stage: &Stage) -> Result<usize, Box<dyn std::error::Error>> {
    let url = "http://web:8000/index";
    let words = ["exec", "-T", "client", "/bin/busybox", "wget", "-q", "-O", "-", url];
    Ok(stage.compose(words).success()?.stdout.trim().parse()?)
}

/// Asks until told to stop: how often, or what was wrong.
fn ask(stop: &AtomicBool) -> Result<usize, String> {
    let (mut count, mut newest) = (0, 0);
    while !stop.load(Ordering::Relaxed) {
        let version = version().map_err(|error| format!("request {count}: {error}"))?;
        if version < newest {
            return Err(format!("version {version} after version {newest}"));
        }
        newest = version;
        count += 1;
    }
    Ok(count)
}

fn one_is_left(stage: &Stage, wanted: usize) -> Verdict {
    let containers = stage.containers()?;
    let of_web = containers.iter().filter(|one| one["Service"] == "web").count();
    assert_eq!(of_web, 1, "{containers:?}");
    assert_eq!(version()?, wanted);
    assert_eq!(named(stage)?, wanted);
    stage.compose(["plan"]).success()?.says("nothing to do")?;
    Ok(())
}

fn loses_nothing(stage: &Stage) -> Verdict {
    base(stage)?;
    file(stage, 1, ASKS, "")?;
    stage.compose(["up", "--detach", "--wait"]).success()?;
    let stop = AtomicBool::new(false);
    let (updated, asked) = thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(|| ask(&stop))).collect();
        let update = |turn: usize| -> Verdict {
            file(stage, turn, ASKS, "")?;
            stage.compose(["up", "--detach"]).success()?;
            assert_eq!(version()?, turn);
            Ok(())
        };
        let updated = (2..UPDATES + 2).try_for_each(update).map_err(|error| error.to_string());
        stop.store(true, Ordering::Relaxed);
        let asked: Vec<_> = clients
            .into_iter()
            .map(|client| client.join().unwrap_or_else(|_| Err("a client panicked".to_owned())))
            .collect();
        (updated, asked)
    });
    updated?;
    for count in asked {
        assert!(count? > UPDATES);
    }
    one_is_left(stage, UPDATES + 1)?;
    stage.compose(["down"]).success()?;
    Ok(())
}

fn taken_back(stage: &Stage) -> Verdict {
    base(stage)?;
    file(stage, 1, "x-update: start-first", "")?;
    stage.compose(["up", "--detach", "--wait"]).success()?;
    let before = stage.field("web", "ID")?;
    file(stage, 0, "x-update: start-first", "")?;
    stage.compose(["plan"]).code(2)?.says("beside the old one")?;
    let failed = stage.compose(["up", "--detach"]).code(1)?;
    failed.complains("did not get ready")?.complains("the old container serves on")?;
    assert_eq!(stage.field("web", "ID")?, before);
    assert_eq!(version()?, 1);
    assert_eq!(named(stage)?, 1);
    // One that ends at once.
    let ends = "x-update: start-first\n    working_dir: /\n    entrypoint: [sh, -c, exit 3]";
    file(stage, 2, ends, "")?;
    stage.compose(["up", "--detach"]).code(1)?.complains("ended with 3")?;
    assert_eq!(stage.field("web", "ID")?, before);
    file(stage, 3, "x-update: start-first", "")?;
    stage.compose(["up", "--detach"]).success()?;
    one_is_left(stage, 3)?;
    stage.compose(["down"]).success()?;
    Ok(())
}

fn survives_kills(stage: &Stage) -> Verdict {
    base(stage)?;
    file(stage, 1, ASKS, "")?;
    stage.compose(["up", "--detach", "--wait"]).success()?;
    for turn in 2..=9 {
        file(stage, turn, ASKS, "")?;
        let running = stage.start(stage.compose_command(["up", "--detach"]))?;
        thread::sleep(Duration::from_millis(60 * turn as u64));
        super::kills::kill_supervisor(stage)?;
        let _how = running.finish(BOUND)?;
        stage.compose(["up", "--detach"]).success()?;
        eventually(BOUND, || one_is_left(stage, turn))?;
    }
    stage.compose(["down"]).success()?;
    stage.check_nothing_left()
}

fn says_so(stage: &Stage) -> Verdict {
    base(stage)?;
    let fixed = |version: usize| {
        let more = "    networks: {default: {ipv4_address: 10.77.0.9}}\n";
        file(stage, version, ASKS, more)?;
        let mut text = std::fs::read_to_string(stage.folder.join("compose.yaml"))?;
        text.push_str("networks: {default: {ipam: {config: [{subnet: 10.77.0.0/24}]}}}\n");
        stage.file("compose.yaml", &text)?;
        Ok::<(), Box<dyn std::error::Error>>(())
    };
    fixed(1)?;
    stage.compose(["up", "--detach", "--wait"]).success()?;
    fixed(2)?;
    stage.compose(["plan"]).code(2)?.says("a fixed address")?;
    stage.compose(["up", "--detach", "--wait"]).success()?.complains("a fixed address")?;
    one_is_left(stage, 2)?;
    stage.compose(["down"]).success()?;
    Ok(())
}
