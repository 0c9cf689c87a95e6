//! `compose network prune`.

use network::{Record, Store};

use super::filter::Filter;
use crate::cli::context::Context;
use crate::cli::error::CommandError;
use crate::cli::terminal::Terminal;
use crate::cli::users::Users;
use crate::event::Failure;

/// Remove networks on which no container is to be
#[derive(Debug, clap::Args)]
pub struct PruneArgs {
    /// Only networks with `label=KEY[=VALUE]`, or without: `label!=KEY[=VALUE]`
    #[arg(long, value_name = "KEY=VALUE")]
    filter: Vec<Filter>,
    /// Do not ask
    #[arg(long, short)]
    force: bool,
}

/// Asks the user, removes, and says what went.
///
/// # Errors
///
/// When nobody can be asked, or a network resists.
pub fn run(
    args: &PruneArgs,
    users: &Users,
    context: &Context,
    store: &Store,
    terminal: &mut Terminal,
) -> Result<u8, CommandError> {
    let question = "Going to remove all networks that no container has";
    let dry = context.global().dry_run;
    if !args.force && !dry && !terminal.confirm(question, "`compose network prune -f`")? {
        return Ok(0);
    }
    let unused = |record: &Record| {
        users.of(record.name().as_str()).is_empty()
            && args.filter.iter().all(|filter| filter.keeps(record, &[]))
    };
    if dry {
        for record in store.list()?.iter().filter(|record| unused(record)) {
            terminal.print(format!("DRY-RUN MODE - remove network {}\n", record.name()))?;
        }
        return Ok(0);
    }
    let (gone, failures) = remove_all(store, unused)?;
    if !gone.is_empty() {
        terminal.print(format!("Deleted Networks:\n{}\n\n", gone.join("\n")))?;
    }
    if failures.is_empty() { Ok(0) } else { Err(failures.into()) }
}

/// Removes the networks that are `unused`, and on which nobody is. Returns the names of those, and what resisted.
///
/// # Errors
///
/// When the store cannot be read.
pub fn remove_all(
    store: &Store,
    unused: impl Fn(&Record) -> bool,
) -> Result<(Vec<String>, Vec<Failure>), CommandError> {
    let (mut gone, mut failures) = (Vec::new(), Vec::new());
    for record in store.list()?.iter().filter(|record| unused(record)) {
        match store.remove(record.name()) {
            Ok(()) => gone.push(record.name().to_string()),
            // Somebody has joined it meanwhile.
            Err(network::StoreError::InUse { .. }) => {}
            Err(error) => failures.extend(CommandError::from(error).failures),
        }
    }
    Ok((gone, failures))
}
