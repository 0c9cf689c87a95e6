//! Starting, ending, failing to start.

use std::fs::File;
use std::os::fd::AsFd;

use libtest_mimic::Failed;
use runtime::exit::ExitStatus;
use runtime::keeper::read_exits;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::Signal;
use serde_json::json;

use crate::Case;
use crate::build::{Project, container, read_line, shell, with};

pub const CASES: &[Case] = &[
    ("exit_codes_and_signals_are_reported", exits),
    ("a_program_that_is_missing_is_told_from_one_that_cannot_run", missing_program),
    ("a_failed_step_names_its_subject", failed_steps),
    ("orphans_are_reaped_by_our_init", reaper),
    ("a_start_may_wait_before_the_program", gated),
];

fn exits() -> Result<(), Failed> {
    let mut project = Project::new();
    assert_eq!(
        project.run(&shell("echo hello; echo oops >&2; exit 42")).status,
        ExitStatus::exited(42)
    );
    let outcome = project.run(&shell("echo hello; echo oops >&2"));
    assert_eq!((&*outcome.output, &*outcome.error), ("hello\n", "oops\n"));
    let started = project.start(&shell("echo up; exec sleep 1000"))?;
    assert_eq!(read_line(&started.output), "up");
    rustix::process::pidfd_send_signal(&started.pidfd, Signal::KILL)?;
    assert_eq!(project.finish(started).status, ExitStatus::signaled(9));
    let journal = read_exits(&project.config.data)?;
    let ended: Vec<_> = journal.iter().map(|exit| exit.status.unwrap().shell_code()).collect();
    assert_eq!(ended, [42, 0, 137]);
    Ok(())
}

fn missing_program() -> Result<(), Failed> {
    let mut project = Project::new();
    #[rustfmt::skip]
    let table = [
        (json!(["no-such-program"]), 127, "\"no-such-program\" is not in PATH"),
        (json!(["/no/such/program"]), 127, "/no/such/program"),
        (json!(["/etc/passwd"]), 126, "/etc/passwd"),
        (json!(["/etc"]), 126, "/etc"),
        (json!([]), 127, "no command"),
    ];
    for (args, code, detail) in table {
        let failure = project.start(&container(args)).err().expect("a failure");
        assert_eq!(failure.shell_code(), code, "{failure:?}");
        assert!(failure.detail.contains(detail), "{failure:?}");
    }
    assert_eq!(read_exits(&project.config.data)?, []);
    Ok(())
}

fn failed_steps() -> Result<(), Failed> {
    let mut project = Project::new();
    let mut nobody = shell("true");
    nobody.user = "no-such-user".to_owned();
    let failure = project.start(&nobody).err().expect("a failure");
    assert_eq!((&*failure.step, failure.shell_code()), ("user", 125), "{failure:?}");
    assert!(failure.detail.contains("no-such-user"));
    let bind = json!({"destination": "/x", "type": "bind", "source": "/no/such/source", "options": ["rbind"]});
    let failure = project
        .start(&with(shell("true"), |spec| spec["mounts"].as_array_mut().unwrap().push(bind)));
    let failure = failure.err().expect("a failure");
    assert_eq!((&*failure.step, failure.errno), ("mount sources", libc::ENOENT), "{failure:?}");
    assert!(failure.detail.contains("/no/such/source"));
    Ok(())
}

fn reaper() -> Result<(), Failed> {
    let mut project = Project::new();
    // Without a reaper the orphan of the inner shell would stay a zombie: PID 1 would be the outer one.
    let line = "(sleep 0 &); while ls /proc/[0-9]*/stat >/dev/null; grep -l ') Z ' /proc/[0-9]*/stat 2>/dev/null; do :; done; \
                cat /proc/1/comm; exit 9";
    let mut launch = shell(line);
    launch.init = true;
    let outcome = project.run(&launch);
    assert_eq!(outcome.status, ExitStatus::exited(9), "{outcome:?}");
    let mut launch =
        shell("trap 'echo got it; exit 3' TERM; echo up; while :; do sleep 0.05; done");
    launch.init = true;
    let started = project.start(&launch)?;
    assert_eq!(read_line(&started.output), "up");
    rustix::process::pidfd_send_signal(started.pidfd.as_fd(), Signal::TERM)?;
    let outcome = project.finish(started);
    assert_eq!((&*outcome.output, outcome.status), ("got it\n", ExitStatus::exited(3)));
    Ok(())
}

fn gated() -> Result<(), Failed> {
    let mut project = Project::new();
    let null = File::open("/dev/null")?;
    for init in [false, true] {
        let mut launch = shell("echo run; exec sleep 1000");
        launch.init = init;
        let (gate, opener) = pipe_with(PipeFlags::CLOEXEC)?;
        let (output, inside) = pipe_with(PipeFlags::CLOEXEC)?;
        let streams = [null.as_fd(), inside.as_fd(), inside.as_fd()];
        let ticket = project.begin(&launch, streams, &[], Some(gate.as_fd()));
        drop((gate, inside));
        // The keeper sees to other containers meanwhile.
        assert_eq!(project.run(&shell("exit 5")).status, ExitStatus::exited(5));
        let mut polled = [PollFd::new(&output, PollFlags::IN)];
        let instant = Timespec { tv_sec: 0, tv_nsec: 0 };
        assert_eq!(rustix::event::poll(&mut polled, Some(&instant))?, 0, "it has run");
        let before = jiff::Timestamp::now();
        rustix::io::write(&opener, &[1])?;
        let (running, pidfd) = project.started(ticket)?;
        assert!(running.started >= before, "it is said to run since it waited");
        assert_eq!(read_line(&output), "run");
        rustix::process::pidfd_send_signal(&pidfd, Signal::KILL)?;
        assert_eq!(project.exit_of(ticket), Some(ExitStatus::signaled(9)));

        let mut launch = launch;
        launch.id.replace_range(..1, if launch.id.starts_with('0') { "1" } else { "0" });
        let (gate, opener) = pipe_with(PipeFlags::CLOEXEC)?;
        let ticket = project.begin(&launch, [null.as_fd(); 3], &[], Some(gate.as_fd()));
        drop((gate, opener));
        let failure = project.started(ticket).expect_err("a start that was given up");
        assert_eq!((&*failure.step, failure.errno), ("its turn", libc::ECANCELED), "{failure:?}");
    }
    Ok(())
}
