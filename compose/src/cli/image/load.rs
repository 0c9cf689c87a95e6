//! `compose image load`.

use std::path::PathBuf;

use images::{Image, Platform, Store};

use super::meter::{Meter, open};
use crate::cli::error::CommandError;
use crate::cli::terminal::Terminal;

/// Load images from an archive of `docker save`, `podman save` or `skopeo copy`
#[derive(Debug, clap::Args)]
pub struct LoadArgs {
    /// The archive (default: standard input)
    #[arg(value_name = "ARCHIVE", default_value = "-", hide_default_value = true)]
    archive: PathBuf,
    /// The archive, as docker has it
    #[arg(long, short, value_name = "ARCHIVE", conflicts_with = "archive")]
    input: Option<PathBuf>,
    /// Of images for several platforms take this one (default: that of this machine)
    #[arg(long, value_name = "OS/ARCHITECTURE")]
    platform: Option<Platform>,
    /// Only the ids
    #[arg(long, short)]
    quiet: bool,
}

/// Loads all images of the archive and prints their names.
///
/// # Errors
///
/// When the archive cannot be read or unpacked.
pub fn run(args: &LoadArgs, store: &Store, terminal: &mut Terminal) -> Result<u8, CommandError> {
    let path = args.input.as_ref().unwrap_or(&args.archive);
    let reader = Meter::new(open(path)?, "loading", terminal);
    let platform = args.platform.clone().unwrap_or_else(Platform::host);
    let images = store.load(reader, &platform)?;
    let line = |image: &Image| match &image.reference {
        _ if args.quiet => format!("{}\n", image.id),
        Some(name) => format!("Loaded image: {}\n", name.familiar()),
        None => format!("Loaded image ID: {}\n", image.id),
    };
    terminal.print(images.iter().map(line).collect::<String>())?;
    Ok(0)
}
