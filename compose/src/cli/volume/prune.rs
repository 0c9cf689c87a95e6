//! `compose volume prune`.

use volumes::{PruneScope, Store};

use super::filter::Filter;
use crate::cli::error::CommandError;
use crate::cli::terminal::Terminal;
use crate::cli::terminal::sizes::decimal;
use crate::cli::users::Users;

/// Remove volumes that no container has
#[derive(Debug, clap::Args)]
pub struct PruneArgs {
    /// Named ones as well, not only those that nobody named
    #[arg(long, short)]
    all: bool,
    /// Only volumes with `label=KEY[=VALUE]`, or without: `label!=KEY[=VALUE]`
    #[arg(long, value_name = "KEY=VALUE")]
    filter: Vec<Filter>,
    /// Do not ask
    #[arg(long, short)]
    force: bool,
}

/// Says what would be removed.
///
/// # Errors
///
/// When the store cannot be read.
pub fn dry_run(
    args: &PruneArgs,
    users: &Users,
    store: &Store,
    terminal: &mut Terminal,
) -> Result<u8, CommandError> {
    for volume in store.list()? {
        let meant = (args.all || volume.is_anonymous())
            && users.of(volume.name.as_str()).is_empty()
            && args.filter.iter().all(|filter| filter.keeps(&volume, &[]));
        if meant {
            terminal.print(format!("DRY-RUN MODE - remove volume {}\n", volume.name))?;
        }
    }
    Ok(0)
}

/// Asks the user, removes, and says what went and how much room that made.
///
/// # Errors
///
/// When nobody can be asked, or a volume resists.
pub fn run(
    args: &PruneArgs,
    users: &Users,
    store: &Store,
    terminal: &mut Terminal,
) -> Result<u8, CommandError> {
    let scope = if args.all { PruneScope::All } else { PruneScope::Anonymous };
    let which = match scope {
        PruneScope::All => "all volumes",
        PruneScope::Anonymous => "all anonymous volumes",
    };
    let question = format!("Going to remove {which} that no container has");
    if !args.force && !terminal.confirm(&question, "`compose volume prune -f`")? {
        return Ok(0);
    }
    let used = |name: &volumes::VolumeName| !users.of(name.as_str()).is_empty();
    let wanted =
        |volume: &volumes::Volume| args.filter.iter().all(|filter| filter.keeps(volume, &[]));
    let (pruned, failures) = store.prune(scope, used, wanted)?;
    let bytes: u64 = pruned.iter().map(|one| one.bytes).sum();
    let names: String = pruned.iter().map(|one| format!("{}\n", one.name)).collect();
    let heading = if pruned.is_empty() { "" } else { "Deleted Volumes:\n" };
    let gap = if pruned.is_empty() { "" } else { "\n" };
    terminal
        .print(format!("{heading}{names}{gap}Total reclaimed space: {}\n", decimal(bytes, 4)))?;
    let failures: Vec<_> =
        failures.into_iter().flat_map(|error| CommandError::from(error).failures).collect();
    if failures.is_empty() { Ok(0) } else { Err(failures.into()) }
}
