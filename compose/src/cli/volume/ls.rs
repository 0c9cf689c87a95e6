//! `compose volume ls`.

use serde::Serialize;
use volumes::{Store, Volume};

use super::Users;
use super::filter::Filter;
use crate::cli::error::CommandError;
use crate::cli::ps::Format;
use crate::cli::terminal::Terminal;
use crate::cli::terminal::table::Table;

/// List volumes
#[derive(Debug, clap::Args)]
pub struct LsArgs {
    /// Only volumes with `name=TEXT`, `label=KEY[=VALUE]`, `driver=NAME` or `dangling=true|false`
    #[arg(long, short, value_name = "KEY=VALUE")]
    filter: Vec<Filter>,
    /// How to show them
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
    /// Only the names
    #[arg(long, short)]
    quiet: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Row<'a> {
    driver: &'a str,
    labels: String,
    mountpoint: String,
    name: &'a str,
    scope: &'static str,
}

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
    } else if args.format == Format::Json {
        terminal.print_json(&shown.iter().map(|volume| row(volume)).collect::<Vec<_>>())?;
    } else {
        let mut table = Table::new(&["DRIVER", "VOLUME NAME"]);
        for volume in shown {
            table.row([volume.driver.clone(), volume.name.to_string()]);
        }
        terminal.print(table.render())?;
    }
    Ok(0)
}

fn row(volume: &Volume) -> Row<'_> {
    let labels: Vec<_> =
        volume.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    Row {
        driver: &volume.driver,
        labels: labels.join(","),
        mountpoint: volume.path.display().to_string(),
        name: volume.name.as_str(),
        scope: "local",
    }
}
