//! What exists of a project, asked once: the planner's only knowledge of the world.
//!
//! Containers come from the records and the kernel; networks, volumes and
//! images from the rooms that keep them, behind the small trait [`Stores`] so
//! that a planner test needs none of them.

use std::collections::BTreeMap;
use std::error::Error;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::model::Project;
use crate::record::names::{self, NameHolder};
use crate::record::{Container, Garbage, RecordError, Roots, labels, list};

/// What exists, as far as it matters to one project.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Observed {
    /// The containers of the project, one-offs included, sorted by service and number.
    pub containers: Vec<Container>,
    /// What cut-off creations and removals have left in the project's folder.
    pub garbage: Vec<Garbage>,
    /// All networks, by real name.
    pub networks: BTreeMap<String, ObservedNetwork>,
    /// All volumes, by real name.
    pub volumes: BTreeMap<String, ObservedVolume>,
    /// The images of the project's services that are here: reference to id.
    pub images: BTreeMap<String, String>,
    /// The words of the file that name no image, and why: reference to reason.
    pub no_images: BTreeMap<String, String>,
    /// When the images that are here got their names, or their registries last confirmed them.
    pub named: BTreeMap<String, Timestamp>,
    /// Container names that the project may want and that containers of other
    /// projects have.
    pub foreign_names: BTreeMap<String, NameHolder>,
}

/// A network that exists.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObservedNetwork {
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its live part (namespace, bridge) exists; after a reboot it does not.
    pub live: bool,
}

impl ObservedNetwork {
    /// Whether it was made for `project`.
    #[must_use]
    pub fn belongs_to(&self, project: &str) -> bool {
        self.labels.get(labels::PROJECT).is_some_and(|owner| owner == project)
    }
}

/// A volume that exists.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObservedVolume {
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

impl ObservedVolume {
    /// Whether it was made for `project`.
    #[must_use]
    pub fn belongs_to(&self, project: &str) -> bool {
        self.labels.get(labels::PROJECT).is_some_and(|owner| owner == project)
    }
}

/// The stores, as far as a plan needs to know what is in them.
pub trait Stores {
    /// Why a store could not be read.
    type Error: Error + Send + Sync + 'static;

    /// All networks by real name.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    fn networks(&self) -> Result<BTreeMap<String, ObservedNetwork>, Self::Error>;

    /// All volumes by real name.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    fn volumes(&self) -> Result<BTreeMap<String, ObservedVolume>, Self::Error>;

    /// The image that `reference` stands for, if it is one for `platform`.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    fn image(&self, reference: &str, platform: Option<&str>) -> Result<ObservedImage, Self::Error>;
}

/// What a name of an image stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ObservedImage {
    /// An image.
    Here {
        /// Its id.
        id: String,
        /// When it got its name, or its registry last confirmed it.
        named: Option<Timestamp>,
    },
    /// One that is not here.
    Absent,
    /// Nothing that could be an image, for this reason.
    Impossible(String),
}

/// The world could not be observed.
#[derive(Debug, thiserror::Error)]
pub enum ObserveError<E: Error + 'static> {
    /// The records of the project.
    #[error("cannot list the containers")]
    Records(#[from] RecordError),
    /// One of the stores.
    #[error("cannot list the {what}")]
    Store {
        /// What it stores.
        what: &'static str,
        /// Why not.
        source: E,
    },
}

/// Observes everything that a plan for `project` needs to know.
///
/// # Errors
///
/// [`ObserveError`] when records or a store cannot be read.
pub fn observe<S: Stores>(
    roots: &Roots,
    project: &Project,
    stores: &S,
) -> Result<Observed, ObserveError<S::Error>> {
    let mut observed = observe_records(roots, project.name.as_str(), stores)?;
    for service in project.services.values() {
        for number in 1..=service.replicas {
            let name = names::container_name(project, service, number);
            match names::holder(roots, &name) {
                Some(holder) if project.name != *holder.project => {
                    observed.foreign_names.insert(name, holder);
                }
                _ => {}
            }
        }
    }
    observe_images(project, stores, &mut observed)?;
    Ok(observed)
}

/// Observes only which images of the project's services are here.
///
/// An image that is not for the platform which its service asks for is not here.
///
/// # Errors
///
/// [`ObserveError`] when the store cannot be read.
pub fn observe_images<S: Stores>(
    project: &Project,
    stores: &S,
    observed: &mut Observed,
) -> Result<(), ObserveError<S::Error>> {
    let mut wanted: BTreeMap<String, Option<&str>> = BTreeMap::new();
    for service in project.services.values() {
        let platform = wanted.entry(service.image_reference(&project.name)).or_default();
        *platform = platform.or(service.platform.as_deref());
        let hooks = service.pre_start.iter().filter_map(|hook| hook.image.clone());
        let mounted = service.mounted_images().map(|image| project.image_of(image));
        for image in hooks.chain(mounted) {
            wanted.entry(image).or_default();
        }
    }
    for (reference, platform) in wanted {
        let image = stores.image(&reference, platform);
        match image.map_err(|source| ObserveError::Store { what: "images", source })? {
            ObservedImage::Here { id, named } => {
                observed.named.extend(named.map(|named| (reference.clone(), named)));
                observed.images.insert(reference, id);
            }
            ObservedImage::Impossible(why) => drop(observed.no_images.insert(reference, why)),
            ObservedImage::Absent => {}
        }
    }
    Ok(())
}

/// Observes what exists of the project called `project`, for commands that
/// make nothing and so need neither images nor a file.
///
/// # Errors
///
/// [`ObserveError`] when records or a store cannot be read.
pub fn observe_records<S: Stores>(
    roots: &Roots,
    project: &str,
    stores: &S,
) -> Result<Observed, ObserveError<S::Error>> {
    let listing = list::containers(roots, project)?;
    Ok(Observed {
        containers: listing.containers,
        garbage: listing.garbage,
        networks: stores
            .networks()
            .map_err(|source| ObserveError::Store { what: "networks", source })?,
        volumes: stores
            .volumes()
            .map_err(|source| ObserveError::Store { what: "volumes", source })?,
        images: BTreeMap::new(),
        named: BTreeMap::new(),
        no_images: BTreeMap::new(),
        foreign_names: BTreeMap::new(),
    })
}
