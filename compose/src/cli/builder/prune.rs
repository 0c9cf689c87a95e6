//! `compose builder prune`.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use images::build::CacheRecord;
use images::{Digest, Store};

use crate::cli::context::Context;
use crate::cli::error::CommandError;
use crate::cli::filter::PruneFilter;
use crate::cli::size::size;
use crate::cli::terminal::Terminal;
use crate::file;

/// Remove what builds remember and no image has
#[derive(Debug, clap::Args)]
pub struct PruneArgs {
    /// The whole cache, and not only what no image has
    #[arg(long, short)]
    all: bool,
    /// Only what was last used before then: `until=TIME`
    #[arg(long, value_name = "until=TIME", value_parser = until)]
    filter: Vec<PruneFilter>,
    /// How much of it stays: what was used last
    #[arg(long, value_name = "BYTES", value_parser = bytes, alias = "max-used-space", alias = "reserved-space")]
    keep_storage: Option<u64>,
    /// Do not ask
    #[arg(long, short)]
    force: bool,
}

/// The cache has no labels.
fn until(text: &str) -> Result<PruneFilter, String> {
    match text.parse()? {
        filter @ PruneFilter::Until(_) => Ok(filter),
        PruneFilter::Label(_) => Err("the cache has no labels; write until=TIME".to_owned()),
    }
}

fn bytes(text: &str) -> Result<u64, String> {
    let bytes = file::bytes(text).and_then(|bytes| u64::try_from(bytes).ok());
    bytes.ok_or_else(|| format!("`{text}` is no number of bytes; write 2gb"))
}

/// Asks the user, removes, and says what went and how much room that made.
///
/// # Errors
///
/// When nobody can be asked, when somebody is building, or when something resists.
pub fn run(
    args: &PruneArgs,
    context: &Context,
    terminal: &mut Terminal,
) -> Result<u8, CommandError> {
    if context.global().dry_run {
        return Err(CommandError::usage("--dry-run is for projects, not for the whole machine")
            .help("`compose system df -v` shows what there is to be freed"));
    }
    let what = match args.all {
        true => "WARNING! This will remove all build cache.",
        false => "WARNING! This will remove all build cache that no image has.",
    };
    if !args.force && !terminal.confirm(what, "`compose builder prune -f`")? {
        return Ok(0);
    }
    let store = Store::open(&context.roots().images())?;
    let goes = args.choose(store.cache_usage(&store.image_usage()?)?);
    let pruned = store.prune_cache(|record| goes.contains(&record.id))?;
    if pruned.busy {
        return Err(CommandError::failed(
            "an image is being built or fetched: the build cache stays as it is",
        )
        .help("run the command again when that has ended"));
    }
    let bytes = pruned.gone.iter().map(|record| record.size).sum();
    let gone: String = pruned.gone.iter().map(|record| record.id.hex() + "\n").collect();
    terminal.print(format!("{gone}Total: {}\n", size(bytes)))?;
    Ok(0)
}

impl PruneArgs {
    /// Which of the records go.
    fn choose(&self, mut records: Vec<CacheRecord>) -> BTreeSet<Digest> {
        records.sort_by_key(|record| Reverse(record.used));
        let mut room = self.keep_storage.unwrap_or_default();
        let mut kept = BTreeSet::new();
        for record in &records {
            let Some(rest) = room.checked_sub(record.size.max(1)) else { break };
            room = rest;
            kept.insert(record.id);
        }
        let old = |record: &CacheRecord| {
            self.filter.iter().all(|filter| filter.keeps(record.used, |_| None))
        };
        let goes = |record: &&CacheRecord| {
            (self.all || !record.shared) && old(record) && !kept.contains(&record.id)
        };
        records.iter().filter(goes).map(|record| record.id).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::testing::{args, refusal};

    #[test]
    fn only_what_a_cache_has_can_be_asked_for() {
        let some: PruneArgs = args(&["-af", "--filter", "until=24h", "--keep-storage", "2gb"]);
        assert_eq!(some.keep_storage, Some(2 << 30));
        assert!(refusal::<PruneArgs>(&["--filter", "label=x"]).is_some());
        assert!(refusal::<PruneArgs>(&["--keep-storage", "much"]).is_some());
    }
}
