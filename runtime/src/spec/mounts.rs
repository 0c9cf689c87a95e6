//! The mounts of a container: Docker's seven, and those of the user after them or in their place.

use std::path::{Component, Path, PathBuf};

use oci_spec::runtime::Mount;

use super::{
    Bind, MountWish, NamespaceWish, Propagation, Recursion, SharedMemory, SpecError, Tmpfs, Wishes,
};

/// Size of /dev/shm unless another is asked for.
const SHM_BYTES: u64 = 64 << 20;

/// Defaults first, then the wishes by depth, so that no mount hides one before it.
pub(super) fn mounts(wishes: &Wishes) -> Result<Vec<Mount>, SpecError> {
    let mut wished = wishes.mounts.iter().map(mount).collect::<Result<Vec<_>, _>>()?;
    check_targets(&wished)?;
    wished.sort_by_key(|mount| mount.destination().components().count());
    // Whoever mounts /dev or /sys himself wants what is in it, not our parts.
    let replaced = |mount: &Mount| {
        wished.iter().any(|wish| mount.destination().starts_with(wish.destination()))
    };
    let mut mounts: Vec<Mount> =
        defaults(wishes).into_iter().filter(|mount| !replaced(mount)).collect();
    mounts.append(&mut wished);
    Ok(mounts)
}

/// Docker's mounts, in the order in which they lie in each other.
fn defaults(wishes: &Wishes) -> Vec<Mount> {
    let access = if wishes.privileged { "rw" } else { "ro" };
    let shm_size = format!("size={}", wishes.shm_bytes.unwrap_or(SHM_BYTES));
    let mut mounts = vec![
        file_system("/proc", "proc", &["nosuid", "noexec", "nodev"]),
        file_system("/dev", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        file_system(
            "/dev/pts",
            "devpts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        file_system("/sys", "sysfs", &["nosuid", "noexec", "nodev", access]),
        file_system("/sys/fs/cgroup", "cgroup", &[access, "nosuid", "noexec", "nodev"]),
    ];
    // Whoever mounts it sees the queues of its own ipc namespace, the host's too, which may have it mounted nowhere.
    mounts.push(file_system("/dev/mqueue", "mqueue", &["nosuid", "noexec", "nodev"]));
    if wishes.ipc == NamespaceWish::Host {
        mounts.push(bound("/dev/shm", "/dev/shm", &["bind", "nosuid", "noexec", "nodev"]));
    } else if wishes.shm == SharedMemory::Mounted {
        let options = ["nosuid", "noexec", "nodev", "mode=1777", &shm_size];
        mounts.push(Mount::clone(
            file_system("/dev/shm", "tmpfs", &options).set_source(Some("shm".into())),
        ));
    }
    mounts
}

/// A file system of its own; its source is only a name.
fn file_system(target: &str, kind: &str, options: &[&str]) -> Mount {
    new(
        Path::new(target),
        kind,
        Path::new(kind),
        options.iter().map(|option| (*option).to_owned()).collect(),
    )
}

fn bound(source: &str, target: &str, options: &[&str]) -> Mount {
    new(
        Path::new(target),
        "bind",
        Path::new(source),
        options.iter().map(|option| (*option).to_owned()).collect(),
    )
}

fn new(target: &Path, kind: &str, source: &Path, options: Vec<String>) -> Mount {
    let mut mount = Mount::default();
    mount.set_destination(target.to_owned()).set_typ(Some(kind.to_owned()));
    mount.set_source(Some(source.to_owned())).set_options(Some(options));
    mount
}

fn mount(wish: &MountWish) -> Result<Mount, SpecError> {
    match wish {
        MountWish::Bind(bind) => bind_mount(bind),
        MountWish::Tmpfs(tmpfs) => tmpfs_mount(tmpfs),
    }
}

fn bind_mount(bind: &Bind) -> Result<Mount, SpecError> {
    if !bind.source.is_absolute() {
        return Err(SpecError::BadPath {
            what: "the source of a bind mount",
            path: bind.source.clone(),
        });
    }
    let mut options = vec![if bind.recursion == Recursion::Off { "bind" } else { "rbind" }];
    options.push(match bind.propagation {
        Propagation::RPrivate => "rprivate",
        Propagation::Private => "private",
        Propagation::RShared => "rshared",
        Propagation::Shared => "shared",
        Propagation::RSlave => "rslave",
        Propagation::Slave => "slave",
    });
    options.push(if bind.read_only { "ro" } else { "rw" });
    if bind.read_only && bind.recursion == Recursion::Recursive {
        options.push("rro");
    }
    Ok(new(
        &target(&bind.target)?,
        "bind",
        &bind.source,
        options.into_iter().map(str::to_owned).collect(),
    ))
}

fn tmpfs_mount(tmpfs: &Tmpfs) -> Result<Mount, SpecError> {
    let mut options: Vec<String> = Vec::new();
    for restriction in ["noexec", "nosuid", "nodev"] {
        if !tmpfs.options.iter().any(|option| option == &restriction[2..]) {
            options.push(restriction.to_owned());
        }
    }
    options.extend(tmpfs.options.iter().cloned());
    options.extend(tmpfs.size.map(|bytes| format!("size={bytes}")));
    options.extend(tmpfs.mode.map(|mode| format!("mode={mode:o}")));
    options.extend(tmpfs.uid.map(|uid| format!("uid={uid}")));
    options.extend(tmpfs.gid.map(|gid| format!("gid={gid}")));
    Ok(new(&target(&tmpfs.target)?, "tmpfs", Path::new("tmpfs"), options))
}

/// A place in the container, without `.` and doubled slashes.
fn target(path: &Path) -> Result<PathBuf, SpecError> {
    let leaves = path.components().any(|part| part == Component::ParentDir);
    if !path.is_absolute() || leaves {
        return Err(SpecError::BadPath { what: "the target of a mount", path: path.to_owned() });
    }
    let clean: PathBuf = path.components().collect();
    if clean == Path::new("/") { Err(SpecError::BadTarget(clean)) } else { Ok(clean) }
}

fn check_targets(mounts: &[Mount]) -> Result<(), SpecError> {
    for (index, mount) in mounts.iter().enumerate() {
        if mounts[..index].iter().any(|other| other.destination() == mount.destination()) {
            return Err(SpecError::DuplicateTarget(mount.destination().clone()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn print(mounts: &[Mount]) -> Vec<String> {
        let line = |mount: &Mount| {
            let kind = mount.typ().as_deref().unwrap();
            let options = mount.options().as_ref().unwrap().join(",");
            format!(
                "{} {} {} {options}",
                mount.destination().display(),
                kind,
                mount.source().as_ref().unwrap().display()
            )
        };
        mounts.iter().map(line).collect()
    }

    fn bind(source: &str, target: &str) -> MountWish {
        MountWish::Bind(Bind { source: source.into(), target: target.into(), ..Bind::default() })
    }

    #[test]
    fn the_defaults_are_dockers() {
        let expected = [
            "/proc proc proc nosuid,noexec,nodev",
            "/dev tmpfs tmpfs nosuid,strictatime,mode=755,size=65536k",
            "/dev/pts devpts devpts nosuid,noexec,newinstance,ptmxmode=0666,mode=0620,gid=5",
            "/sys sysfs sysfs nosuid,noexec,nodev,ro",
            "/sys/fs/cgroup cgroup cgroup ro,nosuid,noexec,nodev",
            "/dev/mqueue mqueue mqueue nosuid,noexec,nodev",
            "/dev/shm tmpfs shm nosuid,noexec,nodev,mode=1777,size=67108864",
        ];
        assert_eq!(print(&mounts(&Wishes::default()).unwrap()), expected);

        let without = Wishes { shm: SharedMemory::Absent, ..Wishes::default() };
        assert_eq!(print(&mounts(&without).unwrap()), expected[..6]);

        let privileged = Wishes { privileged: true, ipc: NamespaceWish::Host, ..Wishes::default() };
        let lines = print(&mounts(&privileged).unwrap());
        assert!(lines.contains(&"/sys/fs/cgroup cgroup cgroup rw,nosuid,noexec,nodev".to_owned()));
        assert!(lines.contains(&"/dev/shm bind /dev/shm bind,nosuid,noexec,nodev".to_owned()));
    }

    #[test]
    fn wishes_follow_by_depth_and_replace_defaults() {
        let wanted = vec![
            bind("/a", "/srv/a/b"),
            bind("/b", "/srv/"),
            MountWish::Tmpfs(Tmpfs {
                target: "/dev/shm".into(),
                size: Some(1024),
                ..Tmpfs::default()
            }),
            bind("/proc", "//proc"),
            MountWish::Bind(Bind {
                source: "/ro".into(),
                target: "/ro".into(),
                read_only: true,
                propagation: Propagation::RSlave,
                recursion: Recursion::Off,
            }),
        ];
        let lines = print(&mounts(&Wishes { mounts: wanted, ..Wishes::default() }).unwrap());
        let expected = [
            "/srv bind /b rbind,rprivate,rw",
            "/proc bind /proc rbind,rprivate,rw",
            "/ro bind /ro bind,rslave,ro",
            "/dev/shm tmpfs tmpfs noexec,nosuid,nodev,size=1024",
            "/srv/a/b bind /a rbind,rprivate,rw",
        ];
        assert_eq!(lines[5..], expected);
        assert_eq!(
            lines
                .iter()
                .filter(|line| line.starts_with("/proc") || line.starts_with("/dev/shm"))
                .count(),
            2
        );

        let whole = Wishes {
            mounts: vec![bind("/dev", "/dev"), bind("/sys", "/sys")],
            ..Wishes::default()
        };
        assert_eq!(print(&mounts(&whole).unwrap()).len(), 3);
    }

    #[test]
    fn places_that_cannot_be_are_refused() {
        let message = |wanted: Vec<MountWish>| {
            mounts(&Wishes { mounts: wanted, ..Wishes::default() }).unwrap_err().to_string()
        };
        assert_eq!(message(vec![bind("/a", "/")]), "cannot mount over `/`");
        assert_eq!(
            message(vec![bind("/a", "b")]),
            "the target of a mount `b` must be an absolute path without `..`"
        );
        assert_eq!(
            message(vec![bind("/a", "/b/../..")]),
            "the target of a mount `/b/../..` must be an absolute path without `..`"
        );
        assert_eq!(
            message(vec![bind("a", "/b")]),
            "the source of a bind mount `a` must be an absolute path without `..`"
        );
        assert_eq!(
            message(vec![bind("/a", "/b"), bind("/c", "/b/")]),
            "two mounts have the target `/b`"
        );
    }
}
