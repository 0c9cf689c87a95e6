//! `config --schema` against a validator and a YAML reader that are not ours (`schema.py`): what
//! the loader accepts is valid, and what is wrong by its form alone is not.

#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "helpers of tests")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Whether Python has the validator; `TEST_REQUIRE=jsonschema` makes it a failure that it has not.
fn validator() -> bool {
    let probe = Command::new("python3").args(["-c", "import jsonschema, yaml"]).output();
    let found = probe.is_ok_and(|output| output.status.success());
    let required = std::env::var("TEST_REQUIRE").unwrap_or_default();
    let required = required.split(',').any(|need| need == "jsonschema");
    assert!(found || !required, "TEST_REQUIRE names jsonschema, which Python does not have");
    if !found {
        eprintln!("ignored: python3 has no jsonschema or no yaml");
    }
    found
}

/// What the validator says, a line for each file.
fn verdicts(arguments: &[PathBuf]) -> Vec<String> {
    let schema =
        Command::new(env!("CARGO_BIN_EXE_compose")).args(["config", "--schema"]).output().unwrap();
    assert!(schema.status.success());
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("schema.json");
    fs::write(&file, schema.stdout).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/schema.py");
    let output = Command::new("python3").arg(script).arg(file).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

fn tests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")
}

#[test]
fn what_is_good_is_valid() {
    if !validator() {
        return;
    }
    let mut files: Vec<PathBuf> =
        fs::read_dir(tests().join("good")).unwrap().map(|entry| entry.unwrap().path()).collect();
    for example in fs::read_dir(tests().join("../../examples")).unwrap() {
        files.extend(
            Some(example.unwrap().path().join("compose.yaml")).filter(|file| file.exists()),
        );
    }
    let verdicts = verdicts(&files);
    assert!(
        verdicts.len() >= 7 && verdicts.iter().all(|line| line.starts_with("ok ")),
        "{verdicts:#?}"
    );
}

#[test]
fn what_is_wrong_by_its_form_is_not() {
    if !validator() {
        return;
    }
    let names = [
        "bad-boolean",
        "bad-bytes",
        "bad-duration",
        "bad-integer",
        "bad-mode",
        "bad-number",
        "image-is-a-number",
        "ports-is-a-string",
        "service-is-a-string",
        "unknown-deep-key",
        "unknown-key",
        "unknown-top-level-key",
        "version-is-a-number",
    ];
    let files = names.map(|name| tests().join(format!("broken/{name}.yaml")));
    let verdicts = verdicts(&files);
    assert!(verdicts.len() == names.len(), "{verdicts:#?}");
    assert!(verdicts.iter().all(|line| line.starts_with("no ")), "{verdicts:#?}");
}

/// The corpus of the conformance suite, where this machine has it.
#[test]
fn what_docker_compose_accepts_is_valid() {
    let given = std::env::var_os("CONFORMANCE").map(PathBuf::from);
    let beside = tests().join("../../../shared/conformance");
    let found =
        [given, Some(beside)].into_iter().flatten().find(|path| path.join("run.py").is_file());
    let Some(folder) = found.filter(|_| validator()) else {
        eprintln!("ignored: no conformance suite");
        return;
    };
    let verdicts = verdicts(&["--conformance".into(), folder]);
    let wrong: Vec<&String> = verdicts.iter().filter(|line| !line.starts_with("ok ")).collect();
    assert!(verdicts.len() > 500, "only {} files", verdicts.len());
    assert!(wrong.is_empty(), "{wrong:#?}");
}
