//! `compose image verify`.

use images::Store;

use crate::cli::error::CommandError;
use crate::cli::terminal::Terminal;

/// Read everything in the store and compare it with its digests
#[derive(Debug, clap::Args)]
pub struct VerifyArgs {}

/// Prints what is wrong.
///
/// # Errors
///
/// When the store cannot be read, and when anything is wrong.
pub fn run(_: &VerifyArgs, store: &Store, terminal: &mut Terminal) -> Result<u8, CommandError> {
    let verified = store.verify()?;
    terminal.print(format!("{} images, {} blobs\n", verified.images, verified.blobs))?;
    if verified.faults.is_empty() {
        return Ok(0);
    }
    let faults = verified.faults.into_iter().map(|fault| crate::event::Failure {
        message: fault,
        help: Some("remove the image and pull or load it again".to_owned()),
        ..crate::event::Failure::default()
    });
    Err(faults.collect::<Vec<_>>().into())
}
