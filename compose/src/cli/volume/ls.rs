//! `compose volume ls`.

use serde::Serialize;
use volumes::{Store, Volume};

use super::filter::Filter;
use crate::cli::error::CommandError;
use crate::cli::format::{Column, Format, Json, List, Row, column};
use crate::cli::terminal::Terminal;
use crate::cli::users::Users;

/// List volumes
#[derive(Debug, clap::Args)]
pub struct LsArgs {
    /// Only volumes with `name=TEXT`, `label=KEY[=VALUE]`, `driver=NAME` or `dangling=true|false`
    #[arg(long, short, value_name = "KEY=VALUE")]
    filter: Vec<Filter>,
    /// How to show them: `table`, `table TEMPLATE`, `json` or a Go template
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    format: Format,
    /// Only the names
    #[arg(long, short)]
    quiet: bool,
}

/// What is shown of a volume
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct View<'a> {
    driver: &'a str,
    labels: String,
    mountpoint: String,
    name: &'a str,
    scope: &'static str,
}

/// The columns of docker.
pub const COLUMNS: [Column; 2] = [column("DRIVER", "Driver"), column("VOLUME NAME", "Name")];

/// Prints the volumes by name.
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
    let all = store.list()?;
    let keeps = |volume: &&Volume| {
        args.filter.iter().all(|filter| filter.keeps(volume, users.of(volume.name.as_str())))
    };
    let shown: Vec<&Volume> = all.iter().filter(keeps).collect();
    if args.quiet {
        terminal
            .print(shown.iter().map(|volume| format!("{}\n", volume.name)).collect::<String>())?;
        return Ok(0);
    }
    let rows = shown.iter().map(|volume| row(volume)).collect::<Result<_, _>>()?;
    let list = List { columns: &COLUMNS, titles: &[], json: Json::Lines, rows };
    terminal.print(list.render(&args.format)?)?;
    Ok(0)
}

/// A volume as a row of a list.
///
/// # Errors
///
/// Never, as a volume has fields.
pub fn row(volume: &Volume) -> Result<Row, CommandError> {
    let labels: Vec<_> =
        volume.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let view = View {
        driver: &volume.driver,
        labels: labels.join(","),
        mountpoint: volume.path.display().to_string(),
        name: volume.name.as_str(),
        scope: "local",
    };
    Ok(Row::of(&view)?.labelled(&volume.labels))
}
