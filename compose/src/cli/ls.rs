//! `compose ls`.

use std::collections::BTreeMap;

use regex::Regex;
use serde::Serialize;

use super::context::Context;
use super::error::CommandError;
use super::format::{Column, Format, Json, List, Row, column};
use super::terminal::Terminal;
use crate::record::{Container, ProjectRecord, list};

/// List projects
#[derive(Debug, clap::Args)]
pub struct LsArgs {
    /// Stopped projects as well
    #[arg(long, short)]
    all: bool,
    /// Only projects whose name matches `name=REGULAR EXPRESSION`
    #[arg(long, value_name = "name=EXPRESSION", value_parser = filter)]
    filter: Vec<Regex>,
    /// How to show them: `table`, `table TEMPLATE`, `json` or a Go template
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    format: Format,
    /// Only the names
    #[arg(long, short)]
    quiet: bool,
}

fn filter(text: &str) -> Result<Regex, String> {
    match text.split_once('=') {
        Some(("name", text)) => Regex::new(text).map_err(|error| error.to_string()),
        _ => Err("the only filter is name=EXPRESSION".to_owned()),
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Project {
    name: String,
    status: String,
    config_files: String,
}

/// Prints all projects that have containers.
///
/// # Errors
///
/// When the records cannot be read.
pub fn run(args: LsArgs, context: &Context, terminal: &mut Terminal) -> Result<u8, CommandError> {
    context.require_root()?;
    let mut projects: BTreeMap<String, Vec<Container>> = BTreeMap::new();
    for container in list::all_containers(context.roots())?.containers {
        projects.entry(container.record.project.clone()).or_default().push(container);
    }
    let shown = |name: &str, containers: &[Container]| {
        (args.all || containers.iter().any(|one| one.state.phase.is_up()))
            && args.filter.iter().all(|part| part.is_match(name))
    };
    let mut rows = Vec::new();
    for (name, containers) in projects {
        if shown(&name, &containers) {
            let files = ProjectRecord::read(context.roots(), &name)?
                .map(|record| config_files(&record))
                .unwrap_or_default();
            rows.push(Project { status: status(&containers), name, config_files: files });
        }
    }
    print(&rows, &args, terminal)?;
    Ok(0)
}

const COLUMNS: [Column; 3] =
    [column("NAME", "Name"), column("STATUS", "Status"), column("CONFIG FILES", "ConfigFiles")];

fn print(rows: &[Project], args: &LsArgs, terminal: &mut Terminal) -> Result<(), CommandError> {
    if args.quiet {
        let names: String = rows.iter().map(|row| format!("{}\n", row.name)).collect();
        return terminal.print(names);
    }
    let rows = rows.iter().map(Row::of).collect::<Result<_, _>>()?;
    let list = List { columns: &COLUMNS, titles: &[], json: Json::Array, rows };
    terminal.print(list.render(&args.format)?)
}

fn config_files(record: &ProjectRecord) -> String {
    let files: Vec<_> = record.config_files.iter().map(|file| file.to_string_lossy()).collect();
    files.join(",")
}

/// `exited(1), running(2)`: how many containers are in which phase.
fn status(containers: &[Container]) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for container in containers {
        *counts.entry(container.state.phase.as_str()).or_default() += 1;
    }
    let parts: Vec<String> =
        counts.iter().map(|(phase, count)| format!("{phase}({count})")).collect();
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::ps::tests::container;
    use crate::record::Phase;

    #[test]
    fn names_are_matched_as_expressions() {
        let matches = filter("name=^shop.*[0-9]$").unwrap();
        assert!(matches.is_match("shop-2") && !matches.is_match("my-shop-2"));
        assert!(filter("name=[").is_err() && filter("status=running").is_err());
    }

    #[test]
    fn status_counts_phases() {
        let containers = [
            container("web", 1, Phase::Running),
            container("job", 1, Phase::Exited),
            container("web", 2, Phase::Running),
        ];
        assert_eq!(status(&containers), "exited(1), running(2)");
    }
}
