//! `compose image search`.

use std::str::FromStr;
use std::sync::Mutex;

use images::registry::Found;
use serde::Serialize;

use crate::cli::error::CommandError;
use crate::cli::filter::truth;
use crate::cli::format::{Column, Format, Json, List, Row, column};
use crate::cli::terminal::Terminal;
use crate::cli::terminal::table::shortened;
use crate::cli::transfer::{fetching, side_by_side};
use crate::registry;

/// Characters of a description that are shown.
const DESCRIPTION: usize = 45;

/// Look for images at a registry
#[derive(Debug, clap::Args)]
pub struct SearchArgs {
    /// A part of the name, at Docker Hub or, with its host in front, at another registry
    #[arg(value_name = "[REGISTRY/]TERM")]
    term: String,
    /// Only `is-official=true|false`, or at least so many `stars=N`
    #[arg(long, short, value_name = "KEY=VALUE")]
    filter: Vec<Filter>,
    /// How to show them: `table`, `table TEMPLATE`, `json` or a Go template
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    format: Format,
    /// So many at most, up to 100
    #[arg(long, value_name = "N", default_value = "25", value_parser = clap::value_parser!(u8).range(1..=100))]
    limit: u8,
    /// Do not shorten descriptions
    #[arg(long)]
    no_trunc: bool,
}

/// One `--filter`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Filter {
    Official(bool),
    Stars(u64),
}

impl FromStr for Filter {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let known = match text.split_once('=') {
            Some(("is-official", word)) => truth(word).map(Self::Official),
            Some(("stars", number)) => number.parse().ok().map(Self::Stars),
            _ => None,
        };
        known.ok_or("there are is-official=true|false, stars=N")
    }
}

impl Filter {
    const fn keeps(self, found: &Found) -> bool {
        match self {
            Self::Official(official) => found.official == official,
            Self::Stars(stars) => found.stars >= stars,
        }
    }
}

/// A repository in the words of docker.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct View {
    description: String,
    is_official: String,
    name: String,
    star_count: String,
}

const COLUMNS: [Column; 4] = [
    column("NAME", "Name"),
    column("DESCRIPTION", "Description"),
    column("STARS", "StarCount"),
    column("OFFICIAL", "IsOfficial"),
];

/// Asks the registry and prints what it has found, in its order.
///
/// # Errors
///
/// When the registry cannot be asked.
pub fn run(args: &SearchArgs, terminal: &mut Terminal) -> Result<u8, CommandError> {
    let fetching = fetching(true)?;
    let found = Mutex::new(Vec::new());
    let failures = side_by_side(vec![()], None, &fetching.cancel, terminal, |(), _| {
        let limit = args.limit.into();
        match fetching.registry.search(&args.term, limit, &fetching.cancel) {
            Ok(all) => {
                found.lock().unwrap_or_else(std::sync::PoisonError::into_inner).extend(all);
                Ok(())
            }
            Err(error) => Err(registry::searching(&error, &args.term)),
        }
    })?;
    if !failures.is_empty() {
        return Err(failures.into());
    }
    let found = found.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    let shown = found.iter().filter(|one| args.filter.iter().all(|filter| filter.keeps(one)));
    let rows = shown.map(|one| Row::of(&args.view(one))).collect::<Result<_, _>>()?;
    let list = List { columns: &COLUMNS, titles: &[], json: Json::Lines, rows };
    terminal.print(list.render(&args.format)?)?;
    Ok(0)
}

impl SearchArgs {
    fn view(&self, found: &Found) -> View {
        let text = &found.description;
        View {
            description: if self.no_trunc { text.clone() } else { shortened(text, DESCRIPTION) },
            is_official: if found.official { "[OK]".to_owned() } else { String::new() },
            name: found.name.clone(),
            star_count: found.stars.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::testing::{args, refusal};

    #[test]
    fn words_are_those_of_docker() {
        let words = ["--limit", "5", "-f", "stars=3", "--filter", "is-official=true", "mysql"];
        let search: SearchArgs = args(&words);
        let found = |stars, official| Found {
            name: "mysql".into(),
            description: "x".repeat(60),
            stars,
            official,
        };
        let keeps = |one: &Found| search.filter.iter().all(|filter| filter.keeps(one));
        assert!(keeps(&found(3, true)) && !keeps(&found(2, true)) && !keeps(&found(3, false)));
        let view = search.view(&found(3, true));
        assert_eq!((view.description.chars().count(), &*view.is_official), (DESCRIPTION, "[OK]"));
        let whole: SearchArgs = args(&["--no-trunc", "mysql"]);
        assert_eq!(whole.view(&found(3, true)).description.chars().count(), 60);
        for words in
            [&["--limit", "0", "x"][..], &["--limit", "101", "x"], &["-f", "a=b", "x"], &[]]
        {
            assert!(refusal::<SearchArgs>(words).is_some(), "{words:?}");
        }
    }
}
