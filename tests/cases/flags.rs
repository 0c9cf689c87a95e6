//! Flags, each with what changes by it. What a flag is tested by stands in `compose/src/cli/effects.txt`.

use std::fs;
use std::time::Duration;

use scenarios::{Stage, Verdict, eventually};

use crate::Scenario;

pub(super) fn all() -> Vec<Scenario> {
    vec![
        Scenario::plain("flags_before_the_command", global),
        Scenario::plain("flags_of_logs", logs),
        Scenario::plain("flags_of_what_up_shows", shown),
        Scenario::plain("flags_of_what_up_replaces", replaced),
        Scenario::plain("flags_of_what_up_waits_for", waited),
        Scenario::plain("flags_of_run", run),
        Scenario::plain("flags_of_volumes_and_networks", resources),
    ]
}

pub(super) const BOX: &str = "image: 'rootfs:/', init: true, command: sleep infinity";

/// A file with these services, each in the words of a flow mapping.
pub(super) fn services(stage: &Stage, services: &[(&str, &str)]) -> std::io::Result<()> {
    let lines = services.iter().map(|(name, words)| format!("  {name}: {{{words}}}\n"));
    stage.file("compose.yaml", &format!("services:\n{}", lines.collect::<String>()))
}

pub(super) fn ids(stage: &Stage) -> Result<Vec<(String, String)>, Box<dyn std::error::Error>> {
    let word =
        |one: &serde_json::Value, key: &str| one[key].as_str().unwrap_or_default().to_owned();
    let mut ids: Vec<_> =
        stage.containers()?.iter().map(|one| (word(one, "Service"), word(one, "ID"))).collect();
    ids.sort();
    Ok(ids)
}

fn global(stage: &Stage) -> Verdict {
    let file = "
services:
  web: {image: 'rootfs:/', command: [sh, -c, 'echo ${WORD:-none}'], volumes: ['./here:/here']}
  extra: {image: 'rootfs:/', command: 'true', profiles: [more]}
";
    stage.file("compose.yaml", file)?;
    stage.file("words", "WORD=given\n")?;
    stage.compose(["--env-file", "words", "config"]).success()?.says("echo given")?;
    let sub = stage.folder.join("sub/here").display().to_string();
    stage.compose(["--project-directory", "sub", "config"]).success()?.says(&sub)?;
    assert_eq!(stage.compose(["config", "--services"]).success()?.stdout.trim(), "web");
    let more = stage.compose(["--profile", "more", "config", "--services"]).success()?.stdout;
    assert_eq!(more.lines().count(), 2, "{more}");
    stage.compose(["config", "--output", "out.yaml"]).success()?;
    assert!(fs::read_to_string(stage.folder.join("out.yaml"))?.contains("echo none"));
    assert_eq!(stage.compose(["config", "--quiet"]).success()?.stdout, "");
    stage.compose(["--version"]).success()?.says("compose")?;
    let coloured = stage.compose(["--ansi", "always", "up"]).success()?.stdout;
    assert!(coloured.contains("\x1b["), "{coloured}");
    let plain = stage.compose(["--no-ansi", "--ansi", "always", "up"]).success()?.stdout;
    assert!(!plain.contains('\x1b') && plain.contains("none"), "{plain}");
    let other = format!("{}x", stage.project);
    let plain = stage.compose(["--ansi", "never", "-p", &other, "up"]).success()?.stdout;
    assert!(!plain.contains('\x1b') && plain.contains("none"), "{plain}");
    stage
        .compose(["--project-name", &other, "ps", "-a"])
        .success()?
        .says(&format!("{other}-web-1"))?;
    stage.compose(["-p", &other, "down"]).success()?;
    stage.compose(["down"]).success()?;
    Ok(())
}

fn logs(stage: &Stage) -> Verdict {
    let says = "image: 'rootfs:/', command: [sh, -c, 'echo first; echo second; exec sleep infinity'], init: true";
    services(stage, &[("web", says)])?;
    stage.compose(["up", "-d"]).success()?;
    let said = |words: &[&str]| -> Result<String, Box<dyn std::error::Error>> {
        Ok(stage.compose([&["logs", "--no-log-prefix"], words].concat()).success()?.stdout)
    };
    eventually(Duration::from_secs(20), || match said(&[])? {
        all if all == "first\nsecond\n" => Ok(()),
        all => Err(all.into()),
    })?;
    assert_eq!(said(&["--tail", "1"])?, "second\n");
    assert_eq!(said(&["-n", "0"])?, "");
    assert_eq!(said(&["--since", "1h"])?, "first\nsecond\n");
    assert_eq!(said(&["--until", "1h"])?, "");
    assert_eq!(said(&["--since", "2099-01-01T00:00:00Z"])?, "");
    let timed = said(&["--timestamps"])?;
    assert!(timed.lines().all(|line| line.starts_with("20") && line.contains("T")), "{timed}");
    let coloured = stage.compose(["--ansi", "always", "logs"]).success()?.stdout;
    let plain = stage.compose(["--ansi", "always", "logs", "--no-color"]).success()?.stdout;
    assert!(coloured.contains('\x1b') && !plain.contains('\x1b'), "{coloured}{plain}");
    stage.compose(["down", "-t", "0"]).success()?;
    Ok(())
}

fn shown(stage: &Stage) -> Verdict {
    services(
        stage,
        &[
            ("db", "image: 'rootfs:/', command: echo of-db"),
            ("web", "image: 'rootfs:/', command: echo of-web, depends_on: [db]"),
            ("idle", "image: 'rootfs:/', command: echo of-idle"),
        ],
    )?;
    let shows = |words: &[&str], wanted: &[&str]| -> Verdict {
        let said = stage.compose([&["up"], words].concat()).success()?.stdout;
        let services = ["of-db", "of-web", "of-idle"].into_iter().filter(|one| said.contains(one));
        assert_eq!(services.collect::<Vec<_>>(), wanted, "{words:?}:\n{said}");
        Ok(())
    };
    shows(&[], &["of-db", "of-web", "of-idle"])?;
    shows(&["--attach", "web"], &["of-web"])?;
    shows(&["--no-attach", "web"], &["of-db", "of-idle"])?;
    shows(&["web"], &["of-web"])?;
    shows(&["--attach-dependencies", "web"], &["of-db", "of-web"])?;
    let timed = stage.compose(["up", "--timestamps", "--no-log-prefix", "web"]).success()?.stdout;
    assert!(
        timed.lines().any(|line| line.starts_with("20") && line.ends_with("of-web")),
        "{timed}"
    );
    let plain = stage.compose(["--ansi", "always", "up", "--no-color", "web"]).success()?.stdout;
    assert!(!plain.contains('\x1b') && plain.contains("of-web"), "{plain}");
    stage.compose(["down"]).success()?;
    Ok(())
}

fn replaced(stage: &Stage) -> Verdict {
    let write = |variable: &str| {
        services(
            stage,
            &[
                ("db", &format!("{BOX}, environment: {{A: {variable}}}, volumes: [/data]")),
                ("web", &format!("{BOX}, environment: {{A: {variable}}}, depends_on: [db]")),
            ],
        )
    };
    write("a")?;
    stage.compose(["up", "-d", "--no-deps", "web"]).success()?;
    assert_eq!(ids(stage)?.len(), 1);
    stage.compose(["up", "-d", "--no-start"]).success()?;
    assert_eq!(stage.field("db", "State")?, "created");
    stage.compose(["up", "-d"]).success()?;
    let first = ids(stage)?;
    write("b")?;
    for command in [["up", "-d"].as_slice(), &["create"]] {
        stage.compose([command, &["--no-recreate"]].concat()).success()?;
        assert_eq!(ids(stage)?, first, "{command:?}");
    }
    stage.compose(["plan", "--no-recreate"]).success()?.says("nothing to do")?;
    stage.compose(["up", "-d", "-t", "0"]).success()?;
    let second = ids(stage)?;
    assert!(first.iter().zip(&second).all(|(first, second)| first != second));
    let changed = |before: &[(String, String)]| -> Result<Vec<String>, Box<dyn std::error::Error>> {
        let now = ids(stage)?;
        let pairs = now.into_iter().zip(before);
        Ok(pairs.filter(|(now, before)| now != *before).map(|(now, _)| now.0).collect())
    };
    stage.compose(["up", "-d", "-t", "0", "--force-recreate", "web"]).success()?;
    assert_eq!(changed(&second)?, ["web"]);
    let before = ids(stage)?;
    stage.compose(["up", "-d", "-t", "0", "--always-recreate-deps", "web"]).success()?;
    assert_eq!(changed(&before)?, ["db"]);
    let before = ids(stage)?;
    stage.compose(["plan", "--always-recreate-deps", "web"]).code(2)?.says("db-1")?;
    stage.compose(["create", "--always-recreate-deps", "web"]).success()?;
    assert_eq!(changed(&before)?, ["db"]);
    let before = ids(stage)?;
    stage.compose(["create", "--force-recreate", "web"]).success()?;
    assert_eq!(changed(&before)?, ["web"]);
    stage.compose(["plan", "--force-recreate", "--no-deps", "web"]).code(2)?.says("web-1")?;

    // An anonymous volume goes with the place of its container, unless it is not to.
    stage.compose(["up", "-d"]).success()?;
    let look = || stage.compose(["exec", "-T", "db", "sh", "-c", "ls /data"]);
    stage.compose(["exec", "-T", "db", "touch", "/data/kept"]).success()?;
    stage.compose(["up", "-d", "-t", "0", "--force-recreate", "db"]).success()?;
    look().success()?.says("kept")?;
    stage.compose(["plan", "--force-recreate", "-V", "db"]).code(2)?.says("with its volumes")?;
    let words = ["up", "-d", "-t", "0", "--force-recreate", "--renew-anon-volumes", "db"];
    stage.compose(words).success()?;
    assert_eq!(look().success()?.stdout, "");
    stage.compose(["exec", "-T", "db", "touch", "/data/kept"]).success()?;
    stage.compose(["create", "--force-recreate", "--renew-anon-volumes", "db"]).success()?;
    stage.compose(["start"]).success()?;
    assert_eq!(look().success()?.stdout, "");

    stage.compose(["plan", "--scale", "web=2"]).code(2)?.says("web-2")?;
    stage.compose(["create", "--scale", "web=2"]).success()?;
    assert_eq!(ids(stage)?.len(), 3);
    services(stage, &[("web", &format!("{BOX}, environment: {{A: b}}"))])?;
    stage.compose(["plan", "--remove-orphans"]).code(2)?.says("db-1")?;
    stage.compose(["create", "--remove-orphans"]).success()?;
    assert!(ids(stage)?.iter().all(|(service, _)| service == "web"));
    // An image that is not here is not fetched.
    services(stage, &[("web", "image: 'localhost:1/none'")])?;
    for command in ["up", "create", "run"] {
        let words = match command {
            "run" => vec!["run", "--pull", "never", "web"],
            command => vec![command, "--pull", "never"],
        };
        let refused = stage.compose(words);
        assert_ne!(refused.success().err().map(|_| ()), None, "{command}");
        assert!(stage.compose(["images", "-q"]).success()?.stdout.lines().count() <= 2);
    }
    stage.compose(["plan", "--pull", "never"]).code(1)?.complains("there is no image")?;
    stage.compose(["down", "-t", "0", "--remove-orphans"]).success()?;
    Ok(())
}

fn waited(stage: &Stage) -> Verdict {
    services(stage, &[("web", &format!("{BOX}, healthcheck: {{test: 'false', interval: 1h}}"))])?;
    for command in [["up"].as_slice(), &["start"]] {
        let words = [command, &["--wait", "--wait-timeout", "1"]].concat();
        stage.compose(words).code(1)?.complains("not healthy after 1s")?;
    }
    // A program that does not listen is killed when its time is over: in none.
    let deaf = "image: 'rootfs:/', command: [sh, -c, \"trap '' TERM; echo up; while :; do sleep 1; done\"], stop_grace_period: 1h";
    services(stage, &[("web", deaf)])?;
    stage.compose(["up", "-d", "-t", "0"]).success()?;
    eventually(Duration::from_secs(20), || Ok(stage.compose(["logs"]).success()?.says("up")?))?;
    stage.compose(["up", "-d", "--force-recreate", "--timeout", "0"]).success()?;
    eventually(Duration::from_secs(20), || Ok(stage.compose(["logs"]).success()?.says("up")?))?;
    stage.compose(["restart", "--timeout", "0"]).success()?;
    stage.compose(["stop", "--timeout", "0"]).success()?;
    assert_eq!(stage.field("web", "ExitCode")?, "137");
    stage.compose(["start"]).success()?;
    eventually(Duration::from_secs(20), || match stage.field("web", "State")? {
        state if state == "running" => Ok(()),
        state => Err(state.into()),
    })?;
    stage.compose(["down", "--timeout", "0"]).success()?;
    Ok(())
}

fn run(stage: &Stage) -> Verdict {
    let words = format!("{BOX}, networks: {{default: {{aliases: [other-name]}}}}");
    services(stage, &[("web", &words), ("look", BOX)])?;
    let capabilities = |words: &[&str]| -> Result<u64, Box<dyn std::error::Error>> {
        let rest = ["look", "sh", "-c", "grep CapEff /proc/self/status"];
        let line = [&["run", "--rm", "-T"], words, &rest].concat();
        let said = stage.compose(line).success()?.stdout;
        let bits = said.split_whitespace().last().ok_or("nothing")?;
        Ok(u64::from_str_radix(bits, 16)?)
    };
    let usual = capabilities(&[])?;
    let (chown, admin) = (1 << 0, 1 << 21);
    assert_eq!((usual & chown, usual & admin), (chown, 0));
    assert_eq!(capabilities(&["--cap-add", "SYS_ADMIN"])? & admin, admin);
    assert_eq!(capabilities(&["--cap-drop", "CHOWN"])? & chown, 0);
    stage.file("words", "FROM=file\nBOTH=file\n")?;
    let env = ["--env-from-file", "words", "-e", "BOTH=flag"];
    let line =
        [&["run", "--rm", "-T"], &env[..], &["look", "sh", "-c", "echo $FROM $BOTH"]].concat();
    stage.compose(line).success()?.says("file flag")?;
    let typed = |words: &[&str]| {
        let line = [&["run", "--rm", "-T"], words, &["look", "cat"]].concat();
        stage.run(stage.compose_command(line), Some("typed\n"))
    };
    typed(&[]).success()?.says("typed")?;
    assert_eq!(typed(&["--interactive=false"]).success()?.stdout, "");
    let quiet = stage.compose(["run", "--rm", "-T", "--quiet", "look", "echo", "x"]).success()?;
    assert_eq!((quiet.stdout.as_str(), quiet.stderr.as_str()), ("x\n", ""));

    let name = |text: &str| format!("getent hosts {text} || nslookup {text}");
    let ask = |text: &str| stage.compose(["exec", "-T", "look", "sh", "-c", &name(text)]);
    stage.compose(["up", "-d", "look"]).success()?;
    stage.compose(["run", "-d", "--name", "plain", "web"]).success()?;
    assert!(ask("other-name").success().is_err());
    stage.compose(["run", "-d", "--name", "named", "--use-aliases", "web"]).success()?;
    ask("other-name").success()?;
    services(stage, &[("look", BOX)])?;
    stage.compose(["kill"]).success()?;
    stage.compose(["run", "--rm", "-T", "--remove-orphans", "look", "true"]).success()?;
    assert_eq!(ids(stage)?.len(), 1, "those of `run` have ended, and their service is gone");
    stage.compose(["down", "-t", "0", "--remove-orphans"]).success()?;
    Ok(())
}

fn resources(stage: &Stage) -> Verdict {
    let name = format!("{}_own", stage.project);
    let words =
        ["volume", "create", "--label", "a=b", "--opt", "type=tmpfs", "--opt", "device=tmpfs"];
    stage.compose([&words[..], &["--driver", "local", &name]].concat()).success()?;
    let shown = stage.compose(["volume", "inspect", &name]).success()?.stdout;
    let shown: serde_json::Value = serde_json::from_str(&shown)?;
    assert_eq!(
        (&shown[0]["Labels"]["a"], &shown[0]["Options"]["type"]),
        (&"b".into(), &"tmpfs".into())
    );
    assert!(stage.compose(["volume", "create", "--driver", "nfs", "other"]).success().is_err());
    let listed = |words: &[&str]| -> Result<String, Box<dyn std::error::Error>> {
        Ok(stage.compose([&["volume", "ls", "-q"], words].concat()).success()?.stdout)
    };
    assert_eq!(listed(&["--filter", "label=a=b"])?.trim(), name);
    assert_eq!(listed(&["--filter", "label=a=c"])?, "");
    let format = ["volume", "ls", "--format", "{{.Driver}} {{.Name}}"];
    stage.compose(format).success()?.says(&format!("local {name}"))?;
    stage.compose(["volume", "prune", "-af", "--filter", "label=a=c"]).success()?;
    assert_eq!(listed(&[])?.trim(), name);
    stage.compose(["volume", "rm", &name]).success()?;
    assert!(stage.compose(["volume", "rm", &name]).success().is_err());
    stage.compose(["volume", "rm", "--force", &name]).success()?;

    let words = [
        "network",
        "create",
        "--driver",
        "bridge",
        "--internal",
        "--subnet",
        "10.77.0.0/24",
        "--gateway",
        "10.77.0.9",
        "--aux-address",
        "host=10.77.0.2",
        "--opt",
        "com.docker.network.driver.mtu=1400",
    ];
    stage.compose([&words[..], &[&name]].concat()).success()?;
    let shown = stage.compose(["network", "inspect", &name]).success()?.stdout;
    let shown: serde_json::Value = serde_json::from_str(&shown)?;
    let (network, pool) = (&shown[0], &shown[0]["IPAM"]["Config"][0]);
    assert_eq!(network["Internal"], true);
    assert_eq!(pool["Gateway"], "10.77.0.9", "{shown}");
    assert_eq!(pool["AuxiliaryAddresses"]["host"], "10.77.0.2", "{shown}");
    assert_eq!(network["Options"]["com.docker.network.driver.mtu"], "1400");
    let ids = |words: &[&str]| -> Result<usize, Box<dyn std::error::Error>> {
        let ids = stage.compose([&["network", "ls", "-q"], words].concat()).success()?.stdout;
        Ok(ids.lines().map(str::len).max().unwrap_or_default())
    };
    assert!(ids(&["--no-trunc"])? > ids(&[])?);
    stage.compose(["network", "prune", "-f", "--filter", "label=none"]).success()?;
    stage.compose(["network", "inspect", &name]).success()?;
    stage.compose(["network", "rm", &name]).success()?;
    Ok(())
}
