//! `examples/hello`, and what the first five minutes with the binary look like.

use std::time::Duration;

use nix::sys::signal::Signal;
use scenarios::{Stage, Verdict, eventually};

use crate::Scenario;

pub(super) fn all() -> Vec<Scenario> {
    vec![
        Scenario::plain("hello_runs_is_looked_at_and_goes", runs),
        Scenario::plain("hello_twice_does_nothing_the_second_time", twice),
        Scenario::plain("attached_up_ends_with_one_interrupt", attached),
        Scenario::plain("up_detached_lets_go_of_its_callers_pipes", lets_go),
        Scenario::plain("exit_codes_are_known_after_the_end", exit_codes),
        Scenario::plain("exec_hands_through_input_output_and_exit_code", exec),
        Scenario::plain("run_answers_with_the_exit_code_of_its_command", one_off),
    ]
}

fn runs(stage: &Stage) -> Verdict {
    stage.example("hello")?;
    stage.compose(["up", "--detach"]).success()?;
    assert_eq!(stage.field("hello", "State")?, "running");
    assert_eq!(stage.field("hello", "Name")?, format!("{}-hello-1", stage.project));
    eventually(Duration::from_secs(60), || {
        Ok(stage
            .compose(["logs", "--no-log-prefix"])
            .success()?
            .says("hello from ")?
            .says(", process 1")?)
    })?;
    let own = stage
        .compose(["exec", "-T", "hello", "sh", "-c", "readlink /proc/self/ns/pid"])
        .success()?;
    assert_ne!(own.stdout.trim(), std::fs::read_link("/proc/self/ns/pid")?.to_string_lossy());
    // Copy-on-write: what the container writes is not on the host.
    stage.compose(["exec", "-T", "hello", "touch", "/usr/of-the-container"]).success()?;
    assert!(!std::path::Path::new("/usr/of-the-container").exists());
    stage.compose(["ls"]).success()?.says(&stage.project)?;
    stage.compose(["down"]).success()?;
    assert!(stage.containers()?.is_empty());
    stage.check_nothing_left()
}

fn twice(stage: &Stage) -> Verdict {
    stage.example("hello")?;
    stage.compose(["up", "--detach"]).success()?;
    let first = stage.field("hello", "ID")?;
    stage.compose(["up", "--detach"]).success()?;
    assert_eq!(stage.field("hello", "ID")?, first);
    stage.compose(["up", "--detach", "--force-recreate"]).success()?;
    assert_ne!(stage.field("hello", "ID")?, first);
    stage.compose(["down"]).success()?;
    stage.compose(["down"]).success()?;
    Ok(())
}

fn attached(stage: &Stage) -> Verdict {
    stage.example("hello")?;
    let up = stage.start(stage.compose_command(["up"]))?;
    eventually(Duration::from_secs(60), || {
        if up.said().contains("hello from") {
            Ok(())
        } else {
            Err(format!("up said: {}", up.said()).into())
        }
    })?;
    up.signal(Signal::SIGINT)?;
    let up = up.finish(Duration::from_secs(20))?;
    assert!(!up.timed_out && up.status.code().is_some(), "{up:?}");
    assert_eq!(stage.field("hello", "State")?, "exited");
    stage.compose(["down"]).success()?;
    Ok(())
}

fn lets_go(stage: &Stage) -> Verdict {
    stage.example("hello")?;
    // The shell ends when the last holder of the pipe is gone.
    let up = stage.compose_command(["up", "--detach"]);
    let mut piped = stage.command("sh");
    piped.args(["-c", "\"$0\" up --detach 2>&1 | cat"]).arg(up.get_program());
    stage.run_within(piped, None, Duration::from_secs(20)).success()?;
    stage.compose(["down"]).success()?;
    Ok(())
}

fn exit_codes(stage: &Stage) -> Verdict {
    stage.file(
        "compose.yaml",
        "
services:
  three: {image: 'rootfs:/', command: sh -c 'exit 3'}
  killed: {image: 'rootfs:/', command: sh -c 'kill -KILL $$$$; sleep 60', init: true}
  good: {image: 'rootfs:/', command: 'true'}
",
    )?;
    stage.compose(["up", "--detach"]).success()?;
    for (service, code) in [("three", "3"), ("killed", "137"), ("good", "0")] {
        eventually(Duration::from_secs(60), || match stage.field(service, "State")?.as_str() {
            "exited" => Ok(()),
            other => Err(format!("{service} is {other}").into()),
        })?;
        assert_eq!(stage.field(service, "ExitCode")?, code, "{service}");
    }
    stage.compose(["down"]).success()?;
    stage.compose(["up", "--exit-code-from", "three", "three"]).code(3)?;
    stage.compose(["down"]).success()?;
    Ok(())
}

fn exec(stage: &Stage) -> Verdict {
    stage.example("hello")?;
    stage.compose(["up", "--detach"]).success()?;
    let cat = stage.compose_command(["exec", "-T", "hello", "cat"]);
    let said = stage.run(cat, Some("one\ntwo\n")).success()?;
    assert_eq!(said.stdout, "one\ntwo\n");
    stage
        .compose(["exec", "-T", "hello", "sh", "-c", "echo wrong >&2; exit 7"])
        .code(7)?
        .complains("wrong")?;
    stage.compose(["exec", "-T", "hello", "no-such-program"]).code(127)?;
    stage.compose(["exec", "-T", "hello", "/etc/passwd"]).code(126)?;
    stage
        .compose(["exec", "-T", "-e", "A=b", "-w", "/usr", "hello", "sh", "-c", "echo $A $PWD"])
        .success()?
        .says("b /usr")?;
    stage
        .compose(["exec", "-T", "-u", "nobody", "hello", "id", "-un"])
        .success()?
        .says("nobody")?;
    stage.compose(["down"]).success()?;
    Ok(())
}

fn one_off(stage: &Stage) -> Verdict {
    stage.example("hello")?;
    stage
        .compose(["run", "--rm", "-T", "hello", "sh", "-c", "echo from a one-off; exit 5"])
        .code(5)?
        .says("from a one-off")?;
    let left = stage.containers()?;
    assert!(left.is_empty(), "--rm removes it, and here is {left:?}");
    stage.compose(["down"]).success()?;
    Ok(())
}
