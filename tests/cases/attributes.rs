//! Attributes of a service that docker compose reads and does not carry out, or only in part.

use std::fs;
use std::time::Duration;

use scenarios::{Stage, Verdict, eventually};

use crate::Scenario;

pub(super) fn all() -> Vec<Scenario> {
    vec![
        Scenario::plain("secrets_and_configs_have_owners_and_permissions", grants),
        Scenario::plain("the_restart_policy_of_deploy_is_obeyed", restart_policy),
        Scenario::plain("pre_start_hooks_run_before_a_service", pre_start),
        Scenario::plain("a_pre_start_hook_that_fails_is_kept", failing_pre_start),
    ]
}

fn grants(stage: &Stage) -> Verdict {
    stage.file("of-host", "of the host\n")?;
    stage.file(
        "compose.yaml",
        "
services:
  box:
    image: rootfs:/
    command: sleep infinity
    user: '1234:1235'
    read_only: true
    annotations: {org.example.owner: team-7}
    secrets:
      - source: host
        target: plain
      - {source: host, uid: '7', gid: '8', mode: 0440}
      - {source: variable, mode: 0400}
    configs:
      - {source: text, target: /etc/deep/er.conf, gid: '9', mode: 0640}
secrets:
  host: {file: of-host}
  variable: {environment: TOKEN}
configs:
  text: {content: of the file}
",
    )?;
    let up = |words: &[&str]| {
        let mut command = stage.compose_command(words);
        command.env("TOKEN", "hunter2");
        stage.run(command, None)
    };
    up(&["up", "-d"]).success()?;
    let files = "/run/secrets/plain /run/secrets/host /run/secrets/variable /etc/deep/er.conf";
    let look = format!("stat -c '%u:%g %a %s' {files}; id -u; cat /run/secrets/variable");
    let inside = |line: &str| stage.compose(["exec", "-T", "box", "sh", "-c", line]);
    let host = fs::metadata(stage.folder.join("of-host"))?;
    assert_eq!(host.len(), 12);
    let expected = "7:8 440 12\n1234:1235 400 7\n1234:9 640 11\n1234\nhunter2";
    let said = inside(&look).success()?.stdout;
    assert_eq!(said.split_once('\n').map(|(_, rest)| rest), Some(expected));
    // What nothing is said of is the file itself.
    stage.file("of-host", "written anew, and longer\n")?;
    inside("cat /run/secrets/plain").success()?.says("written anew")?;
    inside("mount | grep -E ' /run/secrets/variable .*tmpfs.*ro[,)]'").success()?;
    let again =
        stage.compose(["exec", "-T", "-u", "0", "box", "sh", "-c", "echo > /run/secrets/variable"]);
    again.code(2)?.complains("Read-only file system")?;
    // Made anew at each start, from what was said when the container was made.
    stage.compose(["restart", "-t", "0"]).success()?;
    inside(&look).success()?.says("1234:1235 400 7")?.says("7:8 440 25")?;
    // A changed owner is a change.
    let text = fs::read_to_string(stage.folder.join("compose.yaml"))?;
    stage.file("compose.yaml", &text.replace("uid: '7'", "uid: '77'"))?;
    up(&["up", "-d"]).success()?;
    inside(&look).success()?.says("77:8 440 25")?;
    let launch = fs::read_to_string(launch_of(stage, "box")?)?;
    assert!(launch.contains(r#""annotations":{"org.example.owner":"team-7"}"#), "{launch}");
    stage.compose(["down", "-t", "0"]).success()?;
    Ok(())
}

fn launch_of(
    stage: &Stage,
    service: &str,
) -> Result<std::path::PathBuf, Box<dyn std::error::Error>> {
    let id = stage.field(service, "ID")?;
    let containers = stage.roots.join("data/projects").join(&stage.project).join("containers");
    let folders = fs::read_dir(containers)?.flatten().map(|entry| entry.path());
    let found = folders.into_iter().find(|path| path.to_string_lossy().contains(&id));
    Ok(found.ok_or("no folder of the container")?.join("launch.json"))
}

fn restart_policy(stage: &Stage) -> Verdict {
    stage.file(
        "compose.yaml",
        "
services:
  ends:
    image: rootfs:/
    command: 'true'
    deploy: {restart_policy: {condition: any, delay: 10ms, max_attempts: 3}}
  waits:
    image: rootfs:/
    command: 'false'
    deploy: {restart_policy: {condition: on-failure, delay: 1h}}
  rests:
    image: rootfs:/
    command: 'true'
    deploy: {restart_policy: {condition: on-failure, delay: 10ms}}
",
    )?;
    let up = stage.compose(["up", "-d"]).success()?;
    assert!(!up.stderr.contains("not carried out"), "{}", up.stderr);
    eventually(Duration::from_secs(30), || {
        let states = [
            stage.field("ends", "State")?,
            stage.field("waits", "State")?,
            stage.field("rests", "State")?,
        ];
        if states == ["exited", "restarting", "exited"] {
            Ok(())
        } else {
            Err(format!("{states:?}").into())
        }
    })?;
    let events =
        stage.compose(["events", "--json", "--since", "1h", "--until", "0s"]).success()?.stdout;
    let starts = |service: &str| {
        let of_service = |line: &&str| {
            line.contains(&format!("\"service\":\"{service}\"")) && line.contains("\"start\"")
        };
        events.lines().filter(of_service).count()
    };
    assert_eq!((starts("ends"), starts("waits"), starts("rests")), (4, 1, 1), "{events}");
    stage.compose(["down"]).success()?;
    Ok(())
}

const HOOKED: &str = "
services:
  web:
    image: rootfs:/
    command: sleep infinity
    scale: 2
    environment: {WHO: web, LEFT: alone}
    volumes: [data:/mnt]
    pre_start:
      - command: [sh, -c, 'id -u >> /mnt/log; echo $$WHO $$LEFT $$PWD >> /mnt/log']
        user: '0:0'
        working_dir: /usr
        environment: {WHO: hook}
      - command: [sh, -c, 'sleep 0.2; echo each >> /mnt/log']
        per_replica: true
  after:
    image: rootfs:/
    command: [sh, -c, 'cat /mnt/log; exec sleep infinity']
    depends_on: [web]
    volumes: [data:/mnt]
volumes: {data: {}}
";

fn pre_start(stage: &Stage) -> Verdict {
    stage.file("compose.yaml", HOOKED)?;
    let log = || -> Result<String, Box<dyn std::error::Error>> {
        Ok(stage.compose(["exec", "-T", "after", "cat", "/mnt/log"]).success()?.stdout)
    };
    let once = "0\nhook alone /usr\neach\neach\n";
    stage.compose(["up", "-d"]).success()?.complains("pre_start")?;
    assert_eq!(log()?, once);
    assert_eq!(stage.containers()?.len(), 3, "hooks that end well leave nothing");
    // Those that run need none.
    stage.compose(["up", "-d"]).success()?;
    assert_eq!(log()?, once);
    stage.compose(["up", "-d", "--scale", "web=3"]).success()?;
    assert_eq!(log()?, format!("{once}each\n"));
    stage.compose(["up", "-d", "--force-recreate", "web"]).success()?;
    assert_eq!(log()?.matches("hook").count(), 2);
    stage.compose(["stop", "-t", "0", "web"]).success()?;
    stage.compose(["-f", "compose.yaml", "start", "web"]).success()?;
    assert_eq!(log()?.matches("hook").count(), 3);
    // A container of `run` is not one of the service.
    stage.compose(["run", "--rm", "-T", "--no-deps", "web", "true"]).success()?;
    assert_eq!(log()?.matches("hook").count(), 3);
    stage.compose(["down", "-t", "0", "-v"]).success()?;
    Ok(())
}

fn failing_pre_start(stage: &Stage) -> Verdict {
    let text = "
services:
  web:
    image: rootfs:/
    command: sleep infinity
    pre_start:
      - command: [sh, -c, 'echo no such luck >&2; exit 3']
";
    stage.file("compose.yaml", text)?;
    let up = stage.compose(["up", "-d"]).code(1)?;
    up.complains("pre_start hook 1 exited with status 3: no such luck")?
        .complains("compose.yaml:6")?;
    assert_eq!(stage.field("web", "State")?, "created", "it has not started");
    let kept = format!("{}-web-1-pre_start-1", stage.project);
    let found = |name: &str| -> Result<bool, Box<dyn std::error::Error>> {
        Ok(stage.containers()?.iter().any(|one| one["Name"] == name))
    };
    assert!(found(&kept)?);
    // The next one begins again, and takes the old one away.
    stage.file("compose.yaml", &text.replace("exit 3", "exit 0"))?;
    stage.compose(["up", "-d"]).success()?;
    assert!(!found(&kept)?);
    assert_eq!(stage.field("web", "State")?, "running");
    stage.file("compose.yaml", &text.replace("exit 3", "exit 4"))?;
    stage.compose(["up", "-d"]).code(1)?;
    assert!(found(&kept)?);
    stage.compose(["down", "-t", "0"]).success()?;
    stage.check_nothing_left()
}
