//! `compose image history`.

use images::Store;
use jiff::Timestamp;
use serde::Serialize;

use super::error::not_found;
use crate::cli::error::CommandError;
use crate::cli::format::Shape;
use crate::cli::size::size;
use crate::cli::terminal::Terminal;
use crate::cli::terminal::table::{Table, ago, shortened};

/// Show how an image was made
#[derive(Debug, clap::Args)]
pub struct HistoryArgs {
    /// Name or id
    #[arg(value_name = "IMAGE")]
    image: String,
    /// How to show it
    #[arg(long, value_enum, value_name = "HOW", default_value = "table")]
    format: Shape,
    /// Do not shorten anything
    #[arg(long)]
    no_trunc: bool,
}

/// One step, in the words of docker.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Row {
    #[serde(rename = "ID")]
    id: String,
    created_at: String,
    created_since: String,
    created_by: String,
    size: String,
    comment: String,
}

/// Prints the steps, the last one first.
///
/// # Errors
///
/// When there is no such image.
pub fn run(args: &HistoryArgs, store: &Store, terminal: &mut Terminal) -> Result<u8, CommandError> {
    let image = store.find(&args.image)?.ok_or_else(|| not_found(&args.image))?;
    let sizes = store.layer_sizes(&image)?;
    let now = Timestamp::now();
    let mut sizes = sizes.into_iter();
    let mut rows = Vec::new();
    for step in image.config.history().iter().flatten() {
        let made = if step.empty_layer().unwrap_or(false) { 0 } else { sizes.next().unwrap_or(0) };
        let created: Option<Timestamp> = step.created().as_ref().and_then(|at| at.parse().ok());
        rows.push(Row {
            id: "<missing>".to_owned(),
            created_at: created.map_or_else(String::new, |at| at.to_string()),
            created_since: ago(created, now),
            created_by: step.created_by().clone().unwrap_or_default(),
            size: size(made),
            comment: step.comment().clone().unwrap_or_default(),
        });
    }
    rows.reverse();
    if let Some(last) = rows.first_mut() {
        last.id = if args.no_trunc { image.id.to_string() } else { image.id.short() };
    }
    if args.format == Shape::Json {
        terminal.print_json(&rows)?;
    } else {
        terminal.print(table(rows, args.no_trunc))?;
    }
    Ok(0)
}

fn table(rows: Vec<Row>, whole: bool) -> String {
    const LONGEST: usize = 45;
    let mut table = Table::new(&["IMAGE", "CREATED", "CREATED BY", "SIZE", "COMMENT"]);
    for row in rows {
        let words = row.created_by.split_whitespace().collect::<Vec<_>>().join(" ");
        let words = if whole { words } else { shortened(&words, LONGEST) };
        table.row([row.id, row.created_since, words, row.size, row.comment]);
    }
    table.render()
}
