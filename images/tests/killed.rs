//! Imports and loads that are killed at random moments: the store stays valid, and the next import finishes the work.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that cannot go on fails; its victim speaks"
)]

mod common;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use common::kill::{assert_whole, victim_of};
use common::{import, names, rounds, tar};
use images::{Digest, Force, Import, Store};

const STORE: &str = "IMAGES_TEST_KILLED_STORE";
const ARCHIVE: &str = "IMAGES_TEST_KILLED_ARCHIVE";

/// What the killed process does: an import of the archive and a removal, over and over.
fn victim(store: &Path, archive: &Path) {
    let store = Store::open(store).unwrap();
    let bytes = fs::read(archive).unwrap();
    println!("ready");
    loop {
        store
            .import(
                &bytes[..],
                &Import { reference: Some("victim".parse().unwrap()), ..Import::default() },
            )
            .unwrap();
        store.remove("victim", Force::No, |_| None).unwrap();
    }
}

#[test]
fn a_kill_leaves_the_old_store_or_the_new_one() {
    if let (Some(store), Some(archive)) = (std::env::var_os(STORE), std::env::var_os(ARCHIVE)) {
        return victim(store.as_ref(), archive.as_ref());
    }
    // In memory: what a kill leaves is the same, and other programs' disk traffic does not slow every commit down.
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let root = dir.path().join("images");
    let files: Vec<(String, Vec<u8>)> =
        (0..200u8).map(|n| (format!("d{}/f{n}", n % 7), vec![n; 3000])).collect();
    let files: Vec<(&str, &[u8])> =
        files.iter().map(|(name, content)| (name.as_str(), &content[..])).collect();
    let archive = tar(&files);
    let path = dir.path().join("archive.tar");
    fs::write(&path, &archive).unwrap();
    let store = Store::open(&root).unwrap();
    let kept = import(&store, "kept", &tar(&[("f", b"1")]));
    let reference = Store::open(&dir.path().join("reference")).unwrap();
    let whole = import(&reference, "victim", &archive);

    for round in 0..rounds(40) {
        let mut child = victim_of(
            "a_kill_leaves_the_old_store_or_the_new_one",
            &[(STORE, root.as_os_str()), (ARCHIVE, path.as_os_str())],
        );
        // A moment that differs from round to round, in steps of less than one import takes.
        let until = Instant::now() + Duration::from_micros((u64::from(round) * 1_237) % 30_000);
        while Instant::now() < until {
            std::hint::spin_loop();
        }
        child.kill().unwrap();
        child.wait().unwrap();

        assert_whole(&store, round);
        assert_eq!(store.find("kept").unwrap().as_ref(), Some(&kept), "round {round}");
        for image in store.list().unwrap().images {
            assert!(image.layers.iter().all(|layer| layer.is_dir()), "round {round}");
        }
        for name in names(&root, "blobs/sha256") {
            assert_eq!(
                Digest::of(&fs::read(root.join("blobs/sha256").join(&name)).unwrap()).hex(),
                name
            );
        }
        // The next writer finishes what was begun and clears what was left.
        let image = import(&store, "victim", &archive);
        assert_same(&whole.layers[0], &image.layers[0]);
        assert!(
            !names(&root, "layers").iter().any(|name| name.starts_with(".tmp")),
            "round {round}"
        );
        store.remove("victim", Force::No, |_| None).unwrap();
        assert_eq!(names(&root, "layers").len(), 2, "round {round}");
    }
}

fn assert_same(one: &Path, other: &Path) {
    let compared = Command::new("diff").arg("-r").arg(one).arg(other).output().unwrap();
    assert!(compared.status.success(), "{}", String::from_utf8_lossy(&compared.stdout));
}

#[test]
fn leftovers_of_the_living_are_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("images");
    let store = Store::open(&root).unwrap();
    let archive = tar(&[("slow", b"1")]);
    let (mut sender, receiver) = std::os::unix::net::UnixStream::pair().unwrap();
    let slow = std::thread::spawn({
        let store = store.clone();
        move || {
            store.import(
                receiver,
                &Import { reference: Some("slow".parse().unwrap()), ..Import::default() },
            )
        }
    });
    sender.write_all(&archive[..512]).unwrap();
    while names(&root, "layers").is_empty() {
        std::thread::yield_now();
    }
    // Others import, remove and collect garbage meanwhile.
    import(&store, "fast", &tar(&[("f", b"1")]));
    store.remove("fast", Force::No, |_| None).unwrap();
    fs::create_dir(root.join("layers/.tmp-dead")).unwrap();
    import(&store, "fast", &tar(&[("f", b"1")]));
    assert!(root.join("layers/.tmp-dead").exists());
    sender.write_all(&archive[512..]).unwrap();
    drop(sender);
    let image = slow.join().unwrap().unwrap();
    assert!(image.layers[0].join("slow").exists());
    // A process that the other test is about to execute holds copies of our locks until then.
    let swept = (0..1000u32).any(|round| {
        import(&store, "fast", &tar(&[("f", &round.to_le_bytes())]));
        !root.join("layers/.tmp-dead").exists()
    });
    assert!(swept);
}
