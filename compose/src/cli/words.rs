//! `--flag=true` and `--flag=false`, as scripts for docker write them: its flags have a value, ours are there or are not.

use std::ffi::OsString;

use clap::{Arg, ArgAction, Command};

/// The words of a command line of `command`, which has been [built](Command::build), with each flag that is said to be true left
/// without a value, and each that is said to be false left out. What belongs to the command in a container stays as it is.
pub fn plain(words: impl IntoIterator<Item = OsString>, command: &Command) -> Vec<OsString> {
    let mut command = command;
    let mut words = words.into_iter();
    let mut plain: Vec<OsString> = words.next().into_iter().collect();
    while let Some(word) = words.next() {
        let Some(text) = word.to_str().map(str::to_owned) else {
            plain.push(word);
            continue;
        };
        let read = match (text.strip_prefix("--"), text.strip_prefix('-')) {
            (Some(""), _) => {
                plain.push(word);
                break;
            }
            (Some(long), _) => of_long(long, command),
            (None, Some(short)) if !short.is_empty() => of_short(short, command),
            _ => match command.find_subcommand(&text) {
                Some(named) => {
                    command = named;
                    Read::Whole
                }
                None if has_a_command(command) => {
                    plain.push(word);
                    break;
                }
                None => Read::Whole,
            },
        };
        match read {
            Read::Whole => plain.push(word),
            Read::BeforeValue => {
                plain.push(word);
                plain.extend(words.next());
            }
            Read::Instead(other) => plain.extend(other.map(OsString::from)),
        }
    }
    plain.extend(words);
    plain
}

/// What a word is.
#[derive(Debug, PartialEq, Eq)]
enum Read {
    /// Nothing that is changed.
    Whole,
    /// A flag whose value is the next word.
    BeforeValue,
    /// Flags, which are said in another way.
    Instead(Option<String>),
}

fn of_long(word: &str, command: &Command) -> Read {
    let (name, value) =
        word.split_once('=').map_or((word, None), |(name, value)| (name, Some(value)));
    let is_meant = |arg: &&Arg| {
        let aliases = arg.get_all_aliases().unwrap_or_default();
        arg.get_long() == Some(name) || aliases.contains(&name)
    };
    match (command.get_arguments().find(is_meant), value.map(truth)) {
        (Some(flag), Some(Some(is_so))) if is_switch(flag) => {
            Read::Instead(is_so.then(|| format!("--{name}")))
        }
        (Some(flag), None) if wants_a_word(flag) => Read::BeforeValue,
        _ => Read::Whole,
    }
}

/// Several flags in one word; the value belongs to the last.
fn of_short(word: &str, command: &Command) -> Read {
    let flag_of = |letter: char| {
        command.get_arguments().find(|arg| {
            arg.get_short() == Some(letter)
                || arg.get_all_short_aliases().unwrap_or_default().contains(&letter)
        })
    };
    let letters = word.split_once('=').map_or(word, |(letters, _)| letters);
    for (at, letter) in word.char_indices() {
        let is_last = at + letter.len_utf8() == letters.len();
        let value = word.get(letters.len() + 1..);
        match flag_of(letter) {
            Some(flag) if wants_a_word(flag) => {
                return if is_last && value.is_none() { Read::BeforeValue } else { Read::Whole };
            }
            Some(flag) if is_last && is_switch(flag) => {
                let Some(is_so) = value.and_then(truth) else { return Read::Whole };
                let kept = if is_so { letters } else { &letters[..at] };
                return Read::Instead((!kept.is_empty()).then(|| format!("-{kept}")));
            }
            Some(_) if !is_last => {}
            _ => return Read::Whole,
        }
    }
    Read::Whole
}

fn is_switch(flag: &Arg) -> bool {
    matches!(flag.get_action(), ArgAction::SetTrue)
}

fn wants_a_word(flag: &Arg) -> bool {
    flag.get_action().takes_values()
        && !flag.is_require_equals_set()
        && flag.get_num_args().is_none_or(|range| range.min_values() > 0)
}

/// Whether what comes behind the words of the command is one of its own: `exec` and `run`.
fn has_a_command(command: &Command) -> bool {
    command.get_positionals().any(Arg::is_trailing_var_arg_set)
}

/// As Go's strconv.ParseBool reads it.
fn truth(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_may_be_said_to_be_so_or_not() {
        let command = crate::cli::command();
        for (words, wanted) in [
            ("up --detach=true --build=false", "up --detach"),
            ("up -d=1 -V=F web", "up -d web"),
            ("up -dV=false", "up -d"),
            ("up -dV=true", "up -dV"),
            ("--dry-run=t up --dry-run=0", "--dry-run up"),
            ("--compatibility=False -p x ps --all=True", "-p x ps --all"),
            // Values of others, and what is none.
            ("up --scale web=1 --wait-timeout=1", "up --scale web=1 --wait-timeout=1"),
            ("up --detach=yes", "up --detach=yes"),
            ("-p up --no-ansi=true ps", "-p up --no-ansi ps"),
            ("run -e A=true -eB=1 --rm=true web", "run -e A=true -eB=1 --rm web"),
            ("run --name --rm=1 web", "run --name --rm=1 web"),
            ("ps --orphans=false", "ps --orphans=false"),
            // Not ours.
            ("exec -T=true web ls --all=true", "exec -T web ls --all=true"),
            ("run --rm=1 web -d=true", "run --rm web -d=true"),
            ("up -- --detach=true", "up -- --detach=true"),
            ("volume rm --force=true x", "volume rm --force x"),
            ("", ""),
        ] {
            let words = ["compose"].into_iter().chain(words.split_whitespace());
            let read = plain(words.map(OsString::from), &command);
            let wanted: Vec<&str> =
                ["compose"].into_iter().chain(wanted.split_whitespace()).collect();
            assert_eq!(read, wanted);
        }
    }
}
