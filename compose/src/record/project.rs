//! What outlives the compose file of a project: where it came from.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::replace::{RecordError, read_record, replace_volatile_record};
use super::{RECORD_VERSION, Roots, check_version};

/// The project as `ls` shows it and as a command with only `-p` finds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProjectRecord {
    /// Version of this record's layout.
    pub version: u32,
    /// The project.
    pub name: String,
    /// The folder that relative paths of the file start from.
    pub working_dir: PathBuf,
    /// The files it was read from, in order.
    pub config_files: Vec<PathBuf>,
    /// The environment files used for interpolation.
    #[serde(default)]
    pub environment_files: Vec<PathBuf>,
}

impl ProjectRecord {
    /// A record of the current version.
    #[must_use]
    pub fn new(name: String, working_dir: PathBuf, config_files: Vec<PathBuf>) -> Self {
        let environment_files = Vec::new();
        Self { version: RECORD_VERSION, name, working_dir, config_files, environment_files }
    }

    /// Reads the record of `project`; `None` if the project has none.
    ///
    /// # Errors
    ///
    /// When the record is damaged, newer than this binary, or unreadable.
    pub fn read(roots: &Roots, project: &str) -> Result<Option<Self>, RecordError> {
        let path = roots.project(project).record();
        let record: Option<Self> = read_record(&path)?;
        if let Some(record) = &record {
            check_version(&path, record.version)?;
        }
        Ok(record)
    }

    /// Writes the record, and makes the project's folders for it.
    ///
    /// # Errors
    ///
    /// When a folder cannot be made or the record not be replaced.
    pub fn write(&self, roots: &Roots) -> Result<(), RecordError> {
        let paths = roots.project(&self.name);
        for folder in [paths.containers(), paths.run().to_owned()] {
            std::fs::create_dir_all(&folder)
                .map_err(|source| RecordError::Replace { path: folder, source })?;
        }
        replace_volatile_record(&paths.record(), self)
    }
}
