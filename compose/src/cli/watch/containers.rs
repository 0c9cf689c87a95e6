//! The containers that files are copied into.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::thread;

use crate::cli::context::Context;
use crate::cli::error::CommandError;
use crate::cli::inside;
use crate::model::ServiceName;
use crate::record::Container;
use crate::watch::sync::{Owner, sync};

/// What is known of containers, so that a save need not find it out again.
#[derive(Debug, Default)]
pub struct Owners {
    by_id: BTreeMap<String, Owner>,
}

/// The containers of `service` that the file describes, in order.
pub fn of<'c>(
    containers: &'c [Container],
    service: &'c ServiceName,
) -> impl Iterator<Item = &'c Container> {
    containers.iter().filter(move |one| one.record.service == *service && !one.record.oneoff)
}

/// Copies `changes` into `container`, whether it runs or not: one that a mistake has ended gets the correction.
///
/// # Errors
///
/// When its file system cannot be opened, and what could not be written.
pub fn copy(
    container: &Container,
    changes: &BTreeMap<PathBuf, PathBuf>,
    owners: &mut Owners,
    context: &Context,
) -> Result<(), CommandError> {
    let known = owners.by_id.get(&container.record.id).copied();
    let write = || -> Result<Owner, CommandError> {
        let root = inside::root(container, context)?;
        let owner = match known {
            Some(owner) => owner,
            None => {
                let user = context.launch(container)?.user;
                runtime::owner(&root, &user)
                    .map_err(|failure| CommandError::failed(failure.to_string()))?
            }
        };
        sync(&root, owner, changes)?;
        Ok(owner)
    };
    let owner = match container.state.process {
        Some(_) => write()?,
        // Its file system is mounted in a mount namespace, which is the thread's own and goes with it.
        None => thread::scope(|scope| {
            let thread = scope.spawn(write);
            thread.join().unwrap_or_else(|_| Err(CommandError::failed("a copy was cut off")))
        })?,
    };
    owners.by_id.insert(container.record.id.clone(), owner);
    Ok(())
}
