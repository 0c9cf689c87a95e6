//! Hand-made archives, honest and hostile. Each is unpacked into a directory beside a file that no archive may touch.

mod attacks;
mod content;
mod random;

use std::fs;
use std::path::{Path, PathBuf};

use tar::{EntryType, Header};
use tempfile::TempDir;

use super::unpack::{LayerError, Limits, Unpacked, unpack_within};

/// An archive in the making. Names go into it as they are, valid or not.
#[derive(Debug, Default, Clone)]
struct TestArchive {
    bytes: Vec<u8>,
}

impl TestArchive {
    fn new() -> Self {
        Self::default()
    }

    fn header(kind: EntryType, name: &str, size: usize) -> Header {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(size as u64);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_000_000_000);
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header
    }

    /// Adds a header, with its checksum set, and data, filled up to whole blocks.
    fn raw(mut self, mut header: Header, data: &[u8]) -> Self {
        header.set_cksum();
        self.bytes.extend_from_slice(header.as_bytes());
        self.bytes.extend_from_slice(data);
        self.bytes.resize(self.bytes.len().next_multiple_of(512), 0);
        self
    }

    fn file(self, name: &str, content: &str) -> Self {
        self.raw(Self::header(EntryType::Regular, name, content.len()), content.as_bytes())
    }

    fn directory(self, name: &str) -> Self {
        let mut header = Self::header(EntryType::Directory, name, 0);
        header.set_mode(0o750);
        self.raw(header, &[])
    }

    fn link(self, kind: EntryType, name: &str, target: &str) -> Self {
        let mut header = Self::header(kind, name, 0);
        header.as_old_mut().linkname[..target.len()].copy_from_slice(target.as_bytes());
        self.raw(header, &[])
    }

    fn symlink(self, name: &str, target: &str) -> Self {
        self.link(EntryType::Symlink, name, target)
    }

    fn hard_link(self, name: &str, target: &str) -> Self {
        self.link(EntryType::Link, name, target)
    }

    /// Adds an extended header for the next entry.
    fn pax(self, records: &[(&str, &[u8])]) -> Self {
        let mut data = Vec::new();
        for (key, value) in records {
            let rest = key.len() + value.len() + 3;
            let length =
                (1..).find(|digits| (rest + digits).to_string().len() == *digits).unwrap() + rest;
            data.extend_from_slice(format!("{length} {key}=").as_bytes());
            data.extend_from_slice(value);
            data.push(b'\n');
        }
        self.raw(Self::header(EntryType::XHeader, "PaxHeaders/x", data.len()), &data)
    }

    /// Ends the archive properly.
    fn end(mut self) -> Vec<u8> {
        self.bytes.extend_from_slice(&[0; 1024]);
        self.bytes
    }
}

/// A directory for a layer, and beside it a file of the host.
struct Scratch {
    dir: TempDir,
    before: Vec<PathBuf>,
}

impl Scratch {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("layer")).unwrap();
        fs::create_dir(dir.path().join("host")).unwrap();
        fs::write(dir.path().join("host/passwd"), "root").unwrap();
        let before = outside(dir.path());
        Self { dir, before }
    }

    fn layer(&self) -> PathBuf {
        self.dir.path().join("layer")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.layer().join(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    fn unpack(&self, archive: &[u8]) -> Result<Unpacked, LayerError> {
        self.unpack_within(archive, Limits::default())
    }

    fn unpack_within(&self, archive: &[u8], limits: Limits) -> Result<Unpacked, LayerError> {
        let result = unpack_within(archive, &self.layer(), limits);
        // Whatever it was, the host is as before.
        assert_eq!(outside(self.dir.path()), self.before);
        assert_eq!(fs::read_to_string(self.dir.path().join("host/passwd")).unwrap(), "root");
        result
    }
}

/// Everything in the scratch directory but the layer.
fn outside(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for directory in [dir.to_owned(), dir.join("host")] {
        found.extend(fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()));
    }
    found.sort();
    found
}
