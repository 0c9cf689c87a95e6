//! Commands that sit at a terminal, and what they print there.

use std::fs;
use std::time::Duration;

use nix::sys::signal::Signal;
use scenarios::{Running, Stage, Verdict, eventually};

use super::commands::{ONE, listens};
use crate::Scenario;

pub(super) fn all() -> Vec<Scenario> {
    vec![
        Scenario::plain("attach_joins_what_runs", attach),
        Scenario::plain("attach_lets_go_by_keys", detach),
        Scenario::plain("up_lets_go_by_a_key", menu),
        Scenario::plain("exec_says_what_its_terminal_understands", terminal_of_exec),
        Scenario::plain("progress_goes_where_it_is_asked_to", progress),
        Scenario::plain("completion_knows_the_services", completion),
    ]
}

fn attach(stage: &Stage) -> Verdict {
    stage.file(
        "compose.yaml",
        "
services:
  echo:
    image: 'rootfs:/'
    command: [sh, -c, 'echo before; while read -r line; do [ \"$$line\" = end ] && exit 6; echo \"got $$line\"; done']
    stdin_open: true
",
    )?;
    stage.compose(["create"]).success()?;
    stage.compose(["attach", "echo"]).code(1)?.complains("is not running")?;
    stage.compose(["start"]).success()?;
    eventually(Duration::from_secs(20), || {
        Ok(stage.compose(["logs", "echo"]).success()?.says("before")?)
    })?;
    let mut first = stage.start_typing(stage.compose_command(["attach", "echo"]))?;
    eventually(Duration::from_secs(20), || {
        first.say("one\n")?;
        match first.said() {
            said if said.contains("got one") => Ok(()),
            said => Err(said.into()),
        }
    })?;
    assert!(!first.said().contains("before"), "only what is said from now on");
    first.signal(Signal::SIGKILL)?;
    let _killed = first.finish(Duration::from_secs(20))?;
    assert_eq!(stage.field("echo", "State")?, "running");
    let last = stage.compose_command(["attach", "echo"]);
    stage.run(last, Some("two\nend\n")).code(6)?.says("got two")?;
    assert_eq!(stage.field("echo", "ExitCode")?, "6");
    // With signals for ourselves it is let go of.
    stage.compose(["start"]).success()?;
    let quiet = stage.start(stage.compose_command([
        "attach",
        "--no-stdin",
        "--sig-proxy=false",
        "echo",
    ]))?;
    eventually(Duration::from_secs(20), || listens(quiet.id()))?;
    eventually(Duration::from_secs(20), || catches(quiet.id()))?;
    quiet.signal(Signal::SIGTERM)?;
    quiet.finish(Duration::from_secs(20))?.success()?;
    assert_eq!(stage.field("echo", "State")?, "running");
    stage.compose(["down"]).success()?;
    Ok(())
}

/// Whether a process has blocked SIGTERM: it is ready for signals.
fn catches(pid: u32) -> Verdict {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let blocked = status.lines().find_map(|line| line.strip_prefix("SigBlk:")).unwrap_or("0");
    match u64::from_str_radix(blocked.trim(), 16)? & 1 << 14 {
        0 => Err("it does not catch signals yet".into()),
        _ => Ok(()),
    }
}

fn detach(stage: &Stage) -> Verdict {
    stage.file(
        "compose.yaml",
        "
services:
  shell: {image: 'rootfs:/', command: sh, tty: true, stdin_open: true}
",
    )?;
    stage.compose(["up", "-d"]).success()?;
    let mut tty = stage.start_on_terminal(&stage.compose_command([
        "attach",
        "--detach-keys",
        "ctrl-a,x",
        "shell",
    ]))?;
    eventually(Duration::from_secs(20), || {
        tty.say("echo $((40+2))\n")?;
        match tty.said() {
            said if said.contains("42") => Ok(()),
            said => Err(said.into()),
        }
    })?;
    tty.say("\u{1}x")?;
    tty.finish(Duration::from_secs(20))?.success()?;
    assert_eq!(stage.field("shell", "State")?, "running");
    stage.compose(["down", "-t", "0"]).success()?;
    Ok(())
}

fn progress(stage: &Stage) -> Verdict {
    stage.file("compose.yaml", ONE)?;
    let up = stage.compose(["up", "-d"]).success()?.complains("Started")?;
    assert_eq!(up.stdout, "");
    let mut down = stage.compose_command(["down"]);
    down.env("COMPOSE_STATUS_STDOUT", "1");
    let down = stage.run(down, None).success()?.says("Removed")?;
    assert_eq!(down.stderr, "");
    stage.compose(["--progress", "quiet", "up", "-d"]).success()?;
    let json = stage.compose(["--progress", "json", "stop"]).success()?;
    json.complains("\"status\":\"Done\"")?;
    stage.compose(["down"]).success()?;
    Ok(())
}

fn completion(stage: &Stage) -> Verdict {
    stage
        .file("compose.yaml", "services: {web: {image: a}, worker: {image: b}, db: {image: c}}")?;
    for shell in ["bash", "zsh", "fish"] {
        stage.compose(["completion", shell]).success()?.says("COMPLETE")?;
    }
    let mut asked = stage.compose_command(["--", "compose", "up", "w"]);
    asked.env("COMPLETE", "fish");
    let said = stage.run(asked, None).success()?.stdout;
    let words: Vec<&str> = said.lines().filter_map(|line| line.split('\t').next()).collect();
    assert_eq!(words, ["web", "worker"]);
    let mut asked = stage.compose_command(["--", "compose", "up", "--abort"]);
    asked.env("COMPLETE", "fish");
    stage.run(asked, None).success()?.says("--abort-on-container-exit")?;
    stage.file("compose.yaml", "services: {web: {image: a, profiles: [extra]}}")?;
    let mut asked = stage.compose_command(["--", "compose", "--profile", ""]);
    asked.env("COMPLETE", "fish");
    stage.run(asked, None).success()?.says("extra")?;
    let known = stage.roots.join("data/projects/shop");
    fs::create_dir_all(&known)?;
    let mut asked = stage.compose_command(["--", "compose", "--project-name", "s"]);
    asked.env("COMPLETE", "fish");
    stage.run(asked, None).success()?.says("shop")?;
    fs::remove_dir(known)?;
    Ok(())
}

fn menu(stage: &Stage) -> Verdict {
    stage.file(
        "compose.yaml",
        "
services:
  web:
    image: rootfs:/
    command: [sh, -c, 'echo hello; exec sleep infinity']
    develop: {watch: [{action: sync, path: src, target: /saved}]}
",
    )?;
    stage.file("src/page", "one")?;
    let mut off = stage.compose_command(["up", "-d"]);
    off.env("COMPOSE_MENU", "0");
    let _up = stage.run(off, None).success()?;
    stage.compose(["down"]).success()?;
    let mut up = stage.start_on_terminal(&stage.compose_command(["up"]))?;
    eventually(Duration::from_secs(30), || match up.said() {
        said if said.contains("hello") => Ok(()),
        said => Err(said.into()),
    })?;
    let says = |up: &Running, words: &str| {
        eventually(Duration::from_secs(60), || match up.said() {
            said if said.contains(words) => Ok(()),
            said => Err(said.into()),
        })
    };
    up.say("w")?;
    says(&up, "Watch enabled")?;
    stage.file("src/page", "two")?;
    eventually(Duration::from_secs(60), || {
        let saved = ["exec", "-T", "web", "cat", "/saved/page"];
        Ok(stage.compose(saved).success()?.says("two").map(drop)?)
    })?;
    up.say("w")?;
    says(&up, "Watch disabled")?;
    up.say("d")?;
    up.finish(Duration::from_secs(30))?.success()?;
    assert_eq!(stage.field("web", "State")?, "running");
    stage.compose(["down"]).success()?;
    Ok(())
}

/// The container has no terminal of its own, and so nothing in its environment about it.
fn terminal_of_exec(stage: &Stage) -> Verdict {
    stage.file("compose.yaml", ONE)?;
    stage.compose(["up", "-d"]).success()?;
    for (words, wanted) in [(&["exec"][..], "[xterm]"), (&["exec", "-e", "TERM=vt100"], "[vt100]")]
    {
        let words = [words, &["web", "sh", "-c", "echo [$TERM]"]].concat();
        let exec = stage.start_on_terminal(&stage.compose_command(words))?;
        exec.finish(Duration::from_secs(30))?.success()?.says(wanted)?;
    }
    stage.compose(["exec", "-T", "web", "sh", "-c", "echo [$TERM]"]).success()?.says("[]")?;
    stage.compose(["down"]).success()?;
    Ok(())
}
