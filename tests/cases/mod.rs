//! The scenarios, a file for each topic.

mod attributes;
mod broken;
mod build;
mod commands;
mod conformance;
mod dev_stack;
mod drivers;
mod everyday;
mod hello;
mod ipv6;
mod kills;
mod limits;
mod live;
mod mistakes;
mod network;
mod plan;
mod registry;
mod rollout;
mod system;
mod volumes;
mod watch;

use std::fs;
use std::path::Path;

use crate::Scenario;

/// The topics, as their files are called.
const FILES: &[&str] = &[
    "attributes",
    "broken",
    "build",
    "commands",
    "conformance",
    "dev_stack",
    "drivers",
    "everyday",
    "hello",
    "ipv6",
    "kills",
    "limits",
    "live",
    "mistakes",
    "network",
    "plan",
    "registry",
    "rollout",
    "system",
    "volumes",
    "watch",
];

/// The folders of `examples/`, and the file here that runs each.
const EXAMPLES: &[(&str, &str)] = &[("dev-stack", "dev_stack"), ("hello", "hello")];

/// All scenarios.
pub(crate) fn all() -> Vec<Scenario> {
    let mistakes = mistakes::names().into_iter();
    let mistakes =
        mistakes.map(|name| Scenario::plain(format!("mistake_{name}"), mistakes::play)).collect();
    [
        attributes::all(),
        broken::all(),
        build::all(),
        commands::all(),
        conformance::all(),
        dev_stack::all(),
        drivers::all(),
        everyday::all(),
        hello::all(),
        ipv6::all(),
        kills::all(),
        limits::all(),
        live::all(),
        mistakes,
        network::all(),
        plan::all(),
        registry::all(),
        rollout::all(),
        system::all(),
        volumes::all(),
        watch::all(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// A file of scenarios that nobody runs is worse than none.
pub(crate) fn check_files() -> Result<(), String> {
    same(
        "cases",
        &names("cases", |name| name.strip_suffix(".rs").filter(|name| *name != "mod"))?,
        FILES,
    )
}

/// Each example is run by a scenario.
pub(crate) fn check_examples() -> Result<(), String> {
    let owned: Vec<_> = EXAMPLES.iter().map(|(example, _)| *example).collect();
    same("../examples", &names("../examples", |name| Some(name))?, &owned)?;
    let stray = EXAMPLES.iter().find(|(_, file)| !FILES.contains(file));
    stray.map_or(Ok(()), |(example, file)| {
        Err(format!("{example} is owned by {file}, which is no file here"))
    })
}

fn names(folder: &str, pick: fn(&str) -> Option<&str>) -> Result<Vec<String>, String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let entries = fs::read_dir(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let mut names: Vec<_> = names.filter_map(|name| pick(&name).map(str::to_owned)).collect();
    names.sort();
    Ok(names)
}

fn same(what: &str, found: &[String], listed: &[&str]) -> Result<(), String> {
    if found == listed {
        Ok(())
    } else {
        Err(format!("{what} has {found:?}, and listed are {listed:?}"))
    }
}
