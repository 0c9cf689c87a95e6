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

use clap::{Parser, Subcommand};

use crate::record::Roots;
use context::{Context, GlobalArgs};
use error::CommandError;
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
    Alpha(alpha::AlphaArgs),
    Attach(attach::AttachArgs),
    Commit(commit::CommitArgs),
    Completion(completion::CompletionArgs),
    Build(build::BuildArgs),
    Builder(builder::BuilderArgs),
    #[command(alias = "convert")]
    Config(config::ConfigArgs),
    Cp(cp::CpArgs),
    Create(create::CreateArgs),
    Doctor(doctor::DoctorArgs),
    Down(down::DownArgs),
    Events(events::EventsArgs),
    Exec(exec::ExecArgs),
    Export(export::ExportArgs),
    Image(image::ImageArgs),
    Images(images::ImagesArgs),
    Kill(kill::KillArgs),
    Login(login::LoginArgs),
    Logout(login::LogoutArgs),
    Logs(logs::LogsArgs),
    Ls(ls::LsArgs),
    #[command(hide = true)]
    Man(man::ManArgs),
    Network(network::NetworkArgs),
    Pause(pause::PauseArgs),
    #[command(alias = "diff")]
    Plan(plan::PlanArgs),
    Port(port::PortArgs),
    Ps(ps::PsArgs),
    Publish(publish::PublishArgs),
    Pull(pull::PullArgs),
    Push(push::PushArgs),
    Restart(restart::RestartArgs),
    Rm(rm::RmArgs),
    Run(run::RunArgs),
    Scale(scale::ScaleArgs),
    Service(service::ServiceArgs),
    Start(start::StartArgs),
    Stats(stats::StatsArgs),
    Stop(stop::StopArgs),
    System(system::SystemArgs),
    Top(top::TopArgs),
    Unpause(pause::UnpauseArgs),
    Up(up::UpArgs),
    Version(version::VersionArgs),
    Volume(volume::VolumeArgs),
    Volumes(volumes::VolumesArgs),
    Wait(wait::WaitArgs),
    Watch(watch::WatchArgs),
    Why(why::WhyArgs),
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
            Self::Alpha(args) => alpha::run(args, context, terminal),
            Self::Attach(args) => attach::run(args, context, terminal),
            Self::Commit(args) => commit::run(args, context, terminal),
            Self::Completion(args) => completion::run(&args, context, terminal),
            Self::Build(args) => build::run(args, context, terminal),
            Self::Builder(args) => builder::run(&args, context, terminal),
            Self::Config(args) => config::run(args, context, terminal),
            Self::Cp(args) => cp::run(args, context, terminal),
            Self::Create(args) => create::run(args, context, terminal),
            Self::Doctor(args) => doctor::run(&args, context, terminal),
            Self::Down(args) => down::run(args, context, terminal),
            Self::Events(args) => events::run(args, context, terminal),
            Self::Exec(args) => exec::run(args, context, terminal),
            Self::Export(args) => export::run(args, context, terminal),
            Self::Image(args) => image::run(args, context, terminal),
            Self::Images(args) => images::run(&args, context, terminal),
            Self::Kill(args) => kill::run(args, context, terminal),
            Self::Login(args) => login::login(args, terminal),
            Self::Logout(args) => login::logout(args, terminal),
            Self::Logs(args) => logs::run(args, context, terminal),
            Self::Ls(args) => ls::run(&args, context, terminal),
            Self::Man(args) => man::run(&args, context, terminal),
            Self::Network(args) => network::run(args, context, terminal),
            Self::Pause(args) => pause::run(args, context, terminal),
            Self::Plan(args) => plan::run(args, context, terminal),
            Self::Port(args) => port::run(args, context, terminal),
            Self::Ps(args) => ps::run(args, context, terminal),
            Self::Publish(args) => publish::run(args, context, terminal),
            Self::Pull(args) => pull::run(args, context, terminal),
            Self::Push(args) => push::run(args, context, terminal),
            Self::Restart(args) => restart::run(args, context, terminal),
            Self::Rm(args) => rm::run(args, context, terminal),
            Self::Run(args) => run::run(args, context, terminal),
            Self::Scale(args) => scale::run(args, context, terminal),
            Self::Service(args) => service::run(&args, context, terminal),
            Self::Start(args) => start::run(args, context, terminal),
            Self::Stats(args) => stats::run(&args, context, terminal),
            Self::Stop(args) => stop::run(args, context, terminal),
            Self::System(args) => system::run(args, context, terminal),
            Self::Top(args) => top::run(&args, context, terminal),
            Self::Unpause(args) => pause::run_unpause(args, context, terminal),
            Self::Up(args) => up::run(args, context, terminal),
            Self::Version(args) => version::run(&args, context, terminal),
            Self::Volume(args) => volume::run(args, context, terminal),
            Self::Volumes(args) => volumes::run(&args, context, terminal),
            Self::Wait(args) => wait::run(args, context, terminal),
            Self::Watch(args) => watch::run(args, context, terminal),
            Self::Why(args) => why::run(args, context, terminal),
        }
    }
}

/// The command line as clap knows it.
fn command() -> clap::Command {
    <Cli as clap::CommandFactory>::command()
}

/// The whole program: reads the words, carries them out, returns the exit code.
pub fn main() -> ExitCode {
    if completion::answer(command) {
        return ExitCode::SUCCESS;
    }
    let cli = match Cli::try_parse() {
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
        None if cli.version => Command::Version(version::VersionArgs::default()),
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
        <Cli as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn dry_run_may_stand_behind_the_command() {
        let cli = Cli::parse_from(["compose", "-p", "x", "stop", "--dry-run"]);
        assert!(cli.global.dry_run);
        assert!(Cli::try_parse_from(["compose", "up", "-p", "x"]).is_err());
    }
}
