//! What is asked before a volume is made anew: its data would be lost.
//!
//! Source: compose reference S08.

use std::collections::{BTreeMap, BTreeSet};

use super::context::Context;
use super::error::CommandError;
use super::terminal::Terminal;
use crate::model::{Project, ServiceName};
use crate::observe::ObservedVolume;
use crate::plan;

/// How the question about each volume is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// With yes: `--yes`.
    Yes,
    /// By whoever sits at the terminal; without one with no.
    Asked,
    /// With no, without asking.
    No,
}

/// The volumes of `services` that do not match the file and may be made anew.
///
/// # Errors
///
/// When the volumes cannot be read, or the answer cannot be.
pub fn agree(
    project: &Project,
    services: &BTreeSet<ServiceName>,
    answer: Answer,
    context: &Context,
    terminal: &mut Terminal,
) -> Result<BTreeSet<String>, CommandError> {
    if answer == Answer::No || project.volumes.is_empty() {
        return Ok(BTreeSet::new());
    }
    let changed = plan::changed_volumes(project, &volumes(context)?, services);
    let mut agreed = BTreeSet::new();
    for name in changed {
        let question = format!(
            "Volume \"{name}\" exists but does not match the compose file. Make it anew? Its data will be lost."
        );
        if answer == Answer::Yes || terminal.is_asked(&question)? {
            agreed.insert(name);
        }
    }
    Ok(agreed)
}

fn volumes(context: &Context) -> Result<BTreeMap<String, ObservedVolume>, CommandError> {
    let failed = |error: &dyn std::error::Error| {
        CommandError::new(error).help("check that the data root is readable and not full")
    };
    let store = volumes::Store::look(&context.roots().volumes());
    let listed = store.list().map_err(|error| failed(&error))?;
    Ok(listed
        .into_iter()
        .map(|volume| (volume.name.to_string(), ObservedVolume { labels: volume.labels }))
        .collect())
}
