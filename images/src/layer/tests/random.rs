//! Archives that chance makes: no panic, no endless work, nothing outside of the layer.

use proptest::prelude::*;

use super::*;

/// Small limits, so that an entry that claims to be huge ends the case.
const SMALL: Limits = Limits { entries: 200, bytes: 1 << 20 };

/// Names made of the parts that attacks are made of.
fn name() -> impl Strategy<Value = String> {
    let part = prop::sample::select(vec![
        "a",
        "b",
        "..",
        ".",
        "",
        "host",
        "passwd",
        ".wh.a",
        ".wh..wh..opq",
        "link",
    ]);
    prop::collection::vec(part, 1..5).prop_map(|parts| parts.join("/"))
}

fn kind() -> impl Strategy<Value = EntryType> {
    let kinds = b"0000000123455555567LKxgSVMZ\0";
    prop::sample::select(kinds.to_vec()).prop_map(EntryType::new)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn of_random_entries(entries in prop::collection::vec((kind(), name(), name(), 0u64..3), 1..30)) {
        let mut archive = TestArchive::new();
        for (kind, name, target, blocks) in entries {
            let mut header = TestArchive::header(kind, &name, 0);
            header.set_size(blocks * 300);
            header.as_old_mut().linkname[..target.len()].copy_from_slice(target.as_bytes());
            archive = archive.raw(header, &"11 path=ab\n".repeat(60).as_bytes()[..usize::try_from(blocks * 300).unwrap()]);
        }
        let _ = Scratch::new().unpack_within(&archive.end(), SMALL);
    }

    #[test]
    fn of_damaged_bytes(changes in prop::collection::vec((0usize..6000, any::<u8>()), 1..8), fix in any::<bool>()) {
        let mut bytes = TestArchive::new()
            .pax(&[("path", b"x/y"), ("size", b"5"), ("SCHILY.xattr.user.a", b"b")])
            .file("f", "12345")
            .symlink("link", "../host")
            .hard_link("hard", "x/y")
            .file("link/.wh.passwd", "")
            .pax(&[("GNU.sparse.map", b"0,3,10,2"), ("GNU.sparse.size", b"20")])
            .file("sparse", "12345")
            .end();
        for (at, value) in changes {
            let at = at % bytes.len();
            bytes[at] = value;
        }
        if fix {
            // With right checksums the damage gets further.
            for block in bytes.chunks_exact_mut(512) {
                let mut header = Header::new_old();
                header.as_mut_bytes().copy_from_slice(block);
                if header.path_bytes().iter().all(u8::is_ascii_graphic) {
                    header.set_cksum();
                    block.copy_from_slice(header.as_bytes());
                }
            }
        }
        let _ = Scratch::new().unpack_within(&bytes, SMALL);
    }

    #[test]
    fn of_noise(bytes in prop::collection::vec(any::<u8>(), 0..3000), magic in 0usize..3) {
        let start: [&[u8]; 3] = [b"", b"\x1f\x8b\x08\x00", b"\x28\xb5\x2f\xfd"];
        let _ = Scratch::new().unpack_within(&[start[magic], &bytes[..]].concat(), SMALL);
    }
}
