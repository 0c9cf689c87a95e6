//! The file system of a container, as its processes see it, from outside.

use std::path::PathBuf;

use runtime::failure::Failure;
use sys::root::Root;

use super::context::Context;
use super::error::CommandError;
use crate::record::Container;

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
    let path = PathBuf::from(format!("/proc/{}/root", process.pid));
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

fn not_mounted(name: &str, failure: &Failure) -> CommandError {
    CommandError::failed(format!("cannot open the file system of {name}: {failure}"))
        .help("`compose start` starts the container; what runs can be read in any case")
}
