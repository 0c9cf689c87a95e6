//! What the keeper wrote down about exits, for whoever was not there.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::Path;

use jiff::Timestamp;
use runtime::exit::ExitStatus;
use serde::{Deserialize, Serialize};

use super::replace::RecordError;

/// One exit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// The container's id.
    pub key: String,
    /// Its process.
    pub pid: i32,
    /// How it ended.
    pub status: ExitStatus,
    /// When.
    pub at: Timestamp,
}

/// The last exit of each container, replayed from the journal of a keeper.
#[derive(Debug, Clone, Default)]
pub struct Exits {
    last: HashMap<String, Exit>,
}

impl Exits {
    /// Replays the journal at `path`; without one there were no exits. Lines
    /// that are no exits are passed over: the last one may be cut off by a
    /// power loss.
    ///
    /// # Errors
    ///
    /// [`RecordError::Read`].
    pub fn read(path: &Path) -> Result<Self, RecordError> {
        let journal = match fs::read(path) {
            Ok(journal) => journal,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(source) => return Err(RecordError::Read { path: path.to_owned(), source }),
        };
        let lines = journal.split(|byte| *byte == b'\n');
        Ok(lines.filter_map(|line| serde_json::from_slice::<Exit>(line).ok()).collect())
    }

    /// How the run of the container `id` as process `pid` ended that began at `started`.
    #[must_use]
    pub fn of(&self, id: &str, pid: i32, started: Option<Timestamp>) -> Option<&Exit> {
        self.last
            .get(id)
            .filter(|exit| exit.pid == pid && started.is_none_or(|started| exit.at >= started))
    }
}

impl FromIterator<Exit> for Exits {
    fn from_iter<I: IntoIterator<Item = Exit>>(exits: I) -> Self {
        Self { last: exits.into_iter().map(|exit| (exit.key.clone(), exit)).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_exit_of_a_run_counts_and_a_torn_line_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("exits.journal");
        assert!(Exits::read(&path).unwrap().of("ab", 7, None).is_none());
        let line = |pid, code| {
            format!(
                r#"{{"key":"ab","pid":{pid},"status":{{"code":{code},"signal":null}},"at":"2026-01-01T00:00:0{code}Z"}}"#
            )
        };
        fs::write(&path, format!("{}\n{}\n{{\"key\":\"ab\",\"pi", line(7, 1), line(8, 2))).unwrap();
        let exits = Exits::read(&path).unwrap();
        assert_eq!(exits.of("ab", 8, None).unwrap().status.code, Some(2));
        assert!(exits.of("ab", 7, None).is_none(), "an earlier run");
        let later = Some("2026-01-01T00:00:03Z".parse().unwrap());
        assert!(exits.of("ab", 8, later).is_none(), "an earlier run with the same pid");
    }
}
