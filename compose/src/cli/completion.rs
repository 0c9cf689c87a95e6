//! `compose completion`, and the answers to the shells that have its script.
//!
//! The script asks this binary for every word (`COMPLETE=bash compose -- …`): so service names come from the compose file,
//! and commands and flags from the binary that is there.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use clap::Command;
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate};
use clap_complete::env::{Bash, CompleteEnv, EnvCompleter, Fish, Zsh};

use super::context::Context;
use super::error::CommandError;
use super::terminal::Terminal;
use crate::file::{self, LoadOptions};
use crate::record::{Roots, list};

/// Print the script that completes words for a shell
///
/// `source <(compose completion bash)`, or `compose completion fish | source`
#[derive(Debug, clap::Args)]
pub struct CompletionArgs {
    /// Which shell
    #[arg(value_enum)]
    shell: Shell,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

/// The variable by which the script says that it asks.
const VARIABLE: &str = "COMPLETE";

/// Prints the script.
///
/// # Errors
///
/// When standard output does not take it.
pub fn run(args: CompletionArgs, _: &Context, terminal: &mut Terminal) -> Result<u8, CommandError> {
    let shell: &dyn EnvCompleter = match args.shell {
        Shell::Bash => &Bash,
        Shell::Zsh => &Zsh,
        Shell::Fish => &Fish,
    };
    let mut script = Vec::new();
    let written = shell.write_registration(VARIABLE, "compose", "compose", "compose", &mut script);
    written.map_err(|error| CommandError::new(&error))?;
    terminal.print(script)?;
    Ok(0)
}

/// Answers a shell that asks, and says whether one did.
pub fn answer(command: fn() -> Command) -> bool {
    if std::env::var_os(VARIABLE).is_none() {
        return false;
    }
    let factory = move || with_names(command());
    let asked = CompleteEnv::with_factory(factory).try_complete(std::env::args_os(), None);
    asked.unwrap_or(true)
}

/// Has every argument that is a service, a project or a profile completed by those there are.
pub fn with_names(mut command: Command) -> Command {
    command = command.mut_args(|argument| {
        let is_service =
            argument.get_value_names().unwrap_or_default().iter().any(|name| name == "SERVICE");
        match argument.get_id().as_str() {
            _ if is_service => argument.add(ArgValueCompleter::new(of(services))),
            "project_name" => argument.add(ArgValueCompleter::new(of(projects))),
            "profiles" => argument.add(ArgValueCompleter::new(of(profiles))),
            _ => argument,
        }
    });
    let names: Vec<String> =
        command.get_subcommands().map(|one| one.get_name().to_owned()).collect();
    for name in names {
        command = command.mut_subcommand(name, with_names);
    }
    command
}

/// Those of the names, given the words so far, that begin as the last one.
fn of(names: fn(&[OsString]) -> Vec<String>) -> impl Fn(&OsStr) -> Vec<CompletionCandidate> {
    move |begun| {
        let begun = begun.to_string_lossy();
        let words: Vec<OsString> = std::env::args_os().collect();
        let names = names(&words).into_iter();
        names.filter(|name| name.starts_with(&*begun)).map(CompletionCandidate::new).collect()
    }
}

/// The services of the project that the words so far mean; none if its files cannot be read.
fn services(words: &[OsString]) -> Vec<String> {
    let options = meant(words);
    if let Ok(loaded) = file::load(&options) {
        return loaded.project.services.keys().map(ToString::to_string).collect();
    }
    let Some(project) = options.project_name else { return Vec::new() };
    let found = list::containers(&Roots::from_env(), &project).unwrap_or_default();
    let names = found.containers.iter().map(|one| one.record.service.to_string());
    names.collect::<BTreeSet<String>>().into_iter().collect()
}

/// The projects that there is something of.
fn projects(_: &[OsString]) -> Vec<String> {
    list::projects(&Roots::from_env()).unwrap_or_default()
}

/// The profiles of the project that the words so far mean.
fn profiles(words: &[OsString]) -> Vec<String> {
    let Ok(loaded) = file::load(&meant(words)) else { return Vec::new() };
    let all = loaded.project.services.values().flat_map(|service| &service.profiles);
    all.cloned().collect::<BTreeSet<String>>().into_iter().collect()
}

/// The project that the words so far mean, with all its profiles.
fn meant(words: &[OsString]) -> LoadOptions {
    let value = |long: &str, short: &str| -> Vec<String> {
        let texts: Vec<String> =
            words.iter().map(|word| word.to_string_lossy().into_owned()).collect();
        let mut found = Vec::new();
        for (at, text) in texts.iter().enumerate() {
            if text == long || text == short {
                found.extend(texts.get(at + 1).cloned());
            } else if let Some(value) =
                text.strip_prefix(long).and_then(|rest| rest.strip_prefix('='))
            {
                found.push(value.to_owned());
            }
        }
        found
    };
    LoadOptions {
        working_dir: std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/")),
        files: value("--file", "-f").into_iter().map(PathBuf::from).collect(),
        project_name: value("--project-name", "-p").pop(),
        project_dir: value("--project-directory", "").pop().map(PathBuf::from),
        profiles: vec!["*".to_owned()],
        environment: std::env::vars().collect(),
        ..LoadOptions::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_stays_consistent() {
        with_names(crate::cli::command()).debug_assert();
    }

    #[test]
    fn services_come_from_the_file_that_is_meant() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("other.yaml");
        std::fs::write(&file, "services: {web: {image: a}, job: {image: b, profiles: [x]}}")
            .unwrap();
        let words = ["compose", "-f", file.to_str().unwrap(), "up", ""].map(OsString::from);
        assert_eq!(services(&words), ["job", "web"]);
        let words = [format!("--file={}", file.display())].map(OsString::from);
        assert_eq!(services(&words), ["job", "web"]);
        assert_eq!(profiles(&words), ["x"]);
    }
}
