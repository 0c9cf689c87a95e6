//! `start-first`: the new container serves before the old one stops.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use scenarios::{Stage, Verdict, eventually};

use super::build::base;
use crate::Scenario;

/// How long something may take on a machine that has much else to do.
const BOUND: Duration = Duration::from_secs(60);

/// Requests in a second; a machine that does not answer so many while nothing is updated is asked for half, and so on.
const RATE: u32 = 1000;

/// How many each client leaves unanswered before it waits.
const UNANSWERED: usize = 8;

/// How many ask at the same time, each with its share of them.
const CLIENTS: u32 = 8;

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
    answer(ask()?)
}

fn ask() -> Result<TcpStream, std::io::Error> {
    let mut stream = TcpStream::connect("127.0.0.1:8080")?;
    stream.set_read_timeout(Some(BOUND))?;
    stream.write_all(b"GET /index HTTP/1.0\r\n\r\n")?;
    Ok(stream)
}

fn answer(mut stream: TcpStream) -> Result<usize, Box<dyn std::error::Error>> {
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

/// What a client has sent, and how long that took.
struct Sent {
    count: u32,
    time: Duration,
}

impl Sent {
    fn keeps(&self, rate: u32) -> bool {
        f64::from(self.count) >= 0.98 * f64::from(rate) * self.time.as_secs_f64()
    }
}

/// Asks at its share of `rate`, whether answers come or not, until told to stop and nothing is due. A request that is
/// late is sent at once, so that the rate is that of the whole time.
fn load(rate: u32, stop: &AtomicBool) -> Result<Sent, String> {
    thread::scope(|scope| {
        let (sender, sent) = mpsc::sync_channel(UNANSWERED);
        let reader = scope.spawn(move || {
            let mut newest = 0;
            for (count, stream) in sent.into_iter().enumerate() {
                let version = answer(stream).map_err(|error| format!("answer {count}: {error}"))?;
                if version < newest {
                    return Err(format!("version {version} after version {newest}"));
                }
                newest = version;
            }
            Ok(())
        });
        let (begun, mut count, mut last) = (Instant::now(), 0, None);
        loop {
            let due = begun + Duration::from_secs((count * CLIENTS).into()) / rate;
            let early = due.saturating_duration_since(Instant::now());
            let end = stop.load(Ordering::Relaxed).then(|| *last.get_or_insert_with(Instant::now));
            if end.is_some_and(|end| !early.is_zero() || end.elapsed() > BOUND) {
                break;
            }
            thread::sleep(early);
            let stream = ask().map_err(|error| format!("request {count}: {error}"))?;
            if sender.send(stream).is_err() {
                break;
            }
            count += 1;
        }
        let time = begun.elapsed();
        drop(sender);
        reader.join().map_err(|_| "a client panicked".to_owned())??;
        Ok(Sent { count, time })
    })
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

/// What all clients have sent while `work` was done.
fn under_load<T>(rate: u32, work: impl FnOnce() -> T) -> Result<(T, Sent), String> {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(|| load(rate, &stop))).collect();
        let done = work();
        stop.store(true, Ordering::Relaxed);
        let mut all = Sent { count: 0, time: Duration::ZERO };
        for client in clients {
            let Sent { count, time } = client.join().map_err(|_| "a client panicked")??;
            all = Sent { count: all.count + count, time: all.time.max(time) };
        }
        Ok((done, all))
    })
}

/// Whether the machine answers so many requests in a second, at least for a while.
fn manages(rate: u32) -> Result<bool, String> {
    let begun = Instant::now();
    let (stopped, sent) = under_load(rate, || {
        thread::sleep(Duration::from_secs(2));
        begun.elapsed()
    })?;
    // Whoever keeps up has few answers left to give.
    let late = begun.elapsed().saturating_sub(stopped);
    Ok(sent.keeps(rate) && late < Duration::from_millis(200))
}

fn loses_nothing(stage: &Stage) -> Verdict {
    base(stage)?;
    file(stage, 1, ASKS, "")?;
    stage.compose(["up", "--detach", "--wait"]).success()?;
    let (mut rate, mut turn) = (RATE, 1);
    loop {
        while !matches!(manages(rate), Ok(true)) {
            rate /= 2;
            assert!(rate > 0, "the machine answers nothing");
        }
        let mut update = || -> Verdict {
            turn += 1;
            file(stage, turn, ASKS, "")?;
            stage.compose(["up", "--detach"]).success()?;
            assert_eq!(version()?, turn);
            Ok(())
        };
        let (updated, sent) = under_load(rate, || (0..UPDATES).try_for_each(|_| update()))?;
        updated?;
        // Else it was too much for it beside the updates, and proves less than it says.
        if sent.keeps(rate) {
            break;
        }
        rate /= 2;
    }
    one_is_left(stage, turn)?;
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
