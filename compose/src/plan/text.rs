//! A plan as text: what `--dry-run` prints and what tests compare.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use super::{Action, Cause, Need, Plan, Step, StepId, Warning};
use crate::model::RolloutOrder;

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for warning in &self.warnings {
            writeln!(f, "warning: {warning}")?;
        }
        for (index, step) in self.steps.iter().enumerate() {
            writeln!(f, "#{} {step}", StepId::from_index(index))?;
        }
        if self.steps.is_empty() { writeln!(f, "nothing to do") } else { Ok(()) }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}) after ", self.action, self.because)?;
        set(f, &self.after)?;
        if self.after_end.is_empty() {
            return Ok(());
        }
        f.write_str(" and the end of ")?;
        set(f, &self.after_end)
    }
}

fn set(f: &mut fmt::Formatter<'_>, steps: &BTreeSet<StepId>) -> fmt::Result {
    let steps: Vec<String> = steps.iter().map(ToString::to_string).collect();
    write!(f, "{{{}}}", steps.join(", "))
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PullImage { image, need: Need::Required, .. } => write!(f, "pull image {image}"),
            Self::PullImage { image, need: Need::Optional, .. } => {
                write!(f, "pull image {image} if possible")
            }
            Self::BuildImage { image, unless, .. } => {
                write!(f, "build image {image}")?;
                let names: Vec<&str> = unless.iter().map(String::as_str).collect();
                match names.as_slice() {
                    [] => Ok(()),
                    [own] if own == image => f.write_str(" unless it can be fetched"),
                    names => write!(f, " unless {} can be fetched", names.join(" and ")),
                }
            }
            Self::CreateNetwork { name, .. } => write!(f, "create network {name}"),
            Self::RemoveNetwork { name } => write!(f, "remove network {name}"),
            Self::CreateVolume { name, .. } => write!(f, "create volume {name}"),
            Self::RemoveVolume { name } => write!(f, "remove volume {name}"),
            Self::CreateContainer(create) => write!(f, "create {}", create.instance),
            Self::UpdateContainer(update) => {
                write!(f, "update {} of {} live", update.keys.join(", "), update.instance)
            }
            Self::RunHook { create, .. } => write!(f, "run {}", create.instance),
            Self::StartContainer { instance, .. } => write!(f, "start {instance}"),
            Self::HandOver { instance, rollout, .. } => {
                match rollout.order {
                    RolloutOrder::StartFirst => write!(
                        f,
                        "start {instance} beside the old one, and hand over when it is ready"
                    ),
                    RolloutOrder::StopFirst => {
                        write!(f, "stop the old {instance}, then start the new one")
                    }
                }?;
                match rollout.delay {
                    Duration::ZERO => Ok(()),
                    delay => write!(f, ", {delay:?} later"),
                }
            }
            Self::Await { service, condition, need } => match need {
                Need::Required => write!(f, "await {service} {condition}"),
                Need::Optional => write!(f, "await {service} {condition} if possible"),
            },
            Self::StopContainer { instance, .. } => write!(f, "stop {instance}"),
            Self::SignalContainer { instance, signal, .. } => {
                write!(f, "send {signal} to {instance}")
            }
            Self::PauseContainer { instance, .. } => write!(f, "pause {instance}"),
            Self::UnpauseContainer { instance, .. } => write!(f, "unpause {instance}"),
            Self::RemoveContainer { instance, volumes, .. } if volumes.is_empty() => {
                write!(f, "remove {instance}")
            }
            Self::RemoveContainer { instance, .. } => {
                write!(f, "remove {instance} with its volumes")
            }
            Self::RemoveGarbage { id } => write!(f, "remove the remains of {id:.12}"),
            Self::RemoveImage { reference } => write!(f, "remove image {reference}"),
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("missing"),
            Self::NotRunning => f.write_str("not running"),
            Self::OutOfDate => f.write_str("out of date"),
            Self::Changed { change, place: None } => write!(f, "{change}"),
            Self::Changed { change, place: Some(place) } => write!(f, "{change}, {place}"),
            Self::DefinitionChanged { place: None } => f.write_str("definition changed"),
            Self::DefinitionChanged { place: Some(place) } => {
                write!(f, "definition changed, {place}")
            }
            Self::ImageUpdated => f.write_str("image updated"),
            Self::NotOnNetwork(network) => write!(f, "not on network {network}"),
            Self::LacksVolume(volume) => write!(f, "lacks volume {volume}"),
            Self::NetworkReplaced(network) => write!(f, "network {network} is replaced"),
            Self::VolumeReplaced(volume) => write!(f, "volume {volume} is replaced"),
            Self::PartnerReplaced(service) => write!(f, "shares with {service}, which is replaced"),
            Self::PartnerRestarted(service) => {
                write!(f, "shares with {service}, which is restarted")
            }
            Self::DependencyRestarted(service) => {
                write!(f, "depends on {service}, which is restarted")
            }
            Self::BuiltUpon(service) => write!(f, "{service} is built on it"),
            Self::NeededBy(service) => write!(f, "{service} waits for it"),
            Self::Requested => f.write_str("requested"),
            Self::ScaledDown => f.write_str("scaled down"),
            Self::Superseded => f.write_str("superseded"),
            Self::Orphan => f.write_str("orphan"),
            Self::CutOff => f.write_str("cut off"),
        }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Orphans { project, containers } => write!(
                f,
                "found orphan containers ({}) for project {project}; if a service was removed or renamed in the file, `--remove-orphans` cleans them up",
                containers.join(", ")
            ),
            Self::StopsFirst { service, obstacle, .. } => {
                write!(
                    f,
                    "service {service} is stopped before its new containers start, although it asks for start-first: {obstacle}"
                )
            }
            Self::ForeignNetwork { name, .. } => write!(
                f,
                "network {name} exists but was not made by this project; set `external: true` to use it on purpose"
            ),
            Self::ForeignVolume { name, .. } => write!(
                f,
                "volume {name} exists but was not made by this project; set `external: true` to use it on purpose"
            ),
            Self::ChangedVolume { name, .. } => write!(
                f,
                "volume {name} does not match the file and is kept, because its data would be lost; `compose up --yes` makes it anew"
            ),
        }
    }
}
