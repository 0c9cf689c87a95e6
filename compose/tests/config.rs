//! `compose config`: what it prints can be read again and means the same.

#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "helpers of tests")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn config(directory: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_compose"))
        .args(arguments)
        .current_dir(directory)
        .env_clear()
        .env("HOME", "/home/u")
        .env("PATH", "/usr/bin:/bin")
        .env("TERM", "dumb")
        .output()
        .unwrap()
}

/// What `config` prints, or nothing if it refuses the file.
fn printed(directory: &Path, arguments: &[&str]) -> Option<String> {
    let output = config(directory, arguments);
    output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
}

/// Prints the file of `directory`, reads that and prints it again; says how the two differ.
fn difference(directory: &Path) -> Option<String> {
    let once = printed(directory, &["config"])?;
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("compose.yaml");
    fs::write(&file, &once).unwrap();
    // What is printed is on; the variables that switched it on are not printed.
    let twice = config(scratch.path(), &["--profile", "*", "config"]);
    let said = String::from_utf8_lossy(&twice.stderr);
    if !twice.status.success() {
        return Some(format!("its own output is refused:\n{said}"));
    }
    let twice = String::from_utf8(twice.stdout).unwrap();
    (twice != once).then(|| format!("first:\n{once}\nthen:\n{twice}"))
}

#[test]
fn what_is_printed_reads_back_the_same() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/good");
    let mut count = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let scratch = tempfile::tempdir().unwrap();
        fs::copy(&path, scratch.path().join("compose.yaml")).unwrap();
        let output = config(scratch.path(), &["config", "-q"]);
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(difference(scratch.path()), None, "{name}");
        count += 1;
    }
    assert!(count >= 5, "only {count} files");
}

#[test]
fn merging_an_empty_file_changes_nothing() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/good");
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let scratch = tempfile::tempdir().unwrap();
        fs::copy(&path, scratch.path().join("compose.yaml")).unwrap();
        fs::write(scratch.path().join("empty.yaml"), "services: {}\n").unwrap();
        let alone = printed(scratch.path(), &["-f", "compose.yaml", "config"]);
        let merged = printed(scratch.path(), &["-f", "compose.yaml", "-f", "empty.yaml", "config"]);
        assert!(alone.is_some());
        assert_eq!(alone, merged, "{}", path.display());
    }
}

/// The corpus of the conformance suite, where this machine has it; `TEST_REQUIRE=conformance`
/// makes it a failure that it has not.
fn conformance() -> Option<PathBuf> {
    let given = std::env::var_os("CONFORMANCE").map(PathBuf::from);
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/conformance");
    let found =
        [given, Some(beside)].into_iter().flatten().find(|path| path.join("run.py").is_file());
    let required = std::env::var("TEST_REQUIRE").unwrap_or_default();
    let required = required.split(',').any(|need| need == "conformance");
    assert!(found.is_some() || !required, "TEST_REQUIRE names conformance, which is not here");
    if found.is_none() {
        eprintln!("ignored: there is no ../shared/conformance, and CONFORMANCE names no other");
    }
    found
}

/// Cases whose names of resources come from variables that are not set: an empty name is not
/// printed, and no name means another one.
const NAMELESS: [&str; 3] =
    ["sp-secrets-example-3-1", "sp-networks-name-2", "sp-configs-example-3-1"];

#[test]
fn the_corpus_is_a_fixed_point() {
    let Some(folder) = conformance() else { return };
    let mut different = Vec::new();
    for suite in ["awesome", "wild", "synthetic", "spec", "compose-go"] {
        let Ok(cases) = fs::read_dir(folder.join("cases").join(suite)) else { continue };
        for case in cases {
            let case = case.unwrap().path();
            if NAMELESS.iter().any(|name| case.ends_with(name)) {
                continue;
            }
            let found = difference(&case.join("input"));
            different.extend(found.map(|found| format!("{}: {found}", case.display())));
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
}

/// The exit code of `config` on a file, and what it says and prints.
fn answer(text: &str, arguments: &[&str]) -> (bool, String) {
    let scratch = tempfile::tempdir().unwrap();
    fs::write(scratch.path().join("compose.yaml"), text).unwrap();
    let output = config(scratch.path(), &[arguments, &["config"]].concat());
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(said).unwrap())
}

#[test]
fn a_name_of_nothing_is_refused_unless_it_is_written_so() {
    for name in ["${NOBODY}", "$$", "${NOBODY-}-"] {
        let file = format!("name: '{name}'\nservices: {{web: {{image: web}}}}\n");
        let (accepted, said) = answer(&file, &[]);
        assert!(!accepted && said.contains("the name of the project is empty"), "{name}: {said}");
        let (accepted, said) = answer(&file, &["-p", "mine"]);
        assert!(accepted && said.contains("name: mine"), "{name}: {said}");
    }
    let (accepted, said) = answer("name: ''\nservices: {web: {image: web}}\n", &[]);
    assert!(accepted, "{said}");
}

#[test]
fn what_is_taken_away_need_not_be_known() {
    let file = "services:\n  web: {image: web, mystery: !reset null}\nmystery: !reset {a: b}\n";
    let (accepted, said) = answer(file, &[]);
    assert!(accepted && !said.contains("mystery"), "{said}");
    let (accepted, said) = answer(&file.replace("!reset null", "5"), &[]);
    assert!(!accepted && said.contains("`mystery` is not a key"), "{said}");
}

#[test]
fn a_block_ends_as_the_file_does() {
    let file = |text: &str| {
        let file = format!(
            "services: {{web: {{image: web, configs: [c]}}}}\nconfigs:\n  c:\n    content: {text}"
        );
        let (accepted, said) = answer(&file, &[]);
        assert!(accepted, "{said}");
        said
    };
    for (written, printed) in [
        ("|\n      one\n      two", "content: |-\n      one\n      two\n"),
        ("|\n      one\n      two\n", "content: |\n      one\n      two\n"),
        (">\n      one\n      two", "content: one two\n"),
        ("|+\n      one\n\n", "content: |+\n      one\n"),
    ] {
        let said = file(written);
        assert!(said.contains(printed), "{written}: {said}");
    }
}

#[test]
fn an_include_of_nothing_is_none() {
    let (accepted, said) = answer("include:\nservices: {web: {image: web}}\n", &[]);
    assert!(accepted && said.contains("image: web"), "{said}");
}

#[test]
fn a_profile_without_a_name_is_on_until_others_are_asked_for() {
    let file =
        "services: {a: {image: a, profiles: ['${NOBODY-}']}, b: {image: b, profiles: [x]}}\n";
    for (arguments, on) in [(&[][..], "image: a"), (&["--profile", "x"], "image: b")] {
        let (accepted, said) = answer(file, arguments);
        assert!(accepted && said.contains(on) && said.matches("image:").count() == 1, "{said}");
    }
}

#[test]
fn what_has_no_name_is_not_defined() {
    for attribute in ["configs: ['']", "secrets: ['${NOBODY-}']", "configs: [{source: ''}]"] {
        let file = format!("services: {{web: {{image: web, {attribute}}}}}\n");
        let (accepted, said) = answer(&file, &[]);
        assert!(!accepted && said.contains("is a variable not set?"), "{attribute}: {said}");
    }
}

#[test]
fn a_deploy_of_nothing_is_printed_and_one_that_is_not_there_is_not() {
    for (deploy, is_printed) in
        [("{}", true), ("{resources: {}}", true), ("", false), ("!reset {}", false)]
    {
        let (accepted, said) =
            answer(&format!("services: {{web: {{image: web, deploy: {deploy}}}}}\n"), &[]);
        assert!(accepted, "{deploy}: {said}");
        assert_eq!(said.contains("    deploy: {}\n"), is_printed, "{deploy}: {said}");
    }
}

#[test]
fn variables_are_those_of_included_and_extended_files_too() {
    let scratch = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(scratch.path().join(name), text).unwrap();
    write("part.yaml", "services: {part: {image: '${PART:-x}'}}\n");
    write("base.yaml", "services: {base: {image: base, user: '${BASE?needed}'}}\n");
    for include in ["part.yaml", "{path: part.yaml}", "{path: [part.yaml]}"] {
        write(
            "compose.yaml",
            &format!(
                "include: [{include}]\nservices: {{web: {{image: '$WEB', extends: {{file: base.yaml, service: base}}}}}}\n"
            ),
        );
        let said = printed(scratch.path(), &["config", "--variables"]).unwrap();
        let names: Vec<&str> = said.lines().filter_map(|line| line.split(' ').next()).collect();
        assert_eq!(names, ["NAME", "BASE", "PART", "WEB"], "{include}: {said}");
        let raw = printed(scratch.path(), &["config", "--no-interpolate"]).unwrap();
        assert!(raw.contains("image: ${PART:-x}"), "{include}: {raw}");
    }
}

#[test]
fn what_external_does_not_know_says_nothing_or_is_refused() {
    for (kind, is_accepted) in
        [("configs", true), ("secrets", true), ("networks", false), ("volumes", false)]
    {
        let file = format!(
            "services: {{web: {{image: web}}}}\n{kind}: {{one: {{external: {{name: two, b: c}}}}}}\n"
        );
        let (accepted, said) = answer(&file, &[]);
        assert_eq!(accepted, is_accepted, "{kind}: {said}");
        assert!(said.contains("`b` is not a key of `external`"), "{kind}: {said}");
    }
}

#[test]
fn what_extends_does_not_know_says_nothing() {
    let file = "services:\n  web: {extends: {service: base, file: , files: a, x-b: c}}\n  base: {image: base}\n";
    let (accepted, said) = answer(file, &[]);
    assert!(accepted && said.matches("image: base").count() == 2, "{said}");
    assert!(said.contains("`files` is not a key of `extends` and says nothing"), "{said}");
    assert_eq!(said.matches("is not a key").count(), 1, "{said}");
}
