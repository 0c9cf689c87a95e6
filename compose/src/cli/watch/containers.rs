//! The containers that files are copied into.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::thread;

use crate::cli::context::Context;
use crate::cli::error::CommandError;
use crate::cli::inside;
use crate::model::ServiceName;
use crate::record::Container;
use crate::watch::sync::{Owner, Replaced, Staging};

/// What is known of containers, so that a save need not find it out again.
#[derive(Debug, Default)]
pub struct Owners {
    by_id: BTreeMap<String, Owner>,
}

/// What is written into containers before a save is over; it is taken away when it is dropped.
#[derive(Debug, Default)]
pub struct Ahead {
    by_id: BTreeMap<String, Staging>,
}

impl Ahead {
    /// Writes the file `from` for the place `to` of a container that runs; what fails is left to [`copy`].
    pub fn prepare(
        &mut self,
        container: &Container,
        (from, to): (&Path, &Path),
        owners: &Owners,
        context: &Context,
    ) {
        let id = &container.record.id;
        if container.state.process.is_none() {
            return;
        }
        if !self.by_id.contains_key(id) {
            let Ok(staging) = staging(container, owners, context) else { return };
            self.by_id.insert(id.clone(), staging);
        }
        if let Some(staging) = self.by_id.get_mut(id) {
            staging.prepare(from, to);
        }
    }

    /// Takes back what was written of `from`: it was touched again.
    pub fn forget(&mut self, from: &Path) {
        self.by_id.values_mut().for_each(|staging| staging.forget(from));
    }
}

/// The containers of `service` that the file describes, in order.
pub fn of<'c>(
    containers: &'c [Container],
    service: &'c ServiceName,
) -> impl Iterator<Item = &'c Container> {
    containers.iter().filter(move |one| one.record.service == *service && !one.record.oneoff)
}

/// Copies `changes` into `container`, whether it runs or not: one that a mistake has ended gets the correction. What of
/// it was written `ahead` has only to be named. Returns what was in the places before.
///
/// # Errors
///
/// When its file system cannot be opened, and what could not be written.
pub fn copy(
    container: &Container,
    changes: &BTreeMap<PathBuf, PathBuf>,
    ahead: &mut Ahead,
    owners: &mut Owners,
    context: &Context,
) -> Result<Replaced, CommandError> {
    let id = &container.record.id;
    let prepared = ahead.by_id.remove(id);
    let known: &Owners = owners;
    let write = || -> Result<(Owner, Replaced), CommandError> {
        let staging = match prepared {
            Some(staging) => staging,
            None => staging(container, known, context)?,
        };
        let owner = staging.owner();
        Ok((owner, staging.finish(changes)?.replaced))
    };
    let (owner, replaced) = match container.state.process {
        Some(_) => write()?,
        // Its file system is mounted in a mount namespace, which is the thread's own and goes with it.
        None => thread::scope(|scope| {
            let thread = scope.spawn(write);
            thread.join().unwrap_or_else(|_| Err(CommandError::failed("a copy was cut off")))
        })?,
    };
    owners.by_id.insert(id.clone(), owner);
    Ok(replaced)
}

fn staging(
    container: &Container,
    owners: &Owners,
    context: &Context,
) -> Result<Staging, CommandError> {
    let root = inside::root(container, context)?;
    let owner = match owners.by_id.get(&container.record.id) {
        Some(owner) => *owner,
        None => {
            let user = context.launch(container)?.user;
            runtime::owner(&root, &user)
                .map_err(|failure| CommandError::failed(failure.to_string()))?
        }
    };
    Staging::new(root, owner)
        .map_err(|error| CommandError::failed(format!("random bytes: {error}")))
}
