//! Which container of a service a command means.

use super::context::Target;
use super::error::CommandError;
use crate::model::ServiceName;
use crate::record::Container;

/// Which containers are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Among {
    /// Those that run.
    Running,
    /// All.
    All,
}

/// The container of `service` with the number `index`; without one, that with the lowest number,
/// and a one-off only if there is no other.
///
/// # Errors
///
/// When there is no such service or no such container.
pub fn container<'a>(
    target: &Target,
    containers: &'a [Container],
    service: &ServiceName,
    index: Option<u32>,
    among: Among,
) -> Result<&'a Container, CommandError> {
    target.check(std::slice::from_ref(service), containers)?;
    let all = containers.iter().filter(|one| one.record.service == service.as_str());
    let fits = |one: &&Container| match index {
        Some(index) => !one.record.oneoff && one.record.number == index,
        None => true,
    };
    let candidate = all
        .clone()
        .filter(fits)
        .filter(|one| among == Among::All || one.state.phase.is_up())
        .min_by_key(|one| (one.state.aside, one.record.oneoff, one.record.number));
    candidate.ok_or_else(|| missing(service, index, all.clone().find(fits)))
}

fn missing(service: &ServiceName, index: Option<u32>, stopped: Option<&Container>) -> CommandError {
    match (stopped, index) {
        (Some(one), _) => {
            let (name, phase) = (&one.record.name, one.state.phase.as_str());
            CommandError::failed(format!("container {name} is not running: it is {phase}"))
                .help(format!("`compose start {service}` starts it, `compose logs {service}` shows what it said"))
        }
        (None, Some(index)) => {
            CommandError::failed(format!("service {service} has no container with number {index}"))
                .help("`compose ps -a` shows the containers there are")
        }
        (None, None) => CommandError::failed(format!("service {service} has no container"))
            .help(format!("`compose up -d {service}` makes and starts one")),
    }
}
