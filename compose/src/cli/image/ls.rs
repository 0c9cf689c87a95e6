//! `compose image ls`.

use images::{Image, Reference, Store};
use jiff::Timestamp;
use serde::Serialize;

use crate::cli::error::CommandError;
use crate::cli::format::{self, Column, Format, Json, List, column};
use crate::cli::size::size;
use crate::cli::terminal::Terminal;
use crate::cli::terminal::table::ago;
use crate::event::Failure;

/// List images
#[derive(Debug, clap::Args)]
pub struct LsArgs {
    /// Only images of this repository, or with this name
    #[arg(value_name = "NAME[:TAG]")]
    name: Option<String>,
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

/// An image as JSON, with the keys of `docker images --format json`.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Row {
    #[serde(rename = "Repository")]
    repository: String,
    #[serde(rename = "Tag")]
    tag: String,
    #[serde(rename = "ID")]
    id: String,
    #[serde(rename = "CreatedAt")]
    created_at: String,
    #[serde(rename = "CreatedSince")]
    created_since: String,
    #[serde(rename = "Digest")]
    digest: String,
    #[serde(rename = "Size")]
    size: String,
}

/// Prints all images of the store.
///
/// # Errors
///
/// When the store cannot be read or the name is none.
pub fn run(args: &LsArgs, store: &Store, terminal: &mut Terminal) -> Result<u8, CommandError> {
    let wanted = args.name.as_deref().map(wanted).transpose()?;
    let listing = store.list()?;
    for damaged in &listing.damaged {
        let failure = Failure::new(&damaged.error);
        terminal.warn(&format!("image {} cannot be used: {}", damaged.name, failure.message));
    }
    let shown = listing
        .images
        .iter()
        .filter(|image| wanted.as_ref().is_none_or(|wanted| wanted.fits(image)));
    let now = Timestamp::now();
    let rows: Vec<Row> = shown.map(|image| row(image, args.no_trunc, now)).collect();
    if args.quiet {
        terminal.print(rows.iter().map(|row| format!("{}\n", row.id)).collect::<String>())?;
    } else {
        terminal.print(text(&rows, &args.format)?)?;
    }
    Ok(0)
}

/// A repository, or one of its images.
struct Wanted {
    reference: Reference,
    any_tag: bool,
}

fn wanted(name: &str) -> Result<Wanted, CommandError> {
    let reference: Reference = name.parse().map_err(images::FindError::Name)?;
    let last = name.rsplit('/').next().unwrap_or(name);
    Ok(Wanted { reference, any_tag: !last.contains(':') })
}

impl Wanted {
    fn fits(&self, image: &Image) -> bool {
        let name = image.reference.as_ref();
        name.is_some_and(|name| {
            *name == self.reference || self.any_tag && name.same_repository(&self.reference)
        })
    }
}

fn row(image: &Image, whole: bool, now: Timestamp) -> Row {
    let none = || "<none>".to_owned();
    let name = image.reference.as_ref();
    Row {
        repository: name.map_or_else(none, Reference::familiar_repository),
        tag: name.and_then(Reference::tag).map_or_else(none, str::to_owned),
        id: if whole { image.id.to_string() } else { image.id.short() },
        created_at: image.created.map_or_else(String::new, |created| created.to_string()),
        created_since: ago(image.created, now),
        digest: image.manifest.to_string(),
        size: size(image.size),
    }
}

const COLUMNS: [Column; 5] = [
    column("REPOSITORY", "Repository"),
    column("TAG", "Tag"),
    column("IMAGE ID", "ID"),
    column("CREATED", "CreatedSince"),
    column("SIZE", "Size"),
];

/// What docker calls the other fields.
const TITLES: [Column; 2] = [column("CREATED AT", "CreatedAt"), column("DIGEST", "Digest")];

fn text(rows: &[Row], format: &Format) -> Result<String, CommandError> {
    let rows = rows.iter().map(format::Row::of).collect::<Result<_, CommandError>>()?;
    List { columns: &COLUMNS, titles: &TITLES, json: Json::Array, rows }.render(format)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_without_a_tag_means_the_repository() {
        let (_dir, store) = super::super::tests::store();
        let images = store.list().unwrap().images;
        let fitting =
            |name: &str| images.iter().filter(|image| wanted(name).unwrap().fits(image)).count();
        assert_eq!(
            (fitting("app"), fitting("app:v1"), fitting("localhost:5000/app"), fitting("other")),
            (2, 1, 1, 0)
        );
    }

    #[test]
    fn is_a_table_like_that_of_docker() {
        let (_dir, store) = super::super::tests::store();
        let images = store.list().unwrap().images;
        let now = images[0].created.unwrap() + std::time::Duration::from_secs(180);
        let rows: Vec<Row> = images.iter().map(|image| row(image, false, now)).collect();
        let text = super::text(&rows, &Format::Usual).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        let id = images[0].id.short();
        assert_eq!(lines.len(), 4);
        assert_eq!(
            lines[..2],
            [
                "REPOSITORY           TAG       IMAGE ID       CREATED         SIZE".to_owned(),
                format!("app                  latest    {id}   3 minutes ago   5B"),
            ]
        );
    }
    #[test]
    fn is_written_by_a_template() {
        let (_dir, store) = super::super::tests::store();
        let images = store.list().unwrap().images;
        let rows: Vec<Row> =
            images.iter().map(|image| row(image, true, Timestamp::UNIX_EPOCH)).collect();
        let format: Format = "{{.Repository}} {{.ID}}".parse().unwrap();
        let text = super::text(&rows, &format).unwrap();
        assert_eq!(text.lines().next(), Some(&*format!("app {}", images[0].id)));
    }
}
