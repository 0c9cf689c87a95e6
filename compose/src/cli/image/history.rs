//! `compose image history`.

use images::Store;
use jiff::Timestamp;
use serde::Serialize;

use super::error::not_found;
use crate::cli::error::CommandError;
use crate::cli::format::{self, Column, Format, Json, List, column};
use crate::cli::size::size;
use crate::cli::terminal::Terminal;
use crate::cli::terminal::table::{ago, shortened};

/// Show how an image was made
#[derive(Debug, clap::Args)]
pub struct HistoryArgs {
    /// Name or id
    #[arg(value_name = "IMAGE")]
    image: String,
    /// How to show it: `table`, `table TEMPLATE`, `json` or a Go template
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    format: Format,
    /// Do not shorten anything
    #[arg(long)]
    no_trunc: bool,
    /// Only the ids
    #[arg(long, short)]
    quiet: bool,
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
    if args.quiet {
        terminal.print(rows.iter().map(|row| format!("{}\n", row.id)).collect::<String>())?;
    } else {
        terminal.print(text(rows, args)?)?;
    }
    Ok(0)
}

const COLUMNS: [Column; 5] = [
    column("IMAGE", "ID"),
    column("CREATED", "CreatedSince"),
    column("CREATED BY", "CreatedBy"),
    column("SIZE", "Size"),
    column("COMMENT", "Comment"),
];

fn text(mut rows: Vec<Row>, args: &HistoryArgs) -> Result<String, CommandError> {
    const LONGEST: usize = 45;
    let is_whole = args.no_trunc || args.format == Format::Json;
    for row in rows.iter_mut().filter(|_| !is_whole) {
        let words = row.created_by.split_whitespace().collect::<Vec<_>>().join(" ");
        row.created_by = shortened(&words, LONGEST);
    }
    let rows = rows.iter().map(format::Row::of).collect::<Result<_, CommandError>>()?;
    List { columns: &COLUMNS, titles: &[], json: Json::Array, rows }.render(&args.format)
}
