//! Live tests below `compose-test-PID` of this machine's hierarchies, and version 2 against a prepared directory.

use std::fs;
use std::path::Path;
use std::process::{Child, Command};

use super::tree::Tree;
use super::*;

/// A place of its own for each test, removed with everything in it.
struct Scratch(Place);

impl Scratch {
    fn new(test: &str, limits: &Limits) -> Self {
        Self(create(&format!("compose-test-{}/{test}/leaf", std::process::id()), limits).unwrap())
    }

    /// Runs a command inside the place.
    fn spawn(&self, script: &str) -> Child {
        let join: String = self
            .0
            .directories()
            .map(|directory| format!("echo 0 > {}/cgroup.procs; ", directory.display()))
            .collect();
        Command::new("sh").args(["-c", &format!("{join} {script}")]).spawn().unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.remove();
    }
}

/// Waits for a level, with a bound and without a fixed delay.
fn eventually(mut condition: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while !condition() {
        assert!(std::time::Instant::now() < deadline, "not within a minute");
        std::thread::yield_now();
    }
}

fn can_run() -> bool {
    let able = rustix::process::geteuid().is_root()
        && detect().is_ok_and(|hierarchy| hierarchy != Hierarchy::Unified);
    if !able {
        eprintln!("skipped: needs root and version 1 controllers");
    }
    able
}

#[test]
fn expecting_moves_moves_nothing() {
    let membership = || fs::read_to_string("/proc/self/cgroup").unwrap();
    let before = membership();
    expect_moves().unwrap();
    assert_eq!(membership(), before);
}

#[test]
fn a_place_is_made_used_and_removed_without_a_trace() {
    if !can_run() {
        return;
    }
    let limits = Limits {
        memory: Some(64 << 20),
        pids: Some(20),
        cpu_nanos: Some(500_000_000),
        cpuset_cpus: Some("0".into()),
        ..Limits::default()
    };
    let scratch = Scratch::new("made", &limits);
    let mut child = scratch.spawn("exec sleep 1000");
    eventually(|| {
        scratch.0.pids().contains(&child.id().cast_signed())
            && scratch.0.version_1_directories().all(|directory| !file::pids(directory).is_empty())
    });
    let stats = scratch.0.stats();
    assert_eq!((stats.memory_limit, stats.pids_limit), (Some(64 << 20), Some(20)));
    assert!(stats.cpu_us.is_some() && stats.memory.is_some());
    assert_eq!(file::read(&scratch.0.controllers["cpu"], "cpu.cfs_quota_us").unwrap(), "50000");
    assert_eq!(file::read(&scratch.0.controllers["cpuset"], "cpuset.cpus").unwrap(), "0");

    let again = create(&scratch.0.name, &limits).unwrap_err();
    assert!(matches!(again, CgroupError::Occupied { .. }), "{again}");

    scratch.0.freeze().unwrap();
    scratch.0.thaw().unwrap();
    scratch.0.kill().unwrap();
    child.wait().unwrap();
    scratch.0.remove().unwrap();
    scratch.0.remove().unwrap();
    scratch.0.kill().unwrap();
    for directory in scratch.0.directories() {
        assert!(!directory.parent().unwrap().exists(), "{}", directory.display());
    }
}

#[test]
fn removal_waits_for_those_who_die() {
    if !can_run() {
        return;
    }
    let scratch = Scratch::new("dying", &Limits::default());
    let mut child = scratch.spawn("for i in 1 2 3 4; do sleep 1000 & done; wait");
    eventually(|| scratch.0.pids().len() == 5);
    scratch.0.kill().unwrap();
    scratch.0.remove().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_hog_is_killed_and_it_is_known_afterwards() {
    if !can_run() {
        return;
    }
    let limits = Limits {
        memory: Some(16 << 20),
        memory_swap: Some(Swap::Total(16 << 20)),
        ..Limits::default()
    };
    let scratch = Scratch::new("hog", &limits);
    let watch = scratch.0.oom_watch().unwrap();
    assert!(!scratch.0.was_oom_killed());
    let mut child = scratch.spawn("head -c 100M /dev/zero | tail > /dev/null");
    assert!(!child.wait().unwrap().success());
    let mut ready = [rustix::event::PollFd::new(&watch, rustix::event::PollFlags::IN)];
    assert_eq!(
        rustix::event::poll(&mut ready, Some(&rustix::time::Timespec { tv_sec: 10, tv_nsec: 0 }))
            .unwrap(),
        1
    );
    watch.drain();
    assert!(scratch.0.was_oom_killed());
}

#[test]
fn limits_change_while_processes_run() {
    if !can_run() {
        return;
    }
    let mut scratch = Scratch::new(
        "update",
        &Limits { memory: Some(16 << 20), cpu_nanos: Some(100_000_000), ..Limits::default() },
    );
    let mut child = scratch.spawn("exec sleep 1000");
    eventually(|| scratch.0.pids().contains(&child.id().cast_signed()));
    let memory = scratch.0.controllers["memory"].clone();
    for mib in [64, 8, 256] {
        let limits = Limits {
            memory: Some(mib << 20),
            cpuset_cpus: Some("0".into()),
            pids: Some(7),
            ..Limits::default()
        };
        scratch.0.update(&limits).unwrap();
        assert_eq!(file::number(&memory, "memory.limit_in_bytes"), Some(mib << 20));
        assert_eq!(file::number(&memory, "memory.memsw.limit_in_bytes"), Some(mib << 21));
    }
    let cpus =
        |scratch: &Scratch| file::read(&scratch.0.controllers["cpuset"], "cpuset.cpus").unwrap();
    assert_eq!(cpus(&scratch), "0");
    // A controller of which the place has had no directory so far.
    let disk = std::fs::read_dir("/sys/block")
        .unwrap()
        .flatten()
        .map(|entry| Path::new("/dev").join(entry.file_name()));
    if let Some(device) = disk.into_iter().find(|path| path.exists()) {
        let rate = DeviceRate { device, value: 1 << 20 };
        let blkio = Blkio { write_bps: vec![rate], ..Blkio::default() };
        scratch.0.update(&Limits { blkio, ..Limits::default() }).unwrap();
        let directory = &scratch.0.controllers["blkio"];
        assert_eq!(file::pids(directory), [child.id().cast_signed()]);
        assert!(
            file::read(directory, "blkio.throttle.write_bps_device").unwrap().ends_with(" 1048576")
        );
    }
    assert_eq!(file::read(&scratch.0.controllers["cpu"], "cpu.cfs_quota_us").unwrap(), "-1");
    scratch.0.update(&Limits::default()).unwrap();
    assert_eq!(scratch.0.stats().memory_limit, None);
    assert_eq!(
        cpus(&scratch),
        fs::read_to_string("/sys/fs/cgroup/cpuset/cpuset.cpus").unwrap().trim()
    );
    scratch.0.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn processors_that_are_not_there_are_refused() {
    if !can_run() {
        return;
    }
    let limits = Limits { cpuset_cpus: Some("0,999".into()), ..Limits::default() };
    let refusal = create("compose-test-cpuset/leaf", &limits).unwrap_err().to_string();
    assert!(
        refusal.starts_with("cpuset 0,999: 999 is not among the available ones, 0"),
        "{refusal}"
    );
}

#[test]
fn version_1_confines_devices() {
    if !can_run() {
        return;
    }
    let rules = ["deny a *:* rwm", "allow c *:* m", "allow c 1:3 rwm"].map(devices::tests::rule);
    let scratch = Scratch::new(
        "devices",
        &Limits { devices: Devices::Only(rules.to_vec()), ..Limits::default() },
    );
    assert_eq!(
        file::read(&scratch.0.controllers["devices"], "devices.list").unwrap(),
        "c *:* m\nc 1:3 rwm"
    );
    assert!(scratch.spawn("cat /dev/null").wait().unwrap().success());
    assert!(!scratch.spawn("cat /dev/zero 2>&- | head -c 1 | grep -q .").wait().unwrap().success());
}

#[test]
fn version_2_confines_devices() {
    if !can_run() || detect().unwrap() != Hierarchy::Hybrid {
        return;
    }
    // The tree beside version 1 has no controllers, but programs attach to it as to any other.
    let scratch = Scratch::new("program", &Limits::default());
    let alone = Place {
        hierarchy: Hierarchy::Unified,
        controllers: Default::default(),
        ..scratch.0.clone()
    };
    let rules = ["deny a *:* rwm", "allow c 1:3 rwm"].map(devices::tests::rule);
    devices::restrict(&alone, &rules).unwrap();
    assert!(scratch.spawn("cat /dev/null").wait().unwrap().success());
    assert!(!scratch.spawn("head -c 1 /dev/zero 2>&- | grep -q ''").wait().unwrap().success());
}

#[test]
fn a_parent_stays_and_its_limits_hold() {
    assert_eq!(name(None, "shop", "1"), "compose/shop/1");
    assert_eq!(name(Some("/a/b/"), "shop", "1"), "a/b/compose/shop/1");
    assert_eq!(name(Some("a-b.slice"), "shop", "1"), "a.slice/a-b.slice/compose/shop/1");
    assert_eq!(name(Some("x/a-b.slice"), "shop", "1"), "x/a-b.slice/compose/shop/1");
    let error = check(Some("../up"), &Limits::default()).unwrap_err().to_string();
    assert!(error.starts_with("cgroup_parent "), "{error}");
    if !can_run() {
        return;
    }
    let parent = format!("compose-test-parent-{}", std::process::id());
    let place = create(&name(Some(&parent), "shop", "1"), &Limits::default()).unwrap();
    let tops: Vec<_> = place
        .directories()
        .map(|directory| directory.ancestors().nth(3).unwrap().to_owned())
        .collect();
    assert!(tops.iter().all(|top| top.ends_with(&parent) && top.is_dir()), "{tops:?}");
    place.remove().unwrap();
    for top in tops {
        assert_eq!(
            fs::read_dir(&top).unwrap().flatten().filter(|one| one.path().is_dir()).count(),
            0
        );
        // Still there: whoever made it removes it.
        fs::remove_dir(top).unwrap();
    }
}

/// A directory that looks like one of a version 2 tree.
fn prepare(directory: &Path, controllers: &str, enabled: &str) {
    fs::create_dir_all(directory).unwrap();
    for (name, text) in [
        ("cgroup.controllers", controllers),
        ("cgroup.subtree_control", enabled),
        ("cgroup.procs", ""),
    ] {
        fs::write(directory.join(name), text).unwrap();
    }
}

#[test]
fn version_2_enables_controllers_from_the_top_down() {
    let scratch = tempfile::tempdir().unwrap();
    let top = scratch.path();
    let leaf = top.join("compose/shop/web");
    prepare(top, "cpuset cpu io memory pids", "memory");
    prepare(&top.join("compose"), "cpu memory pids", "");
    prepare(&top.join("compose/shop"), "cpu memory pids", "cpu memory pids");
    prepare(&leaf, "", "");
    for name in ["memory.max", "memory.swap.max", "memory.low", "cpu.max", "cpu.weight", "pids.max"]
    {
        fs::write(leaf.join(name), "").unwrap();
    }
    let tree = Tree::unified(top);
    let mut place = tree.place("compose/shop/web", &Limits::default()).unwrap();
    assert_eq!((place.directories().collect::<Vec<_>>(), place.depth()), (vec![leaf.as_path()], 3));

    tree.extend(&mut place, &Limits::default()).unwrap();
    let control =
        |directory: &Path| fs::read_to_string(directory.join("cgroup.subtree_control")).unwrap();
    assert_eq!(control(top), "+cpu +pids");
    assert_eq!(control(&top.join("compose")), "+cpu +memory +pids");
    assert_eq!(control(&top.join("compose/shop")), "cpu memory pids");

    let limits = Limits { cpuset_cpus: Some("0".into()), ..Limits::default() };
    let refusal = tree.extend(&mut place, &limits).unwrap_err();
    assert_eq!(
        refusal.to_string(),
        format!("the `cpuset` controller is not available in `{}`", top.display())
    );
}

#[test]
fn version_2_limits_reach_their_files() {
    let scratch = tempfile::tempdir().unwrap();
    let leaf = scratch.path().join("a");
    fs::create_dir(&leaf).unwrap();
    for name in ["memory.max", "memory.low", "cpu.max", "cpu.weight", "pids.max"] {
        fs::write(leaf.join(name), "").unwrap();
    }
    let tree = Tree::unified(scratch.path());
    let place = tree.place("a", &Limits::default()).unwrap();
    let limits = Limits {
        memory: Some(64 << 20),
        cpu_nanos: Some(200_000_000),
        pids: Some(9),
        ..Limits::default()
    };
    // Without swap accounting the file for swap is missing, which is no error.
    tree.limit(&place, &limits, setting::Purpose::Fresh, None).unwrap();
    let text = |name: &str| fs::read_to_string(leaf.join(name)).unwrap();
    assert_eq!(
        (text("memory.max"), text("cpu.max"), text("pids.max")),
        ("67108864".into(), "20000 100000".into(), "9".into())
    );
    fs::write(leaf.join("memory.current"), "5000\n").unwrap();
    fs::write(leaf.join("memory.stat"), "anon 1\ninactive_file 1000\n").unwrap();
    fs::write(leaf.join("memory.events"), "low 0\noom 1\noom_kill 1\n").unwrap();
    assert_eq!(
        (place.stats().memory, place.stats().pids_limit, place.was_oom_killed()),
        (Some(4000), Some(9), true)
    );
    assert!(place.oom_watch().is_ok());
}

#[test]
fn names_stay_inside_the_tree() {
    let tree = Tree::unified(Path::new("/nowhere"));
    for name in ["", "/etc", "a/../b", "..", "./a"] {
        assert!(tree.place(name, &Limits::default()).is_err(), "{name}");
    }
}

#[test]
fn a_place_survives_its_record() {
    let place = Tree::unified(Path::new("/sys/fs/cgroup"))
        .place("compose/shop/web", &Limits::default())
        .unwrap();
    let text = serde_json::to_string(&place).unwrap();
    assert_eq!(serde_json::from_str::<Place>(&text).unwrap(), place);
}

#[test]
#[ignore = "a measurement"]
fn creation_is_cheap() {
    let rules = vec![devices::tests::rule("allow c 1:3 rwm"); 15];
    let limits = Limits {
        memory: Some(64 << 20),
        pids: Some(20),
        devices: Devices::Only(rules),
        ..Limits::default()
    };
    let _keep = Scratch::new("speed-parent", &limits);
    let mut times: Vec<_> = (0..200)
        .map(|number| {
            let start = std::time::Instant::now();
            let place =
                create(&format!("compose-test-{}/speed/{number}", std::process::id()), &limits)
                    .unwrap();
            let made = start.elapsed();
            place.remove().unwrap();
            (made, start.elapsed() - made)
        })
        .collect();
    times.sort();
    eprintln!("create p50 {:?} p90 {:?}, remove {:?}", times[100].0, times[180].0, times[100].1);
}
