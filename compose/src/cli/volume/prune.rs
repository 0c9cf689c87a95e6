//! `compose volume prune`.

use std::io::{BufRead, IsTerminal, stdin};

use volumes::{PruneScope, Store};

use super::Users;
use super::filter::Filter;
use crate::cli::error::CommandError;
use crate::cli::terminal::Terminal;

/// Remove volumes that no container has
#[derive(Debug, clap::Args)]
pub struct PruneArgs {
    /// Named ones as well, not only those that nobody named
    #[arg(long, short)]
    all: bool,
    /// Only volumes with `label=KEY[=VALUE]`, or without: `label!=KEY[=VALUE]`
    #[arg(long, value_name = "KEY=VALUE")]
    filter: Vec<Filter>,
    /// Do not ask
    #[arg(long, short)]
    force: bool,
}

/// Asks the user, removes, and says what went and how much room that made.
///
/// # Errors
///
/// When nobody can be asked, or a volume resists.
pub fn run(
    args: &PruneArgs,
    users: &Users,
    store: &Store,
    terminal: &mut Terminal,
) -> Result<u8, CommandError> {
    let scope = if args.all { PruneScope::All } else { PruneScope::Anonymous };
    if !args.force && !confirmed(scope, terminal)? {
        return Ok(0);
    }
    let used = |name: &volumes::VolumeName| !users.of(name.as_str()).is_empty();
    let wanted =
        |volume: &volumes::Volume| args.filter.iter().all(|filter| filter.keeps(volume, &[]));
    let (pruned, failures) = store.prune(scope, used, wanted)?;
    let bytes: u64 = pruned.iter().map(|one| one.bytes).sum();
    let names: String = pruned.iter().map(|one| format!("{}\n", one.name)).collect();
    let heading = if pruned.is_empty() { "" } else { "Deleted Volumes:\n" };
    let gap = if pruned.is_empty() { "" } else { "\n" };
    terminal.print(format!("{heading}{names}{gap}Total reclaimed space: {}\n", size(bytes)))?;
    let failures: Vec<_> =
        failures.into_iter().flat_map(|error| CommandError::from(error).failures).collect();
    if failures.is_empty() { Ok(0) } else { Err(failures.into()) }
}

fn confirmed(scope: PruneScope, terminal: &mut Terminal) -> Result<bool, CommandError> {
    if !stdin().is_terminal() {
        let error = "cannot ask whether to remove them: standard input is no terminal";
        return Err(CommandError::failed(error).help("`compose volume prune -f` does not ask"));
    }
    let which = match scope {
        PruneScope::All => "all volumes",
        PruneScope::Anonymous => "all anonymous volumes",
    };
    terminal.ask(&format!("Going to remove {which} that no container has\nAre you sure? [yN] "));
    let mut answer = String::new();
    let read = stdin().lock().read_line(&mut answer);
    read.map_err(|error| CommandError::failed(format!("cannot read the answer: {error}")))?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

/// Bytes in the decimal units of docker (go-units, `HumanSize`): four digits at most.
fn size(bytes: u64) -> String {
    let mut units = ["B", "kB", "MB", "GB", "TB", "PB"].into_iter().peekable();
    #[expect(clippy::cast_precision_loss, reason = "four digits are shown")]
    let mut value = bytes as f64;
    let mut unit = units.next().unwrap_or_default();
    while value >= 1000.0 && units.peek().is_some() {
        value /= 1000.0;
        unit = units.next().unwrap_or(unit);
    }
    let decimals = if unit == "B" || value >= 1000.0 { 0 } else { 3 - digits(value) };
    let text = format!("{value:.decimals$}");
    let text =
        if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text}{unit}")
}

/// Digits before the point, less one.
fn digits(value: f64) -> usize {
    [10.0, 100.0].iter().filter(|bound| value >= **bound).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_of_docker() {
        for (bytes, text) in [
            (0, "0B"),
            (999, "999B"),
            (1000, "1kB"),
            (1234, "1.234kB"),
            (12_340_000, "12.34MB"),
            (100_000_000, "100MB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }
}
