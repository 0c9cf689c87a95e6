//! Reading and writing the one-line files of a control group.

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use super::CgroupError;

/// Writes a value with one write(2), as the kernel takes each write for a command.
pub(super) fn write(directory: &Path, file: &str, value: &str) -> Result<(), CgroupError> {
    let path = directory.join(file);
    let written = fs::OpenOptions::new()
        .write(true)
        .open(&path)
        .and_then(|mut opened| opened.write_all(value.as_bytes()));
    written.map_err(|source| CgroupError::Write { path, value: value.to_owned(), source })
}

/// Reads a file without the white space around it.
pub(super) fn read(directory: &Path, file: &str) -> Result<String, CgroupError> {
    let path = directory.join(file);
    match fs::read_to_string(&path) {
        Ok(text) => Ok(text.trim().to_owned()),
        Err(source) => Err(CgroupError::Read { path, source }),
    }
}

/// Reads a single number; `max`, a missing file and anything else that is not a number are `None`.
pub(super) fn number(directory: &Path, file: &str) -> Option<u64> {
    read(directory, file).ok()?.parse().ok()
}

/// The number behind a key in a file of `key value` lines.
pub(super) fn field(directory: &Path, file: &str, key: &str) -> Option<u64> {
    field_in(&read(directory, file).ok()?, key)
}

/// The number behind a key in text of `key value` lines.
pub(super) fn field_in(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '))?;
    line.trim().parse().ok()
}

/// The processes in a directory, as seen from the caller's process id namespace; none if it is gone.
pub(super) fn pids(directory: &Path) -> Vec<i32> {
    let text = read(directory, "cgroup.procs").unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).collect()
}

/// Whether the error says that the file or directory is not there (any more).
pub(super) fn is_missing(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENODEV))
}
