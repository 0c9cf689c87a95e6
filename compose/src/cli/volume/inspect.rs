//! `compose volume inspect`.

use volumes::Store;

use super::error::missing;
use crate::cli::error::CommandError;
use crate::cli::terminal::Terminal;

/// Show volumes as JSON
#[derive(Debug, clap::Args)]
pub struct InspectArgs {
    /// The volumes
    #[arg(value_name = "VOLUME", required = true)]
    names: Vec<String>,
}

/// Prints an array with an object for each volume, as docker does; one that does not exist is told after it.
///
/// # Errors
///
/// When the store cannot be read.
pub fn run(args: &InspectArgs, store: &Store, terminal: &mut Terminal) -> Result<u8, CommandError> {
    let (mut found, mut failures) = (Vec::new(), Vec::new());
    for name in &args.names {
        match store.find(name)? {
            Some(volume) => found.push(volume),
            None => failures.extend(missing(name).failures),
        }
    }
    terminal.print_json(&found.iter().map(volumes::Volume::inspect).collect::<Vec<_>>())?;
    if failures.is_empty() { Ok(0) } else { Err(failures.into()) }
}
