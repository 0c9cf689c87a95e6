//! How much a container may write: a file system of its own holds the data, one that counts (btrfs). What ext4 and XFS do is
//! shown by `scripts/vm`, since few kernels have all of them.

use std::error::Error;
use std::fs;
use std::process::Command;
use std::thread;
use std::time::Duration;

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use scenarios::{Need, Stage, Verdict, eventually};

use super::build::base;
use super::kills::{Moments, kill_supervisor};
use crate::Scenario;

const NEEDS: &[Need] = &[Need::Root, Need::Btrfs];
/// The kernel clears subvolumes away in the background.
const BOUND: Duration = Duration::from_secs(120);
/// How many times the supervisor is killed, and within what after a command has begun.
const KILLS: u32 = 12;
const SOON: Duration = Duration::from_millis(400);

pub(super) fn all() -> Vec<Scenario> {
    vec![
        Scenario::needing("what_a_container_writes_is_limited", NEEDS, limited),
        Scenario::needing("a_limit_of_storage_leaves_nothing_whoever_is_killed", NEEDS, killed),
        Scenario::plain("a_limit_of_storage_is_refused_where_it_cannot_be", refused),
    ]
}

/// One that says more than it may write, and one without a limit.
const FILE: &str = r#"services:
  web:
    image: base
    command: sh -c "/bin/busybox yes | /bin/busybox head -c 30000000; echo said; exec sleep 600"
    stop_grace_period: 0s
    storage_opt: {size: "${SIZE:-20m}"}
  free:
    image: base
    command: sleep 600
    stop_grace_period: 0s
"#;

fn limited(stage: &Stage) -> Verdict {
    on_btrfs(stage, || {
        stage.file("compose.yaml", FILE)?;
        stage.compose(["up", "--detach"]).success()?;
        assert_eq!(limits(stage)?, [mib(20)], "the one that asks has a subvolume");
        // A log is no part of what is limited.
        eventually(BOUND, || {
            Ok(stage.compose(["logs", "--tail", "1", "web"]).success()?.says("said")?)
        })?;
        writes(stage, "web", "small", 10)?;
        is_full(stage, "web", 20)?;
        writes(stage, "free", "big", 40)?;

        let id = stage.field("web", "ID")?;
        let resized = |size: &str| {
            let mut command = stage.compose_command(["up", "--detach"]);
            command.env("SIZE", size);
            stage.run(command, None).success()
        };
        resized("50m")?;
        assert_eq!(limits(stage)?, [mib(50)]);
        writes(stage, "web", "more", 20)?;
        // Less than there is: what is there stays.
        resized("10m")?;
        assert_eq!(limits(stage)?, [mib(10)]);
        is_full(stage, "web", 5)?;
        let found =
            stage.compose(["exec", "-T", "web", "/bin/busybox", "stat", "-c", "%s", "/more"]);
        found.success()?.says(&mib(20).to_string())?;
        assert_eq!(stage.field("web", "ID")?, id, "it is changed as it runs");
        resized("0")?;
        assert_eq!(limits(stage)?.len(), 0, "nothing is no limit, and takes another container");
        assert_ne!(stage.field("web", "ID")?, id);
        writes(stage, "web", "big", 40)?;
        resized("20m")?;
        assert_eq!(limits(stage)?, [mib(20)]);
        stage.compose(["up", "--detach", "--force-recreate", "--scale", "web=2"]).success()?;
        assert_eq!(limits(stage)?, [mib(20), mib(20)], "each replica has its own");
        stage.compose(["rm", "--stop", "--force", "web"]).success()?;
        eventually(BOUND, || nothing_is_counted(stage))?;
        stage.compose(["create"]).success()?;
        stage.compose(["system", "prune", "--force"]).success()?;
        eventually(BOUND, || nothing_is_counted(stage))?;
        let wrong = stage.file("compose.yaml", &FILE.replace("${SIZE:-20m}", "much"));
        wrong?;
        stage.compose(["up", "--detach"]).code(1)?.complains("`much` is no size")?;
        Ok(())
    })
}

fn killed(stage: &Stage) -> Verdict {
    on_btrfs(stage, || {
        stage.file("compose.yaml", FILE)?;
        let mut moments = Moments::new();
        for _ in 0..KILLS {
            let up = ["up", "--detach", "--force-recreate", "--scale", "web=3"];
            let begun = stage.start(stage.compose_command(up))?;
            thread::sleep(moments.within(SOON));
            kill_supervisor(stage)?;
            let _cut_off = begun.finish(BOUND)?;
            let begun = stage.start(stage.compose_command(["down"]))?;
            thread::sleep(moments.within(SOON / 4));
            kill_supervisor(stage)?;
            let _cut_off = begun.finish(BOUND)?;
            stage.compose(["down"]).success()?;
            assert_eq!(subvolumes(stage)?, Vec::<String>::new(), "TEST_SEED={}", moments.seed);
        }
        eventually(BOUND, || nothing_is_counted(stage))
    })
}

fn refused(stage: &Stage) -> Verdict {
    let data = stage.roots.join("data");
    mount("tmpfs", &data, "tmpfs", MountFlags::empty(), c"size=64m")?;
    let told = (|| {
        base(stage)?;
        stage.file("compose.yaml", FILE)?;
        let run = stage.compose(["up", "--detach"]).code(1)?;
        run.complains("is on tmpfs, which limits no folder")?
            .complains("compose.yaml:6:5")?
            .complains("put the data on btrfs")?;
        assert_eq!(stage.containers()?.len(), 0, "nothing is made before");
        Ok(())
    })();
    unmount(&data, UnmountFlags::DETACH)?;
    told
}

/// Plays with the data on a btrfs of its own, in the mount namespace of the stage.
fn on_btrfs(stage: &Stage, scenario: impl FnOnce() -> Verdict) -> Verdict {
    let (image, data) = (stage.folder.join("btrfs"), stage.roots.join("data"));
    fs::File::create(&image)?.set_len(512 << 20)?;
    let mut make = Command::new("mkfs.btrfs");
    make.arg("--quiet").arg(&image);
    stage.run(make, None).success()?;
    let mut mount = Command::new("mount");
    mount.args(["-o", "loop"]).args([&image, &data]);
    stage.run(mount, None).success()?;
    let played = base(stage).and_then(|()| scenario());
    let down = stage.compose(["down"]).success().map(drop);
    unmount(&data, UnmountFlags::DETACH)?;
    played?;
    Ok(down?)
}

const fn mib(number: u64) -> u64 {
    number << 20
}

fn write(service: &str, name: &str, mib: u64) -> Vec<String> {
    let (file, count) = (format!("of=/{name}"), format!("count={mib}"));
    ["exec", "-T", service, "/bin/busybox", "dd", "if=/dev/zero", "bs=1M", &file, &count]
        .map(str::to_owned)
        .to_vec()
}

fn writes(stage: &Stage, service: &str, name: &str, mib: u64) -> Verdict {
    stage.compose(write(service, name, mib)).success()?;
    Ok(())
}

/// Requires that no more than so many MiB can be written.
fn is_full(stage: &Stage, service: &str, mib: u64) -> Verdict {
    stage.compose(write(service, "over", mib)).code(1)?.complains("Disk quota exceeded")?;
    stage.compose(["exec", "-T", service, "/bin/busybox", "rm", "-f", "/over"]).success()?;
    Ok(())
}

/// The subvolumes that are there.
fn subvolumes(stage: &Stage) -> Result<Vec<String>, Box<dyn Error>> {
    let said = btrfs(stage, &["subvolume", "list"])?;
    Ok(said.lines().map(str::to_owned).collect())
}

/// What is counted with a limit.
fn limits(stage: &Stage) -> Result<Vec<u64>, Box<dyn Error>> {
    let said = btrfs(stage, &["qgroup", "show", "--raw", "-r"])?;
    // Group, referenced, exclusive, limit, path: those without a subvolume are about to go.
    let rows = said.lines().filter(|line| line.starts_with("0/") && !line.contains("<stale>"));
    Ok(rows.filter_map(|line| line.split_whitespace().nth(3)?.parse().ok()).collect())
}

/// Requires that there is no subvolume, and that nothing but the file system as a whole is counted.
fn nothing_is_counted(stage: &Stage) -> Verdict {
    // Has the kernel clear away what is gone.
    btrfs(stage, &["filesystem", "sync"])?;
    let left = subvolumes(stage)?.join("\n");
    let counted = btrfs(stage, &["qgroup", "show"]).unwrap_or_default();
    let groups = counted.lines().filter(|line| line.starts_with("0/")).count();
    if left.is_empty() && groups <= 1 {
        return Ok(());
    }
    Err(format!("left behind: {left}\n{counted}").into())
}

fn btrfs(stage: &Stage, words: &[&str]) -> Result<String, Box<dyn Error>> {
    let mut command = Command::new("btrfs");
    command.args(words).arg(stage.roots.join("data"));
    Ok(stage.run(command, None).success()?.stdout)
}
