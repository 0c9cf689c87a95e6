//! Why there is no plan: what can be told before anything is changed.

use crate::graph::CycleError;
use crate::model::{Place, ServiceName};
use crate::record::names::NameHolder;

/// A project that cannot be planned, with everything that stands in the way.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", join(refusals))]
pub struct PlanError {
    /// All reasons, at least one.
    pub refusals: Vec<Refusal>,
}

fn join(refusals: &[Refusal]) -> String {
    refusals.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

impl From<Refusal> for PlanError {
    fn from(refusal: Refusal) -> Self {
        Self { refusals: vec![refusal] }
    }
}

/// One reason for which a project cannot be planned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The file has no service of that name.
    #[error("no such service: {service}")]
    UnknownService {
        /// The name.
        service: ServiceName,
    },
    /// All services are switched off by profiles, or there are none.
    #[error("no service selected")]
    NothingSelected,
    /// Services wait for each other.
    #[error(transparent)]
    Cycle(#[from] CycleError),
    /// Images are built on each other.
    #[error("images are built on each other: {}", services.iter().map(ServiceName::as_str).collect::<Vec<_>>().join(", "))]
    BuildCycle {
        /// Of which services.
        services: Vec<ServiceName>,
        /// Where the file says how the first is built.
        place: Option<Place>,
    },
    /// A network that is external does not exist.
    #[error("network {name} is declared as external, but does not exist")]
    ExternalNetworkMissing {
        /// Its real name.
        name: String,
        /// Where the file names it.
        place: Option<Place>,
    },
    /// A volume that is external does not exist.
    #[error("volume {name} is declared as external, but does not exist")]
    ExternalVolumeMissing {
        /// Its real name.
        name: String,
        /// Where the file names it.
        place: Option<Place>,
    },
    /// The image is not here.
    #[error("service {service}: there is no image {image}")]
    ImageMissing {
        /// The service.
        service: ServiceName,
        /// The image.
        image: String,
        /// Where the file names it.
        place: Option<Place>,
    },
    /// What the file says is no name of an image, or names something else.
    #[error("service {service}: {reason}")]
    ImageImpossible {
        /// The service.
        service: ServiceName,
        /// Why not.
        reason: String,
        /// Where the file names it.
        place: Option<Place>,
    },
    /// A container name belongs to a container of somebody else.
    #[error("service {service}: the container name {name} is in use by container {:.12} of project {}", holder.id, holder.project)]
    NameTaken {
        /// The service.
        service: ServiceName,
        /// The name.
        name: String,
        /// Who has it.
        holder: NameHolder,
        /// Where the file asks for it.
        place: Option<Place>,
    },
    /// Several containers would have the same name.
    #[error("service {service}: {replicas} containers cannot all be called {name}")]
    NamedReplicas {
        /// The service.
        service: ServiceName,
        /// The `container_name`.
        name: String,
        /// How many there are to be.
        replicas: u32,
        /// Where the file names it.
        place: Option<Place>,
    },
    /// The service whose namespace or volumes are to be shared has no container.
    #[error("service {service} shares with service {partner}, which has no container")]
    PartnerMissing {
        /// The service.
        service: ServiceName,
        /// The other one.
        partner: ServiceName,
    },
    /// A volume is to be made anew, and a container has it that stays.
    #[error("volume {volume} cannot be made anew: container {container} uses it")]
    VolumeInUse {
        /// The volume.
        volume: String,
        /// The container.
        container: String,
    },
    /// `start` makes no containers.
    #[error("service {service} has no container to start")]
    NoContainer {
        /// The service.
        service: ServiceName,
    },
}

impl Refusal {
    /// Where in the file the reason lies.
    #[must_use]
    pub fn place(&self) -> Option<&Place> {
        match self {
            Self::BuildCycle { place, .. }
            | Self::ExternalNetworkMissing { place, .. }
            | Self::ExternalVolumeMissing { place, .. }
            | Self::ImageMissing { place, .. }
            | Self::ImageImpossible { place, .. }
            | Self::NameTaken { place, .. }
            | Self::NamedReplicas { place, .. } => place.as_ref(),
            Self::UnknownService { .. }
            | Self::NothingSelected
            | Self::Cycle(_)
            | Self::PartnerMissing { .. }
            | Self::VolumeInUse { .. }
            | Self::NoContainer { .. } => None,
        }
    }
}
