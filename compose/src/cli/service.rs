//! `compose service`: the project comes back when the machine does.
//!
//! `enable` writes a unit of systemd, which runs `start` at boot and `stop` before the machine goes down. `stop` writes down what
//! runs; `start` starts that, what ran when the machine went down without it, and what `restart: always` wants. A container
//! that somebody stopped before stays stopped, unless it is one of those.

mod unit;

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde::{Deserialize, Serialize};

use super::context::{Context, Target};
use super::error::CommandError;
use super::session::Session;
use super::terminal::Terminal;
use crate::api::{StartOptions, StartRequest, StopOptions, StopRequest, path};
use crate::model::{RestartPolicy, ServiceName};
use crate::record::{
    Container, ContainerState, RECORD_VERSION, check_version, list, read_record, replace_record,
};

/// Let the project run again when the machine has been started again
#[derive(Debug, clap::Args)]
pub struct ServiceArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Clone, Copy, Subcommand)]
enum Command {
    /// Write a unit of systemd that brings the project back at boot
    Enable,
    /// Remove that unit
    Disable,
    /// What the unit runs at boot: start what ran when the machine went down, and what `restart: always` wants
    Start,
    /// What the unit runs before the machine goes down: stop what runs, and remember it
    Stop,
}

/// What ran when the machine went down.
#[derive(Debug, Serialize, Deserialize)]
struct BootRecord {
    /// Version of this record's layout.
    version: u32,
    /// The containers, by id.
    containers: BTreeSet<String>,
}

/// Carries out one of the commands for the boot.
///
/// # Errors
///
/// When the unit cannot be written, or a container does not start or stop.
pub fn run(
    args: ServiceArgs,
    context: &Context,
    terminal: &mut Terminal,
) -> Result<u8, CommandError> {
    context.require_root()?;
    let target = context.target(terminal)?;
    match args.command {
        Command::Enable => enable(&target, context, terminal),
        Command::Disable => disable(&target, context, terminal),
        Command::Start => start(&target, context, terminal),
        Command::Stop => stop(&target, context, terminal),
    }
}

fn enable(target: &Target, context: &Context, terminal: &mut Terminal) -> Result<u8, CommandError> {
    if !unit::has_systemd() {
        return Err(CommandError::failed("there is no systemd on this machine").help(format!(
            "have your own init run `compose -p {0} service start` at boot and `compose -p {0} service stop` before it goes down",
            target.name
        )));
    }
    if target.project.is_none() && containers(target.name.as_str(), context)?.is_empty() {
        return Err(CommandError::failed(format!("there is no project {}", target.name))
            .help("`compose ls --all` shows the projects; name the one that is meant with `-p`, or its file with `-f`"));
    }
    let program =
        std::env::current_exe().map_err(|error| failed("find", Path::new("compose"), &error))?;
    let text = unit::text(target.name.as_str(), &program, &context.roots().data);
    let (file, link) = (unit::file(target.name.as_str()), unit::link(target.name.as_str()));
    if context.global().dry_run {
        terminal.print(format!("DRY-RUN MODE - write {}\n{text}", file.display()))?;
        return Ok(0);
    }
    write(&file, &text).map_err(|error| failed("write", &file, &error))?;
    wanted(&file, &link).map_err(|error| failed("make", &link, &error))?;
    terminal.print(format!("{}\n", file.display()))?;
    terminal.note(&format!(
        "The project {} comes back at the next boot. `systemctl daemon-reload` makes the unit known before.",
        target.name
    ));
    Ok(0)
}

fn disable(
    target: &Target,
    context: &Context,
    terminal: &mut Terminal,
) -> Result<u8, CommandError> {
    let (file, link) = (unit::file(target.name.as_str()), unit::link(target.name.as_str()));
    if !file.exists() {
        terminal.note(&format!("There is no unit for the project {}.", target.name));
    }
    for path in [link, file] {
        if context.global().dry_run {
            terminal.print(format!("DRY-RUN MODE - remove {}\n", path.display()))?;
            continue;
        }
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(failed("remove", &path, &error));
            }
            _ => {}
        }
    }
    Ok(0)
}

fn start(target: &Target, context: &Context, terminal: &mut Terminal) -> Result<u8, CommandError> {
    let name = target.name.as_str();
    let remembered = memory(name, context);
    let record: Option<BootRecord> = read_record(&remembered)?;
    if let Some(record) = &record {
        check_version(&remembered, record.version)?;
    }
    let noted = record.map(|record| record.containers).unwrap_or_default();
    let mut services: BTreeSet<ServiceName> = BTreeSet::new();
    for container in containers(name, context)? {
        if noted.contains(&container.record.id)
            || container.record.restart == RestartPolicy::Always
            || was_cut_off(&container, context)?
        {
            services.insert(container.record.service);
        }
    }
    if services.is_empty() {
        terminal.note(&format!("Nothing of the project {name} ran."));
        return Ok(0);
    }
    let options = StartOptions {
        services: services.into_iter().collect(),
        only: Vec::new(),
        wait: None,
        parallel: context.parallel(),
    };
    let request = StartRequest { project: None, options };
    let code = Session::new(context, name).carry_out(path::START, &request, terminal)?.code;
    if !context.global().dry_run {
        // What ran then runs now.
        let _ = fs::remove_file(remembered);
    }
    Ok(code)
}

fn stop(target: &Target, context: &Context, terminal: &mut Terminal) -> Result<u8, CommandError> {
    let name = target.name.as_str();
    let up = containers(name, context)?.into_iter().filter(|one| one.state.phase.is_up());
    let containers: BTreeSet<String> = up.map(|one| one.record.id).collect();
    if containers.is_empty() {
        return Ok(0);
    }
    if !context.global().dry_run {
        replace_record(
            &memory(name, context),
            &BootRecord { version: RECORD_VERSION, containers },
        )?;
    }
    let options = StopOptions { parallel: context.parallel(), ..StopOptions::default() };
    let request = StopRequest { project: None, options };
    Ok(Session::new(context, name).carry_out(path::STOP, &request, terminal)?.code)
}

/// The containers that belong to services for good.
fn containers(name: &str, context: &Context) -> Result<Vec<Container>, CommandError> {
    let mut containers = list::containers(context.roots(), name)?.containers;
    containers.retain(|container| !container.record.oneoff);
    Ok(containers)
}

/// Whether a container ran until the machine went down.
fn was_cut_off(container: &Container, context: &Context) -> Result<bool, CommandError> {
    let left = ContainerState::read(&container.record.paths(context.roots()))?;
    Ok(left.phase.is_up() && !container.state.phase.is_up())
}

fn memory(name: &str, context: &Context) -> PathBuf {
    context.roots().project(name).boot()
}

/// Writes a file whole or not at all.
fn write(file: &Path, text: &str) -> io::Result<()> {
    let folder = file.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(folder)?;
    let next = file.with_extension("service.new");
    fs::write(&next, text)?;
    fs::rename(next, file)
}

/// What `systemctl enable` does about `WantedBy=`.
fn wanted(file: &Path, link: &Path) -> io::Result<()> {
    if let Some(folder) = link.parent() {
        fs::create_dir_all(folder)?;
    }
    match std::os::unix::fs::symlink(file, link) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

fn failed(attempt: &str, path: &Path, error: &io::Error) -> CommandError {
    CommandError::failed(format!("cannot {attempt} {}: {error}", path.display()))
        .help("units of systemd are written by root, into /etc/systemd/system")
}
