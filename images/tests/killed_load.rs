//! Loads, removals and prunes that are killed at random moments: the store stays valid, the next load succeeds, and
//! nothing is left over.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that cannot go on fails; its victim speaks"
)]

mod common;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use common::kill::{assert_whole, random, victim_of};
use common::{import, names, rounds, tar};
use images::{Force, Platform, Store};

const STORE: &str = "IMAGES_TEST_KILLED_STORE";
const ARCHIVE: &str = "IMAGES_TEST_KILLED_ARCHIVE";
const NAMES: [&str; 2] = ["first", "second"];

/// What the killed process does: a load, a removal, and a prune of images and of the cache, over and over.
fn victim(store: &Path, archive: &Path) {
    let store = Store::open(store).unwrap();
    let bytes = fs::read(archive).unwrap();
    println!("ready");
    loop {
        once(&store, &bytes);
    }
}

fn once(store: &Store, archive: &[u8]) {
    store.load(archive, &Platform::host()).unwrap();
    store.remove(NAMES[0], Force::No, |_| None).unwrap();
    store.prune().unwrap();
    store.prune_cache(|_| true).unwrap();
    store.remove(NAMES[1], Force::No, |_| None).unwrap();
    store.prune().unwrap();
}

#[test]
fn a_killed_load_or_prune_leaves_nothing() {
    if let (Some(store), Some(archive)) = (std::env::var_os(STORE), std::env::var_os(ARCHIVE)) {
        return victim(store.as_ref(), archive.as_ref());
    }
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let root = dir.path().join("images");
    let (_other, source) = common::store();
    for (number, name) in (0u8..).zip(NAMES) {
        let files: Vec<(String, Vec<u8>)> =
            (0..100u8).map(|n| (format!("d{}/f{n}", n % 5), vec![n + number; 3000])).collect();
        let files: Vec<(&str, &[u8])> =
            files.iter().map(|(name, content)| (name.as_str(), &content[..])).collect();
        import(&source, name, &tar(&files));
    }
    let mut archive = Vec::new();
    source.save(&NAMES.map(str::to_owned), &mut archive).unwrap();
    let path = dir.path().join("archive.tar");
    fs::write(&path, &archive).unwrap();

    let store = Store::open(&root).unwrap();
    let kept = import(&store, "kept", &tar(&[("f", b"1")]));
    once(&store, &archive);
    // How long one turn takes on this machine.
    let begun = Instant::now();
    once(&store, &archive);
    let whole = begun.elapsed();
    for round in 0..rounds(25) {
        let mut child = victim_of(
            "a_killed_load_or_prune_leaves_nothing",
            &[(STORE, root.as_os_str()), (ARCHIVE, path.as_os_str())],
        );
        std::thread::sleep(random(2 * whole + Duration::from_millis(1)));
        child.kill().unwrap();
        child.wait().unwrap();

        assert_eq!(store.find("kept").unwrap().as_ref(), Some(&kept), "round {round}");
        assert_whole(&store, round);
        // The next one succeeds, and clears what was left.
        let loaded = store.load(&archive[..], &Platform::host()).unwrap();
        assert_eq!(loaded.len(), 2, "round {round}");
        assert_whole(&store, round);
        let left = names(&root, "layers");
        assert!(!left.iter().any(|name| name.starts_with(".tmp")), "round {round}: {left:?}");
        for name in NAMES {
            store.remove(name, Force::No, |_| None).unwrap();
        }
        assert_eq!(names(&root, "layers").len(), 2, "round {round}");
        assert_eq!(names(&root, "blobs/sha256").len(), 3, "round {round}");
        assert!(!store.prune_cache(|_| true).unwrap().busy, "round {round}: a lock is held");
    }
}
