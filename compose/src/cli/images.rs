//! `compose images`.

use std::collections::BTreeMap;

use images::{Image, Reference, Store};
use jiff::Timestamp;
use serde::Serialize;

use super::context::Context;
use super::error::CommandError;
use super::format::Shape;
use super::size::size;
use super::terminal::Terminal;
use super::terminal::table::{Table, ago};
use crate::model::ServiceName;
use crate::record::Container;

/// List the images that the containers of the project are made of
#[derive(Debug, clap::Args)]
pub struct ImagesArgs {
    /// Services whose containers to look at (default: all)
    #[arg(value_name = "SERVICE")]
    services: Vec<ServiceName>,
    /// How to show them
    #[arg(long, value_enum, value_name = "HOW", default_value = "table")]
    format: Shape,
    /// Show ids only
    #[arg(long, short)]
    quiet: bool,
}

/// One container and its image, as docker compose shows it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Row {
    #[serde(rename = "ID")]
    id: String,
    container_name: String,
    repository: String,
    tag: String,
    platform: String,
    size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    created: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_tag_time: Option<Timestamp>,
}

/// Prints a line for each container.
///
/// # Errors
///
/// When the records or the store cannot be read.
pub fn run(
    args: ImagesArgs,
    context: &Context,
    terminal: &mut Terminal,
) -> Result<u8, CommandError> {
    let target = context.target(terminal)?;
    let containers = context.containers(target.name.as_str())?;
    target.check(&args.services, &containers)?;
    let store = Store::open(&context.roots().images())?;
    let mut images: BTreeMap<String, Option<Image>> = BTreeMap::new();
    let mut rows = Vec::new();
    for container in containers {
        let named = args.services.is_empty() || args.services.contains(&container.record.service);
        if !named {
            continue;
        }
        let id = container.record.image_id.clone();
        let image = match images.get(&id) {
            Some(known) => known.clone(),
            None => {
                // A damaged one has no more to say than its id.
                let found = store.find(&id).ok().flatten();
                images.insert(id, found.clone());
                found
            }
        };
        rows.push(row(&container, image.as_ref()));
    }
    rows.sort_by(|one, other| one.container_name.cmp(&other.container_name));
    if args.quiet {
        let mut ids: Vec<String> = rows.into_iter().map(|row| row.id).collect();
        ids.dedup();
        let lines: String =
            ids.iter().map(|id| format!("{}\n", id.trim_start_matches("sha256:"))).collect();
        terminal.print(lines)?;
    } else if args.format == Shape::Json {
        terminal.print_json(&rows)?;
    } else {
        terminal.print(table(&rows, Timestamp::now()))?;
    }
    Ok(0)
}

fn row(container: &Container, image: Option<&Image>) -> Row {
    // What the container was made of under this name, whoever has the name today.
    let name: Option<Reference> = container.record.image.parse().ok();
    let none = || "<none>".to_owned();
    Row {
        id: container.record.image_id.clone(),
        container_name: container.record.name.clone(),
        repository: name.as_ref().map_or_else(none, Reference::familiar_repository),
        tag: name.as_ref().and_then(Reference::tag).map_or_else(none, str::to_owned),
        platform: image.map_or_else(String::new, |image| image.platform().to_string()),
        size: image.map_or(0, |image| image.size),
        created: image.and_then(|image| image.created),
        last_tag_time: image.and_then(|image| image.named),
    }
}

fn table(rows: &[Row], now: Timestamp) -> String {
    let mut table =
        Table::new(&["CONTAINER", "REPOSITORY", "TAG", "PLATFORM", "IMAGE ID", "SIZE", "CREATED"]);
    for row in rows {
        let short: String = row.id.trim_start_matches("sha256:").chars().take(12).collect();
        table.row([
            row.container_name.clone(),
            row.repository.clone(),
            row.tag.clone(),
            row.platform.clone(),
            short,
            size(row.size),
            ago(row.created, now),
        ]);
    }
    table.render()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::ps::tests::container;
    use crate::record::Phase;

    #[test]
    fn a_container_whose_image_is_gone_is_still_shown() {
        let mut one = container("web", 1, Phase::Exited);
        one.record.image = "localhost:5000/team/web:2".to_owned();
        one.record.image_id = format!("sha256:{}", "ab".repeat(32));
        let text = table(&[row(&one, None)], Timestamp::UNIX_EPOCH);
        let line: Vec<&str> = text.lines().nth(1).unwrap().split_whitespace().collect();
        assert_eq!(line[1..], ["localhost:5000/team/web", "2", "abababababab", "0B", "N/A"]);
    }
}
