//! Why there is no image.

use serde::{Deserialize, Serialize};

use super::context::ContextError;
use super::dockerfile::Problem;
use crate::store::StoreError;

/// Why there is no image.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The Dockerfile, or a step of it.
    #[error(transparent)]
    Dockerfile(Box<Mistakes>),
    /// The context.
    #[error(transparent)]
    Context(#[from] ContextError),
    /// There is no stage that is called like the target.
    #[error("there is no stage `{target}` in {name}")]
    Target {
        /// What the target is called.
        target: String,
        /// What the file is called.
        name: String,
        /// The stages that have names.
        stages: Vec<String>,
    },
    /// A cache that was to be written.
    #[error("the cache {kept_at} cannot be written")]
    Cache {
        /// Where it was to be.
        kept_at: String,
        /// Why not.
        source: super::Foreign,
    },
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Somebody has asked the build to stop.
    #[error("the build was stopped")]
    Cancelled,
}

/// What is wrong in a Dockerfile, or what has gone wrong at a place in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{}", self.problems.iter().map(|problem| problem.message.as_str()).collect::<Vec<_>>().join("; "))]
pub struct Mistakes {
    /// What the file is called.
    pub name: String,
    /// Its text.
    pub text: String,
    /// At least one.
    pub problems: Vec<Problem>,
    /// The last lines that the failed step has said.
    pub output: Vec<String>,
    /// Whether it was a `RUN` in which a shell could be had.
    pub debuggable: bool,
}

/// Why a stage has ended early.
#[derive(Debug)]
pub(super) enum Failed {
    /// Something at a place in the file.
    At { problem: Problem, output: Vec<String>, debuggable: bool },
    /// The store.
    Store(StoreError),
    /// Another stage has failed, or somebody wants the build to stop.
    Cancelled,
}

impl Failed {
    pub(super) fn at(problem: Problem) -> Self {
        Self::At { problem, output: Vec::new(), debuggable: false }
    }
}

impl From<Problem> for Failed {
    fn from(problem: Problem) -> Self {
        Self::at(problem)
    }
}

impl From<StoreError> for Failed {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// An error with all its causes, on one line.
pub(super) fn whole(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let words = cause.to_string();
        if !text.ends_with(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        source = cause.source();
    }
    text
}
