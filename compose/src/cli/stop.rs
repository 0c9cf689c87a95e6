//! `compose stop`.

use super::context::Context;
use super::error::CommandError;
use super::session::Session;
use super::terminal::Terminal;
use crate::api::{StopOptions, StopRequest, path};
use crate::model::ServiceName;

/// Stop containers without removing them
#[derive(Debug, clap::Args)]
pub struct StopArgs {
    /// Services to stop (default: all)
    #[arg(value_name = "SERVICE")]
    services: Vec<ServiceName>,
    /// Seconds to wait before SIGKILL; -1 for no end (default: `stop_grace_period` of the service)
    #[arg(long, short, value_name = "SECONDS", allow_negative_numbers = true, value_parser = grace)]
    timeout: Option<u32>,
}

/// How many seconds a container has to stop. Of a number below nothing there is no end to wait for; of what a number can be, that
/// comes close enough.
///
/// # Errors
///
/// When it is no number.
pub fn grace(text: &str) -> Result<u32, std::num::ParseIntError> {
    Ok(u32::try_from(text.parse::<i32>()?).unwrap_or(u32::MAX))
}

/// Asks the supervisor to stop what runs.
///
/// # Errors
///
/// When the project cannot be read or a container resists.
pub fn run(args: StopArgs, context: &Context, terminal: &mut Terminal) -> Result<u8, CommandError> {
    let (target, containers) = context.containers_of(&args.services, terminal)?;
    if !containers.iter().any(|container| container.state.phase.is_up()) {
        return Ok(0);
    }
    let options = StopOptions {
        services: args.services,
        only: Vec::new(),
        timeout_seconds: args.timeout,
        parallel: context.parallel(),
    };
    let request = StopRequest { project: target.project, options };
    let session = Session::new(context, target.name.as_str());
    Ok(session.carry_out(path::STOP, &request, terminal)?.code)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::testing::{args, refusal};

    #[test]
    fn a_time_may_have_no_end() {
        for (words, seconds) in [
            (&["-t", "3"][..], 3),
            (&["-t", "0"], 0),
            (&["-t", "-1"], u32::MAX),
            (&["--timeout=-1"], u32::MAX),
        ] {
            assert_eq!(args::<StopArgs>(words).timeout, Some(seconds), "{words:?}");
        }
        assert!(refusal::<StopArgs>(&["-t", "x"]).is_some());
    }
}
