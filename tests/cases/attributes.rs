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
        Scenario::plain("the_content_of_an_image_can_be_mounted", image_mounts),
        Scenario::plain("devices_come_by_the_name_that_their_vendor_gives", cdi),
        Scenario::plain("a_container_lies_below_the_control_group_that_is_named", cgroup_parent),
        Scenario::plain("services_are_told_where_their_models_are", models),
        Scenario::plain("a_provider_stands_in_for_containers", provider),
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

pub(super) fn launch_of(
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
    let starts = || -> Result<[usize; 3], Box<dyn std::error::Error>> {
        let words = ["events", "--json", "--since", "1h", "--until", "0s"];
        let events = stage.compose(words).success()?.stdout;
        Ok(["ends", "waits", "rests"].map(|service| {
            let of_service = |line: &&str| {
                line.contains(&format!("\"service\":\"{service}\"")) && line.contains("\"start\"")
            };
            events.lines().filter(of_service).count()
        }))
    };
    // A container whose end is not yet seen to has exited as well: the starts say whether it was the last time.
    eventually(Duration::from_secs(60), || {
        let states = [
            stage.field("ends", "State")?,
            stage.field("waits", "State")?,
            stage.field("rests", "State")?,
        ];
        match (starts()?, states) {
            ([4, 1, 1], states) if states == ["exited", "restarting", "exited"] => Ok(()),
            others => Err(format!("{others:?}").into()),
        }
    })?;
    stage.compose(["stop"]).success()?;
    assert_eq!(starts()?, [4, 1, 1]);
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

fn image_mounts(stage: &Stage) -> Verdict {
    let root = stage.folder.join("data");
    fs::create_dir_all(root.join("deep/er"))?;
    fs::write(root.join("deep/er/file"), "from the image")?;
    let text = "
services:
  box:
    image: rootfs:/
    command: sleep infinity
    volumes:
      - {type: image, source: 'rootfs:ROOT', target: /mnt/whole}
      - {type: image, source: 'rootfs:ROOT', target: /mnt/part, image: {subpath: deep/er}}
      - {type: image, source: 'rootfs:ROOT', target: /mnt/file, image: {subpath: deep/er/file}}
      - {type: image, source: other, target: /mnt/service, image: {subpath: usr}}
  other: {image: 'rootfs:/', command: 'true'}
";
    stage.file("compose.yaml", &text.replace("ROOT", &root.to_string_lossy()))?;
    stage.compose(["up", "-d"]).success()?;
    let inside = |line: &str| stage.compose(["exec", "-T", "box", "sh", "-c", line]);
    for path in ["/mnt/whole/deep/er/file", "/mnt/part/file", "/mnt/file"] {
        inside(&format!("cat {path}")).success()?.says("from the image")?;
    }
    inside("ls /mnt/service/bin/env").success()?;
    inside("touch /mnt/whole/new").code(1)?.complains("Read-only file system")?;
    inside("echo x > /mnt/file").code(2)?.complains("Read-only file system")?;
    stage.compose(["restart", "-t", "0", "box"]).success()?;
    inside("cat /mnt/part/file").success()?.says("from the image")?;
    stage.file(
        "compose.yaml",
        &text.replace("ROOT", &root.to_string_lossy()).replace("er/file}", "no}"),
    )?;
    stage.compose(["up", "-d"]).code(1)?.complains("deep/no of the image")?;
    stage.compose(["down", "-t", "0"]).success()?;
    Ok(())
}

const VENDOR: &str = r#"
cdiVersion: 0.6.0
kind: acme.com/gpu
containerEdits:
  env: [ACME=all]
  mounts: [{hostPath: HOME/lib, containerPath: /usr/lib/acme, options: [ro, rbind]}]
  hooks:
    - hookName: createContainer
      path: /bin/sh
      args: [sh, -c, 'root=$(sed -n "s/.*bundle...\([^\"]*\).*/\1/p")/rootfs; ls $root/dev > $root/etc/acme; echo $WHO >> $root/etc/acme']
      env: [WHO=acme, PATH=/usr/bin:/bin]
devices:
  - {name: one, containerEdits: {deviceNodes: [{path: /dev/acme1, hostPath: /dev/null, permissions: rw, fileMode: 432, uid: 7, gid: 8}]}}
  - {name: two, containerEdits: {deviceNodes: [{path: /dev/acme2, hostPath: /dev/zero}], additionalGids: [4242]}}
"#;

fn cdi(stage: &Stage) -> Verdict {
    let flags = rustix::mount::MountFlags::empty();
    rustix::mount::mount("tmpfs", "/run", "tmpfs", flags, None::<&std::ffi::CStr>)?;
    fs::create_dir_all("/run/cdi")?;
    stage.file("lib/libacme.so", "library")?;
    fs::write("/run/cdi/acme.yaml", VENDOR.replace("HOME", &stage.folder.to_string_lossy()))?;
    let text = "
services:
  named: {image: 'rootfs:/', command: sleep infinity, devices: ['acme.com/gpu=one']}
  all: {image: 'rootfs:/', command: sleep infinity, gpus: all}
  reserved:
    image: rootfs:/
    command: sleep infinity
    deploy: {resources: {reservations: {devices: [{capabilities: [gpu], device_ids: [two]}]}}}
";
    stage.file("compose.yaml", text)?;
    let up = stage.compose(["up", "-d"]).success()?;
    assert!(!up.stderr.contains("warning"), "{}", up.stderr);
    let inside =
        |service: &str, line: &str| stage.compose(["exec", "-T", service, "sh", "-c", line]);
    let said = inside("named", "stat -c '%u %g %a' /dev/acme1; ls /dev | grep acme; echo x > /dev/acme1; echo $ACME; cat /usr/lib/acme/libacme.so; grep acme /etc/acme").success()?.stdout;
    assert_eq!(said, "7 8 660\nacme1\nall\nlibraryacme1\nacme\n");
    let said = inside("all", "ls /dev | grep acme; head -c 3 /dev/acme2 | od -An -c; id -G")
        .success()?
        .stdout;
    assert!(said.starts_with("acme1\nacme2\n  \\0  \\0  \\0\n"), "{said}");
    assert!(said.contains("4242"), "{said}");
    let said = inside("reserved", "ls /dev | grep acme").success()?.stdout;
    assert_eq!(said, "acme2\n");
    stage.compose(["down", "-t", "0"]).success()?;
    stage.file("compose.yaml", &text.replace("gpu=one", "gpu=three"))?;
    let up = stage.compose(["up", "-d"]).code(1)?;
    up.complains("there is no device acme.com/gpu=three in /etc/cdi and /var/run/cdi")?;
    stage.compose(["down", "-t", "0"]).success()?;
    rustix::mount::unmount("/run", rustix::mount::UnmountFlags::DETACH)?;
    Ok(())
}

fn cgroup_parent(stage: &Stage) -> Verdict {
    let parent = format!("of-{}", stage.project);
    let write = |parent: &str| {
        stage.file(
            "compose.yaml",
            &format!(
                "services: {{box: {{image: 'rootfs:/', init: true, command: sleep infinity, cgroup_parent: {parent}}}}}\n"
            ),
        )
    };
    write("../up")?;
    stage.compose(["up", "-d"]).code(1)?.complains("cgroup_parent")?;
    write(&format!("/{parent}/inner"))?;
    stage.compose(["up", "-d"]).success()?;
    let top = format!("/{parent}/inner/compose/{}/", stage.project);
    let groups = || -> Result<String, Box<dyn std::error::Error>> {
        let listed = stage.compose(["top"]).success()?.stdout;
        let row = listed.lines().find(|line| line.contains("sleep")).ok_or("it does not run")?;
        let pid = row.split_whitespace().find(|word| word.parse::<u32>().is_ok_and(|pid| pid > 1));
        Ok(fs::read_to_string(format!("/proc/{}/cgroup", pid.ok_or("no pid")?))?)
    };
    let seen = groups()?;
    assert!(seen.contains(&top), "{top} is not in\n{seen}");
    stage.compose(["restart", "-t", "0"]).success()?;
    let seen = groups()?;
    assert!(seen.contains(&top), "{top} is not in\n{seen}");
    stage.compose(["down", "-t", "0"]).success()?;
    // Somebody may have set its limits: it is his to remove.
    let mut stayed = 0;
    let tops = fs::read_dir("/sys/fs/cgroup")?.flatten().map(|one| one.path());
    for top in tops.chain(["/sys/fs/cgroup".into()]).filter(|top| !top.is_symlink()) {
        let group = top.join(&parent);
        if group.is_dir() {
            fs::remove_dir(group.join("inner"))?;
            fs::remove_dir(group)?;
            stayed += 1;
        }
    }
    assert!(stayed > 0);
    Ok(())
}

fn models(stage: &Stage) -> Verdict {
    stage.file(
        "compose.yaml",
        "
models:
  small-llm: {model: ai/small, context_size: 4096}
services:
  web:
    image: rootfs:/
    command: [sh, -c, 'echo $$SMALL_LLM_URL $$SMALL_LLM_MODEL']
    models: [small-llm]
",
    )?;
    stage.compose(["up"]).code(1)?.complains("COMPOSE_MODEL_RUNNER")?;
    stage.file(".env", "COMPOSE_MODEL_RUNNER=http://ai.internal:11434/v1\n")?;
    let up = stage.compose(["up", "--no-log-prefix"]).success()?;
    up.says("http://ai.internal:11434/v1 ai/small")?.complains("`context_size` of the model")?;
    stage.compose(["down"]).success()?;
    Ok(())
}

const PROVIDER: &str = r#"#!/bin/sh
[ "$2" = metadata ] && { echo '{"up": {"parameters": [{"name": "size", "required": true}]}, "stop": {"parameters": []}}'; exit 0; }
echo "$@" >> HOME/asked
case "$3" in
up)
  echo '{"type": "info", "message": "on its way"}'
  echo '{"type": "setenv", "message": "URL=https://cloud/'$TOKEN'"}'
  echo '{"type": "rawsetenv", "message": "RAW=yes"}'
  [ -e HOME/broken ] && echo '{"type": "error", "message": "out of luck"}'
  ;;
esac
exit 0
"#;

fn provider(stage: &Stage) -> Verdict {
    use std::os::unix::fs::PermissionsExt;
    stage.file("cloud", &PROVIDER.replace("HOME", &stage.folder.to_string_lossy()))?;
    fs::set_permissions(stage.folder.join("cloud"), fs::Permissions::from_mode(0o755))?;
    stage.file(
        "compose.yaml",
        "
services:
  db:
    provider: {type: cloud, options: {size: [1, 2], other: x}}
  web:
    image: rootfs:/
    command: sleep infinity
    environment: {RAW: 'no'}
    depends_on: [db]
  alone: {image: 'rootfs:/', command: sleep infinity}
",
    )?;
    let compose = |words: &[&str]| {
        let mut command = stage.compose_command(words);
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{}:{path}", stage.folder.display())).env("TOKEN", "t1");
        stage.run(command, None)
    };
    let asked = || fs::read_to_string(stage.folder.join("asked"));
    let project = &stage.project;
    compose(&["-f", "compose.yaml", "up", "-d"]).success()?.complains("on its way")?;
    assert_eq!(asked()?, format!("compose --project-name={project} up --size=1 --size=2 db\n"));
    let env = |service| stage.compose(["exec", "-T", service, "sh", "-c", "echo $DB_URL $RAW"]);
    env("web").success()?.says("https://cloud/t1 yes")?;
    assert_eq!(env("alone").success()?.stdout.trim(), "");
    let id = stage.field("web", "ID")?;
    compose(&["-f", "compose.yaml", "up", "-d"]).success()?;
    assert_eq!(stage.field("web", "ID")?, id, "the same variables are no change");
    // Plans ask nobody, and know what was said.
    let before = asked()?;
    stage.compose(["plan"]).success()?.says("ask the provider of db\nnothing to do")?;
    stage.compose(["plan", "-o", "saved"]).code(1)?.complains("comes from a provider")?;
    let planned = stage.compose(["--dry-run", "up", "-d"]).success()?;
    planned.says("DRY-RUN MODE - ask the provider of db\nDRY-RUN MODE - nothing to do")?;
    assert_eq!(asked()?, before);
    let words = ["run", "--rm", "-T", "-e", "RAW=mine", "web", "sh", "-c", "echo $DB_URL $RAW"];
    compose(&words).success()?.says("https://cloud/t1 mine")?;
    compose(&["-f", "compose.yaml", "stop", "-t", "0"]).success()?;
    assert!(
        asked()?.ends_with(&format!(
            "compose --project-name={project} stop --other=x --size=1 --size=2 db\n"
        )),
        "{}",
        asked()?
    );
    stage.file("broken", "")?;
    compose(&["-f", "compose.yaml", "up", "-d"]).code(1)?.complains("out of luck")?;
    compose(&["-f", "compose.yaml", "down", "-t", "0"]).success()?;
    let last = asked()?;
    assert!(last.lines().last().is_some_and(|line| line.contains(" down ")), "{last}");
    stage.compose(["-f", "compose.yaml", "up", "-d"]).code(1)?.complains("no `cloud` in PATH")?;
    stage.check_nothing_left()
}
