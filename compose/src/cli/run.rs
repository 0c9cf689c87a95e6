//! `compose run`.

pub mod attach;
pub mod keys;
mod wishes;

use attach::{End, Ends, Ways};
use images::registry::Environment;

use super::context::{Context, OrphanArgs, known_services};
use super::error::{CommandError, FAILED};
use super::session::{Session, code};
use super::streams::StreamArgs;
use super::terminal::Terminal;
use super::up::{PullWhen, wanted};
use crate::api::{BuildOptions, BuildWhen, PullOptions, RunOptions, RunRequest, path};
use crate::event::{Change, Event, Failure};
use crate::model::{Project, ServiceName};
use crate::record::list;

/// Run a command in a new container of a service
#[derive(Debug, clap::Args)]
pub struct RunArgs {
    /// The service
    service: ServiceName,
    /// The command, instead of the service's
    #[arg(value_name = "COMMAND", trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
    /// Remove the container when it has exited
    #[arg(long)]
    rm: bool,
    /// Leave it running in the background and print its id
    #[arg(long, short)]
    detach: bool,
    /// Name of the container
    #[arg(long, value_name = "NAME", value_parser = container_name)]
    name: Option<String>,
    /// Publish the ports of the service
    #[arg(long, short = 'P', conflicts_with = "publish")]
    service_ports: bool,
    /// Answer to the names of the service on its networks
    #[arg(long)]
    use_aliases: bool,
    /// Do not start the services it depends on
    #[arg(long)]
    no_deps: bool,
    #[command(flatten)]
    streams: StreamArgs,
    #[command(flatten)]
    wishes: wishes::WishArgs,
    #[command(flatten)]
    orphans: OrphanArgs,
    /// Do not show how images are fetched
    #[arg(long)]
    quiet_pull: bool,
    /// Build the image first, even if it is here
    #[arg(long)]
    build: bool,
    /// Do not show how images are built
    #[arg(long)]
    quiet_build: bool,
    /// Show nothing but what the container says
    #[arg(long, short)]
    quiet: bool,
    /// When to fetch images, instead of what the services say
    #[arg(long, value_enum, value_name = "WHEN")]
    pull: Option<PullWhen>,
}

fn container_name(text: &str) -> Result<String, String> {
    let mut characters = text.chars();
    let first = characters.next().is_some_and(|c| c.is_ascii_alphanumeric());
    let rest = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    if first && text.len() > 1 && characters.all(rest) {
        return Ok(text.to_owned());
    }
    Err(format!(
        "`{text}` is no container name: letters, digits, `_`, `.` and `-`, at least two, a letter or digit first"
    ))
}

/// Makes a one-off container and stays with it unless told otherwise.
///
/// # Errors
///
/// When it cannot be made or started: exit code 125, 126 or 127.
pub fn run(args: RunArgs, context: &Context, terminal: &mut Terminal) -> Result<u8, CommandError> {
    context.require_root()?;
    if args.quiet {
        terminal.hush();
    }
    let mut project = context.load_for(std::slice::from_ref(&args.service), terminal)?;
    select(&mut project, &args.service)?;
    let wanted = wanted(&project, std::slice::from_ref(&args.service), args.no_deps);
    context.check_support(&project, &wanted, terminal)?;
    let ends = Ends {
        input: args.streams.interactive && !args.detach,
        terminal: args.streams.terminal() && !args.detach,
    };
    let publishes = args.service_ports || args.wishes.publishes();
    let environment = args.wishes.apply(&mut project, &args.service, context, terminal)?;
    if let Some(service) = project.services.get_mut(&args.service) {
        if !args.command.is_empty() {
            service.command = Some(args.command);
        }
        if !args.detach {
            service.tty = ends.terminal;
            service.stdin_open = ends.input;
        }
    }
    let options = RunOptions {
        service: args.service,
        name: args.name,
        remove: args.rm,
        detach: args.detach,
        dependencies: !args.no_deps,
        publish: publishes,
        use_aliases: args.use_aliases,
        parallel: context.parallel(),
        environment,
        orphans: args.orphans.resolve(Some(&project))?,
        pull: PullOptions {
            policy: args.pull.map(Into::into),
            quiet: args.quiet_pull,
            environment: Environment::of_process(),
        },
        build: BuildOptions {
            when: if args.build { BuildWhen::Always } else { BuildWhen::Missing },
            quiet: args.quiet_build || args.quiet,
            ..BuildOptions::default()
        },
    };
    let session = Session::new(context, project.name.as_str());
    begin(&RunRequest { project, options }, ends, &session, context, terminal)
}

/// Puts the service in force if no profile does.
fn select(project: &mut Project, service: &ServiceName) -> Result<(), CommandError> {
    if let Some((name, wanted)) = project.disabled.remove_entry(service) {
        project.services.insert(name, wanted);
    }
    let known = project.services.keys().chain(project.disabled.keys());
    known_services(std::slice::from_ref(service), &known.map(ServiceName::as_str).collect())
}

fn begin(
    request: &RunRequest,
    ends: Ends,
    session: &Session<'_>,
    context: &Context,
    terminal: &mut Terminal,
) -> Result<u8, CommandError> {
    let mut made = None;
    // Connected all the time: between the making and the starting of the container nothing runs, and a supervisor
    // without clients would leave.
    let _stays = match context.global().dry_run {
        true => None,
        false => Some(session.connect().map_err(not_ours)?),
    };
    let outcome = session.carry_out_seeing(path::RUN, request, terminal, |event| {
        if let Event::Container(event) = event
            && event.oneoff
            && matches!(event.change, Change::Created)
        {
            made = Some(event.id.clone());
        }
    });
    let outcome = outcome.map_err(not_ours)?;
    if context.global().dry_run {
        return Ok(outcome.code);
    }
    let Some(id) = made else {
        return Err(
            CommandError::failed("the supervisor does not say which container it made").code(125)
        );
    };
    if request.options.detach {
        terminal.print(format!("{id}\n"))?;
        return Ok(outcome.code);
    }
    attend(&id, ends, session, context, terminal)
}

/// The program of the container could not be begun.
fn not_begun(failure: Failure, code: u8) -> CommandError {
    let said = CommandError::from(failure).code(code);
    match code {
        127 => said.help("the image has no such program, or `PATH` does not lead to it"),
        126 => said.help("the file is there, but is no program that this user may execute"),
        _ => said,
    }
}

/// What went wrong before the container's own program began.
fn not_ours(error: CommandError) -> CommandError {
    if error.code == FAILED { error.code(125) } else { error }
}

/// Stays with the container until it has exited, over supervisors that come and go.
fn attend(
    id: &str,
    ends: Ends,
    session: &Session<'_>,
    context: &Context,
    terminal: &mut Terminal,
) -> Result<u8, CommandError> {
    const TRIES: u32 = 5;
    for _ in 0..TRIES {
        let connection = session.upgrade(&path::attach(id)).map_err(not_ours)?;
        match attach::run(connection, ends, Ways::default(), terminal)? {
            End::Exited(code) => return Ok(code),
            End::Detached => return Ok(0),
            End::Failed(failure, code) => return Err(not_begun(failure, code)),
            End::CutOff => {}
        }
        // What a container that is gone ended with stands in its record.
        let container = list::one(context.roots(), session.name(), id)?;
        let ended = container.filter(|one| one.state.started.is_some() && !one.state.phase.is_up());
        if let Some(exit) = ended.and_then(|container| container.state.exit) {
            return Ok(code(exit.shell_code()));
        }
    }
    Err(CommandError::failed("the supervisor keeps going away")
        .help("`compose logs` shows what the container said, `compose ps -a` how it ended")
        .code(125))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::testing::{args, project, refusal};

    #[test]
    fn words_behind_the_service_belong_to_the_command() {
        let args = args::<RunArgs>(&["--rm", "-e", "A=1", "web", "ls", "--rm", "-e", "x"]);
        assert!(args.rm);
        assert_eq!(args.command, ["ls", "--rm", "-e", "x"]);
        assert!(refusal::<RunArgs>(&["-P", "-p", "80", "web"]).is_some());
        assert!(refusal::<RunArgs>(&["--name", "-x", "web"]).is_some());
        assert!(refusal::<RunArgs>(&["--interactive=false", "web"]).is_none());
    }

    #[test]
    fn a_service_without_its_profile_can_be_run() {
        let mut project = project(&["web", "tool"]);
        let name: ServiceName = "tool".parse().unwrap();
        let tool = project.services.remove(&name).unwrap();
        project.disabled.insert(name.clone(), tool);
        select(&mut project, &name).unwrap();
        assert!(project.services.contains_key("tool"));
        assert!(select(&mut project, &"nix".parse().unwrap()).is_err());
    }
}
