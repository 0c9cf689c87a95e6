//! `compose image tag`.

use images::{Reference, Store};

use crate::cli::error::CommandError;

/// Give an image another name
#[derive(Debug, clap::Args)]
pub struct TagArgs {
    /// The image: a name or an id
    #[arg(value_name = "IMAGE")]
    image: String,
    /// The name it gets, which another image loses
    #[arg(value_name = "NAME[:TAG]")]
    target: Reference,
}

/// Gives the image its name.
///
/// # Errors
///
/// When the image is not there or the name has a digest.
pub fn run(args: &TagArgs, store: &Store) -> Result<u8, CommandError> {
    store.tag(&args.image, &args.target)?;
    Ok(0)
}
