//! Records on disk: read, replaced whole, removed.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A file or a folder resisted.
#[derive(Debug, thiserror::Error)]
#[error("{verb} {}", path.display())]
pub struct FileError {
    verb: &'static str,
    path: PathBuf,
    source: io::Error,
}

impl FileError {
    pub(crate) fn new(verb: &'static str, path: &Path, source: io::Error) -> Self {
        Self { verb, path: path.to_owned(), source }
    }
}

/// Reads a record; `None` when there is none, or an empty one as a power cut leaves it.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, FileError> {
    let text = match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        outcome => outcome.map_err(|source| FileError::new("read", path, source))?,
    };
    if text.is_empty() {
        return Ok(None);
    }
    serde_json::from_slice(&text)
        .map(Some)
        .map_err(|error| FileError::new("read", path, error.into()))
}

/// Replaces a record, so that a reader finds the old one or the new one and never a part of either.
///
/// The caller holds the lock of the store or the network: there is one next record at a time, and that of a process
/// that was killed is overwritten.
pub(crate) fn replace<T: Serialize>(path: &Path, record: &T) -> Result<(), FileError> {
    let next = next(path);
    let write = || {
        let mut text = serde_json::to_vec(record)?;
        text.push(b'\n');
        fs::write(&next, text)?;
        fs::rename(&next, path)
    };
    write().map_err(|source| {
        // The temporary file is of no use to anybody; the record is the old one.
        let _ = fs::remove_file(&next);
        FileError::new("write", path, source)
    })
}

fn next(path: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    path.with_file_name(name)
}

/// Removes a file, and what a killed process left of its next version; one that is not there is no error.
pub(crate) fn remove(path: &Path) -> Result<(), FileError> {
    for path in [&next(path), path] {
        gone(fs::remove_file(path)).map_err(|source| FileError::new("remove", path, source))?;
    }
    Ok(())
}

/// Removes an empty folder; one that is not there is no error.
pub(crate) fn remove_folder(path: &Path) -> Result<(), FileError> {
    gone(fs::remove_dir(path)).map_err(|source| FileError::new("remove", path, source))
}

/// Holds a folder for one change at a time, over all processes, until the result is dropped.
pub(crate) fn lock(folder: &Path) -> Result<fs::File, FileError> {
    let file = fs::File::open(folder).map_err(|source| FileError::new("open", folder, source))?;
    let locked = flock(&file, FlockOperation::LockExclusive);
    locked.map_err(|errno| FileError::new("flock", folder, errno.into()))?;
    Ok(file)
}

fn gone(outcome: io::Result<()>) -> io::Result<()> {
    match outcome {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        outcome => outcome,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_replaced_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("record.json");
        assert_eq!(read::<Vec<u8>>(&path).unwrap(), None);
        replace(&path, &vec![1, 2]).unwrap();
        let unwritable = std::collections::HashMap::from([(vec![1], 2)]);
        replace(&path, &unwritable).unwrap_err();
        assert_eq!(read::<Vec<u8>>(&path).unwrap(), Some(vec![1, 2]));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn an_empty_record_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("record.json");
        fs::write(&path, "").unwrap();
        assert_eq!(read::<Vec<u8>>(&path).unwrap(), None);
        fs::write(&path, "{").unwrap();
        assert!(read::<Vec<u8>>(&path).is_err());
        fs::write(folder.path().join(".record.json"), "left by a killed process").unwrap();
        remove(&path).unwrap();
        remove(&path).unwrap();
        remove_folder(folder.path()).unwrap();
        remove_folder(folder.path()).unwrap();
    }
}
