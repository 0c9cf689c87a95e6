//! `compose create`.

use super::context::Context;
use super::error::CommandError;
use super::replace;
use super::session::Session;
use super::terminal::Terminal;
use super::up::{ChangeArgs, carry_out, wanted};
use crate::api::UpRequest;
use crate::model::ServiceName;

/// Create containers without starting them
#[derive(Debug, clap::Args)]
pub struct CreateArgs {
    /// Services to create, with those they depend on (default: all)
    #[arg(value_name = "SERVICE")]
    services: Vec<ServiceName>,
    #[command(flatten)]
    change: ChangeArgs,
}

/// As `up --no-start`.
///
/// # Errors
///
/// When the project cannot be read, or something cannot be made.
pub fn run(
    args: CreateArgs,
    context: &Context,
    terminal: &mut Terminal,
) -> Result<u8, CommandError> {
    context.require_root()?;
    let project = context.load_for(&args.services, terminal)?;
    let all = wanted(&project, &args.services, false);
    context.check_support(&project, &all, terminal)?;
    args.change.agree(context, terminal)?;
    let answer = args.change.answer();
    let mut options = args.change.options(&project, args.services, context)?;
    options.replace_volumes = replace::agree(&project, &all, answer, context, terminal)?;
    options.start = false;
    let session = Session::new(context, project.name.as_str());
    carry_out(&session, &UpRequest { project, options }, terminal)
}
