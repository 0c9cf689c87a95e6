//! SIGKILL at any moment: what should live lives, what was said is kept, and the next command finishes the work.

use std::collections::BTreeSet;
use std::error::Error;
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use scenarios::{Stage, Verdict, eventually, world};

use crate::Scenario;

pub(super) fn all() -> Vec<Scenario> {
    vec![
        Scenario::plain("a_killed_supervisor_costs_no_container_and_no_line", supervisor),
        Scenario::plain("a_killed_keeper_costs_no_container_and_no_line", keeper),
        Scenario::plain("an_exit_during_the_death_of_the_supervisor_is_known", exit_meanwhile),
        Scenario::plain("both_killed_at_once_are_replaced_by_the_next_command", both),
        Scenario::plain("up_killed_at_any_moment_is_finished_by_the_next", up),
        Scenario::plain("down_killed_at_any_moment_is_finished_by_the_next", down),
    ]
}

/// One service that counts aloud, some thousand lines a second, and one that is quiet.
const COUNTING: &str = "
services:
  counter:
    image: rootfs:/
    init: true
    command: sh -c 'i=0; while :; do i=$$((i + 1)); echo line $$i; [ $$((i % 50)) -gt 0 ] || sleep 0.01; done'
  quiet: {image: 'rootfs:/', init: true, command: sleep infinity}
";

/// Moments that look random and are the same in every run: a failure can be repeated.
fn moments(count: u64, below: Duration) -> impl Iterator<Item = Duration> {
    let step = below.as_micros().max(1);
    // Knuth's multiplier spreads the numbers over the whole span.
    (1..=count).map(move |turn| {
        let spread = u128::from(turn.wrapping_mul(2_654_435_761) % 1_000_003);
        Duration::from_micros(u64::try_from(spread * step / 1_000_003).unwrap_or_default())
    })
}

/// The process of ours for this project whose words begin with `kind` after the name of the program.
fn find(stage: &Stage, kind: &str) -> Result<Pid, Box<dyn Error>> {
    let all = world::processes(&stage.project, &stage.roots);
    let found = all.iter().find(|(_, words)| words.split(' ').nth(1) == Some(kind));
    Ok(Pid::from_raw(found.ok_or_else(|| format!("no {kind} among {all:?}"))?.0))
}

/// Kills it, and waits until another one has taken its place.
fn kill_and_wait(stage: &Stage, kind: &str) -> Verdict {
    let old = eventually(Duration::from_secs(5), || find(stage, kind))?;
    kill(old, Signal::SIGKILL)?;
    eventually(Duration::from_secs(10), || match find(stage, kind)? {
        new if new == old => Err(format!("{kind} {old} is still there").into()),
        _ => Ok(()),
    })
}

/// When process 1 of a container was started, in clock ticks: another one would have another time.
fn started(stage: &Stage, service: &str) -> Result<String, Box<dyn Error>> {
    let read = stage.compose(["exec", "-T", service, "cat", "/proc/1/stat"]).success()?.stdout;
    let fields = read.rsplit(") ").next().ok_or("no fields")?.split(' ').nth(19);
    Ok(fields.ok_or("no start time")?.to_owned())
}

/// Requires that the counter's log has all numbers from 1 on, once and in order.
fn no_line_lost(stage: &Stage) -> Result<usize, Box<dyn Error>> {
    let log = stage.compose(["logs", "--no-log-prefix", "--no-color", "counter"]).success()?.stdout;
    let mut expected = 0;
    // The last line may be on its way.
    for line in log.split_inclusive('\n').filter(|line| line.ends_with('\n')) {
        expected += 1;
        if line.trim_end() != format!("line {expected}") {
            return Err(format!("line {expected} is {line:?}").into());
        }
    }
    Ok(expected)
}

/// Kills the process `kind` at ten moments.
fn killed(stage: &Stage, kind: &str) -> Verdict {
    stage.file("compose.yaml", COUNTING)?;
    stage.compose(["up", "--detach"]).success()?;
    let before = (started(stage, "counter")?, started(stage, "quiet")?);
    let mut lines = 0;
    for moment in moments(10, Duration::from_millis(300)) {
        thread::sleep(moment);
        kill_and_wait(stage, kind)?;
        assert_eq!((started(stage, "counter")?, started(stage, "quiet")?), before);
        let said = eventually(Duration::from_secs(10), || match no_line_lost(stage)? {
            said if said > lines => Ok(said),
            said => Err(format!("{said} lines, and no more").into()),
        })?;
        lines = said;
    }
    stage.compose(["down", "--timeout", "2"]).success()?;
    Ok(())
}

fn supervisor(stage: &Stage) -> Verdict {
    killed(stage, "supervisor")
}

fn keeper(stage: &Stage) -> Verdict {
    killed(stage, "keeper")
}

fn exit_meanwhile(stage: &Stage) -> Verdict {
    stage.file(
        "compose.yaml",
        "
services:
  short: {image: 'rootfs:/', command: sh -c 'sleep 0.3; exit 9'}
  quiet: {image: 'rootfs:/', init: true, command: sleep infinity}
",
    )?;
    for moment in moments(10, Duration::from_millis(400)) {
        stage.compose(["up", "--detach", "--force-recreate"]).success()?;
        thread::sleep(moment);
        kill(find(stage, "supervisor")?, Signal::SIGKILL)?;
        eventually(Duration::from_secs(10), || match stage.field("short", "State")?.as_str() {
            "exited" => Ok(()),
            other => Err(format!("short is {other}").into()),
        })?;
        assert_eq!(stage.field("short", "ExitCode")?, "9");
    }
    stage.compose(["down", "--timeout", "2"]).success()?;
    Ok(())
}

fn both(stage: &Stage) -> Verdict {
    stage.file("compose.yaml", COUNTING)?;
    for moment in moments(5, Duration::from_millis(200)) {
        stage.compose(["up", "--detach"]).success()?;
        thread::sleep(moment);
        let (keeper, supervisor) = (find(stage, "keeper")?, find(stage, "supervisor")?);
        kill(keeper, Signal::SIGKILL)?;
        // It may have noticed and ended by itself.
        let _gone = kill(supervisor, Signal::SIGKILL);
    }
    stage.compose(["up", "--detach"]).success()?;
    assert_eq!(stage.field("quiet", "State")?, "running");
    assert_eq!(stage.field("counter", "State")?, "running");
    stage.compose(["down", "--timeout", "2"]).success()?;
    Ok(())
}

/// Ten services with a network and a volume: enough work to be killed in.
fn many() -> String {
    let services = (1..=10).map(|number| {
        format!(
            "  s{number}: {{image: 'rootfs:/', init: true, command: sleep infinity, volumes: ['data:/mnt', /srv]}}\n"
        )
    });
    format!("services:\n{}volumes: {{data: {{}}}}\n", services.collect::<String>())
}

/// Runs the command and kills it after `moment`.
fn cut_off(stage: &Stage, words: &[&str], moment: Duration) -> Verdict {
    let running = stage.start(stage.compose_command(words))?;
    thread::sleep(moment);
    // It may have ended already.
    let _gone = running.signal(Signal::SIGKILL);
    let _killed = running.finish(Duration::from_secs(5))?;
    Ok(())
}

fn all_run(stage: &Stage) -> Verdict {
    let containers = stage.containers()?;
    let running: BTreeSet<_> = containers
        .iter()
        .filter(|one| one["State"] == "running")
        .filter_map(|one| one["Service"].as_str())
        .collect();
    assert_eq!((containers.len(), running.len()), (10, 10), "{containers:?}");
    Ok(())
}

fn up(stage: &Stage) -> Verdict {
    stage.file("compose.yaml", &many())?;
    for moment in moments(10, Duration::from_millis(600)) {
        cut_off(stage, &["up", "--detach"], moment)?;
        stage.compose(["up", "--detach"]).success()?;
        all_run(stage)?;
        stage.compose(["down", "--volumes", "--timeout", "2"]).success()?;
        stage.check_nothing_left()?;
    }
    Ok(())
}

fn down(stage: &Stage) -> Verdict {
    stage.file("compose.yaml", &many())?;
    for moment in moments(10, Duration::from_millis(400)) {
        stage.compose(["up", "--detach"]).success()?;
        cut_off(stage, &["down", "--volumes", "--timeout", "2"], moment)?;
        stage.compose(["down", "--volumes", "--timeout", "2"]).success()?;
        stage.check_nothing_left()?;
    }
    Ok(())
}
