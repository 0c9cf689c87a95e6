//! What the end-to-end tests of docker compose ask for and no other file here shows: see `tests/intents.txt`.

use std::fs;
use std::time::Duration;

use scenarios::{Stage, Verdict, eventually};

use crate::Scenario;

pub(super) fn all() -> Vec<Scenario> {
    vec![
        Scenario::plain("variables_come_in_their_order", environment),
        Scenario::plain("hooks_run_after_a_start_and_before_a_stop", hooks),
        Scenario::plain("hooks_that_fail_are_told", failing_hooks),
        Scenario::plain("profiles_choose_services", profiles),
        Scenario::plain("no_deps_needs_those_that_it_shares_with", no_deps),
        Scenario::plain("a_dependency_may_be_optional", optional),
        Scenario::plain("links_names_and_fixed_addresses", addresses),
        Scenario::plain("namespaces_and_volumes_are_shared", shared),
        Scenario::plain("the_files_of_a_project_are_found", found),
        Scenario::plain("up_is_ended_by_one_service", exit_code_from),
        Scenario::plain("health_is_looked_at_often_in_the_beginning", start_interval),
        Scenario::plain("volumes_change_hands", volumes),
    ]
}

const BOX: &str = "image: 'rootfs:/', init: true, command: sleep infinity";

fn environment(stage: &Stage) -> Verdict {
    super::build::base(stage)?;
    stage.file("Dockerfile", "FROM base\nENV A=image GONE=image\n")?;
    let service = |words: &str| {
        stage.file("compose.yaml", &format!("services: {{web: {{build: ., {words}}}}}\n"))
    };
    let said = |environment: &[(&str, &str)],
                words: &[&str]|
     -> Result<String, Box<dyn std::error::Error>> {
        let rest = ["web", "sh", "-c", "echo \"$A|${GONE-unset}\""];
        let mut command = stage.compose_command([&["run", "--rm", "-T"], words, &rest].concat());
        command.envs(environment.iter().copied());
        Ok(stage.run(command, None).success()?.stdout.trim().to_owned())
    };
    service("command: 'true'")?;
    assert_eq!(said(&[("A", "shell")], &[])?, "image|image", "the shell's own is not handed on");
    stage.file("e.env", "# of the file\nA=file # not this\n")?;
    service("env_file: e.env")?;
    assert_eq!(said(&[], &[])?, "file|image");
    service("env_file: e.env, environment: {A: written}")?;
    assert_eq!(said(&[], &[])?, "written|image");
    service("env_file: e.env, environment: {A: '${A:-none}'}")?;
    assert_eq!(said(&[("A", "shell")], &[])?, "shell|image");
    stage.file(".env", "# a comment\nA='of .env' # more\n")?;
    assert_eq!(said(&[], &[])?, "of .env|image");
    assert_eq!(said(&[("A", "shell")], &[])?, "shell|image", "the shell is before .env");
    assert_eq!(said(&[("A", "shell")], &["-e", "A=flag"])?, "flag|image");
    service("environment: [A, GONE]")?;
    assert_eq!(said(&[("A", "shell")], &[])?, "shell|unset", "handed on, or taken away");
    assert_eq!(said(&[("GONE", "shell")], &["-e", "GONE"])?, "of .env|shell");
    stage.file(".env", "\n")?;
    stage.file("sub/raw.env", "A='as it is' # all of it\n")?;
    service("env_file: [{path: sub/raw.env, format: raw}, {path: none.env, required: false}]")?;
    assert_eq!(said(&[], &[])?, "'as it is' # all of it|image");
    stage.file(
        "compose.yaml",
        "services: {web: {build: .}, other: {image: x, env_file: none.env, profiles: [off]}}\n",
    )?;
    assert_eq!(said(&[], &[])?, "image|image", "what is not used may be missing");
    stage.compose(["down"]).success()?;
    Ok(())
}

fn hooks(stage: &Stage) -> Verdict {
    fs::create_dir(stage.folder.join("out"))?;
    stage.file(
        "compose.yaml",
        "
services:
  web:
    image: 'rootfs:/'
    init: true
    command: sleep infinity
    environment: {WHO: service}
    volumes: ['./out:/out']
    post_start:
      - command: [sh, -c, 'echo started $$WHO $$PWD >> /out/log']
        environment: {WHO: hook}
        working_dir: /tmp
      - {command: [sh, -c, 'echo second $$(id -u) >> /out/log'], user: '1'}
    pre_stop:
      - command: [sh, -c, 'echo stopping >> /out/log']
  idle:
    image: 'rootfs:/'
    init: true
    command: sleep infinity
    volumes: ['./out:/out']
    pre_stop: [{command: [sh, -c, 'echo idle >> /out/log']}]
",
    )?;
    let out = stage.folder.join("out");
    // Whoever hooks run as may write here.
    let everybody = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    fs::set_permissions(&out, everybody)?;
    let log = || -> Result<String, Box<dyn std::error::Error>> {
        let text = fs::read_to_string(out.join("log")).unwrap_or_default();
        let _absent = fs::remove_file(out.join("log"));
        Ok(text)
    };
    let made = |text: String| -> Vec<String> { text.lines().map(str::to_owned).collect() };
    // The first writes a file of its own, which the second may not write to.
    stage.file("out/log", "")?;
    let writable = std::os::unix::fs::PermissionsExt::from_mode(0o666);
    fs::set_permissions(out.join("log"), writable)?;
    stage.compose(["up", "-d"]).success()?;
    assert_eq!(made(log()?), ["started hook /tmp", "second 1"]);
    stage.compose(["stop", "-t", "0", "web"]).success()?;
    assert_eq!(made(log()?), ["stopping"], "of that service only");
    stage.compose(["start"]).code(1)?.complains("hook")?;
    let _of_the_first = log()?;
    let renew = || -> Verdict {
        stage.file("out/log", "")?;
        let writable = std::os::unix::fs::PermissionsExt::from_mode(0o666);
        fs::set_permissions(out.join("log"), writable)?;
        Ok(())
    };
    renew()?;
    stage.compose(["restart", "-t", "0", "web"]).success()?;
    assert_eq!(made(log()?), ["stopping", "started hook /tmp", "second 1"]);
    stage.compose(["kill", "web"]).success()?;
    assert_eq!(made(log()?), [""; 0], "who is killed is not asked");
    renew()?;
    stage.compose(["run", "--rm", "-T", "web", "true"]).success()?;
    renew()?;
    stage.compose(["start"]).success()?;
    let _ = log()?;
    stage.compose(["down", "-t", "0"]).success()?;
    let mut lines = made(log()?);
    lines.sort();
    assert_eq!(lines, ["idle", "stopping"]);
    Ok(())
}

fn failing_hooks(stage: &Stage) -> Verdict {
    let write = |hooks: &str| {
        stage.file("compose.yaml", &format!("services: {{web: {{{BOX}, {hooks}}}}}\n"))
    };
    write("post_start: [{command: [sh, -c, 'echo no luck; exit 127']}]")?;
    let up = stage.compose(["up", "-d"]).code(1)?;
    up.complains("127")?.complains("no luck")?;
    stage.compose(["down", "-t", "0"]).success()?;
    write("pre_stop: [{command: [sh, -c, 'test -e /tmp/may']}]")?;
    stage.compose(["up", "-d"]).success()?;
    stage.compose(["stop", "-t", "0"]).code(1)?.complains("hook")?;
    assert_eq!(stage.field("web", "State")?, "running", "it was asked, and does not stop");
    stage.compose(["exec", "-T", "web", "touch", "/tmp/may"]).success()?;
    stage.compose(["down", "-t", "0"]).success()?;
    // One that has ended cannot be asked.
    write("pre_stop: [{command: 'false'}]")?;
    stage.compose(["up", "-d"]).success()?;
    stage.compose(["kill"]).success()?;
    stage.compose(["down", "-t", "0"]).success()?;
    Ok(())
}

fn profiles(stage: &Stage) -> Verdict {
    stage.file(
        "compose.yaml",
        &format!(
            "services:\n  always: {{{BOX}}}\n  debug: {{{BOX}, profiles: [dev], depends_on: [tool]}}\n  tool: {{{BOX}, profiles: [dev]}}\n  other: {{{BOX}, profiles: [else]}}\n"
        ),
    )?;
    let running = || -> Result<Vec<String>, Box<dyn std::error::Error>> {
        let listed = stage.compose(["--profile", "*", "ps", "--services"]).success()?.stdout;
        let mut services: Vec<String> = listed.lines().map(str::to_owned).collect();
        services.sort();
        Ok(services)
    };
    let down = || stage.compose(["--profile", "*", "down", "-t", "0"]).success();
    stage.compose(["up", "-d"]).success()?;
    assert_eq!(running()?, ["always"]);
    stage.compose(["--profile", "dev", "up", "-d"]).success()?;
    assert_eq!(running()?, ["always", "debug", "tool"]);
    // One whose profile is off is no orphan.
    let again = stage.compose(["up", "-d"]).success()?;
    assert!(!again.stderr.contains("orphan"), "{}", again.stderr);
    down()?;
    stage.compose(["up", "-d", "debug"]).success()?;
    assert_eq!(running()?, ["debug", "tool"], "who is named brings its profile along");
    down()?;
    stage.file(".env", "COMPOSE_PROFILES=else\n")?;
    stage.compose(["up", "-d"]).success()?;
    assert_eq!(running()?, ["always", "other"]);
    down()?;
    Ok(())
}

fn no_deps(stage: &Stage) -> Verdict {
    for sharing in ["network_mode: 'service:db'", "volumes_from: [db]", "ipc: 'service:db'"] {
        let db = format!("{BOX}, ipc: shareable");
        let file = format!("services:\n  db: {{{db}}}\n  web: {{{BOX}, {sharing}}}\n");
        stage.file("compose.yaml", &file)?;
        let refused = stage.compose(["up", "-d", "--no-deps", "web"]).code(1)?;
        refused.complains("shares with service db")?;
        assert!(stage.containers()?.is_empty());
        stage.compose(["up", "-d", "web"]).success()?;
        let db = stage.field("db", "ID")?;
        let web = stage.field("web", "ID")?;
        let words = ["up", "-d", "-t", "0", "--force-recreate", "--no-deps", "web"];
        stage.compose(words).success()?;
        assert_eq!(stage.field("db", "ID")?, db, "{sharing}");
        assert_ne!(stage.field("web", "ID")?, web, "{sharing}");
        stage.compose(["down", "-t", "0"]).success()?;
    }
    Ok(())
}

fn optional(stage: &Stage) -> Verdict {
    let write = |required: bool, condition: &str| {
        let depends =
            format!("depends_on: {{db: {{condition: {condition}, required: {required}}}}}");
        stage.file(
            "compose.yaml",
            &format!(
                "services:\n  db: {{image: 'rootfs:/', command: 'false', healthcheck: {{test: 'false', interval: 50ms, retries: 1}}}}\n  web: {{{BOX}, {depends}}}\n"
            ),
        )
    };
    for condition in ["service_completed_successfully", "service_healthy"] {
        write(true, condition)?;
        stage.compose(["up", "-d"]).code(1)?;
        assert_ne!(stage.field("web", "State")?, "running", "{condition}");
        stage.compose(["down", "-t", "0"]).success()?;
        write(false, condition)?;
        stage.compose(["up", "-d"]).success()?;
        assert_eq!(stage.field("web", "State")?, "running", "{condition}");
        stage.compose(["down", "-t", "0"]).success()?;
    }
    // What is not there at all does not matter either, to `run` as well.
    stage.file(
        "compose.yaml",
        &format!(
            "services:\n  db: {{{BOX}, profiles: [off]}}\n  web: {{{BOX}, depends_on: {{db: {{condition: service_started, required: false}}}}}}\n"
        ),
    )?;
    stage.compose(["run", "--rm", "-T", "web", "true"]).success()?;
    stage.compose(["up", "-d"]).success()?;
    assert_eq!(stage.containers()?.len(), 1);
    stage.compose(["down", "-t", "0"]).success()?;
    Ok(())
}

fn addresses(stage: &Stage) -> Verdict {
    let write = |subnet: &str| {
        stage.file(
            "compose.yaml",
            &format!(
                "
services:
  db: {{{BOX}, networks: {{back: {{ipv4_address: {subnet}.9, aliases: [store], mac_address: '02:42:ac:11:65:43'}}}}}}
  web: {{{BOX}, networks: [back], links: ['db:base', db]}}
networks:
  back: {{ipam: {{config: [{{subnet: {subnet}.0/24}}]}}}}
"
            ),
        )
    };
    write("10.78.1")?;
    stage.compose(["up", "-d"]).success()?;
    let ask = |name: &str| -> Result<String, Box<dyn std::error::Error>> {
        let line = format!("getent hosts {name}");
        Ok(stage.compose(["exec", "-T", "web", "sh", "-c", &line]).success()?.stdout)
    };
    for name in ["base", "db", "store"] {
        assert!(ask(name)?.starts_with("10.78.1.9 "), "{name}: {}", ask(name)?);
    }
    let link = stage.compose(["exec", "-T", "db", "sh", "-c", "cat /sys/class/net/eth0/address"]);
    link.success()?.says("02:42:ac:11:65:43")?;
    let before = stage.field("db", "ID")?;
    stage.compose(["up", "-d"]).success()?;
    assert_eq!(stage.field("db", "ID")?, before);
    // The network is made anew before a container has its new address checked.
    write("10.78.2")?;
    stage.compose(["up", "-d"]).success()?;
    assert!(ask("db")?.starts_with("10.78.2.9 "), "{}", ask("db")?);
    stage.compose(["down", "-t", "0"]).success()?;
    Ok(())
}

fn shared(stage: &Stage) -> Verdict {
    stage.file(
        "compose.yaml",
        &format!(
            "
services:
  owner: {{{BOX}, ipc: shareable, volumes: ['data:/data', '/anonymous']}}
  user: {{{BOX}, ipc: 'service:owner', pid: 'service:owner', network_mode: 'service:owner', volumes_from: ['owner:ro']}}
  host: {{{BOX}, ipc: host}}
  alone: {{{BOX}}}
volumes: {{data: }}
"
        ),
    )?;
    stage.compose(["up", "-d"]).success()?;
    let space = |service: &str, kind: &str| -> Result<String, Box<dyn std::error::Error>> {
        let words = ["exec", "-T", service, "readlink", &format!("/proc/self/ns/{kind}")];
        Ok(stage.compose(words).success()?.stdout)
    };
    for kind in ["ipc", "pid", "net"] {
        assert_eq!(space("owner", kind)?, space("user", kind)?, "{kind}");
        assert_ne!(space("owner", kind)?, space("alone", kind)?, "{kind}");
    }
    // Memory is shared by files.
    let share = ["exec", "-T", "owner", "sh", "-c", "echo shared > /dev/shm/x"];
    stage.compose(share).success()?;
    stage.compose(["exec", "-T", "user", "cat", "/dev/shm/x"]).success()?.says("shared")?;
    let look = ["exec", "-T", "alone", "sh", "-c", "ls /dev/shm"];
    assert_eq!(stage.compose(look).success()?.stdout, "");
    let host = fs::read_link("/proc/self/ns/ipc")?.to_string_lossy().into_owned();
    assert_eq!(space("host", "ipc")?.trim(), host);
    stage
        .compose(["exec", "-T", "owner", "sh", "-c", "echo x > /data/x; echo y > /anonymous/y"])
        .success()?;
    stage
        .compose(["exec", "-T", "user", "cat", "/data/x", "/anonymous/y"])
        .success()?
        .says("x\ny")?;
    let written = stage.compose(["exec", "-T", "user", "sh", "-c", "echo z > /data/z"]);
    assert!(written.success().is_err(), "it may only read them");
    stage.compose(["down", "-t", "0", "-v"]).success()?;
    Ok(())
}

fn found(stage: &Stage) -> Verdict {
    let one = |name: &str| format!("services: {{{name}: {{{BOX}}}}}\n");
    stage.file("compose.yaml", &one("main"))?;
    stage.file("compose.override.yaml", &one("over"))?;
    stage.file("other.yaml", &one("other"))?;
    let services = |folder: &str, words: &[&str]| -> Result<String, Box<dyn std::error::Error>> {
        let mut command = stage.compose_command([words, &["config", "--services"]].concat());
        command.current_dir(stage.folder.join(folder));
        Ok(stage
            .run(command, None)
            .success()?
            .stdout
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" "))
    };
    fs::create_dir_all(stage.folder.join("deep/deeper"))?;
    assert_eq!(services("", &[])?, "main over");
    assert_eq!(services("deep/deeper", &[])?, "main over", "in a folder above");
    assert_eq!(services("", &["-f", "compose.yaml"])?, "main");
    stage.file(".env", "COMPOSE_FILE=other.yaml\n")?;
    assert_eq!(services("", &[])?, "other");
    stage.file("set.env", "COMPOSE_FILE=compose.yaml\n")?;
    assert_eq!(services("", &["--env-file", "set.env"])?, "main");
    stage.file("elsewhere/.env", "COMPOSE_FILE=../elsewhere/here.yaml\n")?;
    stage.file("elsewhere/here.yaml", &one("here"))?;
    assert_eq!(services("deep", &["--project-directory", "../elsewhere"])?, "here");
    Ok(())
}

fn exit_code_from(stage: &Stage) -> Verdict {
    stage.file(
        "compose.yaml",
        "
services:
  fails: {image: 'rootfs:/', command: [sh, -c, 'echo to-out; echo to-err >&2; exit 7']}
  stays: {image: 'rootfs:/', init: true, command: sleep infinity}
",
    )?;
    let up = stage.compose(["up", "--exit-code-from", "fails"]).code(7)?;
    assert!(up.stdout.contains("to-out") && !up.stdout.contains("to-err"), "{}", up.stdout);
    assert!(up.stderr.contains("to-err") && !up.stderr.contains("to-out"), "{}", up.stderr);
    stage.compose(["up", "--exit-code-from", "stays"]).code(143)?;
    stage.compose(["down", "-t", "0"]).success()?;
    Ok(())
}

fn start_interval(stage: &Stage) -> Verdict {
    stage.file(
        "compose.yaml",
        "
services:
  web:
    image: 'rootfs:/'
    init: true
    command: [sh, -c, 'while [ ! -e /tmp/go ]; do sleep 0.05; done; touch /tmp/ready; exec sleep infinity']
    healthcheck: {test: test -e /tmp/ready, interval: 1h, start_period: 1h, start_interval: 100ms}
",
    )?;
    stage.compose(["up", "-d"]).success()?;
    stage.compose(["exec", "-T", "web", "touch", "/tmp/go"]).success()?;
    // After an hour, if it were only the usual interval.
    eventually(Duration::from_secs(30), || match stage.field("web", "Health")? {
        health if health == "healthy" => Ok(()),
        health => Err(health.into()),
    })?;
    stage.compose(["up", "-d", "--wait"]).success()?;
    stage.compose(["down", "-t", "0"]).success()?;
    Ok(())
}

fn volumes(stage: &Stage) -> Verdict {
    let write = |volume: &str| {
        stage.file(
            "compose.yaml",
            &format!(
                "services: {{web: {{{BOX}, volumes: ['data:/data', './here:/here']}}}}\nvolumes: {{data: {volume}}}\n"
            ),
        )
    };
    fs::create_dir(stage.folder.join("here"))?;
    stage.file("here/one", "1\n")?;
    write("{}")?;
    stage.compose(["up", "-d"]).success()?;
    let own = stage.field("web", "ID")?;
    // What is in a folder of the host is no part of what was asked for.
    stage.file("here/two", "2\n")?;
    stage.compose(["up", "-d"]).success()?;
    assert_eq!(stage.field("web", "ID")?, own);
    stage.compose(["exec", "-T", "web", "cat", "/here/two"]).success()?.says("2")?;
    let name = format!("{}-elsewhere", stage.project);
    write(&format!("{{external: true, name: {name}}}"))?;
    stage.compose(["up", "-d"]).code(1)?.complains(&name)?;
    assert_eq!(stage.field("web", "State")?, "running", "nothing has changed");
    stage.compose(["volume", "create", &name]).success()?;
    stage.compose(["up", "-d", "-t", "0"]).success()?;
    assert_ne!(stage.field("web", "ID")?, own);
    let listed = stage.compose(["volume", "ls", "-q"]).success()?.stdout;
    assert_eq!(listed.lines().count(), 2, "the one before stays: {listed}");
    stage.compose(["down", "-t", "0", "-v"]).success()?;
    stage.compose(["volume", "inspect", &name]).success()?;
    stage.compose(["volume", "prune", "-af"]).success()?;
    Ok(())
}
