//! Keeper and supervisor are killed, and nothing is lost.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Instant;

use libtest_mimic::Failed;
use runtime::exit::ExitStatus;
use runtime::keeper::{self, Config, Keeper, Reply, Request, read_exits};
use rustix::process::Signal;

use crate::Case;
use crate::build::{PATIENCE, Project, read_line, readable, shell};

pub const CASES: &[Case] = &[
    ("a_killed_keeper_is_replaced_and_exits_are_known", killed_keeper),
    ("a_keeper_killed_in_mid_start_leaves_nothing_outside_of_the_group", killed_mid_start),
    ("a_killed_supervisor_is_started_again_and_gets_everything", killed_supervisor),
    ("a_supervisor_that_does_not_start_is_reported_with_its_log", failing_supervisor),
    ("held_descriptors_are_listed_and_released", holding),
];

/// Where the supervisor of this program listens.
const SOCKET: &str = "COMPOSE_TEST_SOCKET";

/// What `supervisor` of this program does: it asks for the list, then tells each caller its own number and the keys, and
/// quits when the caller says so.
pub fn supervisor() -> io::Result<()> {
    let keeper = Keeper::inherited()?;
    let socket = std::env::var_os(SOCKET).ok_or_else(|| io::Error::other("nowhere to listen"))?;
    keeper.send(&Request::List, &[])?;
    let mut keys = Vec::new();
    loop {
        match keeper.receive()? {
            Some((Reply::Listed, _)) => break,
            Some((Reply::Held { key, .. }, descriptors)) => {
                keys.push(format!("{key}={}", descriptors.len()))
            }
            Some(_) => {}
            None => drop(readable(&keeper, PATIENCE)),
        }
    }
    let socket = PathBuf::from(socket);
    let _ = std::fs::remove_file(&socket);
    let listener = UnixListener::bind(&socket)?;
    keeper::announce_ready()?;
    loop {
        let (mut caller, _) = listener.accept()?;
        writeln!(caller, "{} {}", std::process::id(), keys.join(","))?;
        let mut word = String::new();
        caller.read_to_string(&mut word)?;
        match &*word {
            "quit" => {
                keeper.send(&Request::Quit, &[])?;
                return Ok(());
            }
            "hold" => {
                let null = File::open("/dev/null")?;
                keeper.send(
                    &Request::Hold { key: "kept".to_owned() },
                    &[null.as_fd(), null.as_fd()],
                )?;
            }
            _ => {}
        }
    }
}

/// Asks the supervisor: its number and its keys.
fn ask(socket: &Path, word: &str) -> Option<(i32, String)> {
    let mut stream = UnixStream::connect(socket).ok()?;
    stream.write_all(word.as_bytes()).ok()?;
    stream.shutdown(std::net::Shutdown::Write).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (pid, keys) = answer.trim_end_matches('\n').split_once(' ')?;
    Some((pid.parse().ok()?, keys.to_owned()))
}

fn kill(pid: i32) {
    let pidfd = sys::pidfd::open(pid).unwrap();
    rustix::process::pidfd_send_signal(&pidfd, Signal::KILL).unwrap();
    assert!(readable(&pidfd, PATIENCE));
}

/// Tries again until there is an answer, with a bound.
fn eventually<T>(mut attempt: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = attempt() {
            return answer;
        }
        assert!(Instant::now() < until, "it never came");
        std::thread::yield_now();
    }
}

/// The number in `keeper.json`, which a keeper writes as soon as it can.
fn keeper_pid(config: &Config) -> i32 {
    let text = eventually(|| std::fs::read_to_string(config.run.join("keeper.json")).ok());
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    i32::try_from(value["pid"].as_i64().unwrap()).unwrap()
}

fn killed_keeper() -> Result<(), Failed> {
    let mut project = Project::new();
    let living = project.start(&shell("echo up; exec sleep 1000"))?;
    let ending = project.start(&shell("echo up; read x < /proc/self/fd/0; sleep 0.3; exit 23"))?;
    for started in [&living, &ending] {
        assert_eq!(read_line(&started.output), "up");
    }
    kill(keeper_pid(&project.config));
    assert!(readable(&project.keeper, PATIENCE));
    assert_eq!(project.keeper.receive().unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    project.keeper = Keeper::replace(&project.config)?;
    for started in [&living, &ending] {
        let request = Request::Adopt { key: started.key.clone(), running: started.running.clone() };
        project.keeper.send(&request, &[started.pidfd.as_fd(), started.output.as_fd()])?;
    }
    assert_eq!(project.exit_of(ending.running.ticket), Some(ExitStatus::exited(23)));
    project.keeper.send(&Request::List, &[])?;
    let (running, descriptors) = project.wait(|reply| match reply {
        Reply::Held { key, running } if *key == living.key => Some(running.clone()),
        _ => None,
    });
    assert_eq!((running, descriptors.len()), (Some(living.running.clone()), 2));
    // The new keeper is a whole one.
    assert_eq!(project.run(&shell("exit 5")).status, ExitStatus::exited(5));
    rustix::process::pidfd_send_signal(&living.pidfd, Signal::KILL)?;
    assert_eq!(project.exit_of(living.running.ticket), Some(ExitStatus::signaled(9)));
    let codes: Vec<_> = read_exits(&project.config.data)?
        .iter()
        .map(|exit| exit.status.unwrap().shell_code())
        .collect();
    assert_eq!(codes, [23, 5, 137]);
    Ok(())
}

fn killed_mid_start() -> Result<(), Failed> {
    for round in 0..12_u64 {
        let mut project = Project::new();
        let mut launch = shell("exec sleep 1000");
        let name = runtime::cgroup::name(None, "core-crash", &launch.id);
        let place = runtime::cgroup::create(&name, &runtime::cgroup::Limits::default())?;
        launch.cgroup = Some(place.clone());
        let memory = sys::fds::sealed("launch", &serde_json::to_vec(&launch)?)?;
        let null = File::open("/dev/null")?;
        let descriptors = [memory.as_fd(), null.as_fd(), null.as_fd(), null.as_fd()];
        let request = Request::Start {
            ticket: round,
            key: launch.id.clone(),
            joins: Vec::new(),
            gated: false,
        };
        let keeper = keeper_pid(&project.config);
        project.keeper.send(&request, &descriptors)?;
        let until = Instant::now() + std::time::Duration::from_micros(round * 700);
        while Instant::now() < until {
            std::hint::spin_loop();
        }
        kill(keeper);
        // Whether it had reached its program or not, the group knows it: one half made dies by itself, or with the group.
        eventually(|| {
            place.kill().ok()?;
            place.pids().is_empty().then_some(())
        });
        place.remove()?;
        project.keeper = Keeper::replace(&project.config)?;
        assert_eq!(project.run(&shell("exit 6")).status, ExitStatus::exited(6));
    }
    Ok(())
}

fn launched(folder: &Path) -> Config {
    Config { project: "launched".to_owned(), data: folder.to_owned(), run: folder.join("run") }
}

/// What `launch` of this program does: starts a keeper and waits for its supervisor, as `compose up` does.
pub fn command(words: impl Iterator<Item = OsString>) -> Result<(), String> {
    let [folder] = &words.collect::<Vec<_>>()[..] else { return Err("launch FOLDER".to_owned()) };
    keeper::launch(&launched(Path::new(folder))).map_err(|error| error.to_string())
}

/// Runs `launch` of this program in an environment that goes to keeper and supervisor.
fn launch(folder: &Path, socket: Option<&Path>) -> io::Result<Output> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("launch").arg(folder).envs(socket.map(|socket| (SOCKET, socket)));
    command.output()
}

fn killed_supervisor() -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    let socket = folder.path().join("socket");
    let config = launched(folder.path());
    let output = launch(folder.path(), Some(&socket))?;
    assert!(output.status.success(), "{output:?}");
    let (first, keys) = ask(&socket, "hold").expect("it listens when it is ready");
    assert_eq!(keys, "");
    kill(first);
    let (second, keys) = eventually(|| ask(&socket, "").filter(|(pid, _)| *pid != first));
    assert_eq!(keys, "kept=2");
    let keeper = keeper_pid(&config);
    let children = std::fs::read_to_string(format!("/proc/{keeper}/task/{keeper}/children"))?;
    assert_eq!(children.trim(), second.to_string());
    let open = std::fs::read_dir(format!("/proc/{keeper}/fd"))?.count();
    // Standard streams, signals, journal, socket and pidfd of the supervisor, and the two that are held.
    assert_eq!(open, 9);
    // The second one is started later than the first: twice the wait.
    kill(second);
    let (third, keys) = eventually(|| ask(&socket, "").filter(|(pid, _)| *pid != second));
    assert_eq!((third != first, &*keys), (true, "kept=2"));
    ask(&socket, "quit").expect("an answer");
    let keeper = sys::pidfd::open(keeper);
    assert!(keeper.is_err() || readable(keeper.unwrap(), PATIENCE));
    eventually(|| (!config.run.join("keeper.json").exists()).then_some(()));
    Ok(())
}

fn failing_supervisor() -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    let output = launch(folder.path(), None)?;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success()
            && said.contains("did not start")
            && said.contains("nowhere to listen"),
        "{said}"
    );
    eventually(|| (!folder.path().join("run/keeper.json").exists()).then_some(()));
    Ok(())
}

fn holding() -> Result<(), Failed> {
    let mut project = Project::new();
    let file = File::open("/dev/null")?;
    let many: Vec<BorrowedFd<'_>> = vec![file.as_fd(); 100];
    project.keeper.send(&Request::Hold { key: "a".to_owned() }, &many)?;
    project.keeper.send(&Request::Hold { key: "b".to_owned() }, &many[..3])?;
    project.keeper.send(&Request::Hold { key: "a".to_owned() }, &many[..7])?;
    assert_eq!(list(&mut project), [("a".to_owned(), 7), ("b".to_owned(), 3)]);
    project.keeper.send(&Request::Release { key: "a".to_owned() }, &[])?;
    assert_eq!(list(&mut project), [("b".to_owned(), 3)]);
    Ok(())
}

fn list(project: &mut Project) -> Vec<(String, usize)> {
    project.keeper.send(&Request::List, &[]).unwrap();
    let mut keys = Vec::new();
    loop {
        let (key, descriptors): (Option<String>, Vec<OwnedFd>) =
            project.wait(|reply| match reply {
                Reply::Held { key, .. } => Some(Some(key.clone())),
                Reply::Listed => Some(None),
                _ => None,
            });
        match key {
            Some(key) => keys.push((key, descriptors.len())),
            None => return keys,
        }
    }
}
