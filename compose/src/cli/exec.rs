//! `compose exec`.

use std::path::PathBuf;

use runtime::exec::{self, ExecError, ExecProcess, Mode, Privilege};
use runtime::launch::Launch;

use super::context::Context;
use super::error::CommandError;
use super::pick::{self, Among};
use super::session::code;
use super::streams::StreamArgs;
use super::terminal::Terminal;
use crate::model::ServiceName;
use crate::record::{Container, Phase};

/// Run a command in a running container
#[derive(Debug, clap::Args)]
#[command(mut_arg("interactive", |arg| arg.hide(true)))]
pub struct ExecArgs {
    /// The service
    service: ServiceName,
    /// The command
    #[arg(
        value_name = "COMMAND",
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    command: Vec<String>,
    /// Leave it running in the background
    #[arg(long, short)]
    detach: bool,
    /// Set a variable, or take it from this environment
    #[arg(long = "env", short, value_name = "NAME[=VALUE]")]
    env: Vec<String>,
    /// Number of the container among the replicas (default: the lowest)
    #[arg(long, value_name = "N")]
    index: Option<u32>,
    #[command(flatten)]
    streams: StreamArgs,
    /// With all capabilities and no filter of system calls
    #[arg(long)]
    privileged: bool,
    /// User (default: the container's)
    #[arg(long, short, value_name = "USER[:GROUP]")]
    user: Option<String>,
    /// Directory it runs in (default: the container's)
    #[arg(long, short, value_name = "DIRECTORY")]
    workdir: Option<PathBuf>,
}

/// Joins the container directly; no supervisor is asked.
///
/// # Errors
///
/// When there is no such container, and with exit code 125, 126 or 127 when the command cannot be
/// started.
pub fn run(args: ExecArgs, context: &Context, terminal: &mut Terminal) -> Result<u8, CommandError> {
    let (target, containers) = context.target_with_containers(terminal)?;
    let container =
        pick::container(&target, &containers, &args.service, args.index, Among::Running)?;
    if context.global().dry_run {
        return Err(CommandError::usage(
            "--dry-run: what a command does cannot be told beforehand",
        ));
    }
    let init = joinable(container)?;
    let launch = context.launch(container)?;
    let mode = args.mode();
    if !args.streams.interactive {
        let nothing =
            std::fs::File::open("/dev/null").map_err(|error| CommandError::new(&error))?;
        rustix::stdio::dup2_stdin(nothing).map_err(|error| CommandError::new(&error))?;
    }
    let process = args.process(&launch);
    terminal.settle();
    Ok(code(exec::run(init, process, mode)?.shell_code()))
}

impl From<ExecError> for CommandError {
    fn from(error: ExecError) -> Self {
        let said = Self::new(&error).code(125);
        match &error {
            ExecError::NotRunning(_) => said
                .help("it ended just now: `compose ps -a` shows how, `compose logs` what it said"),
            ExecError::Streams { .. } => said.help("`compose exec -T` does without a terminal"),
            ExecError::Failed(failure) => {
                let said = Self::failed(failure.to_string());
                match failure.shell_code() {
                    127 => said.help("the container's image has no such program, or `PATH` does not lead to it").code(127),
                    126 => said.help("the file is there, but is no program that this user may execute").code(126),
                    _ => said.code(125),
                }
            }
        }
    }
}

/// The process to join; a container may be up without one.
fn joinable(container: &Container) -> Result<exec::Target, CommandError> {
    let name = &container.record.name;
    match (container.state.phase, &container.state.process) {
        (Phase::Running, Some(process)) => {
            Ok(exec::Target { pid: process.pid, pid_started: process.started_ticks })
        }
        (Phase::Paused, _) => Err(CommandError::failed(format!("container {name} is paused"))
            .help("a frozen container runs no commands: unpause it first")),
        _ => Err(CommandError::failed(format!("container {name} is about to be restarted"))
            .help(format!("`compose logs {}` shows why it exited", container.record.service))),
    }
}

impl ExecArgs {
    fn mode(&self) -> Mode {
        let terminal = self.streams.interactive && self.streams.terminal();
        match (self.detach, terminal) {
            (true, _) => Mode::Detached,
            (false, true) => Mode::Terminal,
            (false, false) => Mode::Streams,
        }
    }

    fn process(self, launch: &Launch) -> ExecProcess {
        let privilege = if self.privileged { Privilege::Full } else { Privilege::Container };
        let mut process = ExecProcess::of(launch, self.command, privilege);
        for word in self.env {
            set(&mut process.env, &word);
        }
        if let Some(user) = self.user {
            process.user = user;
            process.groups.clear();
        }
        if let Some(directory) = self.workdir {
            process.cwd = directory;
        }
        process
    }
}

/// Sets `NAME=VALUE`, or `NAME` to what it is in our own environment; one that is not set there
/// is left as it is.
fn set(env: &mut Vec<String>, word: &str) {
    let (name, value) = match word.split_once('=') {
        Some((name, value)) => (name, value.to_owned()),
        None => match std::env::var(word) {
            Ok(value) => (word, value),
            Err(_) => return,
        },
    };
    env.retain(|entry| entry.split_once('=').is_none_or(|(known, _)| known != name));
    env.push(format!("{name}={value}"));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::testing::{args, refusal};

    #[test]
    fn words_behind_the_service_belong_to_the_command() {
        let args = args::<ExecArgs>(&["-T", "-e", "A=1", "web", "ls", "-la", "--user", "x"]);
        assert_eq!(args.command, ["ls", "-la", "--user", "x"]);
        assert_eq!(args.env, ["A=1"]);
        assert!(refusal::<ExecArgs>(&["web"]).is_some());
        let both = crate::cli::testing::args::<ExecArgs>(&["-it", "web", "sh"]);
        assert_eq!((both.command, both.streams.interactive), (vec!["sh".to_owned()], true));
        let none = ["-i=false", "--tty=false", "web", "sh"];
        let none = crate::cli::testing::args::<ExecArgs>(&none);
        assert!(!none.streams.interactive && !none.streams.terminal());
    }

    #[test]
    fn a_variable_is_replaced() {
        let mut env = vec!["A=0".to_owned(), "B=0".to_owned()];
        set(&mut env, "A=1");
        set(&mut env, "SURELY_NOT_SET_ANYWHERE");
        assert_eq!(env, ["B=0", "A=1"]);
    }
}
