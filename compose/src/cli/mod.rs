//! The command line: words in, one library call, events out.
//!
//! A file for each command, with its arguments (their docs are the help texts) and a thin `run`.
//! [`context`] has the flags before the command, [`terminal`] prints, [`error`] says what to do,
//! [`session`] talks to the supervisor. No command starts an async runtime, and only `build`, `transfer` and
//! `watch` start threads.

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
pub mod system;
pub mod terminal;
#[cfg(test)]
pub(crate) mod testing;
pub mod top;
pub mod transfer;
pub mod up;
pub mod users;
pub mod version;
pub mod volume;
pub mod volumes;
pub mod wait;
pub mod watch;
pub mod why;

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

#[derive(Debug, Subcommand)]
enum Command {
    #[command(hide = true)]
    Alpha(Lazy<alpha::AlphaArgs>),
    Attach(Lazy<attach::AttachArgs>),
    Commit(Lazy<commit::CommitArgs>),
    Completion(Lazy<completion::CompletionArgs>),
    Build(Lazy<build::BuildArgs>),
    Builder(Lazy<builder::BuilderArgs>),
    #[command(alias = "convert")]
    Config(Lazy<config::ConfigArgs>),
    Cp(Lazy<cp::CpArgs>),
    Create(Lazy<create::CreateArgs>),
    Doctor(Lazy<doctor::DoctorArgs>),
    Down(Lazy<down::DownArgs>),
    Events(Lazy<events::EventsArgs>),
    Exec(Lazy<exec::ExecArgs>),
    Export(Lazy<export::ExportArgs>),
    Image(Lazy<image::ImageArgs>),
    Images(Lazy<images::ImagesArgs>),
    Kill(Lazy<kill::KillArgs>),
    Login(Lazy<login::LoginArgs>),
    Logout(Lazy<login::LogoutArgs>),
    Logs(Lazy<logs::LogsArgs>),
    Ls(Lazy<ls::LsArgs>),
    #[command(hide = true)]
    Man(Lazy<man::ManArgs>),
    Network(Lazy<network::NetworkArgs>),
    Pause(Lazy<pause::PauseArgs>),
    #[command(alias = "diff")]
    Plan(Lazy<plan::PlanArgs>),
    Port(Lazy<port::PortArgs>),
    Ps(Lazy<ps::PsArgs>),
    Publish(Lazy<publish::PublishArgs>),
    Pull(Lazy<pull::PullArgs>),
    Push(Lazy<push::PushArgs>),
    Restart(Lazy<restart::RestartArgs>),
    Rm(Lazy<rm::RmArgs>),
    Run(Lazy<run::RunArgs>),
    Scale(Lazy<scale::ScaleArgs>),
    Service(Lazy<service::ServiceArgs>),
    Start(Lazy<start::StartArgs>),
    Stats(Lazy<stats::StatsArgs>),
    Stop(Lazy<stop::StopArgs>),
    System(Lazy<system::SystemArgs>),
    Top(Lazy<top::TopArgs>),
    Unpause(Lazy<pause::UnpauseArgs>),
    Up(Lazy<up::UpArgs>),
    Version(Lazy<version::VersionArgs>),
    Volume(Lazy<volume::VolumeArgs>),
    Volumes(Lazy<volumes::VolumesArgs>),
    Wait(Lazy<wait::WaitArgs>),
    Watch(Lazy<watch::WatchArgs>),
    Why(Lazy<why::WhyArgs>),
}

impl Command {
    /// What progress is headed with.
    const fn title(&self) -> &'static str {
        match self {
            Self::Alpha(_) => "alpha",
            Self::Attach(_) => "attach",
            Self::Commit(_) => "commit",
            Self::Completion(_) => "completion",
            Self::Build(_) => "build",
            Self::Builder(_) => "builder",
            Self::Config(_) => "config",
            Self::Cp(_) => "cp",
            Self::Create(_) => "create",
            Self::Doctor(_) => "doctor",
            Self::Down(_) => "down",
            Self::Events(_) => "events",
            Self::Exec(_) => "exec",
            Self::Export(_) => "export",
            Self::Image(_) => "image",
            Self::Images(_) => "images",
            Self::Kill(_) => "kill",
            Self::Login(_) => "login",
            Self::Logout(_) => "logout",
            Self::Logs(_) => "logs",
            Self::Ls(_) => "ls",
            Self::Man(_) => "man",
            Self::Network(_) => "network",
            Self::Pause(_) => "pause",
            Self::Plan(_) => "plan",
            Self::Port(_) => "port",
            Self::Ps(_) => "ps",
            Self::Publish(_) => "publish",
            Self::Pull(_) => "pull",
            Self::Push(_) => "push",
            Self::Restart(_) => "restart",
            Self::Rm(_) => "rm",
            Self::Run(_) => "run",
            Self::Scale(_) => "scale",
            Self::Service(_) => "service",
            Self::Start(_) => "start",
            Self::Stats(_) => "stats",
            Self::Stop(_) => "stop",
            Self::System(_) => "system",
            Self::Top(_) => "top",
            Self::Unpause(_) => "unpause",
            Self::Up(_) => "up",
            Self::Version(_) => "version",
            Self::Volume(_) => "volume",
            Self::Volumes(_) => "volumes",
            Self::Wait(_) => "wait",
            Self::Watch(_) => "watch",
            Self::Why(_) => "why",
        }
    }

    fn run(self, context: &Context, terminal: &mut Terminal) -> Result<u8, CommandError> {
        match self {
            Self::Alpha(Lazy(args)) => alpha::run(args, context, terminal),
            Self::Attach(Lazy(args)) => attach::run(args, context, terminal),
            Self::Commit(Lazy(args)) => commit::run(args, context, terminal),
            Self::Completion(Lazy(args)) => completion::run(&args, context, terminal),
            Self::Build(Lazy(args)) => build::run(args, context, terminal),
            Self::Builder(Lazy(args)) => builder::run(&args, context, terminal),
            Self::Config(Lazy(args)) => config::run(args, context, terminal),
            Self::Cp(Lazy(args)) => cp::run(args, context, terminal),
            Self::Create(Lazy(args)) => create::run(args, context, terminal),
            Self::Doctor(Lazy(args)) => doctor::run(&args, context, terminal),
            Self::Down(Lazy(args)) => down::run(args, context, terminal),
            Self::Events(Lazy(args)) => events::run(args, context, terminal),
            Self::Exec(Lazy(args)) => exec::run(args, context, terminal),
            Self::Export(Lazy(args)) => export::run(args, context, terminal),
            Self::Image(Lazy(args)) => image::run(args, context, terminal),
            Self::Images(Lazy(args)) => images::run(&args, context, terminal),
            Self::Kill(Lazy(args)) => kill::run(args, context, terminal),
            Self::Login(Lazy(args)) => login::login(args, terminal),
            Self::Logout(Lazy(args)) => login::logout(args, terminal),
            Self::Logs(Lazy(args)) => logs::run(args, context, terminal),
            Self::Ls(Lazy(args)) => ls::run(&args, context, terminal),
            Self::Man(Lazy(args)) => man::run(&args, context, terminal),
            Self::Network(Lazy(args)) => network::run(args, context, terminal),
            Self::Pause(Lazy(args)) => pause::run(args, context, terminal),
            Self::Plan(Lazy(args)) => plan::run(args, context, terminal),
            Self::Port(Lazy(args)) => port::run(args, context, terminal),
            Self::Ps(Lazy(args)) => ps::run(args, context, terminal),
            Self::Publish(Lazy(args)) => publish::run(args, context, terminal),
            Self::Pull(Lazy(args)) => pull::run(args, context, terminal),
            Self::Push(Lazy(args)) => push::run(args, context, terminal),
            Self::Restart(Lazy(args)) => restart::run(args, context, terminal),
            Self::Rm(Lazy(args)) => rm::run(args, context, terminal),
            Self::Run(Lazy(args)) => run::run(args, context, terminal),
            Self::Scale(Lazy(args)) => scale::run(args, context, terminal),
            Self::Service(Lazy(args)) => service::run(&args, context, terminal),
            Self::Start(Lazy(args)) => start::run(args, context, terminal),
            Self::Stats(Lazy(args)) => stats::run(&args, context, terminal),
            Self::Stop(Lazy(args)) => stop::run(args, context, terminal),
            Self::System(Lazy(args)) => system::run(args, context, terminal),
            Self::Top(Lazy(args)) => top::run(&args, context, terminal),
            Self::Unpause(Lazy(args)) => pause::run_unpause(args, context, terminal),
            Self::Up(Lazy(args)) => up::run(args, context, terminal),
            Self::Version(Lazy(args)) => version::run(&args, context, terminal),
            Self::Volume(Lazy(args)) => volume::run(args, context, terminal),
            Self::Volumes(Lazy(args)) => volumes::run(&args, context, terminal),
            Self::Wait(Lazy(args)) => wait::run(args, context, terminal),
            Self::Watch(Lazy(args)) => watch::run(args, context, terminal),
            Self::Why(Lazy(args)) => why::run(args, context, terminal),
        }
    }
}

/// The whole command line as clap knows it, with the flags of all commands.
fn command() -> clap::Command {
    let mut command = <Cli as clap::CommandFactory>::command();
    command.build();
    command
}

/// What the command line says. Only the command that it names is known when all is well.
fn parse() -> Result<Cli, clap::Error> {
    Cli::try_parse().or_else(|_| {
        let matches = command().try_get_matches()?;
        Cli::from_arg_matches(&matches)
    })
}

/// The whole program: reads the words, carries them out, returns the exit code.
pub fn main() -> ExitCode {
    if completion::answer(command) {
        return ExitCode::SUCCESS;
    }
    let cli = match parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and usage errors are clap's to print; a closed pipe is nobody's fault.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(error::USAGE));
        }
    };
    ExitCode::from(carry_out(cli))
}

fn carry_out(cli: Cli) -> u8 {
    let command = match cli.command {
        Some(command) => command,
        None if cli.version => Command::Version(Lazy(version::VersionArgs::default())),
        None => {
            let help = command().print_help();
            return help.map_or(error::BROKEN_PIPE, |()| error::USAGE);
        }
    };
    let progress = cli.global.progress;
    let ansi = if cli.global.no_ansi { terminal::Ansi::Never } else { cli.global.ansi };
    let mut terminal = Terminal::new(progress, ansi, command.title(), cli.global.dry_run);
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
