//! `compose image import`.

use std::path::PathBuf;

use images::{Change, Import, Reference, Store};

use super::meter::{Meter, open};
use crate::cli::error::CommandError;
use crate::cli::terminal::Terminal;

/// Make an image of the archive of a root file system
#[derive(Debug, clap::Args)]
pub struct ImportArgs {
    /// The archive, plain or compressed with gzip, zstd, bzip2 or xz; `-` for standard input
    #[arg(value_name = "ARCHIVE")]
    archive: PathBuf,
    /// What the image is called (default: nothing, it is found by its id)
    #[arg(value_name = "NAME[:TAG]")]
    reference: Option<Reference>,
    /// An instruction of a Dockerfile that changes the configuration: CMD, ENTRYPOINT, ENV, EXPOSE,
    /// LABEL, STOPSIGNAL, USER, VOLUME or WORKDIR
    #[arg(long, short, value_name = "INSTRUCTION")]
    change: Vec<Change>,
    /// Put the archive as one more layer on this image
    #[arg(long, value_name = "IMAGE")]
    base: Option<String>,
}

/// Imports the archive and prints the id of the image.
///
/// # Errors
///
/// When the archive cannot be read or unpacked.
pub fn run(args: ImportArgs, store: &Store, terminal: &mut Terminal) -> Result<u8, CommandError> {
    let ImportArgs { archive, reference, change, base } = args;
    let reader = Meter::new(open(&archive)?, "importing", terminal);
    let base = base.as_deref();
    let import = Import { reference, changes: &change, base, ..Import::default() };
    let image = store.import(reader, &import)?;
    terminal.print(format!("{}\n", image.id))?;
    Ok(0)
}
