//! `compose scale`.

use std::collections::BTreeMap;

use super::context::Context;
use super::error::CommandError;
use super::session::Session;
use super::terminal::Terminal;
use super::up::{Scale, carry_out, check_scales, wanted};
use crate::api::{BuildOptions, BuildWhen, UpOptions, UpRequest};
use crate::model::ServiceName;

/// Change how many containers services have
#[derive(Debug, clap::Args)]
pub struct ScaleArgs {
    /// Services and how many containers each is to have
    #[arg(value_name = "SERVICE=N", required = true)]
    scales: Vec<Scale>,
    /// Leave services alone that these depend on
    #[arg(long)]
    no_deps: bool,
}

/// As `up -d --scale …`, for these services.
///
/// # Errors
///
/// When the project cannot be read, or cannot be brought up.
pub fn run(
    args: ScaleArgs,
    context: &Context,
    terminal: &mut Terminal,
) -> Result<u8, CommandError> {
    context.require_root()?;
    let scale: BTreeMap<ServiceName, u32> =
        args.scales.into_iter().map(|scale| (scale.service, scale.replicas)).collect();
    let services: Vec<ServiceName> = scale.keys().cloned().collect();
    let project = context.load_for(&services, terminal)?;
    check_scales(&project, &scale)?;
    context.check_support(&project, &wanted(&project, &services, args.no_deps), terminal)?;
    let options = UpOptions {
        services,
        scale,
        dependencies: !args.no_deps,
        parallel: context.parallel(),
        build: BuildOptions { when: BuildWhen::Never, ..BuildOptions::default() },
        ..UpOptions::default()
    };
    let session = Session::new(context, project.name.as_str());
    carry_out(&session, &UpRequest { project, options }, terminal)
}
