//! One more process in a running container.

use std::ffi::OsString;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Command, ExitCode, Output, Stdio};
use std::time::Instant;

use libtest_mimic::Failed;
use runtime::exec::{ExecError, ExecProcess, Mode, Privilege, Target};
use runtime::exit::ExitStatus;
use runtime::keeper::{Reply, Request};
use runtime::launch::Launch;
use rustix::pipe::PipeFlags;
use rustix::termios::Winsize;

use crate::Case;
use crate::build::{Project, Started, read, read_line, shell};

pub const CASES: &[Case] = &[
    ("exec_runs_in_the_container_with_its_confinement", confinement),
    ("exec_gives_the_codes_of_a_shell", codes),
    ("exec_on_a_terminal", terminal),
    ("the_keeper_runs_health_checks", health_check),
];

/// What `exec` of this program does: PID, start time, mode, and an [`ExecProcess`] as JSON.
pub fn command(words: impl Iterator<Item = OsString>) -> ExitCode {
    let words: Vec<String> = words.map(|word| word.into_string().unwrap()).collect();
    let [pid, started, mode, process] = &words[..] else { return ExitCode::FAILURE };
    let target = Target { pid: pid.parse().unwrap(), pid_started: started.parse().unwrap() };
    let mode = match &**mode {
        "terminal" => Mode::Terminal,
        "detached" => Mode::Detached,
        _ => Mode::Streams,
    };
    let code = match runtime::exec::run(target, serde_json::from_str(process).unwrap(), mode) {
        Ok(status) => status.shell_code(),
        Err(ExecError::Failed(failure)) => {
            eprintln!("{failure}");
            failure.shell_code()
        }
        Err(error) => {
            eprintln!("{error}");
            125
        }
    };
    ExitCode::from(u8::try_from(code).unwrap())
}

fn running(project: &mut Project) -> (Launch, Started) {
    let launch = shell("echo up; exec sleep 1000");
    let started = project.start(&launch).unwrap();
    assert_eq!(read_line(&started.output), "up");
    (launch, started)
}

pub fn exec(started: &Started, process: &ExecProcess, mode: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let pid = started.running.pid.to_string();
    let ticks = started.running.pid_started.to_string();
    command.args(["exec", &pid, &ticks, mode, &serde_json::to_string(process).unwrap()]);
    command
}

fn output(started: &Started, launch: &Launch, line: &str) -> Output {
    let args = ["sh", "-c", line].map(str::to_owned).to_vec();
    exec(started, &ExecProcess::of(launch, args, Privilege::Container), "streams").output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn confinement() -> Result<(), Failed> {
    let mut project = Project::new();
    let (launch, started) = running(&mut project);
    let same = "for name in mnt pid net ipc uts cgroup; do \
                [ $(readlink /proc/1/ns/$name) = $(readlink /proc/self/ns/$name) ] || echo $name differs; done; \
                diff <(grep -E 'Cap|NoNewPrivs|Seccomp' /proc/1/status) <(grep -E 'Cap|NoNewPrivs|Seccomp' /proc/self/status); \
                hostname; ls -m /proc/self/fd; tty";
    let args = ["bash", "-c", same].map(str::to_owned).to_vec();
    let before = Instant::now();
    let out = exec(&started, &ExecProcess::of(&launch, args, Privilege::Container), "streams")
        .output()?;
    println!("exec took {:?}", before.elapsed());
    assert_eq!(text(&out.stdout), "testhost\n0, 1, 2, 3\nnot a tty\n", "{}", text(&out.stderr));
    let mut process =
        ExecProcess::of(&launch, ["id", "-un"].map(str::to_owned).to_vec(), Privilege::Container);
    process.user = "daemon".to_owned();
    assert_eq!(text(&exec(&started, &process, "streams").output()?.stdout), "daemon\n");
    let mut input = exec(
        &started,
        &ExecProcess::of(&launch, vec!["cat".to_owned()], Privilege::Container),
        "streams",
    )
    .stdin(Stdio::piped())
    .stdout(Stdio::piped())
    .spawn()?;
    input.stdin.take().unwrap().write_all(b"through")?;
    assert_eq!(text(&input.wait_with_output()?.stdout), "through");
    Ok(())
}

fn codes() -> Result<(), Failed> {
    let mut project = Project::new();
    let (launch, started) = running(&mut project);
    #[rustfmt::skip]
    let table = [("exit 7", 7), ("kill -9 $$", 137), ("/etc/passwd", 126), ("nothing-like-this", 127)];
    for (line, code) in table {
        assert_eq!(output(&started, &launch, line).status.code(), Some(code), "{line}");
    }
    for (program, code) in [("/etc/passwd", 126), ("nothing-like-this", 127)] {
        let process = ExecProcess::of(&launch, vec![program.to_owned()], Privilege::Container);
        let out = exec(&started, &process, "streams").output()?;
        assert_eq!(out.status.code(), Some(code), "{}", text(&out.stderr));
        assert!(text(&out.stderr).contains(program));
    }
    let touch = ["touch", "/tmp/was-here"].map(str::to_owned).to_vec();
    let detached = ExecProcess::of(&launch, touch, Privilege::Container);
    assert_eq!(exec(&started, &detached, "detached").status()?.code(), Some(0));
    let seen = output(&started, &launch, "until [ -e /tmp/was-here ]; do :; done; echo seen");
    assert_eq!(text(&seen.stdout), "seen\n");
    rustix::process::pidfd_send_signal(&started.pidfd, rustix::process::Signal::KILL)?;
    let gone = exec(&started, &detached, "streams");
    let ticket = started.running.ticket;
    assert_eq!(project.exit_of(ticket), Some(ExitStatus::signaled(9)));
    let mut gone = gone;
    assert_eq!(gone.status()?.code(), Some(125));
    Ok(())
}

fn terminal() -> Result<(), Failed> {
    let mut project = Project::new();
    let (launch, started) = running(&mut project);
    let pair = runtime::pty::open()?;
    runtime::pty::resize(
        &pair.master,
        Winsize { ws_row: 33, ws_col: 99, ws_xpixel: 0, ws_ypixel: 0 },
    )?;
    let line = "tty; stty size; read x; echo got $x; trap 'stty size; exit 5' WINCH; echo ready; while :; do sleep 0.02; done";
    let args = ["bash", "-c", line].map(str::to_owned).to_vec();
    let slave = || Stdio::from(pair.slave.try_clone().unwrap());
    let mut child =
        exec(&started, &ExecProcess::of(&launch, args, Privilege::Container), "terminal")
            .stdin(slave())
            .stdout(slave())
            .stderr(slave())
            .spawn()?;
    let mut master = File::from(pair.master);
    assert_eq!(read_line(&master).trim(), "/dev/pts/0");
    assert_eq!(read_line(&master).trim(), "33 99");
    // The keys go through our terminal, which is raw, and are echoed by the container's.
    master.write_all(b"word\r")?;
    assert_eq!(read_line(&master).trim(), "word");
    assert_eq!(read_line(&master).trim(), "got word");
    assert_eq!(read_line(&master).trim(), "ready");
    runtime::pty::resize(&master, Winsize { ws_row: 11, ws_col: 22, ws_xpixel: 0, ws_ypixel: 0 })?;
    // The kernel tells the foreground of a terminal; our child does not control it here, so it is told by hand.
    let pidfd = sys::pidfd::open(i32::try_from(child.id())?)?;
    rustix::process::pidfd_send_signal(&pidfd, rustix::process::Signal::WINCH)?;
    assert_eq!(read_line(&master).trim(), "11 22");
    assert_eq!(child.wait()?.code(), Some(5));
    let modes = rustix::termios::tcgetattr(&pair.slave)?;
    assert!(
        modes.local_modes.contains(rustix::termios::LocalModes::ECHO),
        "our terminal is not raw any more"
    );
    Ok(())
}

fn health_check() -> Result<(), Failed> {
    let mut project = Project::new();
    let (launch, started) = running(&mut project);
    let mut check = |line: &str, kill: bool| {
        let ticket = project.ticket();
        let args = ["sh", "-c", line].map(str::to_owned).to_vec();
        let process = ExecProcess::of(&launch, args, Privilege::Container);
        let memory = sys::fds::sealed("exec", &serde_json::to_vec(&process).unwrap()).unwrap();
        let null = OwnedFd::from(File::open("/dev/null").unwrap());
        let (reader, writer) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).unwrap();
        let descriptors =
            [memory.as_fd(), started.pidfd.as_fd(), null.as_fd(), writer.as_fd(), writer.as_fd()];
        project
            .keeper
            .send(&Request::Exec { ticket, key: started.key.clone() }, &descriptors)
            .unwrap();
        drop(writer);
        project.wait(|reply| {
            matches!(reply, Reply::Started { ticket: of, .. } if *of == ticket).then_some(())
        });
        if kill {
            project.keeper.send(&Request::Kill { ticket }, &[]).unwrap();
        }
        (read(reader), project.exit_of(ticket).unwrap())
    };
    assert_eq!(check("hostname; exit 3", false), ("testhost\n".to_owned(), ExitStatus::exited(3)));
    assert_eq!(check("exec sleep 1000", true), (String::new(), ExitStatus::signaled(9)));
    // The exits of checks are not of interest after a crash.
    assert_eq!(runtime::keeper::read_exits(&project.config.data)?, []);
    Ok(())
}
