//! One test for each attack on readers of layers that is known (reference/runtime.md, 3.4).
//!
//! What it is, and the tests that show that it leads nowhere, here or in the file that is named:
//!
//! | attack | tests |
//! |---|---|
//! | traversal by `..` and by absolute names | `dots_that_lead_out_are_refused`, `absolute_names_are_inside` |
//! | links among the parents of an entry | `a_link_among_the_parents_is_followed_inside_only`, `a_loop_of_links_is_refused`, `a_parent_that_was_replaced_is_not_used_again` |
//! | an entry over a link | `a_file_over_a_link_replaces_the_link`, `a_directory_over_a_link_replaces_the_link` |
//! | hard links out | `a_hard_link_never_reaches_the_host`, `writing_through_a_hard_link_to_a_link_replaces_it` |
//! | whiteouts through links, and of no name | `a_whiteout_through_a_link_stays_inside`, `a_whiteout_of_no_name_is_refused` |
//! | sizes and names that readers see differently (CVE-2025-62518) | `sizes_that_contradict_are_seen_by_all_readers_alike`, `names_that_contradict_are_refused` |
//! | attributes that overlayfs obeys | `attributes_of_overlayfs_and_of_the_host_are_dropped` |
//! | device nodes, setuid programs | `devices_of_an_image_are_out_of_reach` in `tests/build/hostile.rs`; `an_import_becomes_an_image` in `tests/store.rs`: only root gets at layers |
//! | too many entries, bytes, names too long | `counts_sizes_and_lengths_are_limited` |
//! | bombs: a disk, a memory full, zeros without end | `a_file_that_does_not_fit_is_refused_before_it_is_written`, `an_extension_that_would_fill_the_memory_is_refused`, `an_end_that_never_comes_is_refused`, `xz_may_not_ask_for_as_much_memory_as_it_likes` in `src/layer/stream.rs` |
//! | an archive after whose failure somebody waits for ever (CVE-2021-20291) | `a_failed_read_reaches_all_and_a_lost_receiver_stops_it` in `src/layer/stream.rs` |
//! | a full disk | `a_full_disk_is_said_and_leaves_nothing` in `tests/full.rs` |
//! | half an archive, or none | `what_is_no_archive_or_half_of_one_is_said` |
//! | a registry that lies: digest, length, media type, silence | `lies_are_found_out`, `lies_in_documents_are_found_out` in `tests/pull.rs` |
//! | an archive of images that lies | `what_lies_is_refused` in `tests/load.rs` |
//! | a document that is a manifest and an index (CVE-2021-41190) | `a_manifest_is_only_a_manifest` in `src/manifest.rs` |
//! | contexts, stages, mounts and archives of builds (CVE-2024-23651, 23652, 9675) | `links_in_a_context_stay_in_it`, `links_in_a_stage_stay_in_it`, `targets_stay_in_the_stage`, `mounts_stay_in_the_stage`, `archives_stay_in_their_target` in `tests/build/hostile.rs` |

use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, MetadataExt};

use super::*;
use crate::layer::{ArchiveError, PathError};

/// A path of the host that an archive would like to reach.
const HOST: &str = "../host/passwd";

fn malformed(result: Result<Unpacked, LayerError>) -> &'static str {
    match result {
        Err(LayerError::Archive { source: ArchiveError::Malformed(what), .. }) => what,
        other => panic!("not refused as malformed: {other:?}"),
    }
}

#[test]
fn dots_that_lead_out_are_refused() {
    for name in ["../host/evil", "a/../../host/evil", "..", "/../host/evil"] {
        let refused = Scratch::new().unpack(&TestArchive::new().file(name, "x").end());
        assert!(
            matches!(refused, Err(LayerError::Path { source: PathError::Escapes, .. })),
            "{name}"
        );
    }
}

#[test]
fn absolute_names_are_inside() {
    let scratch = Scratch::new();
    let host = scratch.dir.path().join("host/passwd");
    scratch
        .unpack(&TestArchive::new().file(host.to_str().unwrap(), "x").file("/etc/x", "y").end())
        .unwrap();
    assert_eq!(scratch.read("etc/x"), "y");
    assert_eq!(scratch.read(host.strip_prefix("/").unwrap().to_str().unwrap()), "x");
}

#[test]
fn a_link_among_the_parents_is_followed_inside_only() {
    let scratch = Scratch::new();
    let host = scratch.dir.path().join("host");
    let archive = TestArchive::new()
        .symlink("absolute", host.to_str().unwrap())
        .symlink("relative", "../host")
        .file("absolute/passwd", "one")
        .file("relative/evil", "two");
    scratch.unpack(&archive.end()).unwrap();
    // Both went to a directory of that name in the layer.
    assert_eq!(scratch.read("host/evil"), "two");
    assert_eq!(
        scratch.read(host.join("passwd").strip_prefix("/").unwrap().to_str().unwrap()),
        "one"
    );
}

#[test]
fn a_loop_of_links_is_refused() {
    let archive = TestArchive::new().symlink("a", "b").symlink("b", "a").file("a/x", "");
    assert!(matches!(Scratch::new().unpack(&archive.end()), Err(LayerError::Create { .. })));
}

#[test]
fn a_file_over_a_link_replaces_the_link() {
    let scratch = Scratch::new();
    scratch.unpack(&TestArchive::new().symlink("x", HOST).file("x", "new").end()).unwrap();
    assert_eq!(scratch.read("x"), "new");
    assert!(!scratch.path("x").is_symlink());
}

#[test]
fn a_directory_over_a_link_replaces_the_link() {
    let scratch = Scratch::new();
    scratch
        .unpack(
            &TestArchive::new().symlink("x", "../host").directory("x/").file("x/evil", "").end(),
        )
        .unwrap();
    assert!(!scratch.path("x").is_symlink() && scratch.path("x/evil").exists());
}

#[test]
fn a_hard_link_never_reaches_the_host() {
    for target in [HOST, "../../../../etc/passwd"] {
        let refused = Scratch::new().unpack(&TestArchive::new().hard_link("x", target).end());
        assert!(
            matches!(refused, Err(LayerError::Path { source: PathError::Escapes, .. })),
            "{target}"
        );
    }
    // Absolute, and through a link: both are looked for in the layer, where they are not.
    let refused = Scratch::new().unpack(&TestArchive::new().hard_link("x", "/etc/passwd").end());
    assert!(matches!(refused, Err(LayerError::Create { .. })));
    let scratch = Scratch::new();
    let archive = TestArchive::new().symlink("out", "../host").hard_link("x", "out/passwd");
    assert!(matches!(scratch.unpack(&archive.end()), Err(LayerError::Create { .. })));
    // To a link: the link gets a second name, its target does not.
    let scratch = Scratch::new();
    scratch.unpack(&TestArchive::new().symlink("out", HOST).hard_link("x", "out").end()).unwrap();
    assert!(scratch.path("x").is_symlink());
}

#[test]
fn writing_through_a_hard_link_to_a_link_replaces_it() {
    let scratch = Scratch::new();
    let archive = TestArchive::new().symlink("out", HOST).hard_link("x", "out").file("x", "mine");
    scratch.unpack(&archive.end()).unwrap();
    assert_eq!(scratch.read("x"), "mine");
}

#[test]
fn a_whiteout_through_a_link_stays_inside() {
    let scratch = Scratch::new();
    let archive = TestArchive::new()
        .symlink("out", "../host")
        .file("out/.wh.passwd", "")
        .file("out/.wh..wh..opq", "");
    scratch.unpack(&archive.end()).unwrap();
    assert!(scratch.path("host/passwd").symlink_metadata().unwrap().file_type().is_char_device());
}

#[test]
fn a_whiteout_of_no_name_is_refused() {
    for name in [".wh.", ".wh..", ".wh...", "a/.wh..."] {
        let refused = Scratch::new().unpack(&TestArchive::new().file(name, "").end());
        assert!(matches!(refused, Err(LayerError::Entry { .. })), "{name}");
    }
}

#[test]
fn sizes_that_contradict_are_seen_by_all_readers_alike() {
    // The header says 0, the extension 512: a reader that believes the header takes the data for an entry.
    let hidden = TestArchive::new().file("evil", "").bytes;
    let size: &[(&str, &[u8])] = &[("size", b"512")];
    let archive =
        TestArchive::new().pax(size).raw(TestArchive::header(EntryType::Regular, "f", 0), &hidden);
    let scratch = Scratch::new();
    scratch.unpack(&archive.end()).unwrap();
    assert_eq!(scratch.path("f").metadata().unwrap().len(), 512);
    assert!(!scratch.path("evil").exists());

    // The same, with an attribute before that has a newline: the `tar` crate loses the size there.
    let records: &[(&str, &[u8])] = &[("SCHILY.xattr.user.a", b"x\n9 y=\n"), ("size", b"512")];
    let archive = TestArchive::new()
        .pax(records)
        .raw(TestArchive::header(EntryType::Regular, "f", 0), &hidden);
    let scratch = Scratch::new();
    scratch.unpack(&archive.clone().end()).unwrap();
    assert!(!scratch.path("evil").exists());
    let bytes = archive.end();
    let crate_sees =
        tar::Archive::new(&bytes[..]).entries().unwrap().filter_map(Result::ok).count();
    assert_eq!(crate_sees, 2, "the walk of the crate has been mended, ours may go");

    // Two sizes, a size that is none, a size behind a global header, a link with data.
    let twice: &[(&str, &[u8])] = &[("size", b"0"), ("size", b"512")];
    let none: &[(&str, &[u8])] = &[("size", b"+512")];
    for records in [twice, none] {
        malformed(Scratch::new().unpack(&TestArchive::new().pax(records).file("f", "").end()));
    }
    let global = TestArchive::new()
        .raw(TestArchive::header(EntryType::XGlobalHeader, "g", 12), b"12 size=512\n");
    assert!(malformed(Scratch::new().unpack(&global.file("f", "").end())).contains("global"));
    let link = TestArchive::new().raw(TestArchive::header(EntryType::Link, "l", 512), &hidden);
    assert!(malformed(Scratch::new().unpack(&link.end())).contains("link"));
}

#[test]
fn names_that_contradict_are_refused() {
    let long = TestArchive::new()
        .raw(TestArchive::header(EntryType::GNULongName, "././@LongLink", 2), b"a\0");
    let archive = long.pax(&[("path", b"b")]).file("c", "");
    assert_eq!(malformed(Scratch::new().unpack(&archive.end())), "two names for one entry");
    let zero = TestArchive::new().pax(&[("path", b"a\0b")]).file("c", "");
    assert!(matches!(
        Scratch::new().unpack(&zero.end()),
        Err(LayerError::Path { source: PathError::Zero, .. })
    ));
}

#[test]
fn counts_sizes_and_lengths_are_limited() {
    let mut archive = TestArchive::new();
    for number in 0..10 {
        archive = archive.file(&number.to_string(), "12345678");
    }
    let bytes = archive.end();
    let entries = Limits { entries: 9, ..Limits::default() };
    assert!(matches!(
        Scratch::new().unpack_within(&bytes, entries),
        Err(LayerError::TooMuch { limit: 9, .. })
    ));
    let size = Limits { bytes: 79, ..Limits::default() };
    assert!(matches!(
        Scratch::new().unpack_within(&bytes, size),
        Err(LayerError::TooMuch { limit: 79, .. })
    ));
    Scratch::new().unpack_within(&bytes, Limits { entries: 10, bytes: 80 }).unwrap();

    let long = "a/".repeat(2500);
    let archive = TestArchive::new().pax(&[("path", long.as_bytes())]).file("c", "");
    assert!(matches!(
        Scratch::new().unpack(&archive.end()),
        Err(LayerError::Path { source: PathError::TooLong, .. })
    ));
}

#[test]
fn a_file_that_does_not_fit_is_refused_before_it_is_written() {
    // Larger than any disk, and within what a layer may have.
    let mut header = TestArchive::header(EntryType::Regular, "zeros", 0);
    header.set_size(1 << 59);
    let bytes = TestArchive::new().file("small", "x").raw(header, &[]).bytes;
    let scratch = Scratch::new();
    let endless = (&bytes[..]).chain(io::repeat(0));
    let limits = Limits { bytes: u64::MAX, ..Limits::default() };
    let refused = unpack_within(endless, &scratch.layer(), limits);
    assert!(matches!(refused, Err(LayerError::Full { .. })), "{refused:?}");
    assert!(scratch.path("small").exists() && !scratch.path("zeros").exists());
}

#[test]
fn an_end_that_never_comes_is_refused() {
    let scratch = Scratch::new();
    let endless = io::Cursor::new(TestArchive::new().file("f", "x").end()).chain(io::repeat(0));
    let refused = unpack_within(endless, &scratch.layer(), Limits::default());
    assert!(matches!(refused, Err(LayerError::TooMuch { .. })), "{refused:?}");
}

#[test]
fn an_extension_that_would_fill_the_memory_is_refused() {
    for kind in [EntryType::XHeader, EntryType::GNULongName, EntryType::XGlobalHeader] {
        let mut header = TestArchive::header(kind, "x", 0);
        header.set_size(1 << 40);
        assert!(
            malformed(Scratch::new().unpack(&TestArchive::new().raw(header, &[]).end()))
                .contains("4 MiB")
        );
    }
    let mut header = TestArchive::header(EntryType::Regular, "x", 0);
    header.set_size(u64::MAX);
    malformed(Scratch::new().unpack(&TestArchive::new().raw(header, &[]).end()));
}

#[test]
fn a_later_entry_wins() {
    let scratch = Scratch::new();
    let archive = TestArchive::new()
        .file("a", "one")
        .hard_link("kept", "a")
        .file("a", "two")
        .directory("b/")
        .file("b/x", "")
        .file("b", "file")
        .file("c", "")
        .directory("c/")
        .file("c/y", "");
    scratch.unpack(&archive.end()).unwrap();
    assert_eq!(
        (scratch.read("a"), scratch.read("kept"), scratch.read("b")),
        ("two".into(), "one".into(), "file".into())
    );
    assert!(scratch.path("c/y").exists());
}

#[test]
fn a_parent_that_was_replaced_is_not_used_again() {
    let scratch = Scratch::new();
    let archive = TestArchive::new()
        .directory("d/")
        .file("d/one", "")
        .symlink("d", "../host")
        .file("d/two", "");
    scratch.unpack(&archive.end()).unwrap();
    assert!(scratch.path("host/two").exists());
}

#[test]
fn attributes_of_overlayfs_and_of_the_host_are_dropped() {
    let scratch = Scratch::new();
    let records: &[(&str, &[u8])] = &[
        ("SCHILY.xattr.trusted.overlay.redirect", b"/etc"),
        ("SCHILY.xattr.trusted.overlay.metacopy", b""),
        ("SCHILY.xattr.user.overlay.opaque", b"y"),
        ("SCHILY.xattr.security.selinux", b"x"),
        ("SCHILY.xattr.user.kept", b"1"),
    ];
    scratch.unpack(&TestArchive::new().pax(records).file("f", "").end()).unwrap();
    let mut buffer = [0; 256];
    let length = rustix::fs::llistxattr(scratch.path("f"), &mut buffer).unwrap();
    assert_eq!(&buffer[..length], b"user.kept\0");
}

#[test]
fn special_names_are_names() {
    let scratch = Scratch::new();
    let names =
        ["con", " ", "a\nb", "-rf", "*", "\u{1b}[31m", "...", ".wh", "a\\..\\b", ".wh..wh.plnk/x"];
    let mut archive = TestArchive::new();
    for name in names {
        archive = archive.file(name, "x");
    }
    scratch.unpack(&archive.end()).unwrap();
    for name in names {
        assert_eq!(scratch.read(name), "x", "{name:?}");
    }
    let bytes = TestArchive::new().pax(&[("path", b"\xff\xfe")]).file("c", "").end();
    scratch.unpack(&bytes).unwrap();
}

#[test]
fn the_root_is_a_directory() {
    for kind in [EntryType::Regular, EntryType::Symlink, EntryType::Char] {
        let refused = Scratch::new().unpack(&TestArchive::new().link(kind, "./", "x").end());
        // A file whose name ends with a slash is a directory.
        assert_eq!(refused.is_err(), kind != EntryType::Regular, "{kind:?}");
    }
    assert!(Scratch::new().unpack(&TestArchive::new().file("./", "x").end()).is_err());
    let scratch = Scratch::new();
    scratch.unpack(&TestArchive::new().directory("./").end()).unwrap();
    let found = scratch.layer().metadata().unwrap();
    assert_eq!((found.mode() & 0o7777, found.mtime()), (0o750, 1_000_000_000));
}

#[test]
fn owners_that_mean_something_else_are_refused() {
    for uid in [u64::from(u32::MAX), 1 << 32] {
        let mut header = TestArchive::header(EntryType::Regular, "f", 0);
        header.set_uid(uid);
        let refused = Scratch::new().unpack(&TestArchive::new().raw(header, &[]).end());
        assert!(matches!(refused, Err(LayerError::Entry { .. })), "{uid}");
    }
}

#[test]
fn what_is_no_archive_or_half_of_one_is_said() {
    for bytes in [&b""[..], b"hello", &[b'x'; 2000]] {
        let refused = Scratch::new().unpack(bytes);
        assert!(
            matches!(refused, Err(LayerError::Archive { source: ArchiveError::NotAnArchive, .. })),
            "{refused:?}"
        );
    }
    let whole = TestArchive::new().file("first", "12345").file("second", &"x".repeat(2000)).end();
    for cut in [600, 1100, 2000] {
        let refused = Scratch::new().unpack(&whole[..cut]).unwrap_err();
        assert!(
            matches!(refused, LayerError::Archive { source: ArchiveError::Truncated, .. }),
            "{cut}: {refused:?}"
        );
    }
    assert!(!Scratch::new().unpack(&whole[..1024]).unwrap().has_ended);
    let mut damaged = whole;
    damaged[1024 + 5] ^= 1;
    let refused = Scratch::new().unpack(&damaged).unwrap_err();
    assert_eq!(refused.to_string(), "the archive cannot be used, after entry `first`");
    malformed(Err(refused));
}

/// The table above names tests that there are.
#[test]
fn every_attack_has_its_test() {
    let crate_root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let here = include_str!("attacks.rs");
    let rows = here.lines().filter_map(|line| line.strip_prefix("//! |"));
    let cells = rows.skip(2).map(|row| row.split('|').nth(1).unwrap());
    let mut count = 0;
    for part in cells.flat_map(|cell| cell.split(';')) {
        let words: Vec<&str> = part.split('`').skip(1).step_by(2).collect();
        let (files, tests): (Vec<_>, Vec<_>) =
            words.into_iter().partition(|word| word.ends_with(".rs"));
        let found = files.first().map(|file| fs::read_to_string(crate_root.join(file)).unwrap());
        for test in tests {
            // Those with a harness of their own are rows of a list.
            let is_there = |text: &str| {
                text.contains(&format!("fn {test}(")) || text.contains(&format!("(\"{test}\","))
            };
            let is_found = is_there(here) || found.as_deref().is_some_and(is_there);
            assert!(is_found, "{test} in {files:?}");
            count += 1;
        }
    }
    assert!(count > 20, "{count}");
}
