//! Whatever the text of a compose file is, reading it ends, with a project or with messages.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::fs;
use std::path::Path;

use compose::diagnostic::Style;
use compose::file::{self, LoadOptions};
use proptest::prelude::*;

/// Reads `text` as a compose file and draws what is said about it.
fn read(text: &[u8]) -> usize {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("compose.yaml");
    fs::write(&path, text).unwrap();
    let options = LoadOptions {
        working_dir: scratch.path().to_owned(),
        files: vec![path],
        project_name: Some("robust".to_owned()),
        ..LoadOptions::default()
    };
    let found = match file::load(&options) {
        Ok(loaded) => loaded.warnings,
        Err(found) => found,
    };
    let style = Style { color: false, base: None };
    found.iter().map(|diagnostic| diagnostic.render(&style).len()).sum()
}

fn good() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/good");
    let mut files: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.iter().map(|path| fs::read_to_string(path).unwrap()).collect()
}

/// A good file with a few bytes replaced by something else.
fn mutated() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        "[ \n\t:\\-\\[\\]{}\"'#&*!|>$%@0-9a-z]{0,4}",
        Just("\n  ".to_owned()),
        Just("*a".to_owned()),
        Just("${".to_owned()),
        Just("!reset ".to_owned()),
        Just("<<: ".to_owned()),
        Just("é".to_owned()),
    ];
    let edits = prop::collection::vec((any::<prop::sample::Index>(), 0_usize..12, piece), 1..6);
    (prop::sample::select(good()), edits).prop_map(|(mut text, edits)| {
        for (at, length, piece) in edits {
            let places: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
            let start = *at.get(&places);
            let end =
                text[start..].char_indices().nth(length).map_or(text.len(), |(at, _)| start + at);
            text.replace_range(start..end, &piece);
        }
        text
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn edited_files_are_read_or_refused(text in mutated()) {
        read(text.as_bytes());
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        read(&bytes);
    }
}

#[test]
fn hostile_files_end_soon() {
    let many_errors: String = (0..5_000).map(|i| format!("k{i}: 1\n")).collect();
    let extends: String = (0..5_000)
        .map(|i| format!("  s{i}: {{image: x, extends: s{}}}\n", i + 1))
        .collect::<String>()
        + "  s5000: {image: x}\n";
    let texts = [
        many_errors,
        format!("services:\n{extends}"),
        "[".repeat(100_000),
        "{a: ".repeat(100_000),
        "- ".repeat(10_000),
        format!("services: {{a: {{image: \"{}\"}}}}", "${A:-".repeat(50_000)),
        format!("services: {{a: {{image: \"{}\"}}}}", "x".repeat(1 << 20)),
        "a: &a [*a]\n".to_owned(),
        "\u{feff}services: {}\n".to_owned(),
        "services: {a: {image: x\0}}".to_owned(),
        "? [a, b]\n: c\n".to_owned(),
        "%YAML 9.9\n---\n".to_owned(),
    ];
    for text in texts {
        read(text.as_bytes());
    }
}
