//! `compose builder`: what builds remember.

mod prune;

use clap::Subcommand;

use super::context::Context;
use super::error::CommandError;
use super::terminal::Terminal;

/// Make room in what builds remember
#[derive(Debug, clap::Args)]
pub struct BuilderArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Prune(prune::PruneArgs),
}

/// Carries out one of the commands for the cache of builds.
///
/// # Errors
///
/// When the words are wrong, or the store resists.
pub fn run(
    args: BuilderArgs,
    context: &Context,
    terminal: &mut Terminal,
) -> Result<u8, CommandError> {
    context.require_root()?;
    match &args.command {
        Command::Prune(args) => prune::run(args, context, terminal),
    }
}
