//! `compose image push`.

use images::Store;

use crate::cli::context::Context;
use crate::cli::error::CommandError;
use crate::cli::push::push;
use crate::cli::terminal::Terminal;
use crate::cli::transfer::{fetching, side_by_side};

/// Give images to their registries
#[derive(Debug, clap::Args)]
pub struct PushArgs {
    /// Names
    #[arg(value_name = "NAME[:TAG]", required = true)]
    images: Vec<String>,
    /// Do not show how far it is
    #[arg(long, short)]
    quiet: bool,
}

/// Pushes the images.
///
/// # Errors
///
/// All failures, in the order in which they happened.
pub fn run(
    args: PushArgs,
    context: &Context,
    store: &Store,
    terminal: &mut Terminal,
) -> Result<u8, CommandError> {
    let fetching = fetching(args.quiet)?;
    let limit = context.parallel();
    let failures = side_by_side(args.images, limit, &fetching.cancel, terminal, |name, tell| {
        push(store, &fetching, &name, tell)
    })?;
    if failures.is_empty() { Ok(0) } else { Err(failures.into()) }
}
