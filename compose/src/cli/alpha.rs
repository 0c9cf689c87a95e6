//! `compose alpha`: what docker compose has not settled either.

mod viz;

use clap::Subcommand;

use super::context::Context;
use super::error::CommandError;
use super::terminal::Terminal;

/// Experimental commands
#[derive(Debug, clap::Args)]
pub struct AlphaArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Viz(viz::VizArgs),
}

/// Carries out one of them.
///
/// # Errors
///
/// As the command says.
pub fn run(
    args: AlphaArgs,
    context: &Context,
    terminal: &mut Terminal,
) -> Result<u8, CommandError> {
    match args.command {
        Command::Viz(args) => viz::run(&args, context, terminal),
    }
}
