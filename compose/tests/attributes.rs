//! No attribute of the format is read and forgotten: what `config` answers is another thing without it.
//!
//! `attributes/rows.txt` has all attributes, one a line. The projects in which they stand are those of `rules/A-*.txt`
//! and of the other files in `attributes/`. Each attribute is taken out of a project, wherever it stands, until the
//! answer changes: the document in YAML or JSON, a message, or that it is refused. `attributes/effects.txt` names for each
//! the test that fails when what runs does not obey it.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use compose::file::{Document, LoadOptions, Nulls};
use serde_yaml::Value;

/// The rows of sections 1.1 to 1.11 of the Compose reference.
const ROWS: std::ops::RangeInclusive<usize> = 1..=353;

/// A project with many attributes.
struct Scene {
    name: String,
    root: tempfile::TempDir,
    document: Value,
    answer: String,
}

/// A step on the way to an attribute.
#[derive(Debug, Clone)]
enum Step {
    Key(Value),
    Item(usize),
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(name)
}

impl Scene {
    fn new(path: &Path) -> Self {
        let root = tempfile::tempdir().unwrap();
        let mut document = Value::Null;
        for (name, content) in common::files(&fs::read_to_string(path).unwrap()) {
            if name == "compose.yaml" {
                document = serde_yaml::from_str(&content).unwrap();
                continue;
            }
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let mut scene = Self { name, root, document, answer: String::new() };
        let answer = scene.ask(&scene.document);
        assert!(answer.is_ok(), "{} is refused: {answer:?}", scene.name);
        scene.answer = answer.unwrap_or_default();
        scene
    }

    /// What is answered about `document`, or why it is refused.
    fn ask(&self, document: &Value) -> Result<String, String> {
        let file = self.root.path().join("compose.yaml");
        fs::write(&file, serde_yaml::to_string(document).unwrap()).unwrap();
        let variables = [("HOME", "/home/u"), ("SENV", "x")];
        let options = LoadOptions {
            working_dir: self.root.path().to_owned(),
            profiles: vec!["*".to_owned()],
            environment: variables.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
            ..LoadOptions::default()
        };
        // Places change with every line that goes.
        let said = |found: Vec<compose::diagnostic::Diagnostic>| {
            let messages: Vec<String> = found.into_iter().map(|one| one.message).collect();
            messages.join("\n")
        };
        let read = Document::read(&options).map_err(said)?;
        let values =
            [Nulls::Hidden, Nulls::Shown].map(|nulls| read.to_value(nulls).into_json().to_string());
        let messages = [read.warnings().to_vec(), read.doubts()].map(said);
        Ok([values, messages].concat().join("\n"))
    }

    /// True if the answer is another one without what stands at `path`.
    fn misses(&self, path: &[Step]) -> bool {
        let mut document = self.document.clone();
        let (last, way) = path.split_last().unwrap();
        let parent = way.iter().fold(&mut document, |value, step| match step {
            Step::Key(key) => &mut value[key],
            Step::Item(index) => &mut value[*index],
        });
        match last {
            Step::Key(key) => drop(parent.as_mapping_mut().unwrap().remove(key)),
            Step::Item(_) => unreachable!("an attribute is a key"),
        }
        self.ask(&document).as_ref() != Ok(&self.answer)
    }
}

/// All places below `value` that `parts` lead to.
fn places(value: &Value, parts: &[&str], way: &[Step], found: &mut Vec<Vec<Step>>) {
    let Some((part, rest)) = parts.split_first() else {
        found.push(way.to_vec());
        return;
    };
    let (name, is_list) = match part.strip_suffix("[]") {
        Some(name) => (name, true),
        None => (*part, false),
    };
    let entries = value.as_mapping().into_iter().flatten();
    for (key, value) in entries.filter(|(key, _)| name == "<k>" || key.as_str() == Some(name)) {
        let way = [way, &[Step::Key(key.clone())]].concat();
        match (is_list, value.as_sequence()) {
            (false, _) => places(value, rest, &way, found),
            (true, Some(items)) => {
                for (index, item) in items.iter().enumerate() {
                    places(item, rest, &[&way[..], &[Step::Item(index)]].concat(), found);
                }
            }
            (true, None) => {}
        }
    }
}

fn scenes() -> Vec<Scene> {
    let texts = |name: &str, begins: &'static str| {
        let entries = fs::read_dir(folder(name)).unwrap().map(|entry| entry.unwrap().path());
        let is_one = move |path: &PathBuf| {
            let name = path.file_name().unwrap().to_string_lossy();
            name.starts_with(begins) && name != "rows.txt" && name != "effects.txt"
        };
        entries.filter(is_one).collect::<Vec<_>>()
    };
    let all = [texts("rules", "A-"), texts("attributes", "")].concat();
    all.iter().map(|path| Scene::new(path)).collect()
}

#[test]
fn every_attribute_makes_a_difference() {
    let scenes = scenes();
    let text = fs::read_to_string(folder("attributes/rows.txt")).unwrap();
    let rows: BTreeMap<usize, &str> = text
        .lines()
        .filter_map(|line| line.strip_prefix('A')?.split_once(' '))
        .map(|(row, path)| (row.parse().unwrap(), path))
        .collect();
    assert!(rows.keys().copied().eq(ROWS), "rows are missing");
    let mut forgotten = Vec::new();
    for (row, path) in rows {
        let path = match path.strip_prefix("svc.") {
            Some(rest) => format!("services.<k>.{rest}"),
            None => path.to_owned(),
        };
        let parts: Vec<&str> = path.split('.').collect();
        let makes_difference = |scene: &Scene| {
            let mut found = Vec::new();
            places(&scene.document, &parts, &[], &mut found);
            found.iter().any(|place| scene.misses(place))
        };
        if !scenes.iter().any(makes_difference) {
            forgotten.push(format!("A{row:03} {path}"));
        }
    }
    assert!(forgotten.is_empty(), "these change nothing:\n{}", forgotten.join("\n"));
}

/// How many attributes may have no test of their effect yet. It only goes down.
const WITHOUT: usize = 0;

/// The text of all sources below a folder, without what is built of them.
fn sources(folder: &Path, text: &mut String) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
            sources(&path, text);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text.push_str(&fs::read_to_string(&path).unwrap());
        }
    }
}

#[test]
fn every_attribute_has_a_test_of_its_effect() {
    let rows = fs::read_to_string(folder("attributes/rows.txt")).unwrap();
    let rows = rows.lines().filter_map(|line| line.strip_prefix('A')?.split_once(' '));
    let rows: BTreeSet<String> = rows.map(|(_, path)| path.to_owned()).collect();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut code = String::new();
    for room in ["compose", "images", "network", "runtime", "tests", "volumes"] {
        sources(&root.join(room), &mut code);
    }
    let exists = |test: &str| match test.split_at_checked("mistake_".len()) {
        _ if test.starts_with("rules/") => folder(&format!("{test}.txt")).exists(),
        Some(("mistake_", name)) => root.join(format!("tests/mistakes/{name}.txt")).exists(),
        _ => code.contains(&format!("\"{test}\"")) || code.contains(&format!("fn {test}(")),
    };
    let (mut listed, mut without) = (BTreeSet::new(), 0);
    let text = fs::read_to_string(folder("attributes/effects.txt")).unwrap();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (attributes, test) = line.split_once(": ").unwrap();
        for attribute in attributes.split_whitespace() {
            assert!(listed.insert(attribute.to_owned()), "{attribute} stands there twice");
            without += usize::from(test == "?");
        }
        match test.strip_prefix("- ") {
            Some(reason) => assert!(reason.len() > 10, "no reason is given: {line}"),
            None => assert!(test == "?" || exists(test), "there is no test `{test}`: {line}"),
        }
    }
    let missing: Vec<_> = rows.symmetric_difference(&listed).collect();
    assert!(missing.is_empty(), "not in both lists: {missing:?}");
    assert_eq!(without, WITHOUT);
}

#[test]
fn an_attribute_that_changes_nothing_is_found() {
    let scene = Scene::new(&folder("attributes/newer.txt"));
    let place = |key: &str| {
        let mut found = Vec::new();
        places(&scene.document, &["services", "<k>", key], &[], &mut found);
        found
    };
    assert!(place("image").iter().all(|place| scene.misses(place)));
    assert!(place("nothing").is_empty());
}
