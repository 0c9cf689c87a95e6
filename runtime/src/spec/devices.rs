//! Devices of the host for a container, and the rules that say which may be used.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Component, Path, PathBuf};

use oci_spec::runtime::{LinuxDevice, LinuxDeviceCgroup, LinuxDeviceType};

use super::{DeviceWish, SpecError, Wishes};

/// What every container may use: making any node, the six devices of /dev, terminals, and tunnels.
///
/// Docker's list with what runc adds to it. The nodes themselves are made by the runtime, and are in no spec.
const DEFAULT_RULES: [&str; 12] = [
    "c *:* m",
    "b *:* m",
    "c 1:3 rwm",
    "c 1:5 rwm",
    "c 1:7 rwm",
    "c 1:8 rwm",
    "c 1:9 rwm",
    "c 5:0 rwm",
    "c 5:1 rwm",
    "c 5:2 rwm",
    "c 136:* rwm",
    "c 10:200 rwm",
];

/// What is in /dev and is not a device of the host to hand out: the container has its own.
const NOT_HANDED_OUT: [&str; 9] =
    ["pts", "shm", "mqueue", "fd", "console", "hugepages", ".lxc", ".lxd-mounts", "ptmx"];

/// The nodes to make, and the rules, refusals first.
pub(super) fn devices(
    wishes: &Wishes,
) -> Result<(Vec<LinuxDevice>, Vec<LinuxDeviceCgroup>), SpecError> {
    let mut nodes = Vec::new();
    let mut rules = vec![rule(false, LinuxDeviceType::A, None, None, "rwm")];
    if wishes.privileged {
        collect(Path::new("/dev"), Path::new("/dev"), &mut nodes)
            .map_err(|source| SpecError::Device { path: "/dev".into(), source })?;
        rules = vec![rule(true, LinuxDeviceType::A, None, None, "rwm")];
    } else {
        for text in DEFAULT_RULES {
            rules.push(parse_rule(text)?);
        }
    }
    for wish in &wishes.devices {
        let found = host_devices(wish)?;
        let permitted = |node: &LinuxDevice| {
            rule(true, node.typ(), Some(node.major()), Some(node.minor()), &wish.permissions)
        };
        rules.extend(found.iter().map(permitted));
        // A device asked for by name is as asked for, also where all of /dev is given.
        nodes.retain(|node| found.iter().all(|other| other.path() != node.path()));
        nodes.extend(found);
    }
    for text in &wishes.device_rules {
        rules.push(parse_rule(text)?);
    }
    Ok((nodes, rules))
}

fn rule(
    allow: bool,
    kind: LinuxDeviceType,
    major: Option<i64>,
    minor: Option<i64>,
    access: &str,
) -> LinuxDeviceCgroup {
    let mut rule = LinuxDeviceCgroup::default();
    rule.set_allow(allow)
        .set_typ(Some(kind))
        .set_major(major)
        .set_minor(minor)
        .set_access(Some(access.to_owned()));
    rule
}

/// Reads `TYPE MAJOR:MINOR ACCESS`, as in `c 81:* rmw`.
fn parse_rule(text: &str) -> Result<LinuxDeviceCgroup, SpecError> {
    let bad = || SpecError::BadDeviceRule(text.to_owned());
    let words: Vec<&str> = text.split_whitespace().collect();
    let [kind, numbers, access] = words.as_slice() else { return Err(bad()) };
    let kind = match *kind {
        "a" => LinuxDeviceType::A,
        "b" => LinuxDeviceType::B,
        "c" => LinuxDeviceType::C,
        _ => return Err(bad()),
    };
    let number = |text: &str| match text {
        "*" => Ok(None),
        digits => digits.parse::<u32>().map(|number| Some(i64::from(number))).map_err(|_| bad()),
    };
    let (major, minor) = numbers.split_once(':').ok_or_else(bad)?;
    check_permissions(access).map_err(|_| bad())?;
    Ok(rule(true, kind, number(major)?, number(minor)?, access))
}

fn check_permissions(letters: &str) -> Result<(), SpecError> {
    let known = letters.chars().all(|letter| "rwm".contains(letter));
    let once = ["r", "w", "m"].iter().all(|letter| letters.matches(letter).count() < 2);
    if known && once && !letters.is_empty() {
        Ok(())
    } else {
        Err(SpecError::BadDevicePermissions(letters.to_owned()))
    }
}

/// The device of a wish, or those in its directory.
fn host_devices(wish: &DeviceWish) -> Result<Vec<LinuxDevice>, SpecError> {
    check_permissions(&wish.permissions)?;
    let inside = wish.target.is_absolute()
        && !wish.target.components().any(|part| part == Component::ParentDir);
    if !inside {
        return Err(SpecError::BadPath {
            what: "the target of a device",
            path: wish.target.clone(),
        });
    }
    let failed = |source| SpecError::Device { path: wish.source.clone(), source };
    let found = fs::metadata(&wish.source).map_err(failed)?;
    if let Some(device) = node(&wish.target, &found) {
        return Ok(vec![device]);
    }
    let mut nodes = Vec::new();
    if found.is_dir() {
        collect(&wish.source, &wish.target, &mut nodes).map_err(failed)?;
    }
    if nodes.is_empty() { Err(SpecError::NotADevice(wish.source.clone())) } else { Ok(nodes) }
}

/// The devices in a directory and below, links left aside.
fn collect(source: &Path, target: &Path, nodes: &mut Vec<LinuxDevice>) -> io::Result<()> {
    let mut entries = fs::read_dir(source)?.collect::<Result<Vec<_>, _>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries
        .into_iter()
        .filter(|entry| !NOT_HANDED_OUT.iter().any(|name| entry.file_name() == *name))
    {
        // Hot-plugged devices come and go: one that has gone is not there.
        let Ok(found) = fs::symlink_metadata(entry.path()) else { continue };
        let inner = target.join(entry.file_name());
        if found.is_dir() {
            collect(&entry.path(), &inner, nodes)?;
        } else if let Some(device) = node(&inner, &found) {
            nodes.push(device);
        }
    }
    Ok(())
}

/// The node as it is on the host, at its place in the container; `None` if it is not a device.
fn node(target: &Path, found: &fs::Metadata) -> Option<LinuxDevice> {
    let kind = match found.file_type() {
        kind if kind.is_char_device() => LinuxDeviceType::C,
        kind if kind.is_block_device() => LinuxDeviceType::B,
        _ => return None,
    };
    let target: PathBuf = target.components().collect();
    let mut device = LinuxDevice::default();
    device.set_path(target).set_typ(kind);
    device
        .set_major(rustix::fs::major(found.rdev()).into())
        .set_minor(rustix::fs::minor(found.rdev()).into());
    device
        .set_file_mode(Some(found.mode() & 0o7777))
        .set_uid(Some(found.uid()))
        .set_gid(Some(found.gid()));
    Some(device)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(source: &str, permissions: &str) -> Wishes {
        let device = DeviceWish {
            source: source.into(),
            target: "/dev/mine".into(),
            permissions: permissions.into(),
        };
        Wishes { devices: vec![device], ..Wishes::default() }
    }

    fn print(rules: &[LinuxDeviceCgroup]) -> Vec<String> {
        rules
            .iter()
            .map(|rule| format!("{} {rule}", if rule.allow() { "allow" } else { "deny" }))
            .collect()
    }

    #[test]
    fn everything_is_refused_but_the_list() {
        let (nodes, rules) =
            devices(&Wishes { device_rules: vec!["c 81:* rmw".into()], ..Wishes::default() })
                .unwrap();
        let lines = print(&rules);
        assert!(nodes.is_empty());
        assert_eq!(
            (lines.len(), lines[0].as_str(), lines[13].as_str()),
            (14, "deny a *:* rwm", "allow c 81:* rmw")
        );
    }

    #[test]
    fn a_device_is_as_on_the_host() {
        let (nodes, rules) = devices(&wish("/dev/null", "rw")).unwrap();
        assert_eq!(
            (nodes[0].path().to_str(), nodes[0].major(), nodes[0].minor()),
            (Some("/dev/mine"), 1, 3)
        );
        assert_eq!((nodes[0].typ(), nodes[0].uid()), (LinuxDeviceType::C, Some(0)));
        assert_eq!(print(&rules).last().unwrap(), "allow c 1:3 rw");
    }

    #[test]
    fn a_directory_gives_the_devices_in_it() {
        let (nodes, _) = devices(&wish("/dev", "rwm")).unwrap();
        assert!(nodes.iter().any(|node| node.path() == Path::new("/dev/mine/null")));
        assert!(!nodes.iter().any(|node| node.path().starts_with("/dev/mine/pts")));
        let (nodes, rules) = devices(&Wishes { privileged: true, ..Wishes::default() }).unwrap();
        assert!(nodes.iter().any(|node| node.path() == Path::new("/dev/zero")));
        assert_eq!(print(&rules), ["allow a *:* rwm"]);
    }

    #[test]
    fn mistakes_are_named() {
        let message = |wishes: &Wishes| devices(wishes).unwrap_err().to_string();
        assert_eq!(message(&wish("/dev/nothing", "rwm")), "device `/dev/nothing` of the host");
        assert_eq!(
            message(&wish("/etc/passwd", "rwm")),
            "`/etc/passwd` is not a device node, nor a directory that has any"
        );
        assert_eq!(
            message(&wish("/dev/null", "rx")),
            "device permissions `rx` must be any of `r`, `w` and `m`, each once"
        );
        for bad in ["c 1:3", "d 1:3 r", "c 1 r", "c x:3 r", "c 1:3 q", ""] {
            let wishes = Wishes { device_rules: vec![bad.into()], ..Wishes::default() };
            assert_eq!(
                message(&wishes),
                format!("device rule `{bad}` must read like `c 81:* rwm`")
            );
        }
    }
}
