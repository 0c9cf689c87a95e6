//! `compose image inspect`.

use images::Store;

use super::error::not_found;
use crate::cli::error::CommandError;
use crate::cli::terminal::Terminal;

/// Show everything about images, as JSON
#[derive(Debug, clap::Args)]
pub struct InspectArgs {
    /// Names, ids, or rootfs:/DIRECTORY
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<String>,
}

/// Prints what there is, then fails for what there is not.
///
/// # Errors
///
/// When an image is not there or the store cannot be read.
pub fn run(args: &InspectArgs, store: &Store, terminal: &mut Terminal) -> Result<u8, CommandError> {
    let mut found = Vec::new();
    let mut failures = Vec::new();
    for name in &args.images {
        match store.inspect(name)? {
            Some(image) => found.push(image),
            None => failures.extend(not_found(name).failures),
        }
    }
    let mut text =
        serde_json::to_string_pretty(&found).map_err(|error| CommandError::new(&error))?;
    text.push('\n');
    terminal.print(text)?;
    if failures.is_empty() { Ok(0) } else { Err(failures.into()) }
}
