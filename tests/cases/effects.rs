//! Attributes and flags that no other scenario has in its story: each has an effect that is gone when it is not obeyed.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use scenarios::{Need, Stage, Verdict, eventually};

use super::build::base;
use super::watch::{begin, end};
use crate::Scenario;

pub(super) fn all() -> Vec<Scenario> {
    vec![
        Scenario::plain("hooks_have_the_user_the_place_and_the_rights_that_they_are_given", hooks),
        Scenario::plain("a_part_of_a_volume_is_mounted", subpath),
        Scenario::plain("a_container_is_found_by_the_name_of_an_external_link", external_links),
        Scenario::plain("a_server_of_names_may_have_port_53", expose),
        Scenario::plain("labels_come_from_a_file", label_file),
        Scenario::plain("a_secret_of_a_build_has_another_name", build_secret),
        Scenario::plain("what_watch_executes_is_as_it_is_told", watch_exec),
        Scenario::plain("what_is_external_is_looked_for_by_its_name", external_names),
        Scenario::plain("there_is_no_store_of_secrets_and_configs", no_store),
        Scenario::plain("a_graph_shows_networks_and_ports", graph),
        Scenario::needing(
            "commit_pauses_the_container_unless_told_not_to",
            &[Need::Root, Need::Trace],
            commit,
        ),
    ]
}

/// A service that sleeps, with more words.
fn box_with(words: &str) -> String {
    format!("{{image: 'rootfs:/', init: true, command: sleep infinity, {words}}}")
}

fn hooks(stage: &Stage) -> Verdict {
    fs::create_dir(stage.folder.join("out"))?;
    let rights = "{command: [sh, -c, 'grep CapEff /proc/self/status >> /out/log']";
    let who = "{command: [sh, -c, 'echo $$(id -u) $$PWD $$WHO >> /out/log'], user: '1', working_dir: /tmp, environment: {WHO: hook}}";
    let words = format!(
        "volumes: ['./out:/out'], environment: {{WHO: service}}, \
         post_start: [{rights}}}, {rights}, privileged: true}}], \
         pre_stop: [{rights}}}, {rights}, privileged: true}}, {who}]"
    );
    stage.file("compose.yaml", &format!("services: {{web: {}}}\n", box_with(&words)))?;
    stage.file("out/log", "")?;
    fs::set_permissions(stage.folder.join("out/log"), fs::Permissions::from_mode(0o666))?;
    stage.compose(["up", "-d"]).success()?;
    stage.compose(["stop", "-t", "0"]).success()?;
    let log = fs::read_to_string(stage.folder.join("out/log"))?;
    let lines: Vec<&str> = log.lines().collect();
    let [plain, privileged, plain_too, privileged_too, who] = lines[..] else {
        return Err(format!("five lines are expected: {log}").into());
    };
    let rights = |line: &str| {
        let digits = line.split_whitespace().last().unwrap_or_default();
        u64::from_str_radix(digits, 16).map_err(|error| format!("{line}: {error}"))
    };
    assert_eq!(rights(plain)?, 0xa804_25fb);
    assert!(rights(privileged)?.count_ones() > rights(plain)?.count_ones(), "{log}");
    assert_eq!((plain_too, privileged_too), (plain, privileged));
    assert_eq!(who, "1 /tmp hook");
    stage.compose(["down"]).success()?;
    Ok(())
}

fn subpath(stage: &Stage) -> Verdict {
    stage.file(
        "compose.yaml",
        "
services:
  fill: {image: 'rootfs:/', volumes: ['data:/data'], command: sh -c 'mkdir -p /data/a/b; echo inner > /data/a/b/file'}
  part:
    image: rootfs:/
    volumes: [{type: volume, source: data, target: /part, volume: {subpath: a/b}}]
    command: cat /part/file
volumes: {data: {}}
",
    )?;
    stage.compose(["run", "--rm", "-T", "fill"]).success()?;
    stage.compose(["run", "--rm", "-T", "part"]).success()?.says("inner")?;
    stage.compose(["down", "--volumes"]).success()?;
    Ok(())
}

fn external_links(stage: &Stage) -> Verdict {
    let write = |links: &str| {
        let web = box_with(&format!("depends_on: [db]{links}"));
        stage.file("compose.yaml", &format!("services:\n  db: {}\n  web: {web}\n", box_with("")))
    };
    let found = || stage.compose(["exec", "-T", "web", "getent", "hosts", "friend"]);
    write("")?;
    stage.compose(["up", "-d"]).success()?;
    assert!(!found().status.success(), "nobody has said the name");
    write(&format!(", external_links: ['{}-db-1:friend']", stage.project))?;
    stage.compose(["up", "-d"]).success()?;
    let friend = found().success()?.stdout;
    let db = stage.compose(["exec", "-T", "web", "getent", "hosts", "db"]).success()?.stdout;
    let address = |line: &str| line.split_whitespace().next().map(str::to_owned);
    assert_eq!(address(&friend), address(&db));
    stage.compose(["down", "-t", "0"]).success()?;
    Ok(())
}

fn expose(stage: &Stage) -> Verdict {
    let bind =
        "python3 -c 'import socket; s = socket.socket(type=socket.SOCK_DGRAM); s.bind((\"\", 53))'";
    for (words, code) in [("expose: ['53']", "0"), ("expose: ['54']", "1")] {
        let service =
            format!("{{image: 'rootfs:/', {words}, command: \"{}\"}}", bind.replace('"', "\\\""));
        stage.file("compose.yaml", &format!("services: {{web: {service}}}\n"))?;
        stage.compose(["up", "-d"]).success()?;
        eventually(Duration::from_secs(30), || match stage.field("web", "State")?.as_str() {
            "exited" => Ok(()),
            other => Err(other.into()),
        })?;
        assert_eq!(stage.field("web", "ExitCode")?, code, "{words}");
        stage.compose(["down"]).success()?;
    }
    Ok(())
}

fn label_file(stage: &Stage) -> Verdict {
    stage.file("labels", "org.example.from=the file\norg.example.both=the file\n")?;
    let words = "label_file: labels, labels: {org.example.both: the service}";
    stage.file("compose.yaml", &format!("services: {{web: {}}}\n", box_with(words)))?;
    stage.compose(["create"]).success()?;
    let labels = stage.field("web", "Labels")?;
    assert!(labels.contains("org.example.from=the file"), "{labels}");
    assert!(labels.contains("org.example.both=the service"), "{labels}");
    stage.compose(["down"]).success()?;
    Ok(())
}

fn build_secret(stage: &Stage) -> Verdict {
    base(stage)?;
    stage.file("word", "swordfish")?;
    stage.file(
        "compose.yaml",
        "
services:
  web:
    build:
      dockerfile_inline: |
        FROM base
        RUN --mount=type=secret,id=other cat /run/secrets/other > /said
      secrets: [{source: word, target: other}]
    command: cat /said
secrets: {word: {file: word}}
",
    )?;
    stage.compose(["build"]).success()?;
    stage.compose(["run", "--rm", "-T", "web"]).success()?.says("swordfish")?;
    stage.compose(["down"]).success()?;
    Ok(())
}

fn watch_exec(stage: &Stage) -> Verdict {
    base(stage)?;
    stage.file("data/in", "")?;
    stage.file(
        "compose.yaml",
        "
services:
  web:
    image: base
    command: sleep 600
    stop_grace_period: 0s
    environment: {WHO: service}
    tmpfs: ['/out:mode=1777']
    develop:
      watch:
        - action: sync+exec
          path: data
          target: /data
          exec:
            command: [sh, -c, 'echo $$(id -u) $$PWD $$WHO > /out/next && busybox grep CapBnd /proc/self/status >> /out/next && busybox mv /out/next /out/said']
            user: '1'
            working_dir: /tmp
            environment: {WHO: exec}
            privileged: true
",
    )?;
    let file = stage.folder.join("compose.yaml");
    let text = fs::read_to_string(&file)?.replace("busybox ", "/bin/busybox ");
    fs::write(&file, text)?;
    let watch = begin(stage, &["up", "--watch"], "web")?;
    stage.file("saved", "new")?;
    fs::rename(stage.folder.join("saved"), stage.folder.join("data/in"))?;
    let said = eventually(Duration::from_secs(60), || {
        Ok(stage
            .compose(["exec", "-T", "web", "/bin/busybox", "cat", "/out/said"])
            .success()?
            .stdout)
    })?;
    let mut lines = said.lines();
    assert_eq!(lines.next(), Some("1 /tmp exec"));
    let rights = lines.next().unwrap_or_default();
    assert!(!rights.ends_with("a80425fb"), "as privileged as a container: {rights}");
    end(watch)?;
    stage.compose(["down"]).success()?;
    Ok(())
}

fn external_names(stage: &Stage) -> Verdict {
    let service = box_with("networks: [n], volumes: ['data:/v']");
    let file = |network: &str, volume: &str| {
        let text = format!(
            "services: {{web: {service}}}\nnetworks: {{n: {network}}}\nvolumes: {{data: {volume}}}\n"
        );
        stage.file("compose.yaml", &text)
    };
    file("{external: {name: the-net}}", "{}")?;
    stage.compose(["up", "-d"]).code(1)?.complains("network the-net is declared as external")?;
    file("{}", "{external: {name: the-data}}")?;
    stage.compose(["up", "-d"]).code(1)?.complains("volume the-data is declared as external")?;
    stage.check_nothing_left()
}

fn no_store(stage: &Stage) -> Verdict {
    for (kind, path) in [("secret", "/run/secrets/s"), ("config", "/s")] {
        for (words, message) in [
            ("external: {name: vault}", "there is no store that this"),
            ("external: true", "there is no store that this"),
            (
                "file: compose.yaml, driver: vault, driver_opts: {a: b}",
                "there is no driver `vault`",
            ),
            ("file: compose.yaml, template_driver: golang", "is not filled in by `golang`"),
        ] {
            if kind == "config" && words.contains(" driver:") {
                continue;
            }
            let service = box_with(&format!("{kind}s: [{{source: s, target: {path}}}]"));
            stage.file(
                "compose.yaml",
                &format!("services: {{web: {service}}}\n{kind}s: {{s: {{{words}}}}}\n"),
            )?;
            stage.compose(["up", "-d"]).code(1)?.complains(message)?;
        }
    }
    stage.check_nothing_left()
}

fn graph(stage: &Stage) -> Verdict {
    stage.file(
        "compose.yaml",
        "services: {web: {image: x, ports: ['8080:80'], networks: [front]}}\nnetworks: {front: {}}\n",
    )?;
    for (flag, shown) in
        [("--networks", "<b>Networks:</b><br/>front"), ("--ports", "<b>Ports:</b><br/>8080:80/tcp")]
    {
        stage.compose(["alpha", "viz", flag]).success()?.says(shown)?;
        let without = stage.compose(["alpha", "viz"]).success()?.stdout;
        assert!(!without.contains(shown), "{without}");
    }
    Ok(())
}

fn commit(stage: &Stage) -> Verdict {
    base(stage)?;
    stage.file(
        "compose.yaml",
        "services: {web: {image: base, command: sleep 600, stop_grace_period: 0s}}\n",
    )?;
    stage.compose(["up", "-d"]).success()?;
    for (pause, is_frozen) in [("--pause=true", true), ("--pause=false", false)] {
        let told = stage.folder.join("calls");
        let compose = stage.compose_command(["commit", pause, "web", "made"]);
        let mut traced = stage.command("strace");
        traced.args(["-f", "-qq", "-e", "signal=none", "-e", "trace=open,openat,openat2", "-o"]);
        traced.arg(&told).arg(compose.get_program()).args(compose.get_args());
        assert!(stage.run(traced, None).status.success());
        let calls = fs::read_to_string(told)?;
        let freezes = ["cgroup.freeze", "freezer.state"].iter().any(|file| calls.contains(file));
        assert_eq!(freezes, is_frozen, "{pause}");
    }
    assert_eq!(stage.field("web", "State")?, "running");
    stage.compose(["down"]).success()?;
    Ok(())
}
