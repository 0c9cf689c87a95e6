//! An attached `up` against a supervisor that is played by a thread.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread::{JoinHandle, spawn};

use runtime::keeper::LaunchError;

use super::*;
use crate::api::{BuildWhen, UpOptions};
use crate::cli::terminal::{Ansi, ProgressMode};
use crate::cli::up::watch::Abort;
use crate::cli::watch::engine::Wishes;
use crate::cli::{ps, testing};
use crate::event::{Kind, Status};
use crate::record::{Phase, ProcessName, Roots};

/// A supervisor that answers what it is asked in this order, and tells events in between.
struct Supervisor {
    roots: Roots,
    listener: UnixListener,
    asked: Vec<String>,
}

impl Supervisor {
    /// Takes the next request and answers with `events`; the connection stays open.
    fn answer(&mut self, events: &[Event]) -> UnixStream {
        self.answer_with(|_| events.to_vec())
    }

    /// Takes the next request and answers with what `events` has for its path.
    fn answer_with(&mut self, events: impl FnOnce(&str) -> Vec<Event>) -> UnixStream {
        let (mut socket, _) = self.listener.accept().unwrap();
        let mut request = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            let count = socket.read(&mut buffer).unwrap();
            request.extend_from_slice(&buffer[..count]);
            let text = String::from_utf8_lossy(&request);
            if text.starts_with("GET") && text.ends_with("\r\n\r\n") || text.ends_with('}') {
                break;
            }
        }
        let text = String::from_utf8_lossy(&request);
        let path = text.split_whitespace().nth(1).unwrap().to_owned();
        let events = events(&path);
        self.asked.push(path);
        socket.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
        tell(&mut socket, &events);
        if events.iter().any(Event::is_last) {
            // A client that has seen the last event has left already.
            let _ = socket.write_all(b"0\r\n\r\n");
        }
        socket
    }
}

/// Writes the records of a container of `p` that runs, as this process, or has exited with 3.
fn record(roots: &Roots, service: &str, phase: Phase) {
    let mut container = ps::tests::container(service, 1, phase);
    container.record.id = id(service);
    container.record.project = "p".to_owned();
    let pid = i32::try_from(std::process::id()).unwrap();
    container.state.process = Some(ProcessName::of(pid).unwrap());
    container.state.exit = Some(runtime::exit::ExitStatus::exited(3));
    let paths = container.record.paths(roots);
    std::fs::create_dir_all(paths.folder()).unwrap();
    container.record.write(roots).unwrap();
    container.state.write(&paths).unwrap();
}

fn tell(socket: &mut UnixStream, events: &[Event]) {
    for event in events {
        let line = event.to_line();
        let mut chunk = format!("{:x}\r\n", line.len()).into_bytes();
        chunk.extend(line);
        chunk.extend(b"\r\n");
        // A client that has seen the record has left already.
        let _ = socket.write_all(&chunk);
    }
}

const DONE: Event = Event::done(true);

fn id(service: &str) -> String {
    if service == "web" { "a".repeat(64) } else { "b".repeat(64) }
}

fn event(service: &str, change: Change) -> Event {
    Event::Container(ContainerEvent {
        at: Timestamp::now(),
        id: id(service),
        name: format!("p-{service}-1"),
        service: service.to_owned(),
        number: 1,
        oneoff: false,
        change,
    })
}

fn started(service: &str) -> Event {
    event(service, Change::Started { restarts: 0 })
}

fn exited(service: &str, code: i32) -> Event {
    event(service, Change::Exited { code, oom: false, restarting: false })
}

/// Runs an attached `up` of `web` and `job` against `script`; returns its exit code and what
/// was asked.
fn up(abort: Abort, script: fn(&mut Supervisor)) -> (Result<u8, CommandError>, Vec<String>) {
    let folder = tempfile::tempdir().unwrap();
    let roots = Roots::new(folder.path().join("data"), folder.path().join("run"));
    std::fs::create_dir_all(roots.project("p").run()).unwrap();
    let listener = UnixListener::bind(roots.project("p").socket()).unwrap();
    for service in ["web", "job"] {
        record(&roots, service, Phase::Running);
    }
    let mut supervisor = Supervisor { roots: roots.clone(), listener, asked: Vec::new() };
    let supervisor: JoinHandle<Vec<String>> = spawn(move || {
        script(&mut supervisor);
        supervisor.asked
    });
    let context = Context::new(testing::args(&[]), roots);
    let project = testing::project(&["web", "job"]);
    let names = || ["web", "job"].map(|name| name.parse().unwrap()).into();
    let watched = Watched { shown: names(), monitored: names(), abort, exit_code_from: None };
    let request = UpRequest { project, options: UpOptions::default() };
    let look = Look { prefix: true, colour: false, timestamps: false };
    let mut terminal = Terminal::new(ProgressMode::Quiet, Ansi::Never, "up", false);
    let session = Session::starting_with(&context, "p", |_| {
        Err(LaunchError::Start(std::io::ErrorKind::NotFound.into()))
    });
    let wishes = Wishes {
        services: Vec::new(),
        options: UpOptions::default(),
        prune: false,
        contexts: false,
    };
    let beside = Beside::new(&context, wishes, BuildWhen::Missing);
    let code = run(&session, &request, watched, (look, false), beside, &context, &mut terminal);
    (code, supervisor.join().unwrap())
}

#[test]
fn ends_with_the_last_container() {
    let (code, asked) = up(Abort::Never, |supervisor| {
        let mut events = supervisor.answer(&[started("web"), started("job")]);
        supervisor.answer(&[Event::step(Kind::Container, "p-web-1", Status::Started), DONE]);
        record(&supervisor.roots, "job", Phase::Exited);
        record(&supervisor.roots, "web", Phase::Exited);
        tell(&mut events, &[exited("job", 3), exited("web", 0)]);
    });
    assert_eq!((code, asked), (Ok(0), vec![path::EVENTS.into(), path::UP.into()]));
}

#[test]
fn an_abort_stops_everything() {
    let (code, asked) = up(Abort::OnExit, |supervisor| {
        let mut events = supervisor.answer(&[started("web"), started("job")]);
        supervisor.answer(&[DONE]);
        record(&supervisor.roots, "job", Phase::Exited);
        tell(&mut events, &[exited("job", 3)]);
        supervisor.answer(&[DONE]);
    });
    assert_eq!(code, Ok(3));
    assert_eq!(asked, [path::EVENTS, path::UP, path::STOP]);
}

#[test]
fn survives_a_supervisor_that_is_killed() {
    let (code, asked) = up(Abort::Never, |supervisor| {
        let events = supervisor.answer(&[started("web"), started("job")]);
        let rising = supervisor.answer(&[]);
        // Killed within the request, and what it saw last stands in the records only.
        record(&supervisor.roots, "job", Phase::Exited);
        drop((events, rising));
        // Which of the two connections is missed first is the kernel's choice.
        let again =
            |path: &str| if path == path::EVENTS { vec![started("web")] } else { vec![DONE] };
        let (mut one, mut other) = (supervisor.answer_with(again), supervisor.answer_with(again));
        record(&supervisor.roots, "web", Phase::Exited);
        let events = if supervisor.asked[2] == path::EVENTS { &mut one } else { &mut other };
        tell(events, &[exited("web", 0)]);
    });
    assert_eq!(code, Ok(0));
    assert_eq!(asked[..2], [path::EVENTS, path::UP]);
    let mut again = asked[2..].to_vec();
    again.sort();
    assert_eq!(again, [path::EVENTS, path::UP]);
}

#[test]
fn a_request_that_fails_is_told() {
    let (code, _) = up(Abort::Never, |supervisor| {
        let _events = supervisor.answer(&[]);
        supervisor.answer(&[Event::failed(crate::event::Failure {
            message: "no".into(),
            ..crate::event::Failure::default()
        })]);
    });
    assert_eq!(code.unwrap_err().failures[0].message, "no");
}
