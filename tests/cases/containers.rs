//! Flags of commands on containers that exist, each with what changes by it. What a flag is tested by stands in
//! `compose/src/cli/effects.txt`.

use std::time::Duration;

use scenarios::{Stage, Verdict, eventually};

use super::flags::{BOX, ids, services};
use super::lifecycle::ended;
use crate::Scenario;

pub(super) fn all() -> Vec<Scenario> {
    vec![
        Scenario::plain("flags_that_choose_a_replica", index),
        Scenario::plain("flags_of_cp_and_exec", copies),
        Scenario::plain("flags_of_lists", lists),
        Scenario::plain("flags_of_what_takes_away", taken_away),
    ]
}

fn index(stage: &Stage) -> Verdict {
    let words = "image: 'rootfs:/', scale: 2, ports: [80, 80/udp], command: [sh, -c, 'while read -r line; do exit 6; done'], stdin_open: true";
    services(stage, &[("web", words)])?;
    stage.compose(["up", "-d"]).success()?;
    let port = |words: &[&str]| -> Result<String, Box<dyn std::error::Error>> {
        Ok(stage.compose([&["port"], words, &["web", "80"]].concat()).success()?.stdout)
    };
    assert_ne!(port(&["--index", "1"])?, port(&["--index", "2"])?);
    let (tcp, udp) = (port(&["--index", "1"])?, port(&["--index", "1", "--protocol", "udp"])?);
    assert_ne!(tcp, udp);
    let mut attach =
        stage.start_typing(stage.compose_command(["attach", "--index", "2", "web"]))?;
    attach.say("go\n")?;
    attach.finish(Duration::from_secs(30))?.code(6)?;
    let states = || -> Result<Vec<String>, Box<dyn std::error::Error>> {
        let mut states: Vec<_> = stage
            .containers()?
            .iter()
            .map(|one| format!("{} {}", one["Name"], one["State"]).replace('"', ""))
            .collect();
        states.sort();
        Ok(states)
    };
    let project = &stage.project;
    let expected = [format!("{project}-web-1 running"), format!("{project}-web-2 exited")];
    assert_eq!(states()?, expected);
    stage.compose(["down", "-t", "0"]).success()?;
    Ok(())
}

fn copies(stage: &Stage) -> Verdict {
    services(stage, &[("web", BOX)])?;
    stage.compose(["up", "-d"]).success()?;
    let until = "until [ -e /tmp/everywhere ]; do sleep 0.05; done";
    stage.compose(["run", "-d", "--name", "single", "web", "sh", "-c", until]).success()?;
    stage.file("one", "content\n")?;
    std::os::unix::fs::chown(stage.folder.join("one"), Some(1234), Some(1235))?;
    std::os::unix::fs::symlink("one", stage.folder.join("link"))?;
    let inside = |line: &str| stage.compose(["exec", "-T", "web", "sh", "-c", line]);
    stage.compose(["cp", "link", "web:/tmp/as-link"]).success()?;
    stage.compose(["cp", "--follow-link", "link", "web:/tmp/as-file"]).success()?;
    inside("test -L /tmp/as-link && ! test -L /tmp/as-file && test -f /tmp/as-file").success()?;
    stage.compose(["cp", "one", "web:/tmp/ours"]).success()?;
    stage.compose(["cp", "--archive", "one", "web:/tmp/theirs"]).success()?;
    inside("stat -c %u:%g /tmp/theirs").success()?.says("1234:1235")?;
    inside("stat -c %u:%g /tmp/ours").success()?.says("0:0")?;
    // That of `run` waits for a file which it gets only with `--all`.
    stage.compose(["cp", "one", "web:/tmp/everywhere"]).success()?;
    let state = || -> Result<String, Box<dyn std::error::Error>> {
        let all = stage.containers()?;
        let one = all.iter().find(|one| one["Name"] == "single").ok_or("no one-off")?;
        Ok(one["State"].as_str().unwrap_or_default().to_owned())
    };
    assert_eq!(state()?, "running");
    stage.compose(["cp", "--all", "one", "web:/tmp/everywhere"]).success()?;
    eventually(Duration::from_secs(20), || match state()? {
        state if state == "exited" => Ok(()),
        state => Err(state.into()),
    })?;

    stage
        .compose(["exec", "--detach", "web", "sh", "-c", "sleep 1 && touch /tmp/later"])
        .success()?;
    assert!(inside("test -e /tmp/later").success().is_err(), "nobody has waited for it");
    eventually(Duration::from_secs(20), || {
        Ok(inside("test -e /tmp/later").success().map(drop)?)
    })?;

    let bits = |words: &[&str]| -> Result<String, Box<dyn std::error::Error>> {
        let rest = ["web", "sh", "-c", "grep CapEff /proc/self/status"];
        Ok(stage.compose([&["exec", "-T"], words, &rest].concat()).success()?.stdout)
    };
    assert_ne!(bits(&[])?, bits(&["--privileged"])?);
    stage.compose(["down", "-t", "0", "--remove-orphans"]).success()?;
    Ok(())
}

fn lists(stage: &Stage) -> Verdict {
    let long = "image: 'rootfs:/', command: [sh, -c, 'echo a-long-line-of-words-that-does-not-fit-into-a-column; exec sleep infinity']";
    services(stage, &[("web", long), ("done", "image: 'rootfs:/', command: 'true'")])?;
    stage.compose(["up", "-d"]).success()?;
    ended(stage, "done")?;
    let cut = stage.compose(["ps"]).success()?.stdout;
    let whole = stage.compose(["ps", "--no-trunc"]).success()?.stdout;
    assert!(!cut.contains("into-a-column") && whole.contains("into-a-column"), "{cut}{whole}");
    let id = stage.field("web", "ID")?;
    let rows = |words: &[&str]| -> Result<String, Box<dyn std::error::Error>> {
        Ok(stage.compose([&["stats", "--no-stream"], words].concat()).success()?.stdout)
    };
    assert!(!rows(&[])?.contains("done-1") && rows(&["--all"])?.contains("done-1"));
    let (short, full) =
        (rows(&["--format", "{{.ID}}"])?, rows(&["--no-trunc", "--format", "{{.ID}}"])?);
    assert!(full.trim().len() == 64 && short.trim().len() < 64, "{short}{full}");
    assert!(full.starts_with(id.get(..12).unwrap_or(&id)));
    stage.compose(["stop", "-t", "0"]).success()?;
    let project = stage.project.as_str();
    assert!(!stage.compose(["ls"]).success()?.stdout.contains(project));
    stage.compose(["ls", "--all"]).success()?.says(project)?;
    let json = stage.compose(["ls", "--all", "--format", "json"]).success()?.stdout;
    let json: serde_json::Value = serde_json::from_str(&json)?;
    assert_eq!(json[0]["Name"], project);
    services(stage, &[("done", "image: 'rootfs:/', command: 'true'")])?;
    stage.compose(["ps", "-a"]).success()?.says("web-1")?;
    let known = stage.compose(["ps", "-a", "--orphans=false"]).success()?.stdout;
    assert!(known.contains("done-1") && !known.contains("web-1"), "{known}");
    let fails = "image: 'rootfs:/', command: [sh, -c, 'echo first; echo last; exit 3']";
    services(stage, &[("fails", fails)])?;
    stage.compose(["up", "-d"]).success()?;
    ended(stage, "fails")?;
    stage.compose(["why", "fails"]).code(1)?.says("first")?.says("last")?;
    let why = stage.compose(["why", "--tail", "1", "fails"]).code(1)?.says("last")?.stdout;
    assert!(!why.contains("first"), "{why}");
    let version = stage.compose(["version", "--short"]).success()?.stdout;
    let json = stage.compose(["version", "--format", "json"]).success()?.stdout;
    let json: serde_json::Value = serde_json::from_str(&json)?;
    assert_eq!(json["version"], version.trim());
    stage.compose(["down", "-t", "0", "--remove-orphans"]).success()?;
    Ok(())
}

fn taken_away(stage: &Stage) -> Verdict {
    services(stage, &[("web", &format!("{BOX}, volumes: [/data]")), ("old", BOX)])?;
    stage.compose(["up", "-d"]).success()?;
    let volumes = || -> Result<usize, Box<dyn std::error::Error>> {
        Ok(stage.compose(["volume", "ls", "-q"]).success()?.stdout.lines().count())
    };
    assert_eq!(volumes()?, 1);
    stage.compose(["rm", "-sf", "web"]).success()?;
    assert_eq!(volumes()?, 1, "it stays");
    stage.compose(["volume", "prune", "--all", "--force"]).success()?;
    assert_eq!(volumes()?, 0);
    stage.compose(["up", "-d"]).success()?;
    stage.compose(["rm", "-sf", "--volumes", "web"]).success()?;
    assert_eq!(volumes()?, 0, "it goes along");
    services(stage, &[("web", BOX)])?;
    stage.compose(["up", "-d"]).success()?;
    stage.compose(["kill"]).success()?;
    assert_eq!(stage.field("old", "State")?, "running");
    stage.compose(["kill", "--remove-orphans"]).success()?;
    assert_eq!(stage.field("old", "State")?, "exited");
    stage.compose(["up", "-d", "--remove-orphans"]).success()?;
    assert!(ids(stage)?.iter().all(|(service, _)| service == "web"));
    // `scale` sees to the others as well, unless it is not to.
    services(stage, &[("web", &format!("{BOX}, depends_on: [db]")), ("db", BOX)])?;
    stage.compose(["scale", "--no-deps", "web=2"]).success()?;
    assert!(ids(stage)?.iter().all(|(service, _)| service == "web"));
    stage.compose(["scale", "web=1"]).success()?;
    assert!(ids(stage)?.iter().any(|(service, _)| service == "db"));
    stage.compose(["down", "-t", "0"]).success()?;
    Ok(())
}
