//! `compose image prune`.

use std::collections::BTreeSet;

use images::{Force, Image, Store};

use crate::cli::context::Context;
use crate::cli::error::CommandError;
use crate::cli::filter::{PruneFilter, PruneFlags};
use crate::cli::size::size;
use crate::cli::terminal::Terminal;
use crate::event::Failure;
use crate::record::list;

/// Remove images without a name, or all that no container uses
#[derive(Debug, clap::Args)]
pub struct PruneArgs {
    /// All that no container uses, also those with a name
    #[arg(long, short)]
    all: bool,
    #[command(flatten)]
    flags: PruneFlags,
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
    let which = if args.all { Which::All } else { Which::Nameless };
    let question = match which {
        Which::All => "Going to remove all images that no container has",
        Which::Nameless => "Going to remove all images without a name",
    };
    if !args.flags.force && !terminal.confirm(question, "`compose image prune -f`")? {
        return Ok(0);
    }
    let before = store.usage()?;
    let Pruned { lines, failures } = prune(which, &args.flags.filter, context, store)?;
    let freed = before.saturating_sub(store.usage()?);
    let lines: String = lines.iter().map(|line| format!("{line}\n")).collect();
    terminal.print(format!("{lines}Total reclaimed space: {}\n", size(freed)))?;
    if failures.is_empty() { Ok(0) } else { Err(failures.into()) }
}

/// Which of the images that no container has go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// Those without a name.
    Nameless,
    /// All.
    All,
}

/// What has happened.
#[derive(Debug, Default)]
pub struct Pruned {
    /// A line for each name and each image that is gone.
    pub lines: Vec<String>,
    /// What resisted.
    pub failures: Vec<Failure>,
}

/// Removes the images that pass all filters, and what pulls that were cut off have left.
///
/// # Errors
///
/// When the store or the records cannot be read.
pub fn prune(
    which: Which,
    filters: &[PruneFilter],
    context: &Context,
    store: &Store,
) -> Result<Pruned, CommandError> {
    let mut pruned = Pruned::default();
    for name in unused(which, filters, context, store)? {
        // A container that has come since is asked for again, with the store locked.
        match store.remove(&name, Force::No, |image| user(image, context)) {
            Ok(removed) => {
                let names = removed.untagged.iter();
                pruned.lines.extend(names.map(|name| format!("untagged: {}", name.familiar())));
                pruned.lines.extend(removed.deleted.map(|id| format!("deleted: {id}")));
            }
            Err(images::RemoveError::InUse { .. } | images::RemoveError::NotFound(_)) => {}
            Err(error) => pruned.failures.extend(CommandError::from(error).failures),
        }
    }
    store.prune()?;
    Ok(pruned)
}

/// What `remove` is to be called with.
fn unused(
    which: Which,
    filters: &[PruneFilter],
    context: &Context,
    store: &Store,
) -> Result<Vec<String>, CommandError> {
    let containers = list::all_containers(context.roots())?.containers;
    let used: BTreeSet<&str> =
        containers.iter().flat_map(|container| container.record.images()).collect();
    let listing = store.list()?;
    let images = listing.images.iter();
    let free = images
        .filter(|image| !used.contains(image.id.to_string().as_str()) && passes(image, filters));
    Ok(free
        .filter_map(|image| match &image.reference {
            Some(name) if which == Which::All => Some(name.to_string()),
            Some(_) => None,
            None => Some(image.id.to_string()),
        })
        .collect())
}

fn passes(image: &Image, filters: &[PruneFilter]) -> bool {
    let labels = image.config.config().as_ref().and_then(|config| config.labels().as_ref());
    let label = |key: &str| labels.and_then(|labels| labels.get(key));
    filters.iter().all(|filter| filter.keeps(image.created, label))
}

/// A container that is made of the image, or has it mounted. One whose record cannot be read may be.
pub fn user(image: &Image, context: &Context) -> Option<String> {
    let id = image.id.to_string();
    match list::all_containers(context.roots()) {
        Ok(listing) => {
            let mut containers = listing.containers.into_iter();
            let user = containers.find(|one| one.record.images().any(|used| used == id));
            user.map(|one| one.record.name)
        }
        Err(error) => Some(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_choose_images() {
        let (_dir, store) = super::super::tests::store();
        let image = &store.list().unwrap().images[0];
        for (filter, keeps) in [("label=a", false), ("label!=a", true), ("until=24h", false)] {
            assert_eq!(passes(image, &[filter.parse().unwrap()]), keeps, "{filter}");
        }
    }
}
