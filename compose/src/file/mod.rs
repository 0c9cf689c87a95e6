//! Files to a project: find, read, fill in, include, extend, merge, check, resolve.
//!
//! A file becomes a tree of spanned nodes ([`node`]); each phase works on that tree, so that a
//! mistake that is found late still points at the file, line and column where it was made. The
//! phases, in order: [`locate`] finds files, name and variables; [`yaml`] reads; [`interpolate`]
//! fills variables in; [`canonical`] checks types against [`schema`] and writes short forms out;
//! [`include`] and [`extends`] bring other files in; [`merge`] lays one document over the other;
//! [`complete`], [`normalize`], [`select`] and [`check`] look at the whole; [`resolve`] makes the
//! typed [`Project`].
//!
//! All mistakes of a run are collected in a [`report`] and shown together.

pub mod artifact;
mod canonical;
mod check;
mod complete;
mod document;
mod dotenv;
mod env_file;
mod environment;
mod explain;
mod extends;
pub mod foreign;
mod include;
mod interpolate;
mod locate;
mod merge;
mod node;
mod normalize;
mod order;
mod paths;
mod printed;
pub mod publish;
mod read;
mod remote;
mod render;
mod report;
mod resolve;
mod scalar;
mod schema;
mod select;
mod source;
mod syntax;
mod template;
mod text;
mod trace;
mod units;
mod words;
mod yaml;

/// For `scripts/fuzz`.
#[cfg(fuzzing)]
#[path = "../../../fuzz/src/parsers.rs"]
pub mod parsers;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use document::{Document, Variable};
pub use explain::{Explained, NoSuchPath, Step};
pub use locate::LOOKED_FOR;
pub use printed::{Piece, Printed};
pub use render::Nulls;
pub(crate) use resolve::exposed;
pub(crate) use scalar::{go_float, is_plain_string};
pub(crate) use units::bytes;

use crate::diagnostic::Diagnostic;
use crate::model::Project;

/// What a user can say about which files are read, and how.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadOptions {
    /// The directory from which the command was called, absolute.
    pub working_dir: PathBuf,
    /// `-f`: compose files, the later over the earlier; `-` is standard input. None: search.
    pub files: Vec<PathBuf>,
    /// `-p`: the name of the project.
    pub project_name: Option<String>,
    /// `--project-directory`.
    pub project_dir: Option<PathBuf>,
    /// `--env-file`, instead of `.env`.
    pub env_files: Vec<PathBuf>,
    /// `--profile`.
    pub profiles: Vec<String>,
    /// The environment of the process.
    pub environment: BTreeMap<String, String>,
    /// The services that are wanted, with what they depend on. None: all.
    pub services: Vec<String>,
    /// Phases that are left out.
    pub skip: Skip,
}

/// Phases of loading that `config` can leave out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is a phase of its own")]
pub struct Skip {
    /// `--no-interpolate`: variables stay as they are written.
    pub interpolation: bool,
    /// `--no-normalize`: nothing is written out that is not in the files.
    pub normalization: bool,
    /// `--no-path-resolution`: relative paths stay relative.
    pub paths: bool,
    /// `--no-consistency`: names may be undefined.
    pub consistency: bool,
    /// `--no-env-resolution`: environment files may be missing.
    pub missing_env_files: bool,
    /// `--all-resources`: what no service uses stays.
    pub unused: bool,
}

/// A project, and what is odd about its files.
#[derive(Debug)]
pub struct Loaded {
    /// The project.
    pub project: Project,
    /// Warnings, in the order of the files.
    pub warnings: Vec<Diagnostic>,
    /// Every file that it was read from, and those of configs and secrets.
    pub inputs: BTreeSet<PathBuf>,
}

/// Reads the files of a project.
///
/// # Errors
///
/// All that is wrong with the files, in their order, warnings included.
pub fn load(options: &LoadOptions) -> Result<Loaded, Vec<Diagnostic>> {
    document::load(options)
}

/// The JSON Schema (draft 2020-12) of a compose file, for editors.
pub fn json_schema() -> serde_json::Value {
    schema::json_schema()
}

/// True if there are compose files to read.
pub fn is_there(options: &LoadOptions) -> bool {
    locate::locate(&mut report::Report::default(), options).is_some()
}
