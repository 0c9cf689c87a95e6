//! The commands and flags of docker compose, kept beside in our own words, against our command line.

use std::collections::BTreeSet;

use clap::{Arg, Command};

/// One line a command: its words, a colon, its flags. See the file.
const LIST: &str = include_str!("reference.txt");

/// What a line of the list says about a flag or a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    /// It is accepted.
    Yes,
    /// It is not, for the reason that the line gives.
    No,
}

/// A line of the list.
struct Entry {
    words: Vec<String>,
    flag: Option<String>,
    wanted: Wanted,
}

fn entries() -> Vec<Entry> {
    let mut entries = Vec::new();
    let lines =
        LIST.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    for line in lines {
        let (head, rest) = line.split_once(':').expect("a line has a colon");
        let (head, wanted) = match head.strip_prefix('!') {
            Some(head) => (head, Wanted::No),
            None => (head, Wanted::Yes),
        };
        if wanted == Wanted::No {
            assert!(rest.trim().len() > 10, "no reason is given: {line}");
        }
        let (flags, words): (Vec<&str>, Vec<&str>) =
            head.split_whitespace().partition(|word| word.starts_with('-'));
        let words: Vec<String> = words.into_iter().map(str::to_owned).collect();
        let flags: Vec<&str> = match wanted {
            Wanted::No => flags,
            Wanted::Yes => {
                entries.push(Entry { words: words.clone(), flag: None, wanted });
                rest.split_whitespace().collect()
            }
        };
        if wanted == Wanted::No && flags.is_empty() {
            entries.push(Entry { words: words.clone(), flag: None, wanted });
        }
        let flag = |flag: &str| Entry { words: words.clone(), flag: Some(flag.to_owned()), wanted };
        entries.extend(flags.into_iter().map(flag));
    }
    entries
}

fn find<'a>(command: &'a Command, words: &[String]) -> Option<&'a Command> {
    words.iter().try_fold(command, |command, word| command.find_subcommand(word))
}

/// Whether `-x` or `--long` is accepted, as it is or under another name.
fn has(command: &Command, flag: &str) -> bool {
    let named = |argument: &&Arg| match flag.strip_prefix("--") {
        Some(long) => {
            argument.get_long() == Some(long)
                || argument.get_all_aliases().unwrap_or_default().contains(&long)
        }
        None => {
            let short = flag.chars().nth(1);
            argument.get_short() == short
                || short.is_some_and(|short| {
                    argument.get_all_short_aliases().unwrap_or_default().contains(&short)
                })
        }
    };
    command.get_arguments().any(|argument| named(&argument))
}

#[test]
fn what_docker_compose_has_is_accepted_or_listed_with_the_reason() {
    let mut root = super::command();
    root.build();
    let mut wrong = Vec::new();
    for Entry { words, flag, wanted } in entries() {
        let command = find(&root, &words);
        let accepted = match (&flag, command) {
            (None, command) => command.is_some(),
            (Some(flag), Some(command)) => has(command, flag),
            (Some(_), None) => false,
        };
        if accepted != (wanted == Wanted::Yes) {
            let line = format!("{} {}", words.join(" "), flag.unwrap_or_default());
            let what = if accepted { "accepted, but listed as refused" } else { "not accepted" };
            wrong.push(format!("{what}: {line}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_list_is_whole() {
    let entries = entries();
    let words = entries.iter().map(|entry| &entry.words);
    let commands = words.filter(|words| !words.is_empty()).collect::<BTreeSet<_>>().len();
    let flags = entries.iter().filter(|entry| entry.flag.is_some()).count();
    assert!(commands >= 42 && flags >= 246, "{commands} commands, {flags} flags");
    // Nothing is accepted by accident: each of our commands is in the list, or has no namesake in docker compose.
    let ours = [
        "doctor", "image", "network", "system", "volume", "why", "ui", "service", "man", "login",
        "logout", "watch", "build", "builder", "plan",
    ];
    for command in super::command().get_subcommands() {
        let name = command.get_name();
        let listed =
            entries.iter().any(|entry| entry.words.first().is_some_and(|word| word == name));
        assert!(listed || ours.contains(&name), "{name} is not in the list");
    }
}
