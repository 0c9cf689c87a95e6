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
    let large = tar(&[("a", &[1; 300_000]), ("b", &[2; 600_000])]);
    let plain = store.import(&large[..], &import).unwrap_err();
    let packed = store.import(&zstd::encode_all(&large[..], 1).unwrap()[..], &import);
    // Compressed, the blob fits, and the files do not fit twice.
    packed.unwrap();
    let full = match plain {
        ImportError::Layer(LayerError::Full { directory, .. }) => directory,
        other => panic!("{other:?}"),
    };
    assert!(full.starts_with(path));
    let again = tar(&[("c", &[3; 300_000])]);
    assert!(matches!(
        store.import(&zstd::encode_all(&again[..], 1).unwrap()[..], &import),
        Err(ImportError::Layer(LayerError::Full { .. }))
    ));
    assert!(store.find("small").unwrap().is_some());
}
