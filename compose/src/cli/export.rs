//! `compose export`.

use std::ffi::OsStr;
use std::io::{self, BufWriter, IsTerminal, Write, stdout};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use sys::root::Root;

use super::context::Context;
use super::cp::CopyError;
use super::cp::entry::mount_of;
use super::cp::pack::Packer;
use super::error::CommandError;
use super::inside;
use super::output::Output;
use super::pick::{self, Among};
use super::terminal::Terminal;
use crate::event::{Event, Kind, Status};
use crate::model::ServiceName;

/// Write the file system of a container as a tar archive
#[derive(Debug, clap::Args)]
pub struct ExportArgs {
    /// The service
    service: ServiceName,
    /// Number of the container among the replicas (default: the lowest)
    #[arg(long, value_name = "N")]
    index: Option<u32>,
    /// Into this file, instead of standard output
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Packs the root of the container without what is mounted into it.
///
/// # Errors
///
/// When there is no such container, standard output is a terminal, or something cannot be read or written.
pub fn run(
    args: ExportArgs,
    context: &Context,
    terminal: &mut Terminal,
) -> Result<u8, CommandError> {
    let (target, containers) = context.target_with_containers(terminal)?;
    let container = pick::container(&target, &containers, &args.service, args.index, Among::All)?;
    let name = container.record.name.as_str();
    if context.global().dry_run {
        terminal.print(format!("DRY-RUN MODE - export {name}\n"))?;
        return Ok(0);
    }
    if args.output.is_none() && stdout().is_terminal() {
        return Err(CommandError::usage("an archive is nothing for a terminal")
            .help("`compose export -o FILE`, or lead it into a file or a program"));
    }
    // Before the container's file system: it may bring a mount namespace of its own.
    let output = args.output.as_deref().map(create).transpose()?;
    let root = inside::root(container, context)?;
    terminal.draw(&Event::step(Kind::Container, name, Status::Exporting));
    let done = match output {
        Some(output) => pack(&root, output).and_then(|output| output.finish().map_err(failed)),
        None => pack(&root, stdout().lock()).map(drop),
    };
    let word = if done.is_ok() { Status::Exported } else { Status::Error };
    terminal.draw(&Event::step(Kind::Container, name, word));
    done?;
    Ok(0)
}

fn create(path: &Path) -> Result<Output, CommandError> {
    Output::create(path).map_err(|error| {
        CommandError::failed(format!("cannot create {}: {error}", path.display()))
            .help("check the folder and the room on its disk")
    })
}

/// Returns the sink when all is in it.
fn pack<W: Write>(root: &Root, sink: W) -> Result<W, CopyError> {
    let mount = mount_of(root, OsStr::new("")).map_err(failed)?;
    let folder = root.resolve(Path::new(""), OFlags::DIRECTORY, Mode::empty()).map_err(failed)?;
    let mut packer = Packer::new(BufWriter::new(sink), Some(mount));
    packer.add_children(folder, Path::new(""))?;
    let buffered = packer.finish().map_err(failed)?;
    buffered.into_inner().map_err(|error| failed(error.into_error()))
}

fn failed(source: io::Error) -> CopyError {
    CopyError { path: PathBuf::from("/"), source }
}
