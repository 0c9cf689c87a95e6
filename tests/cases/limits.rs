//! What a container may not do.

use std::time::Duration;

use scenarios::{Need, Stage, Verdict, eventually};

use crate::Scenario;

pub(super) fn all() -> Vec<Scenario> {
    vec![
        Scenario::needing(
            "a_memory_limit_kills_a_hog_and_ps_says_so",
            &[Need::Root, Need::Memory],
            hog,
        ),
        Scenario::plain("a_read_only_container_cannot_write", read_only),
        Scenario::plain("children_of_process_1_are_reaped", reaping),
        Scenario::plain("a_container_has_the_rights_of_docker", rights),
        Scenario::plain("version_1_control_groups_alone_are_enough", version_1),
    ]
}

fn hog(stage: &Stage) -> Verdict {
    stage.file(
        "compose.yaml",
        "
services:
  hog:
    image: rootfs:/
    mem_limit: 256m
    memswap_limit: 256m
    command: python3 -c 'x = b\"x\" * (1 << 30); print(len(x))'
",
    )?;
    stage.compose(["up", "--detach"]).success()?;
    eventually(Duration::from_secs(30), || match stage.field("hog", "State")?.as_str() {
        "exited" => Ok(()),
        other => Err(format!("hog is {other}").into()),
    })?;
    assert_eq!(stage.field("hog", "ExitCode")?, "137");
    stage.compose(["ps", "--all"]).success()?.says("out of memory")?;
    stage.compose(["down"]).success()?;
    Ok(())
}

fn read_only(stage: &Stage) -> Verdict {
    stage.file(
        "compose.yaml",
        "
services:
  still:
    image: rootfs:/
    read_only: true
    tmpfs: [/tmp]
    command: sleep infinity
    init: true
",
    )?;
    stage.compose(["up", "--detach"]).success()?;
    stage
        .compose(["exec", "-T", "still", "touch", "/usr/file"])
        .code(1)?
        .complains("Read-only file system")?;
    stage.compose(["exec", "-T", "still", "touch", "/tmp/file"]).success()?;
    stage.compose(["down"]).success()?;
    Ok(())
}

fn reaping(stage: &Stage) -> Verdict {
    stage.file(
        "compose.yaml",
        "services: {parent: {image: 'rootfs:/', init: true, command: sleep infinity}}",
    )?;
    stage.compose(["up", "--detach"]).success()?;
    let shown = stage.compose(["exec", "-T", "parent", "cat", "/proc/1/cmdline"]).success()?.stdout;
    assert_eq!(shown.trim_end_matches('\0'), "init -- sleep infinity");
    // Children whose parent is gone before them become children of process 1.
    stage
        .compose([
            "exec",
            "-T",
            "parent",
            "sh",
            "-c",
            "for i in 1 2 3 4 5; do (sh -c 'sleep 0.1 &'); done",
        ])
        .success()?;
    eventually(Duration::from_secs(60), || {
        let states = "cat /proc/[0-9]*/stat | sed 's/.*) //' | cut -c1";
        let seen = stage.compose(["exec", "-T", "parent", "sh", "-c", states]).success()?;
        if seen.stdout.contains('Z') { Err("a zombie is left".into()) } else { Ok(()) }
    })?;
    stage.compose(["down"]).success()?;
    Ok(())
}

fn rights(stage: &Stage) -> Verdict {
    stage.file(
        "compose.yaml",
        "services: {box: {image: 'rootfs:/', init: true, command: sleep infinity}}",
    )?;
    stage.compose(["up", "--detach"]).success()?;
    for (what, script) in [
        ("mounts", "mount -t tmpfs none /mnt"),
        ("names of the kernel", "hostname other"),
        ("settings of the kernel", "echo 1 > /proc/sys/kernel/sysrq"),
        ("devices of the host", "mknod /tmp/disk b 254 0 && cat /tmp/disk"),
        ("a new user namespace", "unshare --user true"),
        ("the kernel's memory", "test -s /proc/kcore"),
    ] {
        let tried = stage.compose(["exec", "-T", "box", "sh", "-c", script]);
        assert!(!tried.status.success(), "{what}: {tried:?}");
    }
    // The same set for process 1 and for those that exec brings in: capabilities(7), Docker's fourteen.
    for process in ["1", "self"] {
        let script = format!("grep CapBnd /proc/{process}/status");
        stage
            .compose(["exec", "-T", "box", "sh", "-c", &script])
            .success()?
            .says("00000000a80425fb")?;
    }
    stage.compose(["down"]).success()?;
    Ok(())
}

fn version_1(stage: &Stage) -> Verdict {
    if !stage.hide_version_2()? {
        return Ok(());
    }
    stage.file(
        "compose.yaml",
        "
services:
  limited:
    image: rootfs:/
    mem_limit: 64m
    pids_limit: 50
    command: sleep infinity
    healthcheck: {test: 'true', interval: 1s}
  restarted:
    image: rootfs:/
    command: sleep infinity
    stop_signal: SIGKILL
    restart: always
    depends_on: {limited: {condition: service_healthy}}
",
    )?;
    stage.compose(["up", "--detach", "--wait"]).success()?;
    stage
        .compose(["exec", "-T", "limited", "cat", "/sys/fs/cgroup/memory/memory.limit_in_bytes"])
        .success()?
        .says("67108864")?;
    stage.compose(["pause", "limited"]).success()?;
    assert_eq!(stage.field("limited", "State")?, "paused");
    stage.compose(["unpause", "limited"]).success()?;
    let before = stage.field("restarted", "ID")?;
    stage.compose(["restart", "restarted"]).success()?;
    assert_eq!(stage.field("restarted", "ID")?, before);
    assert_eq!(stage.field("restarted", "State")?, "running");
    stage.compose(["stats", "--no-stream"]).success()?.says("/ 64MiB")?;
    stage.compose(["down"]).success()?;
    stage.show_version_2()?;
    Ok(())
}
