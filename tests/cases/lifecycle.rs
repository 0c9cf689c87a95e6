//! Restarts, ends and changes of what runs, as docker compose's own end-to-end tests ask: see `tests/intents.txt`.

use std::fs;
use std::time::Duration;

use scenarios::{Stage, Verdict, eventually};

use super::build::base;
use super::flags::{BOX, services};
use super::watch::{begin, end};
use crate::Scenario;

pub(super) fn all() -> Vec<Scenario> {
    vec![
        Scenario::plain("up_wait_sees_what_ends_at_once", ends_at_once),
        Scenario::plain("down_leaves_directories_that_are_images_alone", directories),
        Scenario::plain("who_follows_goes_on_after_a_restart", followed),
        Scenario::plain("a_restart_begins_with_files_for_names_of_its_own", renewed),
        Scenario::plain("commands_leave_orphans_alone", strays),
        Scenario::plain("commands_take_several_files", several_files),
        Scenario::plain("profiles_choose_what_is_restarted", profiles),
        Scenario::plain("replicas_share_a_range_of_ports", port_range),
        Scenario::plain("a_changed_log_server_makes_a_container_anew", log_server),
        Scenario::plain("large_logs_are_whole", large_logs),
        Scenario::plain("wait_waits_as_long_as_it_takes", endless),
        Scenario::plain("a_one_off_goes_when_its_stop_signal_ends_it", one_off_stopped),
        Scenario::plain("secrets_of_an_included_file", included),
        Scenario::plain("several_providers_in_one_project", providers),
        Scenario::plain("what_cannot_be_published_is_refused", unpublished),
        Scenario::plain("settings_come_from_files", settings),
        Scenario::plain("watch_rebuilds_no_dependencies", watched),
        Scenario::plain("flags_of_watch", watch_flags),
    ]
}

const BOUND: Duration = Duration::from_secs(60);

fn says(running: &scenarios::Running, word: &str, times: usize) -> Verdict {
    eventually(BOUND, || match running.said() {
        said if said.matches(word).count() == times => Ok(()),
        said => Err(said.into()),
    })
}

pub(super) fn ended(stage: &Stage, service: &str) -> Verdict {
    eventually(BOUND, || match stage.field(service, "State")? {
        state if state == "exited" => Ok(()),
        state => Err(state.into()),
    })
}

/// What a container has written into the files by which it finds names is gone when it starts again, however long it is; what it has
/// written elsewhere is there, and nothing is left of the mounts before.
fn renewed(stage: &Stage) -> Verdict {
    base(stage)?;
    let words = "image: base, init: true, command: [sh, -c, 'echo begun >> /kept; exec sleep 600']";
    services(stage, &[("web", words)])?;
    stage.compose(["up", "--detach"]).success()?;
    let sh = |script: &str| stage.compose(["exec", "-T", "web", "sh", "-c", script]).success();
    let files = "cat /etc/hosts /etc/hostname /etc/resolv.conf";
    let before = sh(files)?.stdout;
    let same_length =
        "exec 3<> /etc/hostname; printf X >&3; exec 3<> /etc/resolv.conf; printf X >&3";
    for (starts, change) in [("2", "echo 192.0.2.7 other >> /etc/hosts"), ("3", same_length)] {
        sh(change)?;
        assert_ne!(sh(files)?.stdout, before, "{change}");
        stage.compose(["restart", "-t", "0"]).success()?;
        assert_eq!(sh(files)?.stdout, before, "{change}");
        eventually(BOUND, || Ok(sh("wc -l < /kept")?.says(starts).map(drop)?))?;
    }
    let id = stage.field("web", "ID")?;
    let containers = stage.roots.join("data/projects").join(&stage.project).join("containers");
    let own = |entry: &fs::DirEntry| entry.file_name().to_string_lossy().starts_with(&id);
    let mut folders = fs::read_dir(containers)?.filter_map(Result::ok);
    let folder = folders.find(own).ok_or("it has no folder")?.path();
    eventually(BOUND, || match folder.join("work/spent").exists() {
        true => Err("the last mount has left something".into()),
        false => Ok(()),
    })?;
    stage.compose(["down"]).success()?;
    stage.check_nothing_left()
}

fn followed(stage: &Stage) -> Verdict {
    let words =
        "image: 'rootfs:/', init: true, command: [sh, -c, 'echo begun; exec sleep infinity']";
    services(stage, &[("web", words)])?;
    let up = stage.start(stage.compose_command(["up"]))?;
    says(&up, "begun", 1)?;
    let logs = stage.start(stage.compose_command(["logs", "--follow", "--no-log-prefix"]))?;
    says(&logs, "begun", 1)?;
    stage.compose(["restart", "-t", "0"]).success()?;
    says(&logs, "begun", 2)?;
    says(&up, "begun", 2)?;
    // One that takes the place of another is followed as well.
    stage.compose(["up", "-d", "-t", "0", "--force-recreate"]).success()?;
    says(&logs, "begun", 3)?;
    says(&up, "begun", 3)?;
    stage.compose(["stop", "-t", "0"]).success()?;
    logs.finish(BOUND)?.success()?;
    up.finish(BOUND)?.success()?.says("(restarting)")?;
    stage.compose(["down"]).success()?;
    Ok(())
}

fn strays(stage: &Stage) -> Verdict {
    services(stage, &[("web", BOX), ("old", BOX)])?;
    stage.compose(["up", "-d"]).success()?;
    services(stage, &[("web", BOX)])?;
    let project = stage.project.clone();
    let state = |service: &str| stage.field(service, "State");
    let all: [(&[&str], &str); 5] = [
        (&["pause"], "paused"),
        (&["unpause"], "running"),
        (&["stop", "-t", "0"], "exited"),
        (&["start"], "running"),
        (&["kill"], "exited"),
    ];
    for (words, expected) in all {
        stage.compose(words).success()?;
        assert_eq!(
            (state("web")?.as_str(), state("old")?.as_str()),
            (expected, "running"),
            "{words:?}"
        );
    }
    stage.compose(["restart", "-t", "0"]).success()?;
    assert_eq!(state("web")?, "running");
    stage.compose(["rm", "-sf"]).success()?;
    assert_eq!(stage.compose(["ps", "-a", "--services"]).success()?.stdout, "old\n");
    stage.compose(["down"]).success()?.complains("orphan")?;
    assert_eq!(state("old")?, "running");
    // A name alone means all that bears it, and so does a service by its own name.
    stage.compose(["-p", &project, "stop", "-t", "0"]).success()?;
    assert_eq!(state("old")?, "exited");
    stage.compose(["start", "old"]).success()?;
    stage.compose(["kill", "--remove-orphans"]).success()?;
    assert_eq!(state("old")?, "exited");
    stage.compose(["-p", &project, "down"]).success()?;
    stage.check_nothing_left()
}

fn several_files(stage: &Stage) -> Verdict {
    services(stage, &[("web", BOX)])?;
    stage.file("more.yaml", &format!("services:\n  more: {{{BOX}}}\n"))?;
    let compose = |words: &[&str]| {
        stage.compose([&["-f", "compose.yaml", "-f", "more.yaml"], words].concat())
    };
    compose(&["up", "-d"]).success()?;
    for (words, state) in [
        (["stop", "-t", "0"].as_slice(), "exited"),
        (&["start"], "running"),
        (&["restart", "-t", "0"], "running"),
        (&["kill"], "exited"),
    ] {
        compose(words).success()?;
        for service in ["web", "more"] {
            assert_eq!(stage.field(service, "State")?, state, "{words:?} {service}");
        }
    }
    compose(&["down"]).success()?;
    stage.check_nothing_left()
}

fn profiles(stage: &Stage) -> Verdict {
    services(stage, &[("web", BOX), ("debug", &format!("{BOX}, profiles: [dev]"))])?;
    stage.compose(["--profile", "dev", "up", "-d"]).success()?;
    // Ticks since the boot at which its first process began.
    let began = |service: &str| -> Result<String, Box<dyn std::error::Error>> {
        let words = ["exec", "-T", service, "cut", "-d", " ", "-f", "22", "/proc/1/stat"];
        Ok(stage.compose([&["--profile", "dev"][..], &words].concat()).success()?.stdout)
    };
    let before = (began("web")?, began("debug")?);
    stage.compose(["restart", "-t", "0"]).success()?;
    let without = (began("web")?, began("debug")?);
    assert_ne!(without.0, before.0);
    assert_eq!(without.1, before.1, "its profile is off");
    stage.compose(["--profile", "dev", "restart", "-t", "0"]).success()?;
    let with = (began("web")?, began("debug")?);
    assert!(with.0 != without.0 && with.1 != without.1);
    stage.compose(["--profile", "dev", "down", "-t", "0"]).success()?;
    Ok(())
}

fn port_range(stage: &Stage) -> Verdict {
    services(stage, &[("web", &format!("{BOX}, scale: 3, ports: ['127.0.0.1:18100-18103:80']"))])?;
    stage.compose(["up", "-d"]).success()?;
    let ports = || -> Result<Vec<String>, Box<dyn std::error::Error>> {
        let port = |number: &str| stage.compose(["port", "--index", number, "web", "80"]).success();
        let mut ports = Vec::new();
        for number in ["1", "2", "3"] {
            ports.push(port(number)?.stdout.trim().to_owned());
        }
        Ok(ports)
    };
    let mut given = ports()?;
    given.sort();
    given.dedup();
    assert_eq!(given.len(), 3, "{given:?}");
    assert!(given.iter().all(|port| port.starts_with("127.0.0.1:1810")), "{given:?}");
    stage.compose(["up", "-d", "--scale", "web=5"]).code(1)?;
    stage.compose(["down", "-t", "0"]).success()?;
    Ok(())
}

fn log_server(stage: &Stage) -> Verdict {
    let write = |port: &str| {
        let options = format!("options: {{syslog-address: 'udp://127.0.0.1:{port}'}}");
        services(stage, &[("web", &format!("{BOX}, logging: {{driver: syslog, {options}}}"))])
    };
    write("5140")?;
    stage.compose(["up", "-d"]).success()?;
    let first = stage.field("web", "ID")?;
    stage.compose(["up", "-d"]).success()?;
    assert_eq!(stage.field("web", "ID")?, first);
    write("5141")?;
    stage.compose(["up", "-d", "-t", "0"]).success()?;
    assert_ne!(stage.field("web", "ID")?, first);
    stage.compose(["down", "-t", "0"]).success()?;
    Ok(())
}

fn large_logs(stage: &Stage) -> Verdict {
    const LINES: u32 = 200_000;
    services(stage, &[("web", &format!("image: 'rootfs:/', command: seq {LINES}"))])?;
    stage.compose(["up", "-d"]).success()?;
    ended(stage, "web")?;
    let said = stage.compose(["logs", "--no-log-prefix"]).success()?.stdout;
    let expected: String = (1..=LINES).map(|number| format!("{number}\n")).collect();
    assert!(said == expected, "{} bytes of {}", said.len(), expected.len());
    stage.compose(["down"]).success()?;
    Ok(())
}

fn endless(stage: &Stage) -> Verdict {
    services(stage, &[("web", BOX), ("short", "image: 'rootfs:/', command: [sh, -c, 'exit 3']")])?;
    stage.compose(["up", "-d"]).success()?;
    let wait = stage.start(stage.compose_command(["wait", "web"]))?;
    // Whatever else ends meanwhile, it is not told.
    ended(stage, "short")?;
    stage.compose(["exec", "-T", "web", "true"]).success()?;
    assert_eq!(wait.said(), "");
    stage.compose(["kill", "web"]).success()?;
    wait.finish(BOUND)?.code(137)?.says("exited with status code 137")?;
    stage.compose(["down"]).success()?;
    Ok(())
}

fn one_off_stopped(stage: &Stage) -> Verdict {
    let deaf = format!("{BOX}, stop_signal: USR1");
    services(stage, &[("web", &deaf)])?;
    stage.compose(["run", "-d", "--rm", "web"]).success()?;
    assert_eq!(stage.containers()?.len(), 1);
    stage.compose(["kill", "--signal", "USR1"]).success()?;
    eventually(BOUND, || match stage.containers()?.len() {
        0 => Ok(()),
        count => Err(format!("{count} left").into()),
    })?;
    stage.compose(["down"]).success()?;
    Ok(())
}

fn included(stage: &Stage) -> Verdict {
    stage.file("compose.yaml", "include: [{path: sub/compose.yaml, env_file: sub/own.env}]\n")?;
    stage.file("sub/own.env", "WORD=of the include\n")?;
    stage.file(
        "sub/compose.yaml",
        "
services:
  web: {image: 'rootfs:/', command: cat /run/secrets/word, secrets: [word]}
secrets: {word: {environment: WORD}}
",
    )?;
    let said = stage.compose(["up", "--no-log-prefix"]).success()?;
    said.says("of the include")?;
    stage.compose(["down"]).success()?;
    Ok(())
}

fn providers(stage: &Stage) -> Verdict {
    use std::os::unix::fs::PermissionsExt;
    // The last word is the service, the verb stands before the options.
    let program = "#!/bin/sh\nfor last; do :; done\n\
        echo \"{\\\"type\\\": \\\"setenv\\\", \\\"message\\\": \\\"URL=of-$last\\\"}\"\n";
    stage.file("cloud", program)?;
    fs::set_permissions(stage.folder.join("cloud"), fs::Permissions::from_mode(0o755))?;
    stage.file(
        "compose.yaml",
        "
services:
  db: {provider: {type: cloud}}
  queue: {provider: {type: cloud}}
  web: {image: 'rootfs:/', command: [sh, -c, 'echo $$DB_URL $$QUEUE_URL'], depends_on: [db, queue]}
",
    )?;
    let compose = |words: &[&str]| {
        let mut command = stage.compose_command(words);
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{}:{path}", stage.folder.display()));
        stage.run(command, None)
    };
    compose(&["up"]).success()?.says("of-db of-queue")?;
    compose(&["down"]).success()?;
    Ok(())
}

fn unpublished(stage: &Stage) -> Verdict {
    let publish = || stage.compose(["publish", "--yes", "localhost:1/team/project"]);
    stage.file("compose.yaml", "services: {web: {build: .}}\n")?;
    stage.file("Dockerfile", "FROM scratch\n")?;
    publish().code(1)?.complains("web")?.complains("build")?;
    stage.file("sub.yaml", "services: {sub: {image: x}}\n")?;
    stage.file("compose.yaml", "include: [sub.yaml]\nservices: {web: {image: x}}\n")?;
    publish().code(1)?.complains("include")?;
    Ok(())
}

fn settings(stage: &Stage) -> Verdict {
    services(stage, &[("web", BOX), ("old", BOX)])?;
    stage.compose(["up", "-d"]).success()?;
    // How lists look is in the configuration of docker.
    let home = stage.folder.with_file_name("home");
    fs::create_dir_all(home.join(".docker"))?;
    fs::write(home.join(".docker/config.json"), r#"{"psFormat": "is {{.Service}}"}"#)?;
    assert_eq!(stage.compose(["ps", "web"]).success()?.stdout, "is web\n");
    let own = ["ps", "--format", "own {{.Service}}", "web"];
    assert_eq!(stage.compose(own).success()?.stdout, "own web\n");
    fs::remove_file(home.join(".docker/config.json"))?;
    stage.compose(["events", "--until", "0s", "nix"]).code(1)?.complains("no such service: nix")?;
    // What the surroundings may say, `.env` may say as well.
    services(stage, &[("web", BOX)])?;
    stage.file(".env", "COMPOSE_IGNORE_ORPHANS=1\n")?;
    let quiet = stage.compose(["up", "-d"]).success()?;
    assert!(!quiet.stderr.contains("orphan"), "{}", quiet.stderr);
    stage.file(".env", "COMPOSE_REMOVE_ORPHANS=1\n")?;
    stage.compose(["up", "-d"]).success()?;
    assert_eq!(stage.containers()?.len(), 1);
    stage.compose(["down", "-t", "0"]).success()?;
    stage.check_nothing_left()
}

fn watched(stage: &Stage) -> Verdict {
    base(stage)?;
    stage.file(
        "compose.yaml",
        "
services:
  web:
    build: web
    depends_on: [db]
    stop_grace_period: 0s
    develop: {watch: [{action: rebuild, path: web}]}
  db: {build: db, stop_grace_period: 0s}
",
    )?;
    for service in ["web", "db"] {
        let dockerfile = "FROM base\nCOPY page /page\nCMD sleep 600\n";
        stage.file(&format!("{service}/Dockerfile"), dockerfile)?;
        stage.file(&format!("{service}/page"), "one\n")?;
    }
    let watch = begin(stage, &["watch"], "web")?;
    let db = stage.field("db", "ID")?;
    let page = |service: &str| -> Result<String, Box<dyn std::error::Error>> {
        Ok(stage.compose(["exec", "-T", service, "cat", "/page"]).success()?.stdout)
    };
    stage.file("db/page", "two\n")?;
    stage.file("web/page", "two\n")?;
    eventually(BOUND, || match page("web")? {
        page if page == "two\n" => Ok(()),
        page => Err(page.into()),
    })?;
    assert_eq!(stage.field("db", "ID")?, db);
    assert_eq!(page("db")?, "one\n");
    end(watch)?;
    stage.compose(["down"]).success()?;
    Ok(())
}

fn watch_flags(stage: &Stage) -> Verdict {
    base(stage)?;
    let build =
        "build: {dockerfile_inline: \"FROM base\\nCMD sleep 600\\n\"}, stop_grace_period: 0s";
    let words = format!("{build}, develop: {{watch: [{{action: rebuild, path: src}}]}}");
    services(stage, &[("web", &words)])?;
    stage.file("src/file", "")?;
    let said = |words: &[&str]| -> Result<String, Box<dyn std::error::Error>> {
        let line = stage.compose_command([&["watch"], words].concat());
        let mut watch = stage.start_on_terminal(&line)?;
        eventually(BOUND, || match watch.said() {
            said if said.contains("Watch enabled") => Ok(()),
            said => Err(said.into()),
        })?;
        watch.say("\u{3}")?;
        Ok(watch.finish(BOUND)?.stdout)
    };
    said(&["--no-up"])?;
    assert!(stage.containers()?.is_empty());
    let quiet = said(&["--quiet"])?;
    assert!(!quiet.contains("Built"), "{quiet}");
    assert_eq!(stage.containers()?.len(), 1);
    stage.compose(["down", "--rmi", "all"]).success()?;
    let loud = said(&[])?;
    assert!(loud.contains("Built"), "{loud}");
    stage.compose(["down"]).success()?;
    Ok(())
}

/// A one-shot is ready when it has ended well, however soon that is; one that fails is told.
fn ends_at_once(stage: &Stage) -> Verdict {
    stage.file(
        "compose.yaml",
        "services:\n  good: {image: 'rootfs:/', command: 'true'}\n  bad: {image: 'rootfs:/', command: sh -c 'exit 9'}\n",
    )?;
    for _ in 0..6 {
        stage.compose(["up", "--wait", "good"]).success()?;
        stage.compose(["up", "--wait", "bad"]).code(1)?.complains("exited (9)")?;
        stage.compose(["down"]).success()?;
    }
    Ok(())
}

/// A root that is a directory of the host is none of the images that go with a project.
fn directories(stage: &Stage) -> Verdict {
    stage.file("compose.yaml", super::commands::ONE)?;
    stage.compose(["up", "--detach"]).success()?;
    stage.compose(["down", "--rmi", "all"]).success()?;
    Ok(())
}
