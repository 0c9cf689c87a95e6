//! `compose image pull`.

use images::{Platform, Store};

use crate::apply::explain;
use crate::apply::image::fetch;
use crate::cli::context::Context;
use crate::cli::error::CommandError;
use crate::cli::terminal::Terminal;
use crate::cli::transfer::{fetching, side_by_side};
use crate::event::{Event, Kind, Status};
use crate::platform;

/// Fetch images from their registries
#[derive(Debug, clap::Args)]
pub struct PullArgs {
    /// Names
    #[arg(value_name = "NAME[:TAG|@DIGEST]", required = true)]
    images: Vec<String>,
    /// For which machine (default: this one)
    #[arg(long, value_name = "OS/ARCHITECTURE")]
    platform: Option<Platform>,
    /// Print the names only
    #[arg(long, short)]
    quiet: bool,
}

/// Fetches the images and prints their complete names.
///
/// # Errors
///
/// All failures, in the order in which they happened.
pub fn run(
    args: PullArgs,
    context: &Context,
    store: &Store,
    terminal: &mut Terminal,
) -> Result<u8, CommandError> {
    let PullArgs { images, platform, quiet } = args;
    let platform = platform.map_or_else(platform::default, |platform| Ok(Some(platform)))?;
    let platform = platform.map(|platform| platform.to_string());
    let fetching = fetching(quiet)?;
    let pulled = std::sync::Mutex::new(Vec::new());
    let limit = context.parallel();
    let failures = side_by_side(images, limit, &fetching.cancel, terminal, |name, tell| {
        let say = |status| {
            if !quiet {
                tell(Event::step(Kind::Image, &*name, status));
            }
        };
        say(Status::Pulling);
        match fetch(store, &fetching, &name, platform.as_deref(), tell) {
            Ok(found) => {
                say(Status::Pulled);
                let complete = found.image.reference.map(|reference| reference.to_string());
                pulled.lock().unwrap_or_else(std::sync::PoisonError::into_inner).extend(complete);
                Ok(())
            }
            Err(error) => {
                say(Status::Error);
                Err(explain::fetching(&error, &name))
            }
        }
    })?;
    let pulled = pulled.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    terminal.print(pulled.iter().map(|name| format!("{name}\n")).collect::<String>())?;
    if failures.is_empty() { Ok(0) } else { Err(failures.into()) }
}
