//! `compose network rm`.

use network::Store;

use super::error::missing;
use super::find;
use crate::cli::context::Context;
use crate::cli::error::CommandError;
use crate::cli::terminal::Terminal;

/// Remove networks
#[derive(Debug, clap::Args)]
pub struct RmArgs {
    /// The networks, by name or id
    #[arg(value_name = "NETWORK", required = true)]
    names: Vec<String>,
    /// Do not complain about networks that do not exist
    #[arg(long, short)]
    force: bool,
}

/// Removes the networks and prints the names of those that went; goes on when one resists.
///
/// # Errors
///
/// All failures.
pub fn run(
    args: &RmArgs,
    context: &Context,
    store: &Store,
    terminal: &mut Terminal,
) -> Result<u8, CommandError> {
    let mut failures = Vec::new();
    for name in &args.names {
        match find(store, name)? {
            None if args.force => {}
            None => failures.extend(missing(name).failures),
            Some(record) if context.global().dry_run => {
                terminal.print(format!("DRY-RUN MODE - remove network {}\n", record.name()))?;
            }
            Some(record) => match store.remove(record.name()) {
                Ok(()) => terminal.print(format!("{name}\n"))?,
                Err(error) => failures.extend(CommandError::from(error).failures),
            },
        }
    }
    if failures.is_empty() { Ok(0) } else { Err(failures.into()) }
}
