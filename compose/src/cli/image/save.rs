//! `compose image save`.

use std::io::{self, BufWriter, IsTerminal};
use std::path::PathBuf;

use images::{SaveError, Store};

use crate::cli::error::{BROKEN_PIPE, CommandError};
use crate::cli::output::Output;

/// Write images into an archive that docker, podman and `image load` read
#[derive(Debug, clap::Args)]
pub struct SaveArgs {
    /// Names or ids
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<String>,
    /// The archive (default: standard output)
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Saves the images; a file is there only when it is whole.
///
/// # Errors
///
/// When an image is not there, or the archive cannot be written.
pub fn run(args: &SaveArgs, store: &Store) -> Result<u8, CommandError> {
    let Some(path) = &args.output else {
        if io::stdout().is_terminal() {
            return Err(CommandError::usage("standard output is a terminal")
                .help("redirect it, or name a file with --output"));
        }
        store.save(&args.images, BufWriter::with_capacity(1 << 18, io::stdout().lock()))?;
        return Ok(0);
    };
    let refused = |error: io::Error| CommandError::from(SaveError::Write(error));
    let mut writer = BufWriter::with_capacity(1 << 18, Output::create(path).map_err(refused)?);
    store.save(&args.images, &mut writer)?;
    let output = writer.into_inner().map_err(|error| refused(error.into_error()))?;
    output.finish().map_err(refused)?;
    Ok(0)
}

impl From<SaveError> for CommandError {
    fn from(error: SaveError) -> Self {
        let help = match error {
            SaveError::Find(error) => return error.into(),
            SaveError::Store(error) => return error.into(),
            SaveError::Write(ref source) if source.kind() == io::ErrorKind::BrokenPipe => {
                return Self::silent(BROKEN_PIPE);
            }
            SaveError::NotFound(_) => "`compose image ls` shows the images there are",
            SaveError::BlobMissing { .. } => "pull or load the image again",
            SaveError::Write(_) => {
                "check that the folder is there, can be written to, and has room"
            }
        };
        Self::new(&error).help(help)
    }
}
