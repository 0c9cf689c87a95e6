//! Many files at once, large ones, and those that come while others are copied.

use std::fs;
use std::io;
use std::process::Command;
use std::time::Instant;

use nix::sys::signal::Signal;
use scenarios::{Stage, Verdict, eventually};

use super::super::build::base;
use super::{BOUND, begin, counted, end, expect, inside, save, synced};

/// Hundreds of files, some of them written again or taken away while the first are under way.
pub(super) fn many(stage: &Stage) -> Verdict {
    synced(stage)?;
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
pub(super) fn shows_whole(stage: &Stage) -> Verdict {
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
pub(super) fn restarts_once(stage: &Stage) -> Verdict {
    base(stage)?;
    counted::file(
        stage,
        "ls /app | wc -l >> /seen",
        "{action: sync+restart, path: src, target: /app}",
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
    counted::expect(stage, 2)?;
    let mut starts = 2;
    let mut burst = |change: &dyn Fn() -> Verdict, count: usize| -> Verdict {
        watch.signal(Signal::SIGSTOP)?;
        change()?;
        watch.signal(Signal::SIGCONT)?;
        let count = count.to_string();
        expect(stage, "web", &["tail", "-n", "1", "/seen"], &count)?;
        // Another one after it is the next restart, and not one more.
        save(stage, "src/mark", &count)?;
        expect(stage, "web", &["cat", "/app/mark"], &count)?;
        starts += 2;
        counted::expect(stage, starts)
    };
    let written = || -> Verdict {
        Ok((0..200).try_for_each(|file| stage.file(&format!("src/own{file}"), "new"))?)
    };
    burst(&written, 201)?;
    burst(&|| git(&["checkout", "--quiet", "other"]), 401)?;
    end(watch)?;
    stage.compose(["down"]).success()?;
    Ok(())
}

/// What is saved while files of the save before are copied still leads to one restart and one command, not to two.
pub(super) fn restarts_at_the_end(stage: &Stage) -> Verdict {
    base(stage)?;
    counted::file(
        stage,
        ":",
        "{action: sync+restart, path: src, target: /app}, \
         {action: sync+exec, path: src/large, target: /app/large, exec: {command: sh -c 'echo ran >> /runs'}}",
    )?;
    stage.file("src/first", "")?;
    let watch = begin(stage, &["watch"], "web")?;
    save(stage, "src/mark", "seen")?;
    expect(stage, "web", &["cat", "/app/mark"], "seen")?;
    counted::expect(stage, 2)?;
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
    counted::expect(stage, 3)?;
    expect(stage, "web", &["cat", "/runs"], "ran")?;
    save(stage, "src/mark", "again")?;
    expect(stage, "web", &["cat", "/app/mark"], "again")?;
    counted::expect(stage, 4)?;
    end(watch)?;
    stage.compose(["down"]).success()?;
    Ok(())
}

fn with(mut command: Command, words: &[&str]) -> Command {
    command.args(words);
    command
}
