//! `deploy.update_config` and `deploy.rollback_config`: how many at a time, with which delay, and what a failure means.
//!
//! Every start of a container is a folder in `data`: `VERSION-N` for the Nth start of a version; its time is that of the start.
//! Files of the test tell a start to wait (`hold-…`), to fail (`fail-…`), or to fail when it has been ready for a while (`late-…`).

use std::error::Error;
use std::fs;
use std::time::{Duration, SystemTime};

use scenarios::{Stage, Verdict, eventually};

use super::build::base;
use crate::Scenario;

/// How long something may take on a machine that has much else to do.
const BOUND: Duration = Duration::from_secs(60);

/// What is waited for on purpose. The clock of the file system goes in steps of some milliseconds.
const DELAY: (&str, Duration) = ("1s", Duration::from_millis(980));

const RUN: &str = "\
i=1; until mkdir /data/$VERSION-$i 2> /dev/null; do i=$((i + 1)); done
trap \"mkdir /data/end-$VERSION-$i; exit 0\" TERM
test -e /data/fail-$VERSION-$i && exit 3
while test -e /data/hold-$VERSION-$i; do sleep 0.02; done
mkdir /dev/shm/ready
while test -e /data/late-$VERSION-$i; do
  test $(ls /dev/shm/checked 2> /dev/null | wc -l) -gt 1 && exit 3
  sleep 0.02
done
sleep 600 & wait
";

const CHECK: &str = "test -e /dev/shm/ready && mkdir -p /dev/shm/checked/$$$$";

pub(super) fn all() -> Vec<Scenario> {
    vec![
        Scenario::plain("replicas_are_updated_as_the_service_says", updated),
        Scenario::plain("an_update_that_fails_ends_as_its_service_says", ends_as_told),
        Scenario::plain("an_update_is_taken_back_as_its_service_says", taken_back),
    ]
}

/// `scale` replicas of a version, and what its `deploy` says.
fn file(stage: &Stage, version: u32, scale: u32, deploy: &str) -> Verdict {
    let text = format!(
        "services:\n  web:\n    image: base\n    init: true\n    scale: {scale}\n    stop_grace_period: 20s\n    volumes: ['./data:/data']\n    \
         command: sh /data/run\n    environment: {{VERSION: '{version}'}}\n    \
         healthcheck: {{test: '{CHECK}', interval: 50ms, timeout: 20s, retries: 1000}}\n    deploy: {{{deploy}}}\n"
    );
    Ok(stage.file("compose.yaml", &text)?)
}

/// A stack of `scale` replicas of version 1.
fn begin(stage: &Stage, scale: u32) -> Verdict {
    if stage.folder.join("compose.yaml").exists() {
        stage.compose(["down", "--timeout", "0"]).success()?;
        fs::remove_dir_all(stage.folder.join("data"))?;
    }
    stage.file("data/run", RUN)?;
    file(stage, 1, scale, "")?;
    stage.compose(["up", "--detach", "--wait"]).success()?;
    assert_eq!(versions(stage)?, vec!["1"; scale as usize]);
    Ok(())
}

fn tell(stage: &Stage, names: &[&str]) -> Verdict {
    Ok(names.iter().try_for_each(|name| stage.file(&format!("data/{name}"), ""))?)
}

/// Takes it back. Returns when that was.
fn untell(stage: &Stage, names: &[&str]) -> Result<SystemTime, Box<dyn Error>> {
    tell(stage, &["now"])?;
    let now = at(stage, "now")?;
    names.iter().try_for_each(|name| fs::remove_file(stage.folder.join("data").join(name)))?;
    Ok(now)
}

/// When a start, or an end, was.
fn at(stage: &Stage, name: &str) -> Result<SystemTime, Box<dyn Error>> {
    let found = fs::metadata(stage.folder.join("data").join(name));
    Ok(found.and_then(|found| found.modified()).map_err(|error| format!("{name}: {error}"))?)
}

/// The ids of the containers of `web` that run, and the versions that they have.
fn running(stage: &Stage) -> Result<Vec<(String, String)>, Box<dyn Error>> {
    let mut found = Vec::new();
    for one in stage.containers()? {
        if one["State"] == "running" {
            let id = one["ID"].as_str().unwrap_or_default().to_owned();
            let name = one["Name"].as_str().unwrap_or_default();
            let index = name.rsplit('-').next().unwrap_or_default();
            let words = ["exec", "-T", "--index", index, "web", "sh", "-c", "echo $VERSION"];
            let version = stage.compose(words).success()?.stdout.trim().to_owned();
            found.push((id, version));
        }
    }
    found.sort();
    Ok(found)
}

fn versions(stage: &Stage) -> Result<Vec<String>, Box<dyn Error>> {
    let mut versions: Vec<String> =
        running(stage)?.into_iter().map(|(_, version)| version).collect();
    versions.sort();
    Ok(versions)
}

fn updated(stage: &Stage) -> Verdict {
    base(stage)?;
    for order in ["stop-first", "start-first"] {
        begin(stage, 4)?;
        // Two at a time: the third one waits for one of them.
        file(stage, 2, 4, &format!("update_config: {{parallelism: 2, order: {order}}}"))?;
        tell(stage, &["hold-2-1", "hold-2-2"])?;
        let up = stage.start(stage.compose_command(["up", "--detach"]))?;
        eventually(BOUND, || at(stage, "2-1").and(at(stage, "2-2")))?;
        let released = untell(stage, &["hold-2-1", "hold-2-2"])?;
        up.finish(BOUND)?.success()?;
        assert!(at(stage, "2-3")? >= released);
        assert_eq!(versions(stage)?, ["2"; 4]);
        // All of them at once.
        file(
            stage,
            3,
            4,
            &format!("update_config: {{parallelism: 0, monitor: 0s, order: {order}}}"),
        )?;
        let all = ["hold-3-1", "hold-3-2", "hold-3-3", "hold-3-4"];
        tell(stage, &all)?;
        let up = stage.start(stage.compose_command(["up", "--detach"]))?;
        eventually(BOUND, || {
            ["3-1", "3-2", "3-3", "3-4"].iter().try_for_each(|one| at(stage, one).map(drop))
        })?;
        untell(stage, &all)?;
        up.finish(BOUND)?.success()?;
        assert_eq!(versions(stage)?, ["3"; 4]);
        // One after the other, and not at once.
        file(stage, 4, 2, &format!("update_config: {{delay: {}, order: {order}}}", DELAY.0))?;
        stage.compose(["up", "--detach"]).success()?;
        assert!(at(stage, "4-2")?.duration_since(at(stage, "4-1")?)? >= DELAY.1);
        // One that fails when it has been ready for a while is no success, if it is watched for as long.
        tell(stage, &["late-5-1"])?;
        file(stage, 5, 2, &format!("update_config: {{monitor: 10m, order: {order}}}"))?;
        stage.compose(["up", "--detach"]).code(1)?.complains("ended with 3")?;
        assert!(at(stage, "5-2").is_err());
    }
    stage.compose(["down"]).success()?;
    stage.check_nothing_left()
}

/// The second one fails: what becomes of the first one, and of the third.
fn ends_as_told(stage: &Stage) -> Verdict {
    base(stage)?;
    // What the service says, and the versions that run at the end.
    let rows: &[(&str, &[&str])] = &[
        ("order: start-first", &["1", "1", "2"]),
        ("order: start-first, failure_action: pause", &["1", "1", "2"]),
        ("order: start-first, failure_action: continue", &["1", "2", "2"]),
        ("order: start-first, failure_action: rollback", &["1", "1", "1"]),
        ("order: start-first, max_failure_ratio: 0.4", &["1", "2", "2"]),
        ("order: start-first, max_failure_ratio: 0.4, failure_action: rollback", &["1", "2", "2"]),
        ("order: start-first, max_failure_ratio: 0.3, failure_action: rollback", &["1", "1", "1"]),
        ("order: start-first, parallelism: 0, failure_action: rollback", &["1", "1", "1"]),
        ("failure_action: pause", &["1", "2"]),
        ("failure_action: continue", &["2", "2"]),
        ("failure_action: rollback", &["1", "1", "1"]),
        ("max_failure_ratio: 0.4", &["2", "2"]),
        ("max_failure_ratio: 0.3", &["1", "2"]),
        ("parallelism: 0, failure_action: rollback", &["1", "1", "1"]),
    ];
    for (how, expected) in rows {
        begin(stage, 3)?;
        let before = running(stage)?;
        tell(stage, &["fail-2-2"])?;
        file(stage, 2, 3, &format!("update_config: {{{how}}}"))?;
        let failed = stage.compose(["up", "--detach"]).code(1)?;
        let failed = failed.complains("ended with 3").map_err(|error| format!("{how}: {error}"))?;
        assert_eq!(versions(stage)?, *expected, "{how}");
        if *expected == ["1", "1", "1"] {
            failed.complains("that were there before are in place")?;
            // These very containers, and no others.
            assert_eq!(running(stage)?, before, "{how}");
            assert_eq!(stage.containers()?.len(), 3, "{how}");
        }
        // The next one, which does not fail, comes to its end from there.
        file(stage, 3, 3, &format!("update_config: {{{how}}}"))?;
        stage.compose(["up", "--detach"]).success()?;
        assert_eq!(versions(stage)?, ["3"; 3], "{how}");
        assert_eq!(stage.containers()?.len(), 3, "{how}");
        stage.compose(["plan"]).success()?.says("nothing to do")?;
    }
    stage.compose(["down"]).success()?;
    stage.check_nothing_left()
}

/// The first two are stopped and replaced, then the third one fails: version 1 comes back by its starts 4, 5 and 6.
fn taken_back(stage: &Stage) -> Verdict {
    base(stage)?;
    let update = |way: &str| -> Verdict {
        tell(stage, &["fail-2-3"])?;
        let deploy =
            format!("update_config: {{failure_action: rollback}}, rollback_config: {{{way}}}");
        file(stage, 2, 3, &deploy)
    };
    // Which goes first: start 6 takes the place of the first one of version 2.
    for (way, starts_first) in [("order: stop-first", false), ("order: start-first", true)] {
        begin(stage, 3)?;
        update(way)?;
        stage.compose(["up", "--detach"]).code(1)?;
        assert_eq!(versions(stage)?, ["1", "1", "1"]);
        let (start, end) = (at(stage, "1-6")?, at(stage, "end-2-1")?);
        assert_eq!(start < end, starts_first, "{way}: {start:?} {end:?}");
        stage.compose(["up", "--detach", "--dry-run"]).success()?;
    }
    // How many, and when.
    begin(stage, 3)?;
    update("parallelism: 2")?;
    tell(stage, &["hold-1-4", "hold-1-5"])?;
    let up = stage.start(stage.compose_command(["up", "--detach"]))?;
    eventually(BOUND, || at(stage, "1-4").and(at(stage, "1-5")))?;
    let released = untell(stage, &["hold-1-4", "hold-1-5"])?;
    up.finish(BOUND)?.code(1)?;
    assert!(at(stage, "1-6")? >= released);
    begin(stage, 3)?;
    update(&format!("delay: {}", DELAY.0))?;
    stage.compose(["up", "--detach"]).code(1)?;
    assert!(at(stage, "1-5")?.duration_since(at(stage, "1-4")?)? >= DELAY.1);
    // One of three does not come back.
    let rows: &[(&str, &str, &[&str])] = &[
        ("fail-1-4", "failure_action: pause", &["2", "2"]),
        ("fail-1-4", "failure_action: continue", &["1", "1"]),
        ("fail-1-4", "max_failure_ratio: 0.4", &["1", "1"]),
        ("late-1-4", "monitor: 10m", &["2", "2"]),
    ];
    for (mishap, way, expected) in rows {
        begin(stage, 3)?;
        update(way)?;
        tell(stage, &[mishap])?;
        let up = stage.start(stage.compose_command(["up", "--detach"]))?;
        if way.starts_with("monitor") {
            eventually(BOUND, || at(stage, "1-4"))?;
        }
        up.finish(BOUND)?.code(1)?.complains("does not get back into its place")?;
        assert_eq!(versions(stage)?, *expected, "{way}");
    }
    stage.compose(["down"]).success()?;
    stage.check_nothing_left()
}
