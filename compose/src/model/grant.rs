//! Top-level `secrets` and `configs`, and what a service is granted of them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Place;

/// A secret or config that a service may read as a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant<K> {
    /// The top-level key.
    pub source: K,
    /// The file inside the container, absolute.
    pub target: PathBuf,
    /// Owner of the file.
    pub uid: Option<u32>,
    /// Group of the file.
    pub gid: Option<u32>,
    /// Permissions of the file (default 0444).
    pub mode: Option<u32>,
}

/// One entry of the top-level `secrets`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secret {
    /// The real name, `PROJECT_KEY` unless the file gives one.
    pub name: String,
    /// Where the bytes come from.
    pub source: FileSource,
    /// SHA-256 of the file that it comes from, so that a change of the file is one of the project.
    #[serde(default)]
    pub digest: Option<String>,
    /// Labels of the secret.
    pub labels: BTreeMap<String, String>,
    /// Where it was written.
    pub place: Option<Place>,
}

/// One entry of the top-level `configs`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// The real name, `PROJECT_KEY` unless the file gives one.
    pub name: String,
    /// Where the bytes come from.
    pub source: FileSource,
    /// SHA-256 of the file that it comes from, so that a change of the file is one of the project.
    #[serde(default)]
    pub digest: Option<String>,
    /// Labels of the config.
    pub labels: BTreeMap<String, String>,
    /// Where it was written.
    pub place: Option<Place>,
}

/// Where the bytes of a secret or config come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FileSource {
    /// A file of the host, by absolute path.
    File(PathBuf),
    /// A variable of the environment of the project.
    Environment {
        /// The variable.
        variable: String,
        /// Its value when the file was read; nothing if it was not set.
        value: Option<String>,
    },
    /// The file itself.
    Content(String),
    /// Something outside of the project that is looked up by name.
    External,
    /// A driver, which only clusters have.
    Driver(String),
    /// A template that a driver fills in, which only clusters do.
    Template(String),
}
