//! `compose image prune`.

use std::collections::BTreeSet;

use images::{Force, Image, Store};

use crate::cli::context::Context;
use crate::cli::error::CommandError;
use crate::cli::size::size;
use crate::cli::terminal::Terminal;
use crate::record::list;

/// Remove images without a name, or all that no container uses
#[derive(Debug, clap::Args)]
pub struct PruneArgs {
    /// All that no container uses, also those with a name
    #[arg(long, short)]
    all: bool,
    /// Do not ask
    #[arg(long, short)]
    force: bool,
}

/// Removes the images, and what pulls that were cut off have left.
///
/// # Errors
///
/// When one resists; the others are removed.
pub fn run(
    args: &PruneArgs,
    context: &Context,
    store: &Store,
    terminal: &mut Terminal,
) -> Result<u8, CommandError> {
    if !args.force {
        let which = if args.all { "without a container" } else { "without a name" };
        terminal.ask(&format!("This removes all images {which}. Continue? [y/N] "));
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer).map_err(|error| {
            CommandError::failed(format!("cannot read the answer: {error}")).help("use --force")
        })?;
        if !matches!(answer.trim(), "y" | "Y" | "yes") {
            return Ok(1);
        }
    }
    let before = store.usage()?;
    let mut failures = Vec::new();
    for name in unused(args.all, context, store)? {
        // A container that has come since is asked for again, with the store locked.
        let removed = store.remove(&name, Force::No, |image| user(image, context));
        match removed {
            Ok(removed) => {
                let untagged =
                    removed.untagged.iter().map(|name| format!("untagged: {}\n", name.familiar()));
                let deleted = removed.deleted.iter().map(|id| format!("deleted: {id}\n"));
                terminal.print(untagged.chain(deleted).collect::<String>())?;
            }
            Err(images::RemoveError::InUse { .. } | images::RemoveError::NotFound(_)) => {}
            Err(error) => failures.extend(CommandError::from(error).failures),
        }
    }
    store.prune()?;
    let freed = before.saturating_sub(store.usage()?);
    terminal.print(format!("Total reclaimed space: {}\n", size(freed)))?;
    if failures.is_empty() { Ok(0) } else { Err(failures.into()) }
}

/// What `remove` is to be called with.
fn unused(all: bool, context: &Context, store: &Store) -> Result<Vec<String>, CommandError> {
    let containers = list::all_containers(context.roots())?.containers;
    let used: BTreeSet<&str> =
        containers.iter().map(|container| container.record.image_id.as_str()).collect();
    let listing = store.list()?;
    let images = listing.images.iter();
    let free = images.filter(|image| !used.contains(image.id.to_string().as_str()));
    Ok(free
        .filter_map(|image| match &image.reference {
            Some(name) if all => Some(name.to_string()),
            Some(_) => None,
            None => Some(image.id.to_string()),
        })
        .collect())
}

/// A container that is made of the image. One whose record cannot be read may be.
fn user(image: &Image, context: &Context) -> Option<String> {
    let id = image.id.to_string();
    match list::all_containers(context.roots()) {
        Ok(listing) => {
            let mut containers = listing.containers.into_iter();
            containers.find(|one| one.record.image_id == id).map(|one| one.record.name)
        }
        Err(error) => Some(error.to_string()),
    }
}
