//! The command line: words in, one library call, events out.
//!
//! A file for each command, with its arguments (their docs are the help texts) and a thin `run`.
//! [`context`] has the flags before the command, [`terminal`] prints, [`error`] says what to do,
//! [`session`] talks to the supervisor. No command starts an async runtime, and only `build`, `transfer`,
//! `ui` and `watch` start threads.

pub mod alpha;
pub mod attach;
pub mod build;
pub mod builder;
pub mod commit;
pub mod completion;
pub mod config;
pub mod context;
pub mod cp;
pub mod create;
pub mod digests;
pub mod doctor;
pub mod down;
pub mod dry_run;
pub mod error;
pub mod events;
pub mod exec;
pub mod export;
pub mod filter;
pub mod foreign;
pub mod format;
pub mod image;
pub mod images;
pub mod inside;
pub mod kill;
mod lazy;
pub mod login;
pub mod logs;
pub mod ls;
pub mod man;
pub mod network;
pub mod output;
pub mod pause;
pub mod pick;
pub mod plan;
pub mod port;
pub mod ps;
pub mod publish;
pub mod pull;
pub mod push;
pub mod replace;
pub mod restart;
pub mod rm;
pub mod run;
pub mod scale;
pub mod service;
pub mod session;
pub mod signals;
pub mod size;
pub mod start;
pub mod stats;
pub mod stop;
pub mod streams;
pub mod system;
pub mod terminal;
#[cfg(test)]
pub(crate) mod testing;
pub mod top;
pub mod transfer;
pub mod ui;
pub mod up;
pub mod users;
pub mod version;
pub mod volume;
pub mod volumes;
pub mod wait;
pub mod watch;
pub mod why;
pub mod words;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{FromArgMatches as _, Parser, Subcommand};

use crate::record::Roots;
use context::{Context, GlobalArgs};
use error::CommandError;
use lazy::Lazy;
use terminal::Terminal;

/// Run an unmodified compose.yaml on its own runtime, without a daemon
#[derive(Debug, Parser)]
#[command(name = "compose", disable_version_flag = true, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    global: GlobalArgs,
    /// Show the version
    #[arg(short, long)]
    version: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

/// Makes of a table, with a line for each command, what it is called, what it reads and what runs it.
macro_rules! commands {
    ($($(#[$attribute:meta])* $name:ident($args:ty) => $run:path,)*) => {
        #[derive(Debug, Subcommand)]
        enum Command {
            $($(#[$attribute])* $name(Lazy<$args>),)*
        }

        impl Command {
            fn run(self, context: &Context, terminal: &mut Terminal) -> Result<u8, CommandError> {
                match self {
                    $(Self::$name(Lazy(args)) => $run(args, context, terminal),)*
                }
            }
        }
    };
}

commands! {
    #[command(hide = true)]
    Alpha(alpha::AlphaArgs) => alpha::run,
    Attach(attach::AttachArgs) => attach::run,
    Build(build::BuildArgs) => build::run,
    Builder(builder::BuilderArgs) => builder::run,
    Commit(commit::CommitArgs) => commit::run,
    Completion(completion::CompletionArgs) => completion::run,
    #[command(alias = "convert")]
    Config(config::ConfigArgs) => config::run,
    Cp(cp::CpArgs) => cp::run,
    Create(create::CreateArgs) => create::run,
    Doctor(doctor::DoctorArgs) => doctor::run,
    Down(down::DownArgs) => down::run,
    Events(events::EventsArgs) => events::run,
    Exec(exec::ExecArgs) => exec::run,
    Export(export::ExportArgs) => export::run,
    Image(image::ImageArgs) => image::run,
    Images(images::ImagesArgs) => images::run,
    Kill(kill::KillArgs) => kill::run,
    Login(login::LoginArgs) => login::login,
    Logout(login::LogoutArgs) => login::logout,
    Logs(logs::LogsArgs) => logs::run,
    Ls(ls::LsArgs) => ls::run,
    #[command(hide = true)]
    Man(man::ManArgs) => man::run,
    Network(network::NetworkArgs) => network::run,
    Pause(pause::PauseArgs) => pause::run,
    #[command(alias = "diff")]
    Plan(plan::PlanArgs) => plan::run,
    Port(port::PortArgs) => port::run,
    Ps(ps::PsArgs) => ps::run,
    Publish(publish::PublishArgs) => publish::run,
    Pull(pull::PullArgs) => pull::run,
    Push(push::PushArgs) => push::run,
    Restart(restart::RestartArgs) => restart::run,
    Rm(rm::RmArgs) => rm::run,
    Run(run::RunArgs) => run::run,
    Scale(scale::ScaleArgs) => scale::run,
    Service(service::ServiceArgs) => service::run,
    Start(start::StartArgs) => start::run,
    Stats(stats::StatsArgs) => stats::run,
    Stop(stop::StopArgs) => stop::run,
    System(system::SystemArgs) => system::run,
    Top(top::TopArgs) => top::run,
    Ui(ui::UiArgs) => ui::run,
    Unpause(pause::UnpauseArgs) => pause::run_unpause,
    Up(up::UpArgs) => up::run,
    Version(version::VersionArgs) => version::run,
    Volume(volume::VolumeArgs) => volume::run,
    Volumes(volumes::VolumesArgs) => volumes::run,
    Wait(wait::WaitArgs) => wait::run,
    Watch(watch::WatchArgs) => watch::run,
    Why(why::WhyArgs) => why::run,
}

/// The whole command line as clap knows it, with the flags of all commands.
fn command() -> clap::Command {
    let mut command = <Cli as clap::CommandFactory>::command();
    command.build();
    command
}

/// What the command line says, and the name of its command. Only that one is known when all is well.
fn parse() -> Result<(Cli, String), clap::Error> {
    let read = |command: clap::Command, words: Vec<OsString>| {
        let matches = command.try_get_matches_from(words)?;
        let name = matches.subcommand_name().unwrap_or_default().to_owned();
        Ok((Cli::from_arg_matches(&matches)?, name))
    };
    let words: Vec<OsString> = std::env::args_os().collect();
    read(<Cli as clap::CommandFactory>::command(), words.clone()).or_else(|_: clap::Error| {
        let command = command();
        let words = words::plain(words, &command);
        read(command, words)
    })
}

/// The whole program: reads the words, carries them out, returns the exit code.
pub fn main() -> ExitCode {
    if completion::answer(command) {
        return ExitCode::SUCCESS;
    }
    let (cli, name) = match parse() {
        Ok(read) => read,
        Err(error) => {
            // Help and usage errors are clap's to print; a closed pipe is nobody's fault.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(error::USAGE));
        }
    };
    ExitCode::from(carry_out(cli, &name))
}

/// Carries out the command called `name`, with which progress is headed.
fn carry_out(cli: Cli, name: &str) -> u8 {
    let command = match cli.command {
        Some(command) => command,
        None if cli.version => Command::Version(Lazy(version::VersionArgs::default())),
        None => {
            let help = command().print_help();
            return help.map_or(error::BROKEN_PIPE, |()| 0);
        }
    };
    let progress = cli.global.progress;
    let ansi = if cli.global.no_ansi { terminal::Ansi::Never } else { cli.global.ansi };
    let mut terminal = Terminal::new(progress, ansi, name, cli.global.dry_run);
    let context = Context::new(cli.global, Roots::from_env());
    match command.run(&context, &mut terminal) {
        Ok(code) => {
            terminal.settle();
            code
        }
        Err(error) => {
            terminal.fail(&error);
            error.code
        }
    }
}

#[cfg(test)]
mod effects;
#[cfg(test)]
mod reference;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn dry_run_may_stand_behind_the_command() {
        let cli = Cli::parse_from(["compose", "-p", "x", "stop", "--dry-run"]);
        assert!(cli.global.dry_run);
        assert!(Cli::try_parse_from(["compose", "up", "-p", "x"]).is_err());
    }
}
