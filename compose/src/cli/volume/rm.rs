//! `compose volume rm`.

use volumes::{RemoveError, Store};

use crate::cli::error::CommandError;
use crate::cli::terminal::Terminal;
use crate::cli::users::Users;

/// Remove volumes
#[derive(Debug, clap::Args)]
pub struct RmArgs {
    /// The volumes
    #[arg(value_name = "VOLUME", required = true)]
    names: Vec<String>,
    /// Do not complain about volumes that do not exist
    #[arg(long, short)]
    force: bool,
}

/// Says what would be removed.
///
/// # Errors
///
/// As [`run`], as far as that can be told beforehand.
pub fn dry_run(
    args: &RmArgs,
    users: &Users,
    store: &Store,
    terminal: &mut Terminal,
) -> Result<u8, CommandError> {
    let mut failures = Vec::new();
    for name in &args.names {
        match store.find(name)? {
            None if args.force => {}
            None => failures.extend(super::error::missing(name).failures),
            Some(volume) if users.of(name).is_empty() => {
                terminal.print(format!("DRY-RUN MODE - remove volume {}\n", volume.name))?;
            }
            Some(volume) => {
                let users = users.of(name).to_vec();
                let error = RemoveError::InUse { name: volume.name, users };
                failures.extend(CommandError::from(error).failures);
            }
        }
    }
    if failures.is_empty() { Ok(0) } else { Err(failures.into()) }
}

/// Removes the volumes and prints the names of those that went; goes on when one resists.
///
/// # Errors
///
/// All failures.
pub fn run(
    args: &RmArgs,
    users: &Users,
    store: &Store,
    terminal: &mut Terminal,
) -> Result<u8, CommandError> {
    let mut failures = Vec::new();
    for name in &args.names {
        match store.remove(name, users.of(name)) {
            Ok(()) => terminal.print(format!("{name}\n"))?,
            Err(RemoveError::Missing { .. }) if args.force => {}
            Err(error) => failures.extend(CommandError::from(error).failures),
        }
    }
    if failures.is_empty() { Ok(0) } else { Err(failures.into()) }
}
