//! `start-first`: the new container serves before the old one stops.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use scenarios::{Stage, Verdict, eventually, web};

use super::build::base;
use crate::Scenario;

/// How long something may take on a machine that has much else to do.
const BOUND: Duration = Duration::from_secs(60);

/// Requests in a second; a machine that does not answer so many while nothing is updated is asked for half, and so on.
const RATE: u32 = 1000;

/// How many each client leaves unanswered before it waits.
const UNANSWERED: usize = 8;

/// How many a client that keeps its connection asks before it makes another one.
const KEPT: u32 = 10;

/// How many ask at the same time, each with its share of them; every second one keeps its connection.
const CLIENTS: u32 = 8;

/// How often the service is updated under load.
const UPDATES: u32 = 20;

pub(super) fn all() -> Vec<Scenario> {
    vec![
        Scenario::plain("updates_that_start_first_lose_no_request", loses_nothing),
        Scenario::plain("an_update_that_does_not_get_ready_is_taken_back", taken_back),
        Scenario::plain("an_update_that_starts_first_survives_kills", survives_kills),
        Scenario::plain("an_update_that_cannot_start_first_says_so", says_so),
    ]
}

/// A web server that says its version; it is healthy when it answers, and not with the version 0.
fn file(stage: &Stage, version: usize, asks: &str, more: &str) -> Verdict {
    let (program, word, port) = (web::program()?, web::WORD, web::PORT);
    let program = program.display();
    let text = format!(
        "services:\n  web:\n    image: rootfs:/\n    init: true\n    command: [/server, {word}]\n    \
         volumes: ['{program}:/server:ro']\n    tmpfs: [/tmp]\n    \
         environment: {{VERSION: '{version}'}}\n    ports: ['127.0.0.1:8080:{port}']\n    stop_grace_period: 20s\n    healthcheck:\n      \
         test: test $$VERSION != 0 && /bin/busybox wget -q -O /tmp/seen http://127.0.0.1:{port}/index\n      start_period: 2s\n      \
         start_interval: 100ms\n      interval: 1s\n      timeout: 20s\n      retries: 3\n    \
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
            let answers = sent.into_iter().map(answer).enumerate();
            answers.into_iter().try_for_each(|(count, version)| newer(&mut newest, count, version))
        });
        let sent = at_rate(rate, stop, |count| {
            let stream = ask().map_err(|error| format!("request {count}: {error}"))?;
            // Whoever reads says why he does not any longer.
            Ok(sender.send(stream).is_ok())
        });
        drop(sender);
        reader.join().map_err(|_| "a client panicked".to_owned())??;
        sent
    })
}

/// As [`load`], with [`KEPT`] requests to a connection, one after the other.
fn load_kept(rate: u32, stop: &AtomicBool) -> Result<Sent, String> {
    let (mut connection, mut newest): (Option<BufReader<TcpStream>>, usize) = (None, 0);
    at_rate(rate, stop, |count| {
        let last = count % KEPT == KEPT - 1;
        let mut converse = || -> Result<usize, Box<dyn std::error::Error>> {
            let kept = match &mut connection {
                Some(kept) => kept,
                none => {
                    let stream = TcpStream::connect("127.0.0.1:8080")?;
                    stream.set_read_timeout(Some(BOUND))?;
                    stream.set_nodelay(true)?;
                    none.insert(BufReader::new(stream))
                }
            };
            let more = if last { "Connection: close\r\n" } else { "" };
            let request = format!("GET /index HTTP/1.1\r\nHost: web\r\n{more}\r\n");
            kept.get_mut().write_all(request.as_bytes())?;
            let version = kept_answer(kept)?;
            if last {
                connection = None;
            }
            Ok(version)
        };
        newer(&mut newest, count as usize, converse()).map(|()| true)
    })
}

/// An answer after which there may be others.
fn kept_answer(kept: &mut impl BufRead) -> Result<usize, Box<dyn std::error::Error>> {
    let mut length = 0;
    loop {
        let mut line = String::new();
        if kept.read_line(&mut line)? == 0 {
            return Err("the connection has ended".into());
        }
        match line.trim_end().split_once(": ") {
            Some(("Content-Length", count)) => length = count.parse()?,
            None if line.trim_end().is_empty() => break,
            _ => {}
        }
    }
    let mut body = vec![0; length];
    kept.read_exact(&mut body)?;
    Ok(String::from_utf8(body)?.parse()?)
}

/// Nobody is answered by the old container after the new one.
fn newer(
    newest: &mut usize,
    count: usize,
    version: Result<usize, Box<dyn std::error::Error>>,
) -> Result<(), String> {
    let version = version.map_err(|error| format!("answer {count}: {error}"))?;
    let before = std::mem::replace(newest, version);
    if version < before {
        return Err(format!("version {version} after version {before}"));
    }
    Ok(())
}

/// Has `send` send its share of `rate`, until it says that there is no more use or `stop` does.
fn at_rate(
    rate: u32,
    stop: &AtomicBool,
    mut send: impl FnMut(u32) -> Result<bool, String>,
) -> Result<Sent, String> {
    let (begun, mut count, mut last) = (Instant::now(), 0, None);
    loop {
        let due = begun + Duration::from_secs((count * CLIENTS).into()) / rate;
        let early = due.saturating_duration_since(Instant::now());
        let end = stop.load(Ordering::Relaxed).then(|| *last.get_or_insert_with(Instant::now));
        if end.is_some_and(|end| !early.is_zero() || end.elapsed() > BOUND) {
            break;
        }
        thread::sleep(early);
        if !send(count)? {
            break;
        }
        count += 1;
    }
    Ok(Sent { count, time: begun.elapsed() })
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
        let stop = &stop;
        let client = |number: u32| match number % 2 {
            0 => scope.spawn(move || load(rate, stop)),
            _ => scope.spawn(move || load_kept(rate, stop)),
        };
        let clients: Vec<_> = (0..CLIENTS).map(client).collect();
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

/// What the test has proved depends on the machine.
#[expect(clippy::print_stderr, reason = "whoever runs it is to read it")]
fn tell(words: &str) {
    eprintln!("{words}");
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
            let (each, count) = (sent.time / UPDATES, sent.count);
            tell(&format!(
                "{count} requests, {rate} in a second, through {UPDATES} updates of {each:?}: none is lost"
            ));
            break;
        }
        tell(&format!(
            "{rate} requests in a second are too many for this machine beside the updates"
        ));
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
    stage.compose(["plan"]).code(2)?.complains("a fixed address")?;
    stage.compose(["up", "--detach", "--wait"]).success()?.complains("a fixed address")?;
    one_is_left(stage, 2)?;
    stage.compose(["down"]).success()?;
    Ok(())
}
