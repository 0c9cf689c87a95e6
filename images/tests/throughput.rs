//! How fast archives become images. Run with `--ignored --nocapture` and an archive of some hundred megabytes in
//! `IMAGES_TEST_ARCHIVE`, in a build with optimisation (`CARGO_PROFILE_TEST_OPT_LEVEL=3`).
//!
//! Two cores with SHA-NI, 394 MB in 31,749 entries, store in memory: plain 328, gzip 260, zstd 514 MB/s. On a busy disk
//! 67 to 120, 87 to 172 and 100 to 381 MB/s, where `tar -x` and a sync reach 70 to 74 MB/s.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::fs::{self, File};
use std::time::Instant;

use common::store;
use images::{Force, Import};

#[test]
#[ignore = "a measurement, which needs an archive"]
fn megabytes_per_second() {
    let path = std::env::var_os("IMAGES_TEST_ARCHIVE").unwrap();
    let (dir, store) = store();
    let plain = dir.path().join("plain");
    fs::copy(&path, &plain).unwrap();
    let bytes = fs::read(&plain).unwrap();
    let packed =
        [("gzip", common::gzip(&bytes)), ("zstd", zstd::encode_all(&bytes[..], 1).unwrap())];
    let megabytes = bytes.len() / 1_000_000;
    drop(bytes);
    let mut archives = vec![("plain", plain)];
    for (name, bytes) in packed {
        let path = dir.path().join(name);
        fs::write(&path, bytes).unwrap();
        archives.push((name, path));
    }
    for (name, path) in archives {
        // Nothing of the last round is left to be written to disk.
        rustix::fs::sync();
        let begun = Instant::now();
        let image = store.import(File::open(path).unwrap(), &Import::default()).unwrap();
        let elapsed = begun.elapsed();
        let rate = megabytes as u128 * 1000 / elapsed.as_millis();
        println!("{name}: {megabytes} MB in {} ms: {rate} MB/s", elapsed.as_millis());
        store.remove(&image.id.hex(), Force::No, |_| None).unwrap();
    }
}
