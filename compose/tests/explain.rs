//! `config --explain`: every value of a project of several files, with its way.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

const FILES: [(&str, &str); 7] = [
    (
        "compose.yaml",
        "x-base: &base\n  restart: always\n  logging: &log {driver: json-file}\ninclude: [sub/compose.yaml]\n\
         services:\n  web:\n    <<: *base\n    image: \"nginx:${TAG:-1}\"\n    env_file: web.env\n    \
         environment:\n      FOO: own\n      FROM_OUTSIDE:\n    ports: [\"${PORT}:80\"]\n    \
         depends_on: [db]\n  api:\n    extends: {file: base.yaml, service: api}\n    logging: *log\n",
    ),
    (
        "compose.override.yaml",
        "services:\n  web:\n    restart: \"no\"\n    environment: [BAR=over]\n",
    ),
    ("base.yaml", "services:\n  root: {image: \"api:$TAG\"}\n  api: {extends: root, user: app}\n"),
    ("sub/compose.yaml", "services:\n  db: {image: \"db:${VERSION}\"}\n"),
    ("sub/.env", "VERSION=9\n"),
    (".env", "# one\nPORT=8080\n"),
    ("web.env", "FOO=file\nBAR=file\nBAZ=\"z $PORT\"\n"),
];

fn config(directory: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_compose"))
        .args(["-p", "shop", "config"])
        .args(arguments)
        .current_dir(directory)
        .env_clear()
        .envs([("HOME", "/home/u"), ("TERM", "dumb"), ("FROM_OUTSIDE", "yes")])
        .output()
        .unwrap()
}

fn scene() -> tempfile::TempDir {
    let scratch = tempfile::tempdir().unwrap();
    for (path, text) in FILES {
        let path = scratch.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    scratch
}

fn explained(arguments: &[&str]) -> String {
    let scene = scene();
    let output = config(scene.path(), arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.replace(&scene.path().display().to_string(), "DIR")
}

#[test]
fn all_values_of_all_services() {
    insta::assert_snapshot!(explained(&["--explain"]));
}

#[test]
fn one_value() {
    let text = explained(&["--explain", "services.web.environment.BAR"]);
    insta::assert_snapshot!(text);
    assert_eq!(text.lines().next().unwrap().split_whitespace().count(), 3, "{text}");
}

#[test]
fn as_json() {
    let text = explained(&["--explain", "services.web.ports", "--format", "json"]);
    let values: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
    let published = values.iter().find(|value| value["path"] == "services.web.ports[0].published");
    insta::assert_snapshot!(serde_json::to_string_pretty(published.unwrap()).unwrap());
}

#[test]
fn a_path_that_is_not_there() {
    let scene = scene();
    for (path, help) in [
        ("services.web.imge", "did you mean `services.web.image`?"),
        ("services.nobody", "there is services.api, services.db, services.web"),
    ] {
        let output = config(scene.path(), &["--explain", path]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(said.contains(&format!("there is nothing at `{path}`")), "{said}");
        assert!(said.contains(help), "{said}");
    }
}

/// Every value that `config` prints is explained.
#[test]
fn nothing_is_left_out() {
    let scene = scene();
    let printed = config(scene.path(), &["--format", "json"]);
    let printed: serde_json::Value = serde_json::from_slice(&printed.stdout).unwrap();
    let explained = explained(&["--explain", "", "--format", "json"]);
    let explained: Vec<serde_json::Value> = serde_json::from_str(&explained).unwrap();
    let paths: Vec<&str> = explained.iter().map(|one| one["path"].as_str().unwrap()).collect();
    let mut missing = Vec::new();
    leaves("", &printed, &mut |path, value| {
        if !value.is_null() && value != &serde_json::json!({}) && !paths.contains(&path) {
            missing.push(path.to_owned());
        }
    });
    assert!(missing.is_empty(), "{missing:?}");
}

fn leaves(path: &str, value: &serde_json::Value, visit: &mut dyn FnMut(&str, &serde_json::Value)) {
    match value {
        serde_json::Value::Object(entries) if !entries.is_empty() => {
            for (key, value) in entries {
                let below = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                leaves(&below, value, visit);
            }
        }
        serde_json::Value::Array(items) if !items.is_empty() => {
            for (index, value) in items.iter().enumerate() {
                leaves(&format!("{path}[{index}]"), value, visit);
            }
        }
        other => visit(path, other),
    }
}

/// Mistakes and warnings as lines of JSON, on standard error, in the documented shape.
#[test]
fn mistakes_as_json() {
    let scratch = tempfile::tempdir().unwrap();
    let text = "services: {a: {imag: x, command: a && b}}\n";
    fs::write(scratch.path().join("compose.yaml"), text).unwrap();
    let output = config(scratch.path(), &["--format", "json"]);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0));
    let said = String::from_utf8(output.stderr).unwrap();
    let lines: Vec<serde_json::Value> =
        said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let unknown = &lines[1];
    assert_eq!(unknown["message"], "`imag` is not a key of a service");
    assert_eq!(unknown["severity"], "error");
    assert_eq!((&unknown["line"], &unknown["column"]), (&1.into(), &16.into()));
    assert_eq!(unknown["end"], serde_json::json!({ "line": 1, "column": 20 }));
    assert_eq!(unknown["help"][0], "did you mean `image`?");
    assert!(lines.iter().any(|line| line["severity"] == "warning"), "{said}");
}
