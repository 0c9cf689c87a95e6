//! `compose system`: what everything of ours takes on this machine, and taking away what nobody uses.

mod df;
mod prune;

use clap::Subcommand;

use super::context::Context;
use super::error::CommandError;
use super::terminal::Terminal;

/// See how much room everything takes, and make room
#[derive(Debug, clap::Args)]
pub struct SystemArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Df(df::DfArgs),
    Prune(prune::PruneArgs),
}

/// Carries out one of the commands for the whole machine.
///
/// # Errors
///
/// When the words are wrong, or a store resists.
pub fn run(
    args: SystemArgs,
    context: &Context,
    terminal: &mut Terminal,
) -> Result<u8, CommandError> {
    context.require_root()?;
    match args.command {
        Command::Df(args) => df::run(&args, context, terminal),
        Command::Prune(args) => prune::run(&args, context, terminal),
    }
}
