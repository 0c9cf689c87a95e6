//! `watch` and `up --watch`: what is saved is seen in the containers.

use std::fs;
use std::io;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use scenarios::{Running, Stage, Verdict, eventually};

use super::build::base;
use crate::Scenario;

/// How long a save may take to be seen on a machine that has much else to do.
const BOUND: Duration = Duration::from_secs(60);

pub(super) fn all() -> Vec<Scenario> {
    vec![
        Scenario::plain("watch_syncs_into_an_image_with_nothing_in_it", syncs),
        Scenario::plain("watch_takes_in_a_burst_of_files", bursts),
        Scenario::plain("watch_restarts_once_after_a_burst", restarts_once),
        Scenario::plain("watch_restarts_when_whoever_saves_is_done", restarts_at_the_end),
        Scenario::plain("watch_shows_no_half_of_a_file", shows_whole),
        Scenario::plain("watch_says_which_limit_is_reached", runs_out),
        Scenario::plain("watch_follows_what_inotify_has_no_watches_for", takes_over),
        Scenario::plain("up_follow_sees_every_file_that_was_read", sees_all),
        Scenario::plain("watch_reads_the_old_name_of_develop", reads_old_names),
        Scenario::plain("watch_restarts_runs_and_rebuilds", acts),
        Scenario::plain("watch_corrects_what_a_mistake_has_ended", corrects),
        Scenario::plain("watch_follows_the_compose_file", follows),
        Scenario::plain("up_follow_goes_on_in_the_background", in_the_background),
        Scenario::plain("up_follow_builds_what_has_changed", builds_in_the_background),
        Scenario::plain("up_watch_builds_what_has_changed", builds_beside),
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

/// Hundreds of files, some of them written again or taken away while the first are under way.
fn bursts(stage: &Stage) -> Verdict {
    base(stage)?;
    stage.file(
        "compose.yaml",
        "services:\n  web:\n    image: base\n    command: sleep 600\n    stop_grace_period: 0s\n    \
         develop: {watch: [{action: sync, path: src, target: /app}]}\n",
    )?;
    stage.file("src/first", "")?;
    let watch = begin(stage, &["watch"], "web")?;
    for turn in ["one", "two"] {
        save(stage, "src/first", turn)?;
        expect(stage, "web", &["cat", "/app/first"], turn)?;
        for file in 0..300 {
            stage.file(&format!("src/file{file}"), turn)?;
            if file % 50 == 49 {
                stage.file("src/file0", &format!("{turn} {file}"))?;
                fs::remove_file(stage.folder.join(format!("src/file{file}")))?;
            }
        }
        let count = ["sh", "-c", &format!("grep -l '^{turn}' /app/file* | wc -l")];
        expect(stage, "web", &count, "294")?;
        expect(stage, "web", &["cat", "/app/file0"], &format!("{turn} 299"))?;
    }
    expect(stage, "web", &["find", "/app", "-name", ".*"], "")?;
    end(watch)?;
    stage.compose(["down"]).success()?;
    Ok(())
}

/// Somebody in the container reads all files all the time, from when the last of them came: each is there, and as long as it was
/// saved, small ones and large ones.
fn shows_whole(stage: &Stage) -> Verdict {
    base(stage)?;
    stage.file(
        "compose.yaml",
        "services:\n  web:\n    image: base\n    init: true\n    command: |\n      sh -c 'until [ -e /app/file9 ]; do sleep 0.1; done; while :; do for file in /app/*; do\n        \
         case $$(wc -c < $$file) in 9|300000) ;; *) echo $$file >> /half ;; esac; done; echo >> /rounds; done'\n    \
         stop_grace_period: 0s\n    develop: {watch: [{action: sync, path: src, target: /app, initial_sync: true}]}\n",
    )?;
    let text = |turn: u32, file: u32| match file % 10 {
        0 => turn.to_string().repeat(300_000),
        _ => turn.to_string().repeat(9),
    };
    let count = 40;
    (0..count).try_for_each(|file| stage.file(&format!("src/file{file}"), &text(0, file)))?;
    let watch = begin(stage, &["watch"], "web")?;
    expect(stage, "web", &["cat", "/app/file1"], "000000000")?;
    let rounds = || -> Result<u32, Box<dyn std::error::Error>> {
        Ok(inside(stage, "web", &["sh", "-c", "cat /rounds | wc -l"])?.trim_end().parse()?)
    };
    for turn in 1..=5 {
        (0..count)
            .try_for_each(|file| save(stage, &format!("src/file{file}"), &text(turn, file)))?;
        let shown = ["sh", "-c", &format!("cat /app/file* | tr -dc {turn} | wc -c")];
        expect(stage, "web", &shown, &(count / 10 * 300_000 + count / 10 * 9 * 9).to_string())?;
        let begun = rounds()?;
        eventually(BOUND, || match rounds()? {
            later if later > begun + 1 => Ok(()),
            _ => Err("nobody reads".into()),
        })?;
    }
    expect(stage, "web", &["sh", "-c", "cat /half || true"], "")?;
    expect(stage, "web", &["find", "/app", "-name", ".*"], "")?;
    end(watch)?;
    stage.compose(["down"]).success()?;
    Ok(())
}

/// What is saved while the watcher is stopped comes in one go: it is one restart, and one for what git checks out.
fn restarts_once(stage: &Stage) -> Verdict {
    base(stage)?;
    stage.file(
        "compose.yaml",
        "services:\n  web:\n    image: base\n    init: true\n    command: sh -c 'echo begun >> /starts; ls /app | wc -l >> /seen; sleep 600'\n    \
         stop_grace_period: 0s\n    develop: {watch: [{action: sync+restart, path: src, target: /app}]}\n",
    )?;
    let git = |words: &[&str]| -> Verdict {
        let mut command = stage.command("git");
        command.args([
            "-c",
            "user.name=a",
            "-c",
            "user.email=a@b.c",
            "-c",
            "init.defaultBranch=main",
        ]);
        stage.run(with(command, words), None).success()?;
        Ok(())
    };
    stage.file("src/first", "")?;
    git(&["init", "--quiet", "."])?;
    git(&["add", "src"])?;
    git(&["commit", "--quiet", "--message", "one"])?;
    for file in 0..200 {
        stage.file(&format!("src/file{file}"), "two")?;
    }
    git(&["checkout", "--quiet", "-b", "other"])?;
    git(&["add", "src"])?;
    git(&["commit", "--quiet", "--message", "two"])?;
    git(&["checkout", "--quiet", "main"])?;
    let watch = begin(stage, &["watch"], "web")?;
    // It has begun to watch when this is seen.
    save(stage, "src/mark", "seen")?;
    expect(stage, "web", &["cat", "/app/mark"], "seen")?;
    expect(stage, "web", &["cat", "/starts"], "begun\nbegun")?;
    let mut starts = "begun\nbegun".to_owned();
    let burst = |change: &dyn Fn() -> Verdict, count: usize, starts: &mut String| -> Verdict {
        watch.signal(Signal::SIGSTOP)?;
        change()?;
        watch.signal(Signal::SIGCONT)?;
        starts.push_str("\nbegun");
        let count = count.to_string();
        expect(stage, "web", &["tail", "-n", "1", "/seen"], &count)?;
        // Another one after it is the next restart, and not one more.
        save(stage, "src/mark", &count)?;
        expect(stage, "web", &["cat", "/app/mark"], &count)?;
        starts.push_str("\nbegun");
        expect(stage, "web", &["cat", "/starts"], starts)
    };
    let written = || -> Verdict {
        Ok((0..200).try_for_each(|file| stage.file(&format!("src/own{file}"), "new"))?)
    };
    burst(&written, 201, &mut starts)?;
    burst(&|| git(&["checkout", "--quiet", "other"]), 401, &mut starts)?;
    end(watch)?;
    stage.compose(["down"]).success()?;
    Ok(())
}

/// What is saved while files of the save before are copied still leads to one restart and one command, not to two.
fn restarts_at_the_end(stage: &Stage) -> Verdict {
    base(stage)?;
    stage.file(
        "compose.yaml",
        "services:\n  web:\n    image: base\n    init: true\n    command: sh -c 'echo begun >> /starts; sleep 600'\n    \
         stop_grace_period: 0s\n    develop:\n      watch:\n        - {action: sync+restart, path: src, target: /app}\n        \
         - {action: sync+exec, path: src/large, target: /app/large, exec: {command: sh -c 'echo ran >> /runs'}}\n",
    )?;
    stage.file("src/first", "")?;
    let watch = begin(stage, &["watch"], "web")?;
    save(stage, "src/mark", "seen")?;
    expect(stage, "web", &["cat", "/app/mark"], "seen")?;
    expect(stage, "web", &["cat", "/starts"], "begun\nbegun")?;
    let listed = stage.compose(["top", "web"]).success()?.stdout;
    let row = listed.lines().find(|line| line.contains("sleep 600")).ok_or("it does not run")?;
    let pid = row.split_whitespace().find(|word| word.parse::<u32>().is_ok_and(|pid| pid > 1));
    let folder = format!("/proc/{}/root/app", pid.ok_or("no pid")?);
    save(stage, "src/large", &"x".repeat(256 << 20))?;
    // It is being copied from here on: whoever does that is held when it is done.
    let waits = |entry: io::Result<fs::DirEntry>| {
        entry.is_ok_and(|one| one.file_name().to_string_lossy().starts_with(".compose-sync-"))
    };
    let begun = Instant::now();
    while !fs::read_dir(&folder)?.any(waits) {
        if begun.elapsed() > BOUND {
            return Err("nothing is copied".into());
        }
    }
    watch.signal(Signal::SIGSTOP)?;
    save(stage, "src/late", "seen")?;
    watch.signal(Signal::SIGCONT)?;
    expect(stage, "web", &["cat", "/app/late"], "seen")?;
    expect(stage, "web", &["cat", "/starts"], "begun\nbegun\nbegun")?;
    expect(stage, "web", &["cat", "/runs"], "ran")?;
    save(stage, "src/mark", "again")?;
    expect(stage, "web", &["cat", "/app/mark"], "again")?;
    expect(stage, "web", &["cat", "/starts"], "begun\nbegun\nbegun\nbegun")?;
    end(watch)?;
    stage.compose(["down"]).success()?;
    Ok(())
}

fn with(mut command: std::process::Command, words: &[&str]) -> std::process::Command {
    command.args(words);
    command
}

/// `watch` of a service that is up, by a user whose name space has these limits of its own: nobody else runs out of anything. All
/// that it tells is on its standard output.
fn limited(stage: &Stage, limits: &[(&str, u32)]) -> std::process::Command {
    let compose = stage.compose_command(["watch", "--no-up"]);
    let set: Vec<String> = limits
        .iter()
        .map(|(limit, value)| format!("echo {value} > /proc/sys/user/{limit} && "))
        .collect();
    let mut limited = stage.command("unshare");
    limited.args(["--user", "--map-root-user", "sh", "-c"]);
    limited.arg(format!("{}exec \"$0\" \"$@\" 2>&1", set.concat()));
    limited.arg(compose.get_program()).args(compose.get_args());
    limited
}

fn runs_out(stage: &Stage) -> Verdict {
    base(stage)?;
    stage.file(
        "compose.yaml",
        "services:\n  web:\n    image: base\n    command: sleep 600\n    stop_grace_period: 0s\n    \
         develop: {watch: [{action: sync, path: src, target: /app}]}\n",
    )?;
    (0..20).try_for_each(|folder| stage.file(&format!("src/{folder}/file"), ""))?;
    stage.compose(["up", "--detach"]).success()?;
    // One watch too few, with nothing to take over; and no instance.
    for (limits, told) in [
        ([("max_inotify_watches", 10), ("max_fanotify_groups", 0)], "fs.inotify.max_user_watches"),
        ([("max_inotify_watches", 10), ("max_fanotify_marks", 2)], "fs.inotify.max_user_watches"),
        (
            [("max_inotify_instances", 0), ("max_fanotify_groups", 0)],
            "fs.inotify.max_user_instances",
        ),
    ] {
        let run = stage.run(limited(stage, &limits), None).code(1)?;
        run.says(&format!("of {told} are in use"))?.says(&format!("`sysctl -w {told}="))?;
    }
    stage.compose(["down"]).success()?;
    Ok(())
}

/// Each change is a restart, which the supervisor makes: whoever watches here may do nothing else.
fn takes_over(stage: &Stage) -> Verdict {
    base(stage)?;
    stage.file(
        "compose.yaml",
        "services:\n  web:\n    image: base\n    init: true\n    command: sh -c 'echo begun >> /starts; sleep 600'\n    \
         stop_grace_period: 0s\n    develop: {watch: [{action: restart, path: src}]}\n",
    )?;
    (0..20).try_for_each(|folder| stage.file(&format!("src/{folder}/file"), ""))?;
    stage.compose(["up", "--detach"]).success()?;
    let mut starts = 1;
    for limit in ["max_inotify_watches", "max_inotify_instances"] {
        let value = u32::from(limit == "max_inotify_watches");
        let watch = stage.start(limited(stage, &[(limit, value)]))?;
        eventually(BOUND, || match watch.said() {
            said if said.contains("Watch enabled") => Ok(()),
            said => Err(said.into()),
        })?;
        let at = |path: &str| stage.folder.join("src").join(path);
        let made = tempfile::tempdir_in(&stage.folder)?;
        fs::create_dir_all(made.path().join("new/deep"))?;
        let (new, file) = (at(limit), format!("src/{limit}/deep/file"));
        let changes: [&dyn Fn() -> Verdict; 6] = [
            &|| save(stage, "src/7/file", "saved"),
            &|| Ok(fs::rename(at("7/file"), at("7/renamed"))?),
            &|| Ok(fs::rename(at("7/renamed"), at("19/file"))?),
            &|| Ok(fs::remove_file(at("19/file"))?),
            &|| Ok(fs::rename(made.path().join("new"), &new)?),
            &|| save(stage, &file, "saved"),
        ];
        for change in changes {
            change()?;
            starts += 1;
            expect(stage, "web", &["sh", "-c", "wc -l < /starts"], &starts.to_string())?;
        }
        end(watch)?;
    }
    stage.compose(["down"]).success()?;
    Ok(())
}

/// Included, extended, `.env`, env files, a link that leads elsewhere, and what is put in its place by git.
fn sees_all(stage: &Stage) -> Verdict {
    base(stage)?;
    let own = "include: [inc/more.yaml]\nservices:\n  web:\n    extends: {file: common.yaml, service: common}\n    \
               environment: {A: '${A}'}\n    env_file: web.env\n";
    let common = |value: &str| {
        format!(
            "services:\n  common:\n    image: base\n    command: sleep 600\n    stop_grace_period: 0s\n    environment: {{B: {value}}}\n"
        )
    };
    let more = |value: &str| {
        format!(
            "services:\n  more:\n    image: base\n    command: sleep 600\n    stop_grace_period: 0s\n    environment: {{C: {value}}}\n"
        )
    };
    let linked = |value: &str| {
        stage.file(
            &format!("versions/{value}.yaml"),
            &format!("{own}    labels: {{own: {value}}}\n"),
        )
    };
    let leads_to = |value: &str| -> Verdict {
        std::os::unix::fs::symlink(format!("versions/{value}.yaml"), stage.folder.join("next"))?;
        Ok(fs::rename(stage.folder.join("next"), stage.folder.join("compose.yaml"))?)
    };
    linked("one")?;
    linked("two")?;
    leads_to("one")?;
    stage.file("common.yaml", &common("b1"))?;
    stage.file("inc/more.yaml", &more("c1"))?;
    stage.file(".env", "A=a1\n")?;
    stage.file("web.env", "D=d1\n")?;
    stage.compose(["up", "--detach", "--follow"]).success()?;
    let says = |service: &str, wanted: &str| {
        expect(stage, service, &["sh", "-c", "echo $A $B $C $D"], wanted)
    };
    says("web", "a1 b1 d1")?;
    let first = stage.field("more", "ID")?;
    stage.file(".env", "A=a2\n")?;
    says("web", "a2 b1 d1")?;
    save(stage, "common.yaml", &common("b2"))?;
    says("web", "a2 b2 d1")?;
    stage.file("web.env", "D=d2\n")?;
    says("web", "a2 b2 d2")?;
    assert_eq!(stage.field("more", "ID")?, first);
    let web = stage.field("web", "ID")?;
    save(stage, "inc/more.yaml", &more("c2"))?;
    says("more", "c2")?;
    assert_eq!(stage.field("web", "ID")?, web);
    let labelled = |wanted: &str| {
        eventually(BOUND, || match stage.field("web", "Labels")? {
            labels if labels.contains(&format!("own={wanted}")) => Ok(()),
            labels => Err(labels.into()),
        })
    };
    leads_to("two")?;
    labelled("two")?;
    stage.file("versions/two.yaml", &format!("{own}    labels: {{own: three}}\n"))?;
    labelled("three")?;
    assert_eq!(stage.field("web", "ID")?, web, "a label is no reason for a new container");
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

/// The supervisor follows the files, also one that comes after a kill.
fn in_the_background(stage: &Stage) -> Verdict {
    base(stage)?;
    let text = |colour: &str| {
        format!(
            "services:\n  web:\n    image: base\n    command: sleep 600\n    stop_grace_period: 0s\n    environment: {{COLOUR: {colour}}}\n  db:\n    \
             image: base\n    command: sleep 600\n    stop_grace_period: 0s\n"
        )
    };
    let becomes = |colour: &str| expect(stage, "web", &["sh", "-c", "echo $COLOUR"], colour);
    stage.file("compose.yaml", &text("red"))?;
    stage.compose(["up", "--detach", "--follow"]).success()?;
    let db = stage.field("db", "ID")?;
    stage.file("compose.yaml", &text("blue"))?;
    becomes("blue")?;
    // A network that is not there: the file is well-formed, and cannot be brought up.
    let broken =
        text("green") + "    networks: [far]\nnetworks: {far: {external: true, name: far-away}}\n";
    stage.file("compose.yaml", &broken)?;
    eventually(BOUND, || {
        Ok(stage.compose(["ps"]).success()?.complains("is not as its files say").map(drop)?)
    })?;
    stage.file("compose.yaml", &text("yellow"))?;
    becomes("yellow")?;
    eventually(BOUND, || match stage.compose(["ps"]).success()?.stderr {
        said if said.contains("files say") => Err(said.into()),
        _ => Ok(()),
    })?;
    super::kills::kill_supervisor(stage)?;
    stage.file("compose.yaml", &text("white"))?;
    becomes("white")?;
    assert_eq!(stage.field("db", "ID")?, db);
    // A `watch` beside it does not, and nor does its end.
    let rules = "    develop:\n      watch:\n        - {action: restart, path: switch}\n";
    let watched = text("black").replace("  db:\n", &format!("{rules}  db:\n"));
    stage.file("compose.yaml", &watched)?;
    becomes("black")?;
    let watch = stage.start(stage.compose_command(["watch"]))?;
    let began = || inside(stage, "web", &["sh", "-c", "set -- $(cat /proc/1/stat); echo ${22}"]);
    let before = began()?;
    eventually(BOUND, || {
        stage.file("switch", "")?;
        if began()? == before { Err("it is not restarted".into()) } else { Ok(()) }
    })?;
    end(watch)?;
    stage.file("compose.yaml", &text("grey"))?;
    becomes("grey")?;
    // An `up` without it ends it.
    stage.compose(["up", "--detach"]).success()?;
    assert!(!stage.roots.join("data/projects").join(&stage.project).join("follow.json").exists());
    stage.compose(["down"]).success()?;
    stage.check_nothing_left()
}

/// A Dockerfile or a file of a context is saved: the supervisor builds, with nobody connected.
fn builds_in_the_background(stage: &Stage) -> Verdict {
    base(stage)?;
    let text = |greeting: &str| {
        format!(
            "services:\n  web:\n    build: {{context: web, args: {{GREETING: {greeting}}}}}\n    stop_grace_period: 0s\n    volumes: ['./web/data:/data']\n  db:\n    \
             image: base\n    command: sleep 600\n    stop_grace_period: 0s\n"
        )
    };
    let dockerfile = |more: &str| {
        format!(
            "FROM base\nARG GREETING\nCOPY . /all/\nCOPY page /page\nRUN echo \"$GREETING $(cat /page)\" > /said\n{more}CMD sleep 600\n"
        )
    };
    let becomes = |said: &str| expect(stage, "web", &["cat", "/said"], said);
    stage.file("compose.yaml", &text("hello"))?;
    stage.file("web/Dockerfile", &dockerfile(""))?;
    stage.file("web/.dockerignore", "ignored\n")?;
    stage.file("web/page", "one")?;
    stage.file("web/data/log", "x")?;
    stage.compose(["up", "--detach", "--follow"]).success()?;
    let db = stage.field("db", "ID")?;
    becomes("hello one")?;
    stage.file("web/page", "two")?;
    becomes("hello two")?;
    stage.file("web/Dockerfile", &dockerfile("RUN echo more >> /said\n"))?;
    becomes("hello two\nmore")?;
    stage.file("compose.yaml", &text("welcome"))?;
    becomes("welcome two\nmore")?;
    // A build that fails leaves what runs, and is told.
    let web = stage.field("web", "ID")?;
    stage.file("web/Dockerfile", &dockerfile("RUN exit 7\n"))?;
    eventually(BOUND, || {
        let ps = stage.compose(["ps"]).success()?;
        Ok(ps.complains("the command has ended with exit code 7").map(drop)?)
    })?;
    assert_eq!(stage.field("web", "ID")?, web);
    // What is saved while no supervisor looks is built by the next.
    super::kills::kill_supervisor(stage)?;
    stage.file("web/Dockerfile", &dockerfile(""))?;
    stage.file("web/page", "three")?;
    becomes("welcome three")?;
    // What is ignored or mounted anyway builds nothing.
    let web = stage.field("web", "ID")?;
    stage.file("web/ignored", "x")?;
    stage.file("web/data/log", "y")?;
    stage.file("compose.yaml", &(text("welcome") + "    environment: {A: b}\n"))?;
    expect(stage, "db", &["sh", "-c", "echo A=$A"], "A=b")?;
    assert_eq!(stage.field("web", "ID")?, web);
    assert_ne!(stage.field("db", "ID")?, db);
    stage.compose(["down"]).success()?;
    stage.check_nothing_left()
}

/// Without rules of its own, a service is built when what it is built from is saved.
fn builds_beside(stage: &Stage) -> Verdict {
    base(stage)?;
    stage.file("compose.yaml", "services:\n  web:\n    build: web\n    stop_grace_period: 0s\n")?;
    stage.file("web/Dockerfile", "FROM base\nCOPY page /page\nCMD sleep 600\n")?;
    stage.file("web/page", "one")?;
    let watch = begin(stage, &["up", "--watch"], "web")?;
    expect(stage, "web", &["cat", "/page"], "one")?;
    stage.file("web/page", "two")?;
    expect(stage, "web", &["cat", "/page"], "two")?;
    stage.file("web/Dockerfile", "FROM base\nRUN echo three > /page\nCMD sleep 600\n")?;
    expect(stage, "web", &["cat", "/page"], "three")?;
    end(watch)?;
    stage.compose(["down"]).success()?;
    Ok(())
}
