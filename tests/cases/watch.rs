//! `watch` and `up --watch`: what is saved is seen in the containers.

mod bursts;
mod counted;
mod follow;
mod limits;

use std::fs;
use std::time::Duration;

use nix::sys::signal::Signal;
use scenarios::{Running, Stage, Verdict, eventually};

use super::build::base;
use crate::Scenario;

/// How long a save may take to be seen on a machine that has much else to do.
const BOUND: Duration = Duration::from_secs(60);

pub(super) fn all() -> Vec<Scenario> {
    vec![
        Scenario::plain("watch_syncs_into_an_image_with_nothing_in_it", syncs),
        Scenario::plain("watch_takes_in_a_burst_of_files", bursts::many),
        Scenario::plain("watch_restarts_once_after_a_burst", bursts::restarts_once),
        Scenario::plain("watch_restarts_when_whoever_saves_is_done", bursts::restarts_at_the_end),
        Scenario::plain("watch_shows_no_half_of_a_file", bursts::shows_whole),
        Scenario::plain("watch_says_which_limit_is_reached", limits::runs_out),
        Scenario::plain("watch_follows_what_inotify_has_no_watches_for", limits::takes_over),
        Scenario::plain("up_follow_sees_every_file_that_was_read", follow::sees_all),
        Scenario::plain("watch_reads_the_old_name_of_develop", reads_old_names),
        Scenario::plain("watch_restarts_runs_and_rebuilds", acts),
        Scenario::plain("watch_corrects_what_a_mistake_has_ended", corrects),
        Scenario::plain("watch_copies_at_first_into_all_that_take_it", copies_at_first),
        Scenario::plain("watch_follows_the_compose_file", follows),
        Scenario::plain("up_follow_goes_on_in_the_background", follow::in_the_background),
        Scenario::plain("up_follow_builds_what_has_changed", follow::builds_in_the_background),
        Scenario::plain("up_watch_builds_what_has_changed", follow::builds_beside),
        Scenario::plain("watch_refuses_what_it_cannot_do", refuses),
    ]
}

/// Starts a command that stays, and waits until the container of `service` runs: its files are watched by then.
pub(super) fn begin(
    stage: &Stage,
    words: &[&str],
    service: &str,
) -> Result<Running, Box<dyn std::error::Error>> {
    let running = stage.start(stage.compose_command(words))?;
    eventually(BOUND, || match stage.field(service, "State")?.as_str() {
        "running" => Ok(()),
        other => Err(other.into()),
    })?;
    Ok(running)
}

/// Ends a command by Ctrl-C.
pub(super) fn end(running: Running) -> Verdict {
    running.signal(Signal::SIGINT)?;
    let _how = running.finish(BOUND)?;
    Ok(())
}

/// A service into which `src` is synced.
fn synced(stage: &Stage) -> Verdict {
    base(stage)?;
    stage.file(
        "compose.yaml",
        "services:\n  web:\n    image: base\n    command: sleep 600\n    stop_grace_period: 0s\n    \
         develop: {watch: [{action: sync, path: src, target: /app}]}\n",
    )?;
    Ok(())
}

/// Saves a file in one step, so that it is one change on a machine that is busy, too.
fn save(stage: &Stage, name: &str, text: &str) -> Verdict {
    stage.file("saved", text)?;
    fs::rename(stage.folder.join("saved"), stage.folder.join(name))?;
    Ok(())
}

/// The output of busybox in a container.
fn inside(
    stage: &Stage,
    service: &str,
    words: &[&str],
) -> Result<String, Box<dyn std::error::Error>> {
    let all = [&["exec", "-T", service, "/bin/busybox"], words].concat();
    Ok(stage.compose(all).success()?.stdout)
}

fn expect(stage: &Stage, service: &str, words: &[&str], wanted: &str) -> Verdict {
    eventually(BOUND, || match inside(stage, service, words)? {
        said if said.trim_end() == wanted => Ok(()),
        said => Err(format!("{words:?}: {said:?} instead of {wanted:?}").into()),
    })
}

/// No shell, no tar, no rm; a user that is not root and has no name.
fn syncs(stage: &Stage) -> Verdict {
    base(stage)?;
    stage.file(
        "compose.yaml",
        "services:\n  web:\n    build:\n      dockerfile_inline: |\n        FROM scratch\n        COPY --from=base /bin/busybox /bin/busybox\n        \
         USER 1234:2345\n        CMD [\"/bin/busybox\", \"sleep\", \"600\"]\n    init: false\n    stop_grace_period: 0s\n    scale: 2\n    \
         develop:\n      watch:\n        - {action: sync, path: src, target: /app, ignore: ['*.log'], initial_sync: true}\n        \
         - {action: sync, path: docs, target: /docs, include: ['*.txt']}\n",
    )?;
    stage.file("docs/old.txt", "")?;
    stage.file("src/first", "was here")?;
    stage.file("src/a.log", "noise")?;
    stage.file(".dockerignore", "src/hidden\n")?;
    stage.file(".gitignore", "*.out\n/src/made/\n")?;
    let watch = begin(stage, &["watch"], "web")?;
    expect(stage, "web", &["cat", "/app/first"], "was here")?;
    stage.file("src/deep/er/page", "one")?;
    expect(stage, "web", &["cat", "/app/deep/er/page"], "one")?;
    expect(stage, "web", &["stat", "-c", "%u:%g %a", "/app/deep/er/page"], "1234:2345 644")?;
    let second = ["exec", "-T", "--index", "2", "web", "/bin/busybox", "cat", "/app/deep/er/page"];
    eventually(BOUND, || Ok(stage.compose(second).success()?.says("one").map(drop)?))?;
    // A save by rename, a move of a directory, a removal; what is ignored comes before what is waited for.
    stage.file("src/hidden", "x")?;
    stage.file("src/b.log", "x")?;
    stage.file("src/.git/HEAD", "x")?;
    stage.file("src/deep/c.out", "x")?;
    stage.file("src/made/page", "x")?;
    stage.file("src/deep/er/page.new", "two")?;
    fs::rename(stage.folder.join("src/deep/er/page.new"), stage.folder.join("src/deep/er/page"))?;
    expect(stage, "web", &["cat", "/app/deep/er/page"], "two")?;
    fs::rename(stage.folder.join("src/deep"), stage.folder.join("src/moved"))?;
    fs::remove_file(stage.folder.join("src/first"))?;
    expect(stage, "web", &["find", "/app", "-type", "f"], "/app/moved/er/page")?;
    stage.file("docs/picture", "x")?;
    stage.file("docs/text.txt", "included")?;
    expect(stage, "web", &["cat", "/docs/text.txt"], "included")?;
    expect(stage, "web", &["find", "/docs", "-type", "f"], "/docs/text.txt")?;
    stage.compose(["watch"]).code(1)?.complains("is watched already, by process")?;
    end(watch)?;
    stage.compose(["down"]).success()?;
    stage.check_nothing_left()
}

fn reads_old_names(stage: &Stage) -> Verdict {
    base(stage)?;
    let rule = |rule: &str| {
        let text = format!(
            "services:\n  web:\n    image: base\n    command: sleep 600\n    stop_grace_period: 0s\n    x-develop: {{watch: [{rule}]}}\n"
        );
        stage.file("compose.yaml", &text)
    };
    rule("{path: src, action: sync}")?;
    stage.compose(["up", "--detach"]).code(1)?.complains("the rule has no `target`")?;
    rule("{path: src, action: sync, target: /app, x-initialSync: true}")?;
    stage.file("src/page", "one")?;
    let printed = stage.compose(["config"]).success()?.says("x-develop:")?;
    printed.complains("`x-develop` is the old name of `develop`")?;
    let watch = begin(stage, &["watch"], "web")?;
    expect(stage, "web", &["cat", "/app/page"], "one")?;
    save(stage, "src/page", "two")?;
    expect(stage, "web", &["cat", "/app/page"], "two")?;
    end(watch)?;
    stage.compose(["down"]).success()?;
    Ok(())
}

fn acts(stage: &Stage) -> Verdict {
    base(stage)?;
    stage.file(
        "compose.yaml",
        "services:\n  web:\n    build: web\n    stop_grace_period: 0s\n    develop:\n      watch:\n        \
         - {action: sync+restart, path: conf, target: /conf}\n        - {action: restart, path: switch}\n        \
         - {action: rebuild, path: web}\n        \
         - {action: sync+exec, path: data, target: /data, exec: {command: [sh, -c, cat /data/in > /out]}}\n  other:\n    image: base\n    \
         command: sleep 600\n    stop_grace_period: 0s\n",
    )?;
    stage.file(
        "web/Dockerfile",
        "FROM base\nCOPY page /page\nCMD echo begun >> /starts; cat /conf/a >> /read; sleep 600\n",
    )?;
    stage.file("web/page", "one")?;
    for path in ["conf/a", "switch", "data/in"] {
        stage.file(path, "")?;
    }
    let watch = begin(stage, &["up", "--watch"], "web")?;
    let (id, other) = (stage.field("web", "ID")?, stage.field("other", "ID")?);
    expect(stage, "web", &["cat", "/starts"], "begun")?;
    save(stage, "conf/a", "conf")?;
    expect(stage, "web", &["cat", "/read"], "conf")?;
    expect(stage, "web", &["cat", "/starts"], "begun\nbegun")?;
    save(stage, "switch", "on")?;
    expect(stage, "web", &["cat", "/starts"], "begun\nbegun\nbegun")?;
    save(stage, "data/in", "sent")?;
    expect(stage, "web", &["sh", "-c", "cat /out || true"], "sent")?;
    assert_eq!(stage.field("web", "ID")?, id);
    save(stage, "web/page", "two")?;
    eventually(BOUND, || match stage.field("web", "ID")? {
        same if same == id => Err("not made anew".into()),
        _ => Ok(()),
    })?;
    expect(stage, "web", &["cat", "/page"], "two")?;
    assert_eq!(stage.field("other", "ID")?, other);
    end(watch)?;
    stage.compose(["down"]).success()?;
    Ok(())
}

/// A container that has exited gets the file as well, and starts with it.
fn corrects(stage: &Stage) -> Verdict {
    base(stage)?;
    stage.file(
        "compose.yaml",
        "services:\n  web:\n    image: base\n    command: sh /app/run\n    stop_grace_period: 0s\n    develop:\n      watch:\n        \
         - {action: sync+restart, path: app, target: /app, initial_sync: true}\n  idle:\n    image: base\n    command: sleep 600\n    \
         stop_grace_period: 0s\n    develop:\n      watch:\n        - {action: restart, path: unused}\n",
    )?;
    stage.file("app/run", "exit 3\n")?;
    let watch = begin(stage, &["watch"], "idle")?;
    eventually(BOUND, || match stage.field("web", "State")?.as_str() {
        "exited" => Ok(()),
        other => Err(other.into()),
    })?;
    stage.file("app/run", "echo corrected > /said; exec sleep 600\n")?;
    expect(stage, "web", &["cat", "/said"], "corrected")?;
    end(watch)?;
    stage.compose(["down"]).success()?;
    Ok(())
}

/// One container that cannot be written to keeps nothing from the others, and each of them is told.
fn copies_at_first(stage: &Stage) -> Verdict {
    base(stage)?;
    let service = |name: &str, target: &str| {
        format!(
            "  {name}:\n    image: base\n    command: sleep 600\n    stop_grace_period: 0s\n    \
             develop: {{watch: [{{action: sync, path: src, target: {target}, initial_sync: true}}]}}\n"
        )
    };
    // What is below a file.
    let services =
        [service("a", "/bin/busybox/a"), service("b", "/bin/busybox/b"), service("c", "/app")];
    stage.file("compose.yaml", &format!("services:\n{}", services.concat()))?;
    stage.file("src/page", "one")?;
    let watch = begin(stage, &["watch"], "c")?;
    expect(stage, "c", &["cat", "/app/page"], "one")?;
    save(stage, "src/page", "two")?;
    expect(stage, "c", &["cat", "/app/page"], "two")?;
    watch.signal(Signal::SIGINT)?;
    let told = watch.finish(BOUND)?.stderr;
    for place in ["/bin/busybox/a/page", "/bin/busybox/b/page"] {
        assert!(told.contains(place), "{told}");
    }
    stage.compose(["down"]).success()?;
    Ok(())
}

fn follows(stage: &Stage) -> Verdict {
    base(stage)?;
    let text = |web: &str, more: &str| {
        format!(
            "services:\n  web:\n    image: base\n    command: sleep 600\n    env_file: web.env\n    stop_grace_period: 0s\n{web}    configs: [site]\n    \
             develop:\n      watch:\n        - {{action: sync, path: src, target: /app}}\n  db:\n    image: base\n    command: sleep 600\n    \
             stop_grace_period: 0s\n{more}configs:\n  site: {{file: site.conf}}\n"
        )
    };
    stage.file("compose.yaml", &text("", ""))?;
    stage.file("web.env", "COLOUR=red\n")?;
    stage.file("site.conf", "one")?;
    stage.file("src/file", "")?;
    let watch = begin(stage, &["watch"], "web")?;
    let (mut web, db) = (stage.field("web", "ID")?, stage.field("db", "ID")?);
    stage.file("src/file", "copied")?;
    expect(stage, "web", &["cat", "/app/file"], "copied")?;
    let address = inside(stage, "web", &["ip", "-4", "addr", "show", "eth0"])?;
    let mut anew = |what: &str| -> Verdict {
        eventually(BOUND, || match stage.field("web", "ID")? {
            same if same == web => Err(format!("web is not made anew after {what}").into()),
            _ => Ok(()),
        })?;
        web = stage.field("web", "ID")?;
        Ok(())
    };
    // A file with a mistake changes nothing; saved by rename, as editors do.
    stage.file("compose.yaml", "services:\n  web: {imge: base}\n")?;
    stage.file("web.env", "COLOUR=blue\n")?;
    stage.file("compose.new", &text("    labels: {a: b}\n", ""))?;
    fs::rename(stage.folder.join("compose.new"), stage.folder.join("compose.yaml"))?;
    anew("a label")?;
    expect(stage, "web", &["sh", "-c", "echo $COLOUR"], "blue")?;
    // What was copied is there again, and the address is the same.
    expect(stage, "web", &["cat", "/app/file"], "copied")?;
    assert_eq!(
        inside(stage, "web", &["ip", "-4", "addr", "show", "eth0"])?.lines().nth(1),
        address.lines().nth(1)
    );
    stage.file("web.env", "COLOUR=green\n")?;
    anew("its env_file")?;
    expect(stage, "web", &["sh", "-c", "echo $COLOUR"], "green")?;
    stage.file("site.new", "two")?;
    fs::rename(stage.folder.join("site.new"), stage.folder.join("site.conf"))?;
    // A config is replaced while it runs.
    expect(stage, "web", &["cat", "/site"], "two")?;
    assert_eq!(stage.field("web", "ID")?, web);
    // A service comes and goes; the others stay.
    let more = "  extra:\n    image: base\n    command: sleep 600\n    stop_grace_period: 0s\n";
    stage.file("compose.yaml", &text("    labels: {a: b}\n", more))?;
    eventually(BOUND, || stage.field("extra", "ID").map(drop))?;
    stage.file("compose.yaml", &text("    labels: {a: b}\n", ""))?;
    eventually(BOUND, || match stage.field("extra", "ID") {
        Ok(_) => Err("extra is still there".into()),
        Err(_) => Ok(()),
    })?;
    assert_eq!(stage.field("db", "ID")?, db);
    end(watch)?;
    stage.compose(["down"]).success()?;
    Ok(())
}

fn refuses(stage: &Stage) -> Verdict {
    stage.file("compose.yaml", "services:\n  web:\n    image: base\n")?;
    stage.compose(["watch"]).code(1)?.complains("no service has anything to watch")?;
    stage.file(
        "compose.yaml",
        "services:\n  web:\n    image: base\n    develop:\n      watch:\n        - {action: rebuild, path: .}\n",
    )?;
    stage.compose(["watch"]).code(1)?.complains("service web cannot be rebuilt")?;
    stage.file(
        "compose.yaml",
        "services:\n  web:\n    image: base\n    develop:\n      watch:\n        - {action: sync, path: src, target: /app}\n",
    )?;
    stage.compose(["watch", "--dry-run"]).success()?.says("/src to /app in web")?;
    stage.compose(["up", "--watch", "--detach"]).code(2)?.complains("--detach")?;
    Ok(())
}
