//! The rules of the format, one a file in `rules/`, with what docker compose 2.40.3 answers.
//!
//! A file says what it is about (`# …`), with which variables (`# env NAME=VALUE`) and in which folder (`# in FOLDER`),
//! then the words of the command, the files, and what is printed or that it is refused. Names begin with the row of the
//! rule in the Compose reference; a rule that says so was written by hand.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

/// The rows of section 1.12 to 1.18 of the Compose reference.
const ROWS: [std::ops::RangeInclusive<u32>; 9] =
    [1..=16, 20..=36, 40..=53, 60..=70, 80..=94, 100..=106, 110..=113, 120..=120, 122..=134];

/// Rows that have no file of their own, and where they are tested.
const ELSEWHERE: [(u32, &str); 13] = [
    (11, "compose/tests/robust.rs: aliases and nesting have limits"),
    (21, "L20-variables"),
    (22, "L20-variables"),
    (25, "L20-variables"),
    (26, "L20-variables"),
    (27, "L20-variables"),
    (28, "L20-variables"),
    (30, "L20-variables"),
    (44, "L129-environment"),
    (53, "compose/src/cli/run: `--env-from-file`"),
    (66, "L65-paths"),
    (94, "all: the order of the phases"),
    (121, "L70-resources"),
];

/// What a file of `rules/` says.
#[derive(Debug, Default)]
struct Rule {
    words: Vec<String>,
    environment: Vec<(String, String)>,
    folder: String,
    files: Vec<(String, String)>,
    /// Nothing: it is refused.
    prints: Option<String>,
}

fn read(text: &str) -> Rule {
    let mut rule = Rule::default();
    let mut prints = None;
    for line in text.split_inclusive('\n') {
        let bare = line.trim_end_matches('\n');
        if let Some(printed) = &mut prints {
            *printed += line;
        } else if bare == "=== prints" {
            prints = Some(String::new());
        } else if bare == "=== refused" {
            break;
        } else if let Some(name) = bare.strip_prefix("--- ") {
            rule.files.push((name.to_owned(), String::new()));
        } else if let Some((_, content)) = rule.files.last_mut() {
            *content += line;
        } else if let Some(pair) = bare.strip_prefix("# env ") {
            let (name, value) = pair.split_once('=').unwrap();
            rule.environment.push((name.to_owned(), value.to_owned()));
        } else if let Some(folder) = bare.strip_prefix("# in ") {
            rule.folder = folder.to_owned();
        } else if let Some(words) = bare.strip_prefix("$ compose ") {
            rule.words = split(words);
        }
    }
    rule.prints = prints;
    rule
}

/// Words with spaces stand in double quotes.
fn split(words: &str) -> Vec<String> {
    let parts = words.split('"').enumerate();
    parts
        .flat_map(|(at, part)| match at % 2 {
            0 => part.split_whitespace().map(str::to_owned).collect::<Vec<_>>(),
            _ => vec![part.to_owned()],
        })
        .collect()
}

/// What is different from what the rule says.
fn difference(rule: &Rule) -> Option<String> {
    let scratch = tempfile::tempdir().unwrap();
    let root = scratch.path().canonicalize().unwrap().join("proj");
    fs::create_dir_all(root.join(&rule.folder)).unwrap();
    let mut input = String::new();
    for (name, content) in &rule.files {
        if name == "-" {
            input.clone_from(content);
            continue;
        }
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    let mut child = Command::new(env!("CARGO_BIN_EXE_compose"))
        .args(&rule.words)
        .current_dir(root.join(&rule.folder))
        .env_clear()
        .env("HOME", "/home/u")
        .env("PATH", "/usr/bin:/bin")
        .env("TERM", "dumb")
        .envs(rule.environment.iter().cloned())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that does not read it may be gone already.
    let _unread = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let printed = String::from_utf8_lossy(&output.stdout);
    let printed = printed.replace(&*root.to_string_lossy(), "${CASE_DIR}");
    match &rule.prints {
        None if !output.status.success() && said.contains("error: ") => None,
        None => Some(format!("not refused, but {}:\n{printed}{said}", output.status)),
        Some(expected) if output.status.success() && printed.trim_end() == expected.trim_end() => {
            None
        }
        Some(expected) => Some(format!("expected:\n{expected}\nprinted:\n{printed}\n{said}")),
    }
}

#[test]
fn every_row_has_a_rule() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rules");
    let mut rows: Vec<u32> = ELSEWHERE.iter().map(|(row, _)| *row).collect();
    for entry in fs::read_dir(folder).unwrap() {
        let name = entry.unwrap().file_name().to_string_lossy().into_owned();
        let row = name.strip_prefix('L').and_then(|name| name.split('-').next());
        rows.extend(row.and_then(|row| row.parse::<u32>().ok()));
    }
    let missing: Vec<u32> = ROWS.into_iter().flatten().filter(|row| !rows.contains(row)).collect();
    assert!(missing.is_empty(), "rows without a rule: {missing:?}");
}

#[test]
fn every_rule_holds() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rules");
    let mut broken = Vec::new();
    let mut count = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let rule = read(&fs::read_to_string(&path).unwrap());
        assert!(!rule.words.is_empty() && !rule.files.is_empty(), "{name} says nothing");
        broken.extend(difference(&rule).map(|what| format!("{name}: {what}")));
        count += 1;
    }
    assert!(count > 150, "only {count} rules");
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}
