//! Instructions of all kinds, right and wrong.

use super::*;

fn stage(text: &str) -> Vec<Kind> {
    let file = Dockerfile::parse(&format!("FROM scratch\n{text}\n")).unwrap();
    file.stages[0].instructions.iter().map(|one| one.kind.clone()).collect()
}

fn only(text: &str) -> Kind {
    let mut all = stage(text);
    assert_eq!(all.len(), 1, "{text}");
    all.remove(0)
}

fn words(words: &[Word]) -> Vec<&str> {
    words.iter().map(|word| word.text.as_str()).collect()
}

#[test]
fn stages_have_names_numbers_and_platforms() {
    let text = "ARG V=1 W\nFROM --platform=$BUILDPLATFORM golang:$V as Build-1\nRUN a\nFROM scratch\nFROM build-1";
    let file = Dockerfile::parse(text).unwrap();
    assert_eq!(file.arguments.len(), 2);
    assert_eq!(file.stages[0].name.as_deref(), Some("build-1"));
    assert_eq!(file.stages[0].base.text, "golang:$V");
    assert_eq!(file.stages[0].platform.as_ref().unwrap().text, "$BUILDPLATFORM");
    assert_eq!(
        (file.stage("BUILD-1", 2), file.stage("1", 2), file.stage("2", 2)),
        (Some(0), Some(1), None)
    );
    assert_eq!(&text[file.stages[0].base.place.clone()], "golang:$V");
}

#[test]
fn commands_have_two_forms() {
    let exec =
        |words: &[&str]| Command::Exec(words.iter().map(|word| (*word).to_owned()).collect());
    assert_eq!(only(r#"CMD ["a", "b c"]"#), Kind::Cmd(exec(&["a", "b c"])));
    assert_eq!(only("CMD ['a']"), Kind::Cmd(Command::Shell("['a']".to_owned())));
    assert_eq!(only("ENTRYPOINT  exec  x"), Kind::Entrypoint(Command::Shell("exec  x".to_owned())));
    assert_eq!(only("CMD []"), Kind::Cmd(exec(&[])));
    let Kind::Run(run) = only(
        "RUN --mount=type=cache,target=/c --mount=type=tmpfs,target=/t --network=none make \\\n  all",
    ) else {
        panic!()
    };
    assert_eq!(
        run.flags.iter().map(|flag| flag.name).collect::<Vec<_>>(),
        ["mount", "mount", "network"]
    );
    assert_eq!(run.command, Command::Shell("make   all".to_owned()));
}

#[test]
fn heredocs_are_scripts_files_or_input() {
    let Kind::Run(run) = only("RUN <<EOF\necho $A\nEOF") else { panic!() };
    assert_eq!(run.script.unwrap().content, "echo $A\n");
    let Kind::Run(run) = only("RUN python3 <<EOF >/out\nprint(1)\nEOF") else { panic!() };
    assert_eq!(run.script, None);
    assert_eq!(run.command, Command::Shell("python3 <<EOF >/out\nprint(1)\nEOF".to_owned()));
    let Kind::Copy(copy) = only("COPY <<a <<'b' /dir/\n1\na\n2\nb") else { panic!() };
    assert_eq!(words(&copy.sources), ["<<a", "<<'b'"]);
    assert_eq!(copy.heredocs.iter().map(|one| one.expand).collect::<Vec<_>>(), [true, false]);
}

#[test]
fn pairs_lists_and_single_words() {
    let Kind::Env(pairs) = only(r#"ENV A="b c" D=e\ f"#) else { panic!() };
    let shown: Vec<_> =
        pairs.iter().map(|(key, value)| (key.text.as_str(), value.text.as_str())).collect();
    assert_eq!(shown, [("A", "\"b c\""), ("D", "e\\ f")]);
    let Kind::Label(pairs) = only("LABEL key some words") else { panic!() };
    assert_eq!(pairs[0].1.text, "some words");
    let Kind::Volume(list) = only(r#"VOLUME ["/a", "/b c"]"#) else { panic!() };
    assert_eq!(words(&list), ["/a", "/b c"]);
    let Kind::Expose(list) = only("EXPOSE 80 443/udp") else { panic!() };
    assert_eq!(words(&list), ["80", "443/udp"]);
    let Kind::Copy(copy) = only("COPY --from=build --chown=a:b --link x y /z/") else { panic!() };
    assert_eq!((words(&copy.sources), copy.target.text.as_str()), (vec!["x", "y"], "/z/"));
    let Kind::Arg(arguments) = only("ARG A B=\"c d\"") else { panic!() };
    assert_eq!(arguments[1].default.as_ref().unwrap().text, "\"c d\"");
    assert_eq!(only("MAINTAINER Some One"), Kind::Maintainer("Some One".to_owned()));
    assert_eq!(only("ONBUILD COPY . /app"), Kind::Onbuild("COPY . /app".to_owned()));
}

#[test]
fn health_checks_have_times() {
    let Kind::Healthcheck(health) =
        only("HEALTHCHECK --interval=1m30s --retries=4 CMD curl -f http://localhost")
    else {
        panic!()
    };
    assert_eq!(health.interval, Some(std::time::Duration::from_secs(90)));
    assert_eq!(health.retries, Some(4));
    assert!(matches!(
        only("HEALTHCHECK NONE"),
        Kind::Healthcheck(Health { kind: HealthKind::None, .. })
    ));
}

#[test]
fn all_mistakes_are_told_with_their_places() {
    #[rustfmt::skip]
    let table = [
        ("RUNN ls", "RUNN", "`RUNN` is no instruction", "did you mean RUN?"),
        ("COPY a", "COPY a", "COPY needs a source and a target", "write COPY SOURCE… TARGET"),
        ("COPY --form=x a b", "--form=x", "COPY has no flag `--form`", "did you mean `--from`?"),
        ("COPY --chown a b", "--chown", "`--chown` needs a value", "write --chown=VALUE"),
        ("RUN", "RUN", "RUN needs an argument", "write RUN COMMAND"),
        ("ENV A=1 B", "B", "`B` is no pair NAME=VALUE", "put a value with blanks in quotes"),
        ("ENV =1", "=1", "there is no name before the `=`", "write ENV NAME=VALUE…"),
        ("SHELL sh -c", "SHELL sh -c", "SHELL needs a list in JSON", "write SHELL [\"PROGRAM\", \"ARGUMENT\"]"),
        ("ONBUILD FROM x", "FROM x", "FROM cannot be a trigger", "write it in the file that needs it"),
        ("ONBUILD COPY a", "COPY a", "COPY needs a source and a target", "write COPY SOURCE… TARGET"),
        ("HEALTHCHECK --interval=x CMD a", "x", "`x` cannot be the value of `--interval`", "write a time such as 30s, 1m30s or 500ms"),
        ("FROM a b", "FROM a b", "FROM needs one image, or three words", "write FROM [--platform=PLATFORM] IMAGE [AS NAME]"),
        ("FROM a AS 1", "1", "`1` cannot be the name of a stage", "a name begins with a letter and has letters, digits, `-`, `_` and `.`"),
    ];
    for (line, place, message, help) in table {
        let text = format!("FROM scratch\n{line}\n");
        let problems = Dockerfile::parse(&text).unwrap_err();
        assert_eq!(problems.len(), 1, "{line}");
        let Problem { span, message: said, help: helped } = problems[0].clone();
        assert_eq!((&text[span], said.as_str(), helped.as_str()), (place, message, help));
    }
    let all = Dockerfile::parse("FRM a\nRUN x\nFROM b AS c\nFROM d AS C\nCOPY").unwrap_err();
    let messages: Vec<&str> = all.iter().map(|problem| problem.message.as_str()).collect();
    assert_eq!(
        messages,
        [
            "`FRM` is no instruction",
            "there is no stage yet",
            "there are two stages with the name `c`",
            "COPY needs an argument"
        ]
    );
    assert_eq!(Dockerfile::parse("# nothing").unwrap_err()[0].message, "there is no FROM");
}

/// Files in the manner of well-known projects, written for this test.
#[test]
fn files_as_people_write_them_are_read() {
    let corpus = include_str!("corpus.txt");
    let files: Vec<(&str, &str)> =
        corpus.split("=== ").skip(1).filter_map(|part| part.split_once('\n')).collect();
    assert!(files.len() >= 60, "{}", files.len());
    for (name, text) in files {
        for text in [text.to_owned(), text.replace('\n', "\r\n"), format!("\u{feff}{text}")] {
            let file =
                Dockerfile::parse(&text).unwrap_or_else(|problems| panic!("{name}: {problems:?}"));
            for stage in &file.stages {
                assert_eq!(&text[stage.base.place.clone()], stage.base.text, "{name}");
                for one in &stage.instructions {
                    let word = one.source.split(' ').next().unwrap();
                    assert!(
                        text[one.span.clone()].to_uppercase().starts_with(word),
                        "{name}: {one:?}"
                    );
                }
            }
        }
    }
}

proptest::proptest! {
    /// Nothing that a file can say makes the parser panic, and every place is in the file.
    #[test]
    fn any_text_is_read_or_refused(text in "(FROM |RUN |COPY |ENV |ARG |<<E|E\n|\\\\\n|#|=|\"|'|--|\\[|\\$|\\{|\\}| |\t|\n|a|é|/){0,40}") {
        match Dockerfile::parse(&text) {
            Ok(file) => assert!(!file.stages.is_empty()),
            Err(problems) => {
                assert!(!problems.is_empty());
                for problem in problems {
                    assert!(text.get(problem.span.clone()).is_some(), "{problem:?} in {text:?}");
                }
            }
        }
    }
}

#[test]
fn the_place_of_nothing_cuts_no_character() {
    let text = "RUN \u{e9}\\\n\u{3000}";
    let (_, lines, _) = super::lines::lines(text);
    let line = lines.first().unwrap();
    for at in 0..=line.text.len() {
        if line.text.is_char_boundary(at) {
            assert!(text.get(line.place(at..at)).is_some(), "{at}");
        }
    }
}
