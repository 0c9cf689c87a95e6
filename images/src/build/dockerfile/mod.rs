//! From the text of a Dockerfile to its stages and instructions.
//!
//! Nothing is expanded or looked up here: that depends on arguments and on what other stages have made. All mistakes of
//! a file are found at once.
//!
//! Source: Dockerfile reference (docker/dockerfile 1.x).

mod instruction;
mod lines;
mod parse;

use std::ops::Range;

use serde::{Deserialize, Serialize};

pub(crate) use instruction::{
    Argument, Command, Copy, Flag, Health, HealthKind, Instruction, Kind, Run,
};
pub(crate) use lines::Heredoc;
use parse::Parsed;

/// A mistake in a Dockerfile, with its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// Where it is, in bytes of the file.
    pub span: Range<usize>,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub help: String,
}

impl Problem {
    pub(crate) fn new(
        span: Range<usize>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> Self {
        Self { span, message: message.into(), help: help.into() }
    }
}

/// A word as it is written, with its quotes and variables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Word {
    /// What is written.
    pub(crate) text: String,
    /// Where, in bytes of the file.
    pub(crate) place: Range<usize>,
}

/// What a Dockerfile says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Dockerfile {
    /// The character that takes the meaning of the next one away.
    pub(crate) escape: char,
    /// The `ARG`s before the first `FROM`.
    pub(crate) arguments: Vec<Argument>,
    /// At least one.
    pub(crate) stages: Vec<Stage>,
}

/// A `FROM` and what follows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stage {
    /// The line of the `FROM`.
    pub(crate) span: Range<usize>,
    /// An image or an earlier stage.
    pub(crate) base: Word,
    /// Its name after `AS`, in lower case.
    pub(crate) name: Option<String>,
    /// `--platform`.
    pub(crate) platform: Option<Word>,
    /// What is done in it.
    pub(crate) instructions: Vec<Instruction>,
}

impl Dockerfile {
    /// Reads a Dockerfile.
    ///
    /// # Errors
    ///
    /// All mistakes in it, in the order of the file.
    pub(crate) fn parse(text: &str) -> Result<Self, Vec<Problem>> {
        let (directives, lines, mut problems) = lines::lines(text);
        let mut file =
            Self { escape: directives.escape, arguments: Vec::new(), stages: Vec::new() };
        for line in &lines {
            match parse::parse(line, directives.escape) {
                Ok(parsed) => problems.extend(file.add(parsed)),
                Err(problem) => problems.push(problem),
            }
        }
        if file.stages.is_empty() && problems.is_empty() {
            problems.push(Problem::new(
                0..0,
                "there is no FROM",
                "begin with FROM and the image to build on; `FROM scratch` begins with nothing",
            ));
        }
        problems.sort_by_key(|problem| problem.span.start);
        if problems.is_empty() { Ok(file) } else { Err(problems) }
    }

    /// Adds an instruction to the stage that it is in.
    fn add(&mut self, parsed: Parsed) -> Option<Problem> {
        match parsed {
            Parsed::From(stage) => {
                let twice = stage
                    .name
                    .as_ref()
                    .filter(|name| self.stages.iter().any(|one| one.name.as_ref() == Some(name)));
                let problem = twice.map(|name| {
                    Problem::new(
                        stage.span.clone(),
                        format!("there are two stages with the name `{name}`"),
                        "give one of them another name",
                    )
                });
                self.stages.push(stage);
                problem
            }
            Parsed::Instruction(instruction) => match (self.stages.last_mut(), instruction.kind) {
                (Some(stage), kind) => {
                    stage.instructions.push(Instruction { kind, ..instruction });
                    None
                }
                (None, Kind::Arg(arguments)) => {
                    self.arguments.extend(arguments);
                    None
                }
                (None, _) => Some(Problem::new(
                    instruction.span,
                    "there is no stage yet",
                    "only ARG may stand before the first FROM",
                )),
            },
        }
    }

    /// The number of the stage with this name, or with this number; names go before numbers.
    ///
    /// Only stages before number `before` are seen.
    pub(crate) fn stage(&self, name: &str, before: usize) -> Option<usize> {
        let name = name.to_ascii_lowercase();
        let named =
            self.stages[..before].iter().rposition(|stage| stage.name.as_ref() == Some(&name));
        named.or_else(|| name.parse().ok().filter(|number| *number < before))
    }
}

/// The name of a heredoc, if `word` is one.
pub(crate) fn heredoc_name(word: &str) -> Option<String> {
    lines::heredoc_word(word).map(|(name, ..)| name)
}

/// Reads the instruction of an `ONBUILD`, which stands in the configuration of a base image.
pub(crate) fn parse_trigger(text: &str) -> Result<Instruction, Problem> {
    let (directives, lines, problems) = lines::lines(text);
    if let Some(problem) = problems.into_iter().next() {
        return Err(problem);
    }
    let empty = || Problem::new(0..0, "the trigger is empty", "rebuild the base image");
    let line = lines.first().ok_or_else(empty)?;
    match parse::parse(line, directives.escape)? {
        Parsed::Instruction(instruction) => Ok(instruction),
        Parsed::From(_) => {
            Err(Problem::new(0..0, "FROM cannot be a trigger", "rebuild the base image"))
        }
    }
}

#[cfg(test)]
mod tests;
