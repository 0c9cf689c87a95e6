//! Writing so that a power cut leaves the old content or the new one.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Replaces the file at `path`: content to disk, then the name, then the directory that holds the name (rename(2),
/// fsync(2)). The caller holds the lock that makes it the only writer, so the temporary name is fixed and a
/// temporary file left by a killed writer is overwritten.
pub(crate) fn replace_file(path: &Path, content: &[u8]) -> io::Result<()> {
    let next = with_suffix(path, ".next");
    let mut file =
        fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&next)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&next, path)?;
    sync_directory(path.parent().unwrap_or(Path::new("/")))
}

/// Writes the names in `directory` to disk.
pub(crate) fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
