//! What honest layers have, and that it arrives.

use std::io::Write;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::process::{Command, Stdio};

use super::*;
use crate::digest::Digest;
use crate::layer::OPAQUE;

fn attribute(path: &Path, name: &str) -> Option<Vec<u8>> {
    let mut buffer = [0; 256];
    let length = rustix::fs::lgetxattr(path, name, &mut buffer).ok()?;
    Some(buffer[..length].to_vec())
}

fn is_whiteout(path: &Path) -> bool {
    path.symlink_metadata()
        .is_ok_and(|found| found.file_type().is_char_device() && found.rdev() == 0)
}

#[test]
fn the_digest_is_that_of_the_uncompressed_archive() {
    let mut archive = TestArchive::new().file("a", "content").end();
    archive.resize(10240, 0);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&archive).unwrap();
    let forms =
        [archive.clone(), gzip.finish().unwrap(), zstd::encode_all(&archive[..], 1).unwrap()];
    for form in forms {
        let scratch = Scratch::new();
        let unpacked = scratch.unpack(&form).unwrap();
        assert_eq!(unpacked, Unpacked { diff_id: Digest::of(&archive), size: 7, has_ended: true });
        assert_eq!(scratch.read("a"), "content");
    }
}

#[test]
fn modes_owners_times_and_kinds_arrive() {
    let scratch = Scratch::new();
    let mut setuid = TestArchive::header(EntryType::Regular, "dir/su", 2);
    setuid.set_mode(0o104_755);
    setuid.set_uid(7);
    setuid.set_gid(8);
    let mut device = TestArchive::header(EntryType::Char, "null", 0);
    device.set_device_major(1).unwrap();
    device.set_device_minor(3).unwrap();
    device.set_mode(0o666);
    let mut disk = TestArchive::header(EntryType::Block, "disk", 0);
    disk.set_device_major(8).unwrap();
    disk.set_device_minor(0).unwrap();
    let mut link = TestArchive::header(EntryType::Symlink, "link", 0);
    link.set_uid(9);
    link.set_link_name("no/where").unwrap();
    let archive = TestArchive::new()
        .directory("dir/")
        .raw(setuid, b"su")
        .raw(device, &[])
        .raw(disk, &[])
        .raw(link, &[])
        .raw(TestArchive::header(EntryType::Fifo, "fifo", 0), &[])
        .hard_link("again", "dir/su")
        .pax(&[("mtime", b"1.25"), ("uid", b"3000000000")])
        .file("fine", "");
    scratch.unpack(&archive.end()).unwrap();
    let stat = |name: &str| scratch.path(name).symlink_metadata().unwrap();
    let su = stat("dir/su");
    assert_eq!((su.mode(), su.uid(), su.gid(), su.nlink()), (0o104_755, 7, 8, 2));
    assert_eq!(stat("again").ino(), su.ino());
    // Set after the file in it was made.
    assert_eq!((stat("dir").mode() & 0o7777, stat("dir").mtime()), (0o750, 1_000_000_000));
    assert_eq!(
        (stat("null").mode() & 0o7777, stat("null").rdev()),
        (0o666, rustix::fs::makedev(1, 3))
    );
    assert!(stat("disk").file_type().is_block_device() && stat("fifo").file_type().is_fifo());
    assert_eq!((stat("link").uid(), stat("link").mtime()), (9, 1_000_000_000));
    assert_eq!(
        (stat("fine").mtime(), stat("fine").mtime_nsec(), stat("fine").uid()),
        (1, 250_000_000, 3_000_000_000)
    );
}

#[test]
fn capabilities_survive_the_owner() {
    let scratch = Scratch::new();
    // cap_net_raw=ep, revision 2, with a byte that is a newline in it.
    let value = b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\x0a\0\0\0\0\0\0\0";
    let mut header = TestArchive::header(EntryType::Regular, "ping", 0);
    header.set_uid(5);
    let archive =
        TestArchive::new().pax(&[("SCHILY.xattr.security.capability", value)]).raw(header, &[]);
    scratch.unpack(&archive.end()).unwrap();
    assert_eq!(attribute(&scratch.path("ping"), "security.capability").unwrap(), value);
}

#[test]
fn deletions_take_the_form_of_overlayfs() {
    let scratch = Scratch::new();
    let archive = TestArchive::new()
        .file("etc/.wh.motd", "")
        .file("gone/.wh..wh..opq", "")
        .file("gone/new", "")
        .file(".wh.again", "")
        .directory("again/")
        .file(".wh.implied", "")
        .file("implied/x", "")
        .file(".wh.file", "")
        .file("file", "new")
        .file("mine", "")
        .file(".wh.mine", "")
        .directory("tree/")
        .file("tree/x", "")
        .file(".wh.tree", "")
        .file(".wh..wh.orph", "");
    scratch.unpack(&archive.end()).unwrap();
    assert!(is_whiteout(&scratch.path("etc/motd")));
    for opaque in ["gone", "again", "implied", "tree"] {
        assert_eq!(
            attribute(&scratch.path(opaque), OPAQUE).as_deref(),
            Some(&b"y"[..]),
            "{opaque}"
        );
    }
    for kept in ["gone/new", "implied/x", "tree/x", "mine", "file"] {
        assert!(scratch.path(kept).is_file(), "{kept}");
    }
    assert_eq!(scratch.path("implied").metadata().unwrap().mode() & 0o7777, 0o755);
    assert_eq!(fs::read_dir(scratch.layer()).unwrap().count(), 7);
}

/// Makes an archive with GNU tar of a tree with all that it knows, in each of its formats.
#[test]
fn reads_what_gnu_tar_writes() {
    let source = tempfile::tempdir().unwrap();
    let tree = source.path();
    let deep = tree.join("d".repeat(120)).join("e".repeat(120));
    fs::create_dir_all(&deep).unwrap();
    fs::write(deep.join("f".repeat(120)), "deep").unwrap();
    std::os::unix::fs::symlink("x".repeat(150), tree.join("long-link")).unwrap();
    let mut holes = fs::File::create(tree.join("holes")).unwrap();
    for piece in 0..200u64 {
        rustix::fs::seek(&holes, rustix::fs::SeekFrom::Start(piece * 1_000_000)).unwrap();
        holes.write_all(format!("piece {piece}").as_bytes()).unwrap();
    }
    holes.set_len(300_000_000).unwrap();
    let sparse: [&[&str]; 5] = [
        &["--format=gnu", "-S"],
        &["--format=pax", "-S", "--sparse-version=0.0"],
        &["--format=pax", "-S", "--sparse-version=0.1"],
        &["--format=pax", "-S", "--sparse-version=1.0"],
        &["--format=pax", "-S", "--xattrs"],
    ];
    for options in sparse {
        let scratch = Scratch::new();
        let mut tar = Command::new("tar")
            .args(options)
            .arg("-C")
            .arg(tree)
            .args(["-cf", "-", "."])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let unpacked =
            unpack_within(tar.stdout.take().unwrap(), &scratch.layer(), Limits::default()).unwrap();
        assert!(tar.wait().unwrap().success() && unpacked.has_ended);
        let compared = Command::new("diff")
            .arg("-r")
            .arg("--no-dereference")
            .arg(tree)
            .arg(scratch.layer())
            .output()
            .unwrap();
        assert!(
            compared.status.success(),
            "{options:?}: {}",
            String::from_utf8_lossy(&compared.stdout)
        );
        let found = scratch.path("holes").metadata().unwrap();
        assert!(
            found.blocks() * 512 < 4_000_000,
            "{options:?} filled the holes: {} blocks",
            found.blocks()
        );
    }
}

#[test]
fn implied_directories_and_old_directories() {
    let scratch = Scratch::new();
    scratch.unpack(&TestArchive::new().file("a/b/c", "").file("old/", "").end()).unwrap();
    assert_eq!(scratch.path("a/b").metadata().unwrap().mode() & 0o7777, 0o755);
    assert!(scratch.path("old").is_dir());
}
