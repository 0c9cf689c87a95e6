//! `compose version`.

use super::context::Context;
use super::error::CommandError;
use super::terminal::Terminal;

/// Show the version
#[derive(Debug, Default, clap::Args)]
pub struct VersionArgs {
    /// Only the number
    #[arg(long)]
    short: bool,
    /// How to show it
    #[arg(long, short, value_enum, default_value = "pretty")]
    format: Format,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// Words
    #[default]
    Pretty,
    /// A JSON object
    Json,
}

/// Prints the version; looks at no file.
///
/// # Errors
///
/// When it cannot be printed.
pub fn run(args: VersionArgs, _: &Context, terminal: &mut Terminal) -> Result<u8, CommandError> {
    let version = env!("CARGO_PKG_VERSION");
    match (args.short, args.format) {
        (true, _) => terminal.print(format!("{version}\n"))?,
        (false, Format::Json) => terminal.print_json(&serde_json::json!({ "version": version }))?,
        (false, Format::Pretty) => terminal.print(format!("compose version {version}\n"))?,
    }
    Ok(0)
}
