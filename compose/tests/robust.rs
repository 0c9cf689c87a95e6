//! Whatever the text of a compose file is, reading it ends, with a project or with messages.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::fs;
use std::path::Path;

use compose::diagnostic::Style;
use compose::file::{self, LoadOptions};
use proptest::prelude::*;

/// What is said about the compose file at `path`.
fn said(path: &Path) -> String {
    let options = LoadOptions {
        working_dir: path.parent().unwrap().to_owned(),
        files: vec![path.to_owned()],
        project_name: Some("robust".to_owned()),
        ..LoadOptions::default()
    };
    let found = match file::load(&options) {
        Ok(loaded) => loaded.warnings,
        Err(found) => found,
    };
    let style = Style { color: false, base: path.parent().map(Path::to_owned) };
    let drawn: Vec<String> = found.iter().map(|diagnostic| diagnostic.render(&style)).collect();
    drawn.join("\n")
}

/// What is said about a compose file with this text.
fn said_of(text: &[u8]) -> String {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("compose.yaml");
    fs::write(&path, text).unwrap();
    said(&path).replace(&scratch.path().display().to_string(), "DIR")
}

/// Reads `text` as a compose file and draws what is said about it.
fn read(text: &[u8]) -> usize {
    said_of(text).len()
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

#[test]
fn what_is_no_text_is_shown_where_it_begins() {
    let zero = said_of(b"services:\n  a: {image: \"x\0y\"}\n");
    assert!(zero.contains("compose.yaml is not text: this byte is zero"), "{zero}");
    assert!(zero.contains("--> compose.yaml:2:16") && zero.contains("UTF-8 text"), "{zero}");
    let latin = said_of(b"services:\n  a: {image: x, user: J\xf6rg}\n");
    assert!(latin.contains("this byte is not UTF-8"), "{latin}");
    assert!(latin.contains("--> compose.yaml:2:24"), "{latin}");
}

#[test]
fn marks_and_line_ends_of_windows_change_no_place() {
    let plain = "services:\n  a: {image: x, retsart: always}\n";
    let expected = said_of(plain.as_bytes());
    assert!(expected.contains("compose.yaml:2:17"), "{expected}");
    assert_eq!(said_of(plain.replace('\n', "\r\n").as_bytes()), expected);
    assert_eq!(said_of(format!("\u{feff}{plain}").as_bytes()), expected);
    let first = said_of("\u{feff}name: [x]\n".as_bytes());
    assert!(first.contains("compose.yaml:1:7"), "{first}");
}

/// Errors of what stands at the path of a file, each in bounded time and memory.
#[test]
fn what_is_no_file_is_refused() {
    let scratch = tempfile::tempdir().unwrap();
    let at = |name: &str| scratch.path().join(name);
    fs::create_dir(at("folder")).unwrap();
    std::os::unix::fs::symlink("loop", at("loop")).unwrap();
    nix::unistd::mkfifo(&at("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    // Larger than any compose file, and only a hole.
    fs::File::create(at("huge")).unwrap().set_len(100 << 20).unwrap();
    let table = [
        (at("folder"), "it is a directory"),
        (at("loop"), "Too many levels of symbolic links"),
        (at("missing"), "No such file or directory"),
        (at("missing/compose.yaml"), "No such file or directory"),
        (at("fifo"), "it is a FIFO, and nobody writes into it"),
        (at("huge"), "huge is larger than 64 MiB"),
        ("/dev/zero".into(), "/dev/zero is larger than 64 MiB"),
        ("/dev/null".into(), "/dev/null is empty"),
    ];
    for (path, words) in table {
        let said = said(&path);
        assert!(said.contains(words) && said.contains("help: "), "{}: {said}", path.display());
    }
}

#[test]
fn a_fifo_that_is_written_to_is_read() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("fifo");
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let writer = std::thread::spawn({
        let path = path.clone();
        move || fs::write(path, "services: {a: {image: x, retsart: always}}\n").unwrap()
    });
    let said = said(&path);
    writer.join().unwrap();
    assert!(said.contains("`retsart` is not a key of a service"), "{said}");
}

/// The same for the files that a compose file names; each mistake is shown where it is named.
#[test]
fn what_other_files_name_is_refused_as_well() {
    let scratch = tempfile::tempdir().unwrap();
    let at = |name: &str| scratch.path().join(name);
    fs::create_dir(at("folder")).unwrap();
    fs::write(at("latin.env"), b"A=1\nB=J\xf6rg\n").unwrap();
    fs::write(at("latin.yaml"), b"services: {b: {image: J\xf6rg}}\n").unwrap();
    nix::unistd::mkfifo(&at("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let text = "include: [folder, latin.yaml]\nservices:\n  a:\n    image: x\n    env_file: [latin.env, folder, fifo, /dev/zero]\n  c:\n    extends: {file: fifo, service: a}\n";
    fs::write(at("compose.yaml"), text).unwrap();
    let said = said(&at("compose.yaml"));
    for words in [
        "--> compose.yaml:1:11",
        "--> latin.yaml:1:24",
        "included from here",
        "--> latin.env:2:4",
        "read from here",
        "--> compose.yaml:5:27",
        "--> compose.yaml:5:35",
        "--> compose.yaml:5:41",
        "--> compose.yaml:7:21",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
}

/// Circles through several files, and aliases that multiply, end with one message each.
#[test]
fn circles_and_bombs_end() {
    let scratch = tempfile::tempdir().unwrap();
    let at = |name: &str| scratch.path().join(name);
    for number in 0..60 {
        let next = (number + 1) % 60;
        let text = format!(
            "include: [f{next}.yaml]\nservices: {{s{number}: {{extends: {{file: f{next}.yaml, service: s{next}}}}}}}\n"
        );
        fs::write(at(&format!("f{number}.yaml")), text).unwrap();
    }
    let circle = said(&at("f0.yaml"));
    assert!(circle.contains("files include one another"), "{circle}");
    let bomb: String =
        (1..12).fold("x-0: &a0 [x, x, x, x, x, x, x, x]\n".to_owned(), |text, level| {
            let alias = format!("*a{}, ", level - 1).repeat(8);
            text + &format!("x-{level}: &a{level} [{alias}]\n")
        });
    let said = said_of(bomb.as_bytes());
    assert!(said.contains("aliases stand for more than"), "{said}");
    let doubling: String = (1..40).fold("V0=xxxxxxxxxxxxxxxx\n".to_owned(), |text, level| {
        text + &format!("V{level}=${{V{}}}${{V{}}}\n", level - 1, level - 1)
    });
    fs::write(at(".env"), doubling).unwrap();
    fs::write(at("compose.yaml"), "services: {a: {image: $V39}}\n").unwrap();
    let said = self::said(&at("compose.yaml"));
    assert!(said.contains("is longer than"), "{said}");
}
