//! What a container can and cannot see and do.

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use libtest_mimic::Failed;
use runtime::exit::ExitStatus;
use runtime::launch::{Launch, NamespaceKind, Rootfs, Upper};
use runtime::seccomp;
use runtime::spec::{self, NamespaceWish, Wishes};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::Case;
use crate::build::{Project, read_line, shell, with};

pub const CASES: &[Case] = &[
    ("nothing_of_the_host_is_open_or_mounted", leaks),
    ("paths_are_masked_and_read_only", paths),
    ("dev_has_what_docker_has", devices),
    ("capabilities_and_filter_are_those_of_docker", rights),
    ("no_new_privileges_loads_the_filter_last", no_new_privileges),
    ("users_come_from_the_container", users),
    ("the_root_can_be_read_only", read_only_root),
    ("bind_mounts_make_their_targets", binds),
    ("a_link_in_the_place_of_proc_is_refused", linked_proc),
    ("an_overlay_starts_again_in_the_same_boot", overlay_again),
    ("namespaces_are_shared_by_descriptor", joins),
    ("host_name_parameters_and_limits_are_set", settings),
    ("control_groups_are_joined_and_hidden", control_groups),
    ("a_terminal_is_the_console", console),
    ("a_privileged_container_has_what_the_host_gives", privileged),
];

/// A container as wishes make it, with Docker's filter.
fn wished(wishes: Wishes) -> Launch {
    let cache = tempfile::tempdir().unwrap();
    let filter = seccomp::filter(&wishes, cache.path()).unwrap();
    Launch { spec: spec::spec(&wishes).unwrap(), filter, ..shell("") }
}

fn line(text: &str) -> Wishes {
    Wishes { args: ["/bin/sh", "-c", text].map(str::to_owned).to_vec(), ..Wishes::default() }
}

fn mounting(launch: Launch, mounts: Value) -> Launch {
    with(launch, |spec| {
        spec["mounts"].as_array_mut().unwrap().extend(mounts.as_array().unwrap().clone())
    })
}

fn leaks() -> Result<(), Failed> {
    let mut project = Project::new();
    // The fourth is that of ls itself.
    assert_eq!(project.run(&shell("ls -m /proc/self/fd")).success(), "0, 1, 2, 3\n");
    let mounts = project.run(&shell("cut -d' ' -f5 /proc/self/mountinfo | sort -u")).success();
    let known = [
        "/",
        "/proc",
        "/dev",
        "/dev/pts",
        "/dev/shm",
        "/dev/mqueue",
        "/sys",
        "/sys/fs/cgroup",
        "/sys/firmware",
    ];
    for mount in mounts.lines() {
        let expected = known.contains(&mount)
            || mount.starts_with("/proc/")
            || mount.starts_with("/sys/fs/cgroup/");
        assert!(expected, "{mount} is mounted");
    }
    assert_eq!(project.run(&shell("grep -c ' / / ' /proc/self/mountinfo")).success(), "1\n");
    // The shell alone.
    let count = shell("cat /proc/self/loginuid > /dev/null; set -- /proc/[0-9]*; echo $#");
    assert_eq!(project.run(&count).success(), "1\n");
    Ok(())
}

fn paths() -> Result<(), Failed> {
    let mut project = Project::new();
    assert_eq!(
        project
            .run(&shell("cat /proc/kcore /proc/keys /proc/timer_list; ls /sys/firmware /proc/scsi"))
            .output,
        "/proc/scsi:\n\n/sys/firmware:\n".replace(
            "/proc/scsi:\n\n/sys/firmware:\n",
            if Path::new("/proc/scsi").exists() {
                "/proc/scsi:\n\n/sys/firmware:\n"
            } else {
                "/sys/firmware:\n"
            }
        )
    );
    for path in [
        "/proc/sys/kernel/panic",
        "/proc/sysrq-trigger",
        "/sys/kernel/uevent_helper",
        "/sys/fs/cgroup/x",
    ] {
        let outcome = project.run(&shell(&format!("echo 1 > {path}")));
        assert!(
            !outcome.status.success() && !outcome.error.contains("No such"),
            "{path}: {outcome:?}"
        );
    }
    let unmask = project.run(&shell("umount /proc/kcore || mount -o remount,rw /proc/sys"));
    assert!(!unmask.status.success());
    Ok(())
}

fn devices() -> Result<(), Failed> {
    let mut project = Project::new();
    let listed = project.run(&shell("ls -m -w0 /dev")).success();
    let expected = "core, fd, full, mqueue, null, ptmx, pts, random, shm, stderr, stdin, stdout, tty, urandom, zero\n";
    assert_eq!(listed, expected);
    let check = "[ -c /dev/null ] && echo x > /dev/null && head -c3 /dev/zero | wc -c && echo y >/dev/shm/y && cat /dev/shm/y; \
                 stat -c '%a %F' /dev/shm /dev/null; readlink /dev/ptmx; stat -c %a /dev/pts/ptmx; cat </dev/stdin; \
                 findmnt -no OPTIONS /dev/shm";
    let said = project.run(&shell(check)).success();
    let expected = "3\ny\n1777 directory\n666 character special file\npts/ptmx\n666\n";
    assert!(
        said.starts_with(expected) && said.contains("nosuid") && said.contains("size=65536k"),
        "{said}"
    );
    let fuse = json!([{"path": "/dev/mine/null", "type": "c", "major": 1, "minor": 3, "fileMode": 0o600, "uid": 5, "gid": 6}]);
    let said = project.run(&with(shell("stat -c '%a %u %g %t %T' /dev/mine/null"), |spec| {
        spec["linux"]["devices"] = fuse
    }));
    assert_eq!(said.success(), "600 5 6 1 3\n");
    Ok(())
}

const STATUS: &str = "grep -E 'CapInh|CapPrm|CapEff|CapBnd|CapAmb|NoNewPrivs|Seccomp:' /proc/self/status | tr -d '\\n\\t'; \
                      echo; unshare -m true 2>&1; umask";

fn rights() -> Result<(), Failed> {
    let mut project = Project::new();
    let said = project.run(&wished(line(STATUS))).success();
    let all = "00000000a80425fb";
    let none = "0000000000000000";
    let expected = format!(
        "CapInh:{none}CapPrm:{all}CapEff:{all}CapBnd:{all}CapAmb:{none}NoNewPrivs:0Seccomp:2\n"
    );
    assert!(said.starts_with(&expected), "{said}");
    assert!(said.contains("Operation not permitted") && said.ends_with("0022\n"), "{said}");
    let mut user = wished(line(STATUS));
    user.user = "daemon".to_owned();
    let said = project.run(&user).success();
    assert!(
        said.starts_with(&format!("CapInh:{none}CapPrm:{none}CapEff:{none}CapBnd:{all}")),
        "{said}"
    );
    // With a reaper both processes are confined.
    let mut reaper =
        wished(line("grep -E 'CapEff|Seccomp:' /proc/1/status | tr -d '\\n\\t'; ls /proc/1/fd"));
    reaper.init = true;
    assert_eq!(project.run(&reaper).success(), format!("CapEff:{all}Seccomp:2"));
    Ok(())
}

fn no_new_privileges() -> Result<(), Failed> {
    let mut project = Project::new();
    let mut launch = wished(Wishes {
        no_new_privileges: true,
        cap_drop: vec!["ALL".to_owned()],
        ..line(STATUS)
    });
    launch.user = "daemon".to_owned();
    let said = project.run(&launch).success();
    assert!(
        said.contains("CapBnd:0000000000000000") && said.contains("NoNewPrivs:1Seccomp:2"),
        "{said}"
    );
    Ok(())
}

fn users() -> Result<(), Failed> {
    let mut project = Project::new();
    #[rustfmt::skip]
    let table = [
        ("", "0 0 0 /root"),
        ("daemon", "1 1 1 /usr/sbin"),
        ("daemon:tty", "1 5 5 /usr/sbin"),
        ("4321:1234", "4321 1234 1234 /"),
    ];
    for (user, expected) in table {
        let mut launch = shell("echo $(id -u) $(id -g) $(id -G) $HOME");
        launch.user = user.to_owned();
        assert_eq!(project.run(&launch).success().trim(), expected, "{user}");
    }
    let mut launch = shell("id -G; pwd");
    (launch.user, launch.groups) = ("daemon".to_owned(), vec!["tty".to_owned(), "77".to_owned()]);
    let launch = with(launch, |spec| spec["process"]["cwd"] = json!("/made/for/it"));
    assert_eq!(project.run(&launch).success(), "1 5 77\n/made/for/it\n");
    Ok(())
}

fn read_only_root() -> Result<(), Failed> {
    let mut project = Project::new();
    let check = "touch /x 2>&1; touch /dev/shm/x /run/x && echo written";
    let launch =
        with(shell(check), |spec| spec["root"] = json!({"path": "rootfs", "readonly": true}));
    let run = json!([{"destination": "/run", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "size=1m", "mode=700"]}]);
    let said = project.run(&mounting(launch, run)).success();
    assert!(said.contains("Read-only file system") && said.ends_with("written\n"), "{said}");
    let mut none = shell("touch /x");
    none.rootfs = Rootfs::Overlay { lower: vec!["/".into()], upper: Upper::ReadOnly };
    assert!(project.run(&none).error.contains("Read-only file system"));
    Ok(())
}

fn binds() -> Result<(), Failed> {
    let mut project = Project::new();
    let host = tempfile::tempdir()?;
    std::fs::create_dir(host.path().join("folder"))?;
    std::fs::write(host.path().join("file"), "content")?;
    std::os::unix::fs::symlink("/etc", host.path().join("escape"))?;
    let source = |name: &str| host.path().join(name);
    let mounts = json!([
        {"destination": "/new/place/folder", "type": "bind", "source": source("folder"), "options": ["rbind", "rprivate", "rw"]},
        {"destination": "/new/file", "type": "bind", "source": source("file"), "options": ["rbind", "ro"]},
        {"destination": "/etc/hostname", "type": "bind", "source": source("file"), "options": ["rbind"]},
        {"destination": "/all", "type": "bind", "source": host.path(), "options": ["rbind", "ro", "rro", "nosuid"]},
        {"destination": "/all/escape/passwd", "type": "bind", "source": source("file"), "options": ["rbind"]},
    ]);
    let check = "cat /new/file /etc/hostname /etc/passwd; echo x > /new/place/folder/written; \
                 echo y > /new/file; echo z > /all/file; grep -c ' /all ' /proc/self/mountinfo";
    let outcome = project.run(&mounting(shell(check), mounts));
    assert_eq!(outcome.output, "contentcontentcontent1\n", "{outcome:?}");
    assert_eq!(outcome.error.matches("Read-only file system").count(), 2, "{outcome:?}");
    assert_eq!(std::fs::read_to_string(source("folder/written"))?, "x\n");
    assert_eq!(std::fs::read_to_string(source("file"))?, "content");
    assert!(!host.path().join("escape/written").exists());
    Ok(())
}

/// An image without anything but links into `/usr`, which is bound from the host.
fn image(folder: &Path) -> Value {
    for (link, target) in [("bin", "usr/bin"), ("lib", "usr/lib"), ("lib64", "usr/lib64")] {
        std::os::unix::fs::symlink(target, folder.join(link)).unwrap();
    }
    json!([{"destination": "/usr", "type": "bind", "source": "/usr", "options": ["rbind", "ro"]}])
}

fn linked_proc() -> Result<(), Failed> {
    let mut project = Project::new();
    let layer = tempfile::tempdir()?;
    let usr = image(layer.path());
    std::os::unix::fs::symlink("/usr", layer.path().join("proc"))?;
    let mut launch = mounting(shell("true"), usr);
    launch.rootfs = Rootfs::Overlay { lower: vec![layer.path().to_owned()], upper: Upper::Memory };
    let failure = project.start(&launch).err().expect("a failure");
    assert_eq!((&*failure.step, failure.errno), ("mounts", libc::ENOTDIR), "{failure:?}");
    assert!(failure.detail.contains("/proc"), "{failure:?}");
    Ok(())
}

fn overlay_again() -> Result<(), Failed> {
    let mut project = Project::new();
    let folder = tempfile::tempdir()?;
    let made = |name: &str| -> std::io::Result<PathBuf> {
        let path = folder.path().join(name);
        std::fs::create_dir(&path).map(|()| path)
    };
    // More layers than fit into one string, with a colon and a comma in their names.
    let mut lower = vec![made("top:,\\x")?];
    for index in 0..20 {
        lower.push(made(&format!("layer-{index}"))?);
    }
    std::fs::write(lower[0].join("who"), "top\n")?;
    std::fs::write(lower[20].join("who"), "bottom\n")?;
    std::fs::write(lower[20].join("deep"), "deep\n")?;
    let usr = image(&lower[20]);
    let (upper, work) = (made("upper")?, made("work")?);
    let mut launch = mounting(shell("cat /who /deep /count; echo again >> /count"), usr);
    launch.rootfs = Rootfs::Overlay {
        lower,
        upper: Upper::Directory { upper: upper.clone(), work: work.clone() },
    };
    assert_eq!(project.run(&launch).output, "top\ndeep\n");
    assert_eq!(project.run(&launch).output, "top\ndeep\nagain\n");
    assert_eq!(std::fs::read_to_string(upper.join("count"))?, "again\nagain\n");
    rustix::fs::setxattr(
        &work,
        "trusted.compose.boot",
        b"another boot",
        rustix::fs::XattrFlags::empty(),
    )?;
    let failure = project.start(&launch).err().expect("a failure");
    assert_eq!((&*failure.step, failure.errno), ("root file system", libc::ESTALE), "{failure:?}");
    let mut plain = shell("cat /who");
    let usr = json!([{"destination": "/usr", "type": "bind", "source": "/usr", "options": ["rbind", "ro"]}]);
    std::fs::write(upper.join("who"), "plain\n")?;
    image(&upper);
    plain.rootfs = Rootfs::Directory(upper);
    assert_eq!(project.run(&mounting(plain, usr)).output, "plain\n");
    Ok(())
}

fn joins() -> Result<(), Failed> {
    let mut project = Project::new();
    let first = project.start(&shell("echo up; exec sleep 1000"))?;
    assert_eq!(read_line(&first.output), "up");
    let kinds =
        [NamespaceKind::Pid, NamespaceKind::Network, NamespaceKind::Ipc, NamespaceKind::Uts];
    let open = |kind| runtime::exec::namespace(first.running.pid, first.running.pid_started, kind);
    let namespaces = kinds.map(|kind| open(kind).unwrap());
    let lent: Vec<_> = kinds.into_iter().zip(namespaces.iter().map(AsFd::as_fd)).collect();
    let check = "for name in pid net ipc uts mnt; do readlink /proc/1/ns/$name | cmp -s - /proc/1/comm; \
                 [ $(readlink /proc/1/ns/$name) = $(readlink /proc/self/ns/$name) ] && echo $name; done; cat /proc/1/comm";
    let launch = with(shell(check), |spec| spec["process"]["capabilities"] = Value::Null);
    let second = project.start_joined(&launch, &lent)?;
    assert_eq!(project.finish(second).output, "pid\nnet\nipc\nuts\nsleep\n");
    // The keeper itself has come back to its own namespace.
    assert_eq!(project.run(&shell("echo $$")).success(), "1\n");
    let host = wished(Wishes {
        network: NamespaceWish::Host,
        pid: NamespaceWish::Host,
        ipc: NamespaceWish::Host,
        uts: NamespaceWish::Host,
        ..line("readlink /proc/self/ns/net /proc/self/ns/pid /proc/self/ns/ipc /proc/self/ns/uts")
    });
    let own = ["net", "pid", "ipc", "uts"]
        .map(|name| std::fs::read_link(format!("/proc/self/ns/{name}")).unwrap());
    let expected: String = own.iter().map(|name| format!("{}\n", name.display())).collect();
    assert_eq!(project.run(&host).success(), expected);
    rustix::process::pidfd_send_signal(&first.pidfd, Signal::KILL)?;
    assert_eq!(project.finish(first).status, ExitStatus::signaled(9));
    assert!(runtime::exec::namespace(second_of(&lent), 0, NamespaceKind::Pid).is_err());
    Ok(())
}

/// A number that is no process's with start time 0.
fn second_of<T>(_: &[T]) -> i32 {
    1
}

fn settings() -> Result<(), Failed> {
    let mut project = Project::new();
    let check = "hostname; cat /proc/sys/kernel/domainname /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/shm_rmid_forced; \
                 ulimit -n; ulimit -c; cat /proc/self/oom_score_adj";
    let launch = with(shell(check), |spec| {
        spec["hostname"] = json!("other");
        spec["domainname"] = json!("domain");
        spec["linux"]["sysctl"] =
            json!({"net.ipv4.ip_forward": "1", "kernel.shm_rmid_forced": "1"});
        spec["process"]["oomScoreAdj"] = json!(321);
        spec["process"]["rlimits"] = json!([
            {"type": "RLIMIT_NOFILE", "soft": 77, "hard": 99},
            {"type": "RLIMIT_CORE", "soft": 0, "hard": 0},
            // Above what this machine lets root have: the start goes on with what there is.
            {"type": "RLIMIT_MEMLOCK", "soft": u64::MAX, "hard": u64::MAX},
        ]);
    });
    assert_eq!(project.run(&launch).success(), "other\ndomain\n1\n1\n77\n0\n321\n");
    let launch =
        with(shell("true"), |spec| spec["linux"]["sysctl"] = json!({"kernel.no_such_thing": "1"}));
    let failure = project.start(&launch).err().expect("a failure");
    assert_eq!(failure.step, "kernel parameters");
    assert!(failure.detail.contains("/proc/sys/kernel/no_such_thing"), "{failure:?}");
    Ok(())
}

fn control_groups() -> Result<(), Failed> {
    let mut project = Project::new();
    let mut launch = shell(
        "cat /proc/self/cgroup; ls /sys/fs/cgroup; cat; echo $(ls /sys/fs/cgroup/pids/ | wc -l)",
    );
    let place = runtime::cgroup::create(
        &runtime::cgroup::name(None, "core-test", &launch.id),
        &runtime::cgroup::Limits::default(),
    )?;
    launch.cgroup = Some(place.clone());
    let ended = project.run(&launch);
    let inside: BTreeMap<&str, &str> =
        ended.output.lines().filter_map(|line| line.split_once(':')?.1.split_once(':')).collect();
    for path in place.directories() {
        assert!(path.exists(), "{}", path.display());
    }
    assert_eq!(inside.get(""), place.unified.as_ref().map(|_| &"/"), "{ended:?}");
    let outside = with(shell("cat /proc/self/cgroup"), |spec| {
        let namespaces = spec["linux"]["namespaces"].as_array_mut().unwrap();
        namespaces.retain(|namespace| namespace["type"] != "cgroup");
    });
    let said = project.run(&Launch { cgroup: Some(place.clone()), ..outside }).success();
    assert!(said.contains(&launch.id), "{said}");
    place.remove()?;
    Ok(())
}

fn console() -> Result<(), Failed> {
    let mut project = Project::new();
    let pair = runtime::pty::open()?;
    let check =
        "tty; ls /dev/console; echo hello > /dev/console; read x < /dev/tty; echo $x; exit 4";
    for init in [false, true] {
        let mut launch = with(shell(check), |spec| spec["process"]["terminal"] = json!(true));
        launch.init = init;
        let slave = pair.slave.as_fd();
        let (running, _pidfd) = project.start_with(&launch, [slave; 3], &[])?;
        assert_eq!(read_line(&pair.master).trim(), "/dev/console");
        assert_eq!(read_line(&pair.master).trim(), "/dev/console");
        assert_eq!(read_line(&pair.master).trim(), "hello");
        rustix::io::write(&pair.master, b"typed\n")?;
        assert_eq!(read_line(&pair.master).trim(), "typed");
        assert_eq!(read_line(&pair.master).trim(), "typed");
        assert_eq!(project.exit_of(running.ticket), Some(ExitStatus::exited(4)));
    }
    Ok(())
}

fn privileged() -> Result<(), Failed> {
    let mut project = Project::new();
    let check = "grep -E 'CapBnd|Seccomp:' /proc/self/status | tr -d '\\n\\t'; mount -t tmpfs tmpfs /mnt && echo mounted";
    let launch = wished(Wishes { privileged: true, ..line(check) });
    let said = project.run(&launch).success();
    let own = std::fs::read_to_string("/proc/self/status")?;
    let held = own.lines().find_map(|line| line.strip_prefix("CapBnd:\t")).expect("CapBnd");
    assert_eq!(said, format!("CapBnd:{held}Seccomp:0mounted\n"));
    Ok(())
}
