//! Every flag of every command, and the test that fails when it is ignored.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use clap::{Arg, Command};

use super::command;

/// A line for each command and test: words, flags, a colon, the name of the test. See the file.
const LIST: &str = include_str!("effects.txt");

/// How many flags may have no test yet. It only goes down.
const WITHOUT: usize = 0;

/// What a line says about its flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effect<'a> {
    /// This test fails without them.
    Tested(&'a str),
    /// They have none, for a reason.
    None,
    /// There is no test yet.
    Untested,
}

/// What the list says of each flag, by command and flag.
fn effects() -> BTreeMap<(String, String), Effect<'static>> {
    let mut effects = BTreeMap::new();
    let lines = LIST.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
    for line in lines {
        let (head, test) = line.split_once(':').expect("a line has a colon");
        let effect = match test.trim().split_once(' ') {
            None if test.trim() == "?" => Effect::Untested,
            None => Effect::Tested(test.trim()),
            Some(("-", reason)) => {
                assert!(reason.len() > 10, "no reason is given: {line}");
                Effect::None
            }
            Some(_) => panic!("a test is one word: {line}"),
        };
        let (flags, words): (Vec<&str>, Vec<&str>) =
            head.split_whitespace().partition(|word| word.starts_with('-'));
        for flag in flags {
            let before = effects.insert((words.join(" "), flag.to_owned()), effect);
            assert_eq!(before, None, "{flag} of `{}` stands there twice", words.join(" "));
        }
    }
    effects
}

/// The flags of a command and of those below it.
fn flags(words: &str, command: &Command, found: &mut BTreeSet<(String, String)>) {
    let name = |argument: &Arg| match (argument.get_long(), argument.get_short()) {
        (Some(long), _) => Some(format!("--{long}")),
        (None, Some(short)) => Some(format!("-{short}")),
        (None, None) => None,
    };
    // What all commands have stands with the flags before the command.
    let own = command.get_arguments().filter(|one| words.is_empty() || !one.is_global_set());
    let own = own.filter(|one| one.get_id() != "help");
    found.extend(own.filter_map(name).map(|flag| (words.to_owned(), flag)));
    for below in command.get_subcommands().filter(|below| below.get_name() != "help") {
        let words = format!("{words} {}", below.get_name());
        flags(words.trim(), below, found);
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The text of all sources below a folder.
fn sources(folder: &Path) -> String {
    let mut text = String::new();
    for entry in fs::read_dir(folder).expect("a folder of the repository").flatten() {
        let path = entry.path();
        if path.is_dir() {
            text.push_str(&sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text.push_str(&fs::read_to_string(&path).expect("a source"));
        }
    }
    text
}

#[test]
fn every_flag_has_a_test_that_fails_without_it() {
    let mut all = BTreeSet::new();
    flags("", &command(), &mut all);
    let effects = effects();
    let listed: BTreeSet<_> = effects.keys().cloned().collect();
    let show = |flags: Vec<&(String, String)>| -> String {
        flags.iter().map(|(words, flag)| format!("  {words} {flag}\n")).collect()
    };
    let (missing, stray) =
        (show(all.difference(&listed).collect()), show(listed.difference(&all).collect()));
    assert!(missing.is_empty() && stray.is_empty(), "not listed:\n{missing}no flags:\n{stray}");

    let scenarios = sources(&root().join("tests/cases"));
    let tests = sources(&root().join("compose"));
    let exists = |test: &str| {
        if let Some(rule) = test.strip_prefix("rules/") {
            return root().join(format!("compose/tests/rules/{rule}.txt")).exists();
        }
        scenarios.contains(&format!("\"{test}\"")) || tests.contains(&format!("fn {test}("))
    };
    for (flag, effect) in &effects {
        if let Effect::Tested(test) = effect {
            assert!(exists(test), "there is no test `{test}` for {flag:?}");
        }
    }
    let untested: Vec<_> = effects
        .iter()
        .filter(|(_, effect)| **effect == Effect::Untested)
        .map(|(flag, _)| flag)
        .collect();
    assert_eq!(untested.len(), WITHOUT, "without a test:\n{}", show(untested.clone()));
}
