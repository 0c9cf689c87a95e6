//! The file system of a container, as its processes see it, from outside.

use std::path::{Path, PathBuf};

use runtime::failure::Failure;
use runtime::foreign::{self, Doorway, Kind};
use sys::root::Root;

use super::context::Context;
use super::error::CommandError;
use crate::record::{Container, ProcessName};

/// Opens the root of `container`: that of its first process while it runs, else what a start would give it.
///
/// For one that does not run this process enters a mount namespace of its own; only one such container can be opened.
///
/// # Errors
///
/// When its process is gone, or its file system cannot be mounted.
pub fn root(container: &Container, context: &Context) -> Result<Root, CommandError> {
    let name = &container.record.name;
    let Some(process) = &container.state.process else {
        let launch = context.launch(container)?;
        return runtime::view(&launch).map_err(|failure| not_mounted(name, &failure));
    };
    let path = PathBuf::from(format!("/proc/{}/root", holder(container, process, context)?));
    let opened = Root::open(&path).map_err(|error| {
        CommandError::failed(format!("cannot open the file system of {name}: {error}"))
    })?;
    // The descriptor is of this process if the process is there after it was opened.
    if !process.is_alive_now() {
        return Err(CommandError::failed(format!("container {name} ended just now"))
            .help("ask again: what it has left can be read as well"));
    }
    Ok(opened)
}

/// Whether the container has a kernel of its own.
fn is_sandbox(container: &Container) -> bool {
    let runtime: Option<String> = container.record.definition.value("runtime");
    runtime.is_some_and(|name| Kind::of(Path::new(&name)).is_sandbox())
}

/// The process whose root is that of the container: its first, or the one that opens files for a sandbox.
fn holder(
    container: &Container,
    process: &ProcessName,
    context: &Context,
) -> Result<i32, CommandError> {
    if !is_sandbox(container) {
        return Ok(process.pid);
    }
    let launch = context.launch(container)?;
    let found = launch.cgroup.as_ref().and_then(foreign::server_of_files);
    found.ok_or_else(|| {
        let message = format!("nobody opens files for {}", container.record.name);
        CommandError::failed(message).help("it has ended just now: ask again")
    })
}

/// Refuses a path in a container that has a file system there which cannot be seen from outside.
///
/// # Errors
///
/// When the container is a sandbox that runs, and the path is in memory of its own.
pub fn check_path(
    container: &Container,
    path: &Path,
    context: &Context,
) -> Result<(), CommandError> {
    if container.state.process.is_none() || !is_sandbox(container) {
        return Ok(());
    }
    let doorway = Doorway::of(&context.launch(container)?);
    match doorway.is_some_and(|doorway| doorway.hides(path)) {
        false => Ok(()),
        true => Err(CommandError::failed(format!(
            "{} is in memory that only the kernel of {} sees",
            path.display(),
            container.record.name
        ))
        .help("its runtime makes it: copy to another place, and move it with `compose exec`")),
    }
}

fn not_mounted(name: &str, failure: &Failure) -> CommandError {
    CommandError::failed(format!("cannot open the file system of {name}: {failure}"))
        .help("`compose start` starts the container; what runs can be read in any case")
}
