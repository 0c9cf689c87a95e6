//! Archives and stores for the tests.

#![allow(dead_code, reason = "each test binary uses a part of it")]

pub mod kill;
pub mod server;

use std::fs;
use std::path::Path;

use images::{Image, Import, Store};

/// An archive with these files; a name that ends with a slash is a directory.
pub fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = tar::Header::new_gnu();
        let directory = name.ends_with('/');
        header.set_entry_type(if directory {
            tar::EntryType::Directory
        } else {
            tar::EntryType::Regular
        });
        header.set_mode(if directory { 0o755 } else { 0o644 });
        header.set_size(content.len() as u64);
        header.set_mtime(1_000_000_000);
        builder.append_data(&mut header, name, *content).unwrap();
    }
    builder.into_inner().unwrap()
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A store in a fresh directory. In memory, where there is some: other programs' disk traffic does not slow every
/// commit down.
pub fn store() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let store = Store::open(&dir.path().join("images")).unwrap();
    (dir, store)
}

/// Imports an archive under a name.
pub fn import(store: &Store, name: &str, archive: &[u8]) -> Image {
    let import = Import { reference: Some(name.parse().unwrap()), ..Import::default() };
    store.import(archive, &import).unwrap()
}

/// The names in a directory of the store, sorted.
pub fn names(store: &Path, directory: &str) -> Vec<String> {
    let Ok(entries) = fs::read_dir(store.join(directory)) else { return Vec::new() };
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// How many rounds a test of kills goes: as many as usual, or as `IMAGES_TEST_ROUNDS` says.
pub fn rounds(usual: u32) -> u32 {
    std::env::var("IMAGES_TEST_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}
