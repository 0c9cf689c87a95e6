//! A disk without room. In a mount namespace of its own, because it mounts a small tmpfs.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod common;

use std::process::Command;

use common::tar;
use images::{Import, ImportError, LayerError, Store};

const STORE: &str = "IMAGES_TEST_FULL_STORE";

#[test]
fn a_full_disk_is_said_and_leaves_nothing() {
    if let Some(path) = std::env::var_os(STORE) {
        return in_small_store(path.as_ref());
    }
    let dir = tempfile::tempdir().unwrap();
    let script = "mount -t tmpfs -o size=1m none \"$0\" && exec \"$1\" --exact a_full_disk_is_said_and_leaves_nothing";
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "sh", "-c", script])
        .arg(dir.path())
        .arg(std::env::current_exe().unwrap());
    let output = command.env(STORE, dir.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

fn in_small_store(path: &std::path::Path) {
    let store = Store::open(&path.join("images")).unwrap();
    let small = tar(&[("f", b"1")]);
    let import = Import { reference: Some("small".parse().unwrap()), ..Import::default() };
    store.import(&small[..], &import).unwrap();
    // The files do not fit; or, as this cannot be compressed, file and blob together do not.
    let large = tar(&[("a", &[1; 1_200_000])]);
    let mut state = 1u32;
    let noise = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    });
    let noise = tar(&[("n", &noise.take(600_000).collect::<Vec<_>>())]);
    for archive in [large, noise] {
        match store.import(&archive[..], &import).unwrap_err() {
            ImportError::Layer(LayerError::Full { directory, .. }) => {
                assert!(directory.starts_with(path))
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(common::names(&path.join("images"), "layers").len(), 2);
        assert!(store.find("small").unwrap().is_some());
    }
}
