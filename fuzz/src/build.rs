//! What `images` reads before it builds, on any text, with what must hold of it.

use std::collections::HashMap;
use std::path::Path;

use crate::build::dockerfile::{
    Dockerfile, Flag, Kind, Problem, Word, heredoc_name, parse_trigger,
};
use crate::build::ignore::{PathPattern, Patterns};
use crate::words::Expansion;

/// A Dockerfile: every place is in the text, and every word can be expanded or is refused.
pub fn dockerfile(text: &str) {
    let file = match Dockerfile::parse(text) {
        Ok(file) => file,
        Err(problems) => {
            assert!(!problems.is_empty());
            return problems.iter().for_each(|problem| place(text, problem));
        }
    };
    assert!(!file.stages.is_empty());
    let variables = HashMap::from([("SET".to_owned(), "value".to_owned())]);
    let expand = |word: &Word| {
        assert!(text.get(word.place.clone()).is_some());
        let _ = Expansion { variables: &variables, escape: file.escape }.word(&word.text);
        let _ = heredoc_name(&word.text);
    };
    for (number, stage) in file.stages.iter().enumerate() {
        assert!(text.get(stage.span.clone()).is_some());
        expand(&stage.base);
        stage.platform.iter().for_each(expand);
        if let Some(name) = &stage.name {
            assert!(file.stage(name, number).is_none(), "two stages are called {name}");
        }
        for one in &stage.instructions {
            assert!(text.get(one.span.clone()).is_some());
            let expand_flags = |flags: &[Flag]| flags.iter().for_each(|flag| expand(&flag.value));
            match &one.kind {
                Kind::Add(copy) | Kind::Copy(copy) => {
                    copy.sources.iter().chain([&copy.target]).for_each(expand);
                    expand_flags(&copy.flags);
                    for heredoc in copy.heredocs.iter().filter(|heredoc| heredoc.expand) {
                        let _ = Expansion { variables: &variables, escape: file.escape }
                            .body(&heredoc.content);
                    }
                }
                Kind::Run(run) => expand_flags(&run.flags),
                Kind::Env(pairs) | Kind::Label(pairs) => {
                    pairs
                        .iter()
                        .for_each(|(name, value)| [name, value].into_iter().for_each(expand));
                }
                Kind::Expose(words) | Kind::Volume(words) => words.iter().for_each(expand),
                Kind::Onbuild(trigger) => {
                    let again = parse_trigger(trigger);
                    assert!(again.is_ok(), "the trigger {trigger:?} was read before: {again:?}");
                }
                _ => {}
            }
        }
    }
}

fn place(text: &str, problem: &Problem) {
    assert!(text.get(problem.span.clone()).is_some(), "{problem:?}");
    assert!(!problem.message.is_empty());
}

/// An ignore file, and behind the first NUL the path that is asked about.
pub fn dockerignore(text: &str) {
    let (text, path) = text.split_once('\0').unwrap_or((text, "a/b/c.txt"));
    if let Ok(patterns) = Patterns::parse(text) {
        let hidden = patterns.matches(Path::new(path));
        assert!(!hidden || !patterns.is_empty());
        let _ = patterns.has_exception_below(Path::new(path));
    }
    for line in text.lines() {
        if let Ok(Some(pattern)) = PathPattern::parse(line) {
            pattern.matches(Path::new(path));
            pattern.reaches_below(Path::new(path));
        }
    }
}
