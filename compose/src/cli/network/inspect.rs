//! `compose network inspect`.

use std::collections::BTreeMap;

use network::Store;

use super::error::missing;
use super::find;
use super::view::Inspect;
use crate::cli::error::CommandError;
use crate::cli::format::{render_value, template::Template};
use crate::cli::terminal::Terminal;

/// Show networks as JSON
#[derive(Debug, clap::Args)]
pub struct InspectArgs {
    /// The networks, by name or id
    #[arg(value_name = "NETWORK", required = true)]
    names: Vec<String>,
    /// A Go template for each, instead of JSON
    #[arg(long, short, value_name = "TEMPLATE", value_parser = Template::parse)]
    format: Option<Template>,
    /// As always
    #[arg(long, short, hide = true)]
    verbose: bool,
}

/// Prints an array with an object for each network, as docker does; one that does not exist is told after it.
///
/// # Errors
///
/// When the store cannot be read.
pub fn run(args: &InspectArgs, store: &Store, terminal: &mut Terminal) -> Result<u8, CommandError> {
    let (mut found, mut failures) = (Vec::new(), Vec::new());
    for name in &args.names {
        let Some(record) = find(store, name)? else {
            failures.extend(missing(name).failures);
            continue;
        };
        let members = match store.is_live(record.name()) {
            true => store.find(record.name())?.map(|network| network.members()).transpose()?,
            false => None,
        };
        let members = members.unwrap_or_default();
        // The first of its names is the container's own.
        let names: BTreeMap<String, String> = members
            .iter()
            .filter_map(|one| Some((one.endpoint.container.clone(), one.names.first()?.clone())))
            .collect();
        let view = Inspect::new(&record, &members, &names);
        found.push(serde_json::to_value(&view).map_err(|error| CommandError::new(&error))?);
    }
    match &args.format {
        None => terminal.print_json(&found)?,
        Some(template) => {
            for one in &found {
                terminal.print(format!("{}\n", render_value(template, one)?))?;
            }
        }
    }
    if failures.is_empty() { Ok(0) } else { Err(failures.into()) }
}
