//! Broken compose files, each with the exact messages that a user sees.
//!
//! `broken/NAME.yaml` is the file, `broken/NAME.txt` what is said about it: what is wrong, where,
//! and what to do. A folder `broken/NAME` is a project of several files, with the answer in
//! `said.txt`: here places are followed through anchors, `extends`, `include`, overrides, variables
//! and environment files, and warnings are shown too. `UPDATE=1 cargo test -p compose --test broken`
//! writes the texts anew.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use compose::diagnostic::{Severity, Style};
use compose::file::{self, LoadOptions};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/broken")
}

/// What is said about the file; nothing if it is accepted.
fn messages(path: &Path) -> Option<String> {
    let options = LoadOptions {
        working_dir: folder(),
        files: vec![path.to_owned()],
        project_name: Some("broken".to_owned()),
        environment: BTreeMap::from([("COMPOSE_DISABLE_ENV_FILE".to_owned(), "1".to_owned())]),
        ..LoadOptions::default()
    };
    let found = file::load(&options).err()?;
    assert!(found.iter().any(|diagnostic| diagnostic.severity == Severity::Error));
    let style = Style { color: false, base: Some(folder()) };
    let drawn: Vec<String> = found.iter().map(|diagnostic| diagnostic.render(&style)).collect();
    Some(drawn.join("\n\n").replace(&folder().display().to_string(), "DIR") + "\n")
}

#[test]
fn each_broken_file_is_explained() {
    let mut files: Vec<PathBuf> = fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    files.sort();
    assert!(files.len() >= 60, "only {} files", files.len());
    let mut wrong = Vec::new();
    for path in files {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let said = messages(&path).unwrap_or_else(|| "accepted\n".to_owned());
        let expected = path.with_extension("txt");
        if std::env::var_os("UPDATE").is_some() {
            fs::write(&expected, &said).unwrap();
        } else if fs::read_to_string(&expected).ok().as_deref() != Some(said.as_str()) {
            wrong.push(format!("--- {name}\n{said}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What is said about the project in a folder, in words and as JSON.
fn said_of(folder: &Path) -> String {
    let options = LoadOptions {
        working_dir: folder.to_owned(),
        project_name: Some("broken".to_owned()),
        environment: BTreeMap::from([("FROM_OUTSIDE".to_owned(), "outside".to_owned())]),
        ..LoadOptions::default()
    };
    let found = match file::load(&options) {
        Ok(loaded) => loaded.warnings,
        Err(found) => found,
    };
    let style = Style { color: false, base: Some(folder.to_owned()) };
    let drawn: Vec<String> = found.iter().map(|diagnostic| diagnostic.render(&style)).collect();
    for diagnostic in &found {
        let json = diagnostic.to_json();
        let labels = json["labels"].as_array().map(Vec::len);
        assert_eq!(labels, Some(diagnostic.labels.len().saturating_sub(1)), "{json}");
        let column = |value: &serde_json::Value| value["column"].as_u64();
        assert!(column(&json["end"]) >= column(&json), "{json}");
    }
    drawn.join("\n\n").replace(&folder.display().to_string(), "DIR") + "\n"
}

#[test]
fn places_are_followed_through_several_files() {
    let mut wrong = Vec::new();
    let mut count = 0;
    for entry in fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        if !path.is_dir() {
            continue;
        }
        count += 1;
        let said = said_of(&path);
        let expected = path.join("said.txt");
        if std::env::var_os("UPDATE").is_some() {
            fs::write(&expected, &said).unwrap();
        } else if fs::read_to_string(&expected).ok().as_deref() != Some(said.as_str()) {
            wrong.push(format!("--- {}\n{said}", path.display()));
        }
    }
    assert!(count >= 40, "only {count} folders");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn each_message_has_a_place_and_advice() {
    for entry in fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "txt") {
            let text = fs::read_to_string(&path).unwrap();
            for message in text.split("\n\nerror: ") {
                assert!(message.contains(" --> "), "{}: no place: {message}", path.display());
                assert!(message.contains("= help:"), "{}: no help: {message}", path.display());
            }
        }
    }
}
