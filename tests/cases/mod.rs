//! The scenarios, a file for each topic.

mod attributes;
mod bound;
mod broken;
mod build;
mod building;
mod chain;
mod commands;
mod conformance;
mod containers;
mod dev_stack;
mod drivers;
mod effects;
mod everyday;
mod flags;
mod habits;
mod hello;
mod inside;
mod intents;
mod ipv6;
mod kills;
mod lifecycle;
mod limits;
mod live;
mod logging;
mod mistakes;
mod network;
mod plan;
mod registry;
mod resources;
mod rolling;
mod rollout;
mod runtimes;
mod storage;
mod system;
mod terminal;
mod ui;
mod volumes;
mod watch;

use std::fs;
use std::path::Path;

use crate::Scenario;

/// The topics, as their files are called.
const FILES: &[&str] = &[
    "attributes",
    "bound",
    "broken",
    "build",
    "building",
    "chain",
    "commands",
    "conformance",
    "containers",
    "dev_stack",
    "drivers",
    "effects",
    "everyday",
    "flags",
    "habits",
    "hello",
    "inside",
    "intents",
    "ipv6",
    "kills",
    "lifecycle",
    "limits",
    "live",
    "logging",
    "mistakes",
    "network",
    "plan",
    "registry",
    "resources",
    "rolling",
    "rollout",
    "runtimes",
    "storage",
    "system",
    "terminal",
    "ui",
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
        bound::all(),
        broken::all(),
        build::all(),
        building::all(),
        chain::all(),
        commands::all(),
        conformance::all(),
        containers::all(),
        dev_stack::all(),
        drivers::all(),
        effects::all(),
        everyday::all(),
        flags::all(),
        habits::all(),
        hello::all(),
        inside::all(),
        intents::all(),
        ipv6::all(),
        kills::all(),
        lifecycle::all(),
        limits::all(),
        live::all(),
        logging::all(),
        mistakes,
        network::all(),
        plan::all(),
        registry::all(),
        resources::all(),
        rolling::all(),
        rollout::all(),
        runtimes::all(),
        storage::all(),
        system::all(),
        terminal::all(),
        ui::all(),
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

/// What docker compose's own end-to-end tests ask for, and what shows it here.
const INTENTS: &str = include_str!("../intents.txt");

/// How many of them there are, and how many may have no scenario yet. The second only goes down.
const COUNTS: (usize, usize) = (206, 0);

/// Each intent has a scenario that exists, or a reason.
pub(crate) fn check_intents() -> Result<(), String> {
    let scenarios: Vec<String> = all().into_iter().map(|scenario| scenario.name).collect();
    let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("../compose/tests");
    let (mut count, mut unshown) = (0, 0);
    for line in INTENTS.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (_, shown) = line.split_once(" => ").ok_or_else(|| format!("no arrow: {line}"))?;
        count += 1;
        match shown.split_once(' ') {
            Some(("-", reason)) if reason.len() > 5 => {}
            Some(("?", _)) => unshown += 1,
            None if shown.starts_with("rules/") && rules.join(format!("{shown}.txt")).exists() => {}
            None if scenarios.iter().any(|name| name == shown) => {}
            _ => return Err(format!("there is no `{shown}`: {line}")),
        }
    }
    if (count, unshown) == COUNTS {
        Ok(())
    } else {
        Err(format!("{count} intents, {unshown} of them without a scenario; expected {COUNTS:?}"))
    }
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
