//! `compose network ls`.

use network::{Record, Store};

use super::filter::Filter;
use super::view::{Line, id};
use crate::cli::error::CommandError;
use crate::cli::format::{Column, Format, Json, List, Row, column};
use crate::cli::terminal::Terminal;
use crate::cli::users::Users;

/// List networks
#[derive(Debug, clap::Args)]
pub struct LsArgs {
    /// Only networks with `name=TEXT`, `label=KEY[=VALUE]`, `id=TEXT`, `driver=NAME` or `dangling=true|false`
    #[arg(long, short, value_name = "KEY=VALUE")]
    filter: Vec<Filter>,
    /// How to show them: `table`, `table TEMPLATE`, `json` or a Go template
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    format: Format,
    /// Do not cut off ids
    #[arg(long)]
    no_trunc: bool,
    /// Only the ids
    #[arg(long, short)]
    quiet: bool,
}

const COLUMNS: [Column; 4] = [
    column("NETWORK ID", "ID"),
    column("NAME", "Name"),
    column("DRIVER", "Driver"),
    column("SCOPE", "Scope"),
];

/// Prints the networks by name.
///
/// # Errors
///
/// When the store cannot be read.
pub fn run(
    args: &LsArgs,
    users: &Users,
    store: &Store,
    terminal: &mut Terminal,
) -> Result<u8, CommandError> {
    let mut shown = store.list()?;
    shown.retain(|record| {
        args.filter.iter().all(|filter| filter.keeps(record, users.of(record.name().as_str())))
    });
    if args.quiet {
        let cut = if args.no_trunc { 64 } else { 12 };
        let ids: String = shown.iter().map(|record| format!("{:.cut$}\n", id(record))).collect();
        terminal.print(ids)?;
        return Ok(0);
    }
    let row = |record: &Record| {
        Ok(Row::of(&Line::new(record, args.no_trunc))?.labelled(&record.wanted.labels))
    };
    let rows = shown.iter().map(row).collect::<Result<_, CommandError>>()?;
    let list = List { columns: &COLUMNS, titles: &[], json: Json::Lines, rows };
    terminal.print(list.render(&args.format)?)?;
    Ok(0)
}
