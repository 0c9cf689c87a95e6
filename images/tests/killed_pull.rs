//! Pulls that are killed at random moments: the store stays valid, the next pull goes on, and nothing is left over.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that cannot go on fails; its victim speaks"
)]

mod common;

use std::fs;
use std::path::Path;
use std::time::Instant;

use common::kill::{assert_whole, random, victim_of};
use common::server::{Parts, Server};
use common::{import, names, rounds, tar};
use images::registry::{Cancel, Environment, Pull, Registry};
use images::{Digest, Force, Store};

const STORE: &str = "IMAGES_TEST_KILLED_STORE";
const NAME: &str = "IMAGES_TEST_KILLED_NAME";

fn pull(store: &Store, name: &str) -> images::Image {
    let registry = Registry::new(Environment::default()).unwrap();
    let (reference, cancel) = (name.parse().unwrap(), Cancel::default());
    let pull = Pull { reference: &reference, platform: None, cancel: &cancel, report: &|_| {} };
    registry.pull(store, &pull).unwrap().image
}

/// What the killed process does: a pull and a removal, over and over.
fn victim(store: &Path, name: &str) {
    let store = Store::open(store).unwrap();
    println!("ready");
    loop {
        pull(&store, name);
        store.remove(name, Force::No, |_| None).unwrap();
    }
}

#[test]
fn a_killed_pull_is_taken_up_by_the_next() {
    if let (Some(store), Ok(name)) = (std::env::var_os(STORE), std::env::var(NAME)) {
        return victim(store.as_ref(), &name);
    }
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let root = dir.path().join("images");
    let layer = |number: u8| {
        let files: Vec<(String, Vec<u8>)> =
            (0..60u8).map(|n| (format!("d{number}/f{n}"), vec![n; 2000])).collect();
        let files: Vec<(&str, &[u8])> =
            files.iter().map(|(name, content)| (name.as_str(), &content[..])).collect();
        tar(&files)
    };
    let parts = Parts::new(&[layer(1), layer(2), layer(3), layer(4)]);
    let server = Server::start(move |asked| parts.answer(asked));
    let name = server.name("victim");
    let store = Store::open(&root).unwrap();
    let kept = import(&store, "kept", &tar(&[("f", b"1")]));
    // How long a pull takes on this machine; the first one is slower.
    pull(&store, &name);
    store.remove(&name, Force::No, |_| None).unwrap();
    let begun = Instant::now();
    pull(&store, &name);
    let whole = begun.elapsed();
    store.remove(&name, Force::No, |_| None).unwrap();
    for round in 0..rounds(25) {
        let mut child = victim_of(
            "a_killed_pull_is_taken_up_by_the_next",
            &[(STORE, root.as_os_str()), (NAME, name.as_ref())],
        );
        // Any moment of the first two pulls, and of the removal between them.
        std::thread::sleep(random(2 * whole));
        child.kill().unwrap();
        child.wait().unwrap();

        assert_whole(&store, round);
        assert_eq!(store.find("kept").unwrap().as_ref(), Some(&kept), "round {round}");
        for image in store.list().unwrap().images {
            assert!(image.layers.iter().all(|layer| layer.is_dir()), "round {round}");
        }
        for blob in names(&root, "blobs/sha256") {
            let bytes = fs::read(root.join("blobs/sha256").join(&blob)).unwrap();
            assert_eq!(Digest::of(&bytes).hex(), blob, "round {round}");
        }
        // The next one finishes what was begun, and clears what was left.
        let image = pull(&store, &name);
        assert_eq!(image.layers.len(), 4);
        for (number, layer) in (1..=4).zip(image.layers.iter().rev()) {
            let files = fs::read_dir(layer.join(format!("d{number}"))).unwrap();
            assert_eq!(files.count(), 60, "round {round}");
        }
        let left = names(&root, "layers");
        assert!(!left.iter().any(|name| name.starts_with(".tmp")), "round {round}: {left:?}");
        store.remove(&name, Force::No, |_| None).unwrap();
        assert_eq!(names(&root, "layers").len(), 2, "round {round}");
        assert_eq!(names(&root, "blobs/sha256").len(), 3, "round {round}");
    }
}
