//! These need root: owners, devices, overlays and mounts are what populating is about.

use std::collections::BTreeMap;
use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sched::CloneFlags;
use rustix::fs::{CWD, FileType, XattrFlags};
use rustix::mount::MountPropagationFlags;

use super::*;
use crate::{Store, Wanted};

/// A store, and a folder for layers.
struct Scratch {
    dir: tempfile::TempDir,
    store: Store,
}

fn scratch() -> Scratch {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("volumes")).unwrap();
    Scratch { dir, store }
}

impl Scratch {
    fn volume(&self) -> Volume {
        self.store.create(&Wanted::parse("data").unwrap()).unwrap()
    }

    /// A layer with these files; a path with a slash at its end is a folder.
    fn layer(&self, name: &str, paths: &[&str]) -> PathBuf {
        let layer = self.dir.path().join(name);
        fs::create_dir_all(&layer).unwrap();
        for path in paths {
            let target = layer.join(path);
            if path.ends_with('/') {
                fs::create_dir_all(target).unwrap();
            } else {
                fs::create_dir_all(target.parent().unwrap()).unwrap();
                fs::write(target, name).unwrap();
            }
        }
        layer
    }
}

/// All paths below, with the content of files.
fn tree(path: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(path).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if entry.file_type().unwrap().is_dir() {
            found.insert(format!("{name}/"), String::new());
            found.extend(
                tree(&entry.path())
                    .into_iter()
                    .map(|(path, text)| (format!("{name}/{path}"), text)),
            );
        } else {
            found.insert(name, fs::read_to_string(entry.path()).unwrap_or_default());
        }
    }
    found
}

fn paths(path: &Path) -> Vec<String> {
    tree(path).into_keys().collect()
}

#[test]
fn fills_an_empty_volume_once() {
    let scratch = scratch();
    let volume = scratch.volume();
    let layer = scratch.layer("base", &["srv/data/a", "srv/data/deep/b", "srv/other"]);
    let layers = [layer];
    assert!(populate(&volume, &layers, Path::new("/srv/data")).unwrap());
    assert_eq!(paths(&volume.path), ["a", "deep/", "deep/b"]);
    fs::remove_file(volume.path.join("a")).unwrap();
    assert!(!populate(&volume, &layers, Path::new("/srv/data")).unwrap());
    assert_eq!(paths(&volume.path), ["deep/", "deep/b"]);
    assert_eq!(paths(volume.home()), ["_data/", "_data/deep/", "_data/deep/b", "volume.json"]);
}

#[test]
fn nothing_in_the_image_is_no_error_and_a_file_is_one() {
    let scratch = scratch();
    let volume = scratch.volume();
    let layers = [scratch.layer("base", &["etc/passwd"])];
    assert!(!populate(&volume, &layers, Path::new("/srv/data")).unwrap());
    assert!(!populate(&volume, &[], Path::new("/srv/data")).unwrap());
    let refused = populate(&volume, &layers, Path::new("/etc/passwd")).unwrap_err().to_string();
    assert_eq!(
        refused,
        "volume data cannot be filled from /etc/passwd: that is not a folder in the image"
    );
}

#[test]
fn keeps_owners_modes_times_and_attributes() {
    let scratch = scratch();
    let volume = scratch.volume();
    let layer = scratch.layer("base", &["d/file", "d/inner/"]);
    let file = layer.join("d/file");
    std::os::unix::fs::chown(&file, Some(1001), Some(1002)).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o4751)).unwrap();
    // VFS_CAP_REVISION_2 with cap_net_bind_service, permitted and effective: capabilities(7).
    let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let capability_set =
        rustix::fs::setxattr(&file, "security.capability", &capability, XattrFlags::empty());
    rustix::fs::setxattr(&file, "user.note", b"kept", XattrFlags::empty()).unwrap();
    let old = std::time::UNIX_EPOCH + Duration::new(1_000_000_000, 123_456_789);
    File::open(&file).unwrap().set_modified(old).unwrap();
    std::os::unix::fs::chown(layer.join("d"), Some(999), Some(998)).unwrap();
    fs::set_permissions(layer.join("d"), fs::Permissions::from_mode(0o1770)).unwrap();
    File::open(layer.join("d/inner")).unwrap().set_modified(old).unwrap();
    File::open(layer.join("d")).unwrap().set_modified(old).unwrap();

    populate(&volume, &[layer], Path::new("d")).unwrap();
    let copied = volume.path.join("file");
    let found = copied.metadata().unwrap();
    assert_eq!((found.uid(), found.gid(), found.mode() & 0o7777), (1001, 1002, 0o4751));
    assert_eq!(found.modified().unwrap(), old);
    let mut value = [0; 64];
    let length = rustix::fs::getxattr(&copied, "user.note", &mut value).unwrap();
    assert_eq!(&value[..length], b"kept");
    if capability_set.is_ok() {
        let length = rustix::fs::getxattr(&copied, "security.capability", &mut value).unwrap();
        assert_eq!(value[..length], capability);
    }
    let found = volume.path.metadata().unwrap();
    assert_eq!((found.uid(), found.gid(), found.mode() & 0o7777), (999, 998, 0o1770));
    assert_eq!(found.modified().unwrap(), old);
    assert_eq!(volume.path.join("inner").metadata().unwrap().modified().unwrap(), old);
}

#[test]
fn an_empty_folder_gives_owner_and_mode() {
    let scratch = scratch();
    let volume = scratch.volume();
    let layer = scratch.layer("base", &["d/"]);
    std::os::unix::fs::chown(layer.join("d"), Some(999), Some(999)).unwrap();
    assert!(!populate(&volume, &[layer], Path::new("d")).unwrap());
    assert_eq!(volume.path.metadata().unwrap().uid(), 999);
}

#[test]
fn keeps_links_and_special_files() {
    let scratch = scratch();
    let volume = scratch.volume();
    let layer = scratch.layer("base", &["d/file", "d/inner/"]);
    fs::hard_link(layer.join("d/file"), layer.join("d/inner/second")).unwrap();
    symlink("/etc/passwd", layer.join("d/link")).unwrap();
    let mode = Mode::from_raw_mode(0o640);
    rustix::fs::mknodat(CWD, layer.join("d/fifo"), FileType::Fifo, mode, 0).unwrap();
    let device = rustix::fs::makedev(1, 3);
    let made =
        rustix::fs::mknodat(CWD, layer.join("d/null"), FileType::CharacterDevice, mode, device);
    let _listening = std::os::unix::net::UnixListener::bind(layer.join("d/socket")).unwrap();

    populate(&volume, &[layer], Path::new("d")).unwrap();
    let data = &volume.path;
    assert_eq!(data.join("link").read_link().unwrap(), Path::new("/etc/passwd"));
    let (one, other) =
        (data.join("file").metadata().unwrap(), data.join("inner/second").metadata().unwrap());
    assert_eq!((one.ino(), one.nlink()), (other.ino(), 2));
    let fifo = data.join("fifo").metadata().unwrap();
    assert!(fifo.file_type().is_fifo());
    assert_eq!(fifo.mode() & 0o7777, 0o640);
    assert!(data.join("socket").metadata().unwrap().file_type().is_socket());
    if made.is_ok() {
        assert_eq!(data.join("null").metadata().unwrap().rdev(), device);
    }
}

#[test]
fn layers_are_merged_with_their_deletions() {
    let scratch = scratch();
    let volume = scratch.volume();
    let base = scratch.layer("base", &["d/kept", "d/changed", "d/deleted", "d/replaced/old"]);
    let top = scratch.layer("top", &["d/changed", "d/added", "d/replaced/new"]);
    let whiteout = top.join("d/deleted");
    rustix::fs::mknodat(CWD, &whiteout, FileType::CharacterDevice, Mode::empty(), 0).unwrap();
    rustix::fs::setxattr(
        top.join("d/replaced"),
        "trusted.overlay.opaque",
        b"y",
        XattrFlags::empty(),
    )
    .unwrap();
    populate(&volume, &[top, base], Path::new("/d")).unwrap();
    let found = tree(&volume.path);
    let expected = [
        ("added", "top"),
        ("changed", "top"),
        ("kept", "base"),
        ("replaced/", ""),
        ("replaced/new", "top"),
    ];
    assert!(
        found.iter().map(|(path, text)| (path.as_str(), text.as_str())).eq(expected),
        "{found:?}"
    );
    let mut none = [0; 8];
    let left =
        rustix::fs::getxattr(volume.path.join("replaced"), "trusted.overlay.opaque", &mut none);
    assert_eq!(left, Err(Errno::NODATA));
}

#[test]
fn many_layers_are_merged() {
    let scratch = scratch();
    let volume = scratch.volume();
    let layers: Vec<_> = (0..100)
        .map(|index| scratch.layer(&format!("layer-{index}"), &[&format!("d/{index:02}")]))
        .collect();
    populate(&volume, &layers, Path::new("d")).unwrap();
    assert_eq!(paths(&volume.path).len(), 100);
}

#[test]
fn a_hostile_link_reads_nothing_of_the_host() {
    let scratch = scratch();
    let secret = scratch.layer("host", &["secret/key"]);
    for (case, target) in
        [("absolute", secret.join("secret")), ("dots", Path::new("../../host/secret").into())]
    {
        let layer = scratch.layer(case, &["inside/file"]);
        symlink(&target, layer.join("d")).unwrap();
        symlink("/proc/self/root", layer.join("proc")).unwrap();
        let volume = scratch.store.create(&Wanted::parse(case).unwrap()).unwrap();
        for at in
            [Path::new("d").to_owned(), Path::new("proc").join(secret.strip_prefix("/").unwrap())]
        {
            let found = populate(&volume, std::slice::from_ref(&layer), &at);
            assert!(!matches!(found, Ok(true)), "{case}: {found:?}");
            assert_eq!(paths(&volume.path), [""; 0], "{case}");
        }
    }
    // A link inside of the image is followed in it.
    let layer = scratch.layer("good", &["inside/file"]);
    symlink("/inside", layer.join("d")).unwrap();
    let volume = scratch.volume();
    populate(&volume, &[layer], Path::new("d")).unwrap();
    assert_eq!(paths(&volume.path), ["file"]);
}

#[test]
fn the_store_is_not_copied_into_itself() {
    let scratch = scratch();
    fs::write(scratch.dir.path().join("file"), "x").unwrap();
    let volume = scratch.volume();
    populate(&volume, &[scratch.dir.path().to_owned()], Path::new("/")).unwrap();
    assert_eq!(paths(&volume.path), ["file"]);
}

#[test]
fn a_bottomless_tree_is_refused() {
    let scratch = scratch();
    let layer = scratch.layer("base", &[&"d/".repeat(400)]);
    let volume = scratch.volume();
    let refused = populate(&volume, &[layer], Path::new("d")).unwrap_err();
    assert!(matches!(refused, PopulateError::Copy { .. }), "{refused:?}");
    assert_eq!(paths(&volume.path), [""; 0]);
}

#[test]
fn a_complete_copy_is_moved_in_by_the_next_use() {
    let scratch = scratch();
    let volume = scratch.volume();
    let ready = volume.home().join(".populated");
    fs::create_dir_all(ready.join("deep")).unwrap();
    fs::write(ready.join("deep/file"), "x").unwrap();
    fs::set_permissions(&ready, fs::Permissions::from_mode(0o700)).unwrap();
    // What a killed move had moved already, and a container wrote since.
    fs::write(volume.path.join("moved"), "new").unwrap();
    fs::write(ready.join("moved"), "old").unwrap();
    fs::create_dir(volume.home().join(".populating")).unwrap();
    scratch.volume();
    assert_eq!(
        paths(volume.home()),
        ["_data/", "_data/deep/", "_data/deep/file", "_data/moved", "volume.json"]
    );
    assert_eq!(fs::read_to_string(volume.path.join("moved")).unwrap(), "new");
    assert_eq!(volume.path.metadata().unwrap().mode() & 0o777, 0o700);
}

/// Not a test of its own: what the next one kills.
#[test]
#[ignore = "the child of a_killed_population_is_all_or_nothing"]
fn populate_in_a_child() {
    let root = PathBuf::from(std::env::var_os("POPULATE_TEST").unwrap());
    let store = Store::open(&root.join("volumes")).unwrap();
    let volume = store.create(&Wanted::parse("data").unwrap()).unwrap();
    populate(&volume, &[root.join("layer")], Path::new("d")).unwrap();
}

fn child(root: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "populate::tests::populate_in_a_child", "--ignored"])
        .env("POPULATE_TEST", root)
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn a_killed_population_is_all_or_nothing() {
    let scratch = scratch();
    let layer = scratch.layer("layer", &[]);
    for index in 0..600 {
        let folder = layer.join(format!("d/{}", index % 20));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(index.to_string()), vec![b'x'; index * 10]).unwrap();
    }
    let expected = tree(&layer.join("d"));
    for round in 0..25 {
        let mut killed = child(scratch.dir.path());
        // A little later each time, so that all phases of the copy are met.
        std::thread::sleep(Duration::from_millis(round * 2));
        killed.kill().unwrap();
        killed.wait().unwrap();
        let volume = scratch.volume();
        let found = tree(&volume.path);
        assert!(
            found.is_empty() || found == expected,
            "round {round}: {} of {}",
            found.len(),
            expected.len()
        );
        populate(&volume, std::slice::from_ref(&layer), Path::new("d")).unwrap();
        assert_eq!(tree(&volume.path), expected);
        assert_eq!(fs::read_dir(volume.home()).unwrap().count(), 2);
        scratch.store.remove("data", &[]).unwrap();
    }
}

#[test]
fn a_volume_in_memory_is_filled_too() {
    let scratch = scratch();
    private_mounts();
    let mut wanted = Wanted::parse("data").unwrap();
    wanted.driver_opts = [("type", "tmpfs"), ("device", "tmpfs"), ("o", "size=1m,mode=0700")]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into();
    let volume = scratch.store.create(&wanted).unwrap();
    let layer = scratch.layer("base", &["d/file"]);
    assert!(populate(&volume, &[layer], Path::new("d")).unwrap());
    assert_eq!(paths(&volume.mount().unwrap()), ["file"]);
    assert!(volume.is_mounted().unwrap());
    scratch.store.remove("data", &[]).unwrap();
    assert_eq!(scratch.store.list().unwrap(), []);
}

/// Gives the thread of this test its own mounts, so that none is left behind.
fn private_mounts() {
    nix::sched::unshare(CloneFlags::CLONE_NEWNS).unwrap();
    let flags = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    rustix::mount::mount_change("/", flags).unwrap();
}
