//! The house is in order: the map leads to what exists, every example and every scenario file is used.

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).expect(path)
}

/// The words between backquotes that are paths of this repository.
fn paths(text: &str) -> Vec<&str> {
    let rooms = [
        "compose/",
        "images/",
        "runtime/",
        "network/",
        "volumes/",
        "examples/",
        "tests/",
        "scripts/",
    ];
    let words = text.split('`').skip(1).step_by(2);
    words.filter(|word| rooms.iter().any(|room| word.starts_with(room))).collect()
}

#[test]
fn the_map_leads_to_what_exists() {
    let map = read("ARCHITECTURE.md");
    assert!(paths(&map).len() > 20, "the map has lost its paths");
    for document in ["ARCHITECTURE.md", "README.md"] {
        for path in paths(&read(document)) {
            let file = path.split_whitespace().next().unwrap_or(path);
            assert!(root().join(file).exists(), "{document} names {file}, which does not exist");
        }
    }
}

#[test]
fn every_example_is_explained_and_owned_by_a_scenario() {
    let scenarios: String = fs::read_dir(root().join("tests/cases"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .map(|path| fs::read_to_string(path).unwrap())
        .collect();
    for example in fs::read_dir(root().join("examples")).unwrap() {
        let example = example.unwrap();
        let name = example.file_name().into_string().unwrap();
        assert!(example.path().join("README.md").exists(), "examples/{name} has no README.md");
        assert!(scenarios.contains(&format!("\"{name}\"")), "no scenario owns examples/{name}");
    }
}

#[test]
fn every_scenario_file_is_run() {
    let index = read("tests/cases/mod.rs");
    for entry in fs::read_dir(root().join("tests/cases")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        if path.extension().is_some_and(|extension| extension == "rs") && name != "mod" {
            assert!(index.contains(&format!("mod {name};")), "tests/cases/{name}.rs is never run");
        }
    }
}
