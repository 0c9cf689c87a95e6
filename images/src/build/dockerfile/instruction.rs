//! What the instructions of a Dockerfile say.

use std::ops::Range;
use std::time::Duration;

use super::Word;
use super::lines::Heredoc;

/// One instruction of a stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Instruction {
    /// Where it is, in bytes of the file, without its heredocs.
    pub(crate) span: Range<usize>,
    /// Its name in capitals and its text, on one line.
    pub(crate) source: String,
    /// What it says.
    pub(crate) kind: Kind,
}

/// What an instruction says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    Add(Copy),
    Arg(Vec<Argument>),
    Cmd(Command),
    Copy(Copy),
    Entrypoint(Command),
    Env(Vec<(Word, Word)>),
    Expose(Vec<Word>),
    Healthcheck(Health),
    Label(Vec<(Word, Word)>),
    Maintainer(String),
    Onbuild(String),
    Run(Run),
    Shell(Vec<String>),
    StopSignal(Word),
    User(Word),
    Volume(Vec<Word>),
    Workdir(Word),
}

/// A name that the caller may give a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Argument {
    /// The name.
    pub(crate) name: Word,
    /// The value if the caller gives none.
    pub(crate) default: Option<Word>,
}

/// What to execute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Command {
    /// A program and its arguments.
    Exec(Vec<String>),
    /// A line for the shell.
    Shell(String),
}

/// `--name=value` behind the name of an instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Flag {
    /// The name.
    pub(crate) name: &'static str,
    /// The value; of a flag without one, `true`.
    pub(crate) value: Word,
}

/// `ADD` and `COPY`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Copy {
    /// Its flags.
    pub(crate) flags: Vec<Flag>,
    /// What is copied; `<<NAME` for a heredoc.
    pub(crate) sources: Vec<Word>,
    /// Where to.
    pub(crate) target: Word,
    /// Files that are written out here.
    pub(crate) heredocs: Vec<Heredoc>,
}

/// `RUN`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Run {
    /// Its flags.
    pub(crate) flags: Vec<Flag>,
    /// What is executed.
    pub(crate) command: Command,
    /// The script, if the command is nothing but a heredoc.
    pub(crate) script: Option<Heredoc>,
}

/// `HEALTHCHECK`. Fields that are not given are inherited.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Health {
    /// What is executed.
    pub(crate) kind: HealthKind,
    /// Time between two probes.
    pub(crate) interval: Option<Duration>,
    /// Time after which one has failed.
    pub(crate) timeout: Option<Duration>,
    /// Time in which failures do not count.
    pub(crate) start_period: Option<Duration>,
    /// Time between two probes in that time.
    pub(crate) start_interval: Option<Duration>,
    /// Failures in a row.
    pub(crate) retries: Option<u32>,
}

/// What a health check executes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum HealthKind {
    /// Nothing, whatever the base image says.
    None,
    /// A command.
    Command(Command),
}
