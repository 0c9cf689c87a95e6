//! Changing a container as it is, running or not.
//!
//! What can be refused comes first; the record comes last, and with it the hash by which the next plan finds nothing
//! more to do. A change that is cut off anywhere before that is made again, whole: each part may be repeated.

use std::rc::Rc;

use images::FindError;
use runtime::cgroup::CgroupError;
use runtime::launch::Launch;

use super::container::{self, CreateError, Parts};
use super::endpoint::{self, EndpointError};
use super::regrant::{self, Regrant, RegrantError};
use super::run::Walk;
use super::storage::{self, StorageError};
use super::wishes;
use crate::event::Change;
use crate::model::{Limits, Project, network_option};
use crate::plan::{CreateContainer, UpdateContainer};
use crate::record::start::{NetworkStart, Place};
use crate::record::{
    ContainerRecord, RecordError, StartRecord, read_record, replace_volatile_record,
};
use crate::supervisor::connect::{self, ConnectError};
use crate::supervisor::{AttachError, Live, Supervisor, bound, exit, names, probe, publish, start};

/// A container could not be changed as it is.
#[derive(Debug, thiserror::Error)]
pub enum UpdateError {
    /// Its image, which has a word in some of it, cannot be read.
    #[error(transparent)]
    Image(#[from] FindError),
    /// Its image is not in the store.
    #[error("image {image} does not exist here")]
    NoImage {
        /// As the file names it.
        image: String,
    },
    /// What is wanted cannot be.
    #[error(transparent)]
    Wish(#[from] CreateError),
    /// Its secrets and configs.
    #[error(transparent)]
    Regrant(#[from] RegrantError),
    /// Its limits.
    #[error("cannot set its limits")]
    Limits(#[from] CgroupError),
    /// How much it may write.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// A network that it is put on or taken off.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// Its names on a network.
    #[error(transparent)]
    Names(#[from] AttachError),
    /// An interface.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// Its files about the network.
    #[error(transparent)]
    Files(#[from] start::StartError),
    /// Its published ports.
    #[error(transparent)]
    Publish(#[from] ::network::publish::PublishError),
    /// It cannot be written down.
    #[error(transparent)]
    Record(#[from] RecordError),
}

/// Changes `live` to what `update` says, which is what the file says about its service.
///
/// # Errors
///
/// [`UpdateError`]. What was changed before stays so, and the record is as it was: the next plan has all of it again.
pub async fn update(
    walk: &Walk,
    live: &Rc<Live>,
    update: &UpdateContainer,
) -> Result<(), UpdateError> {
    let project =
        walk.job.project.as_deref().expect("containers are changed to what a project says");
    let supervisor = &walk.supervisor;
    let _gate = live.gate.lock().await;
    let (record, start) = (live.record(), live.start());
    let wanted = wanted(walk, project, live, update)?;
    if wanted.start.limits != start.limits && live.is_running() {
        limit(live, &wanted.start.limits, start.oom_kill_disable)?;
    }
    if update.keys.iter().any(|key| key.starts_with("storage_opt")) {
        storage::resize(&project.services[&update.instance.service], &live.paths)?;
    }
    if let Some(regrant) = &wanted.regrant {
        regrant.carry_out(live)?;
        bound::begin(supervisor, live);
    }
    move_networks(walk, live, update, &wanted.start.network)?;
    if wanted.record.ports != record.ports {
        publish::change(supervisor, live, &wanted.record.ports).await?;
    }
    let checked_otherwise = wanted.record.healthcheck != record.healthcheck;
    write_down(supervisor, live, wanted)?;
    if checked_otherwise && live.is_running() {
        let health = probe::initial(live);
        live.change(|state| state.health = health)?;
        probe::begin(supervisor, live);
    }
    walk.tell(live, Change::Updated);
    Ok(())
}

/// The records of a container as they would be if it were made now; its networks as they are wanted.
struct Wanted {
    record: ContainerRecord,
    start: StartRecord,
    /// Its secrets and configs, if they are others.
    regrant: Option<Regrant>,
}

fn wanted(
    walk: &Walk,
    project: &Project,
    live: &Live,
    update: &UpdateContainer,
) -> Result<Wanted, UpdateError> {
    let (record, start) = (live.record(), live.start());
    let service = &project.services[&update.instance.service];
    let image = walk.image(&record.image)?;
    let image = image.ok_or_else(|| UpdateError::NoImage { image: record.image.clone() })?;
    let create = CreateContainer {
        instance: update.instance.clone(),
        oneoff: false,
        image: record.image.clone(),
        image_id: record.image_id.clone(),
        config_hash: update.config_hash.clone(),
        replaces: None,
        aside: false,
        beside: false,
        inherits: Default::default(),
        joins: Vec::new(),
    };
    let network = container::network_start(walk, project, &create, &record.id, &record.joins)?;
    let regrant = regrant::is_asked_for(&update.keys)
        .then(|| regrant::prepare(walk, live, (project, service), &image, &update.keys))
        .transpose()?;
    let mounts = regrant.as_ref().map_or(&record.mounts, |regrant| &regrant.records);
    let renewed = container::record(Parts {
        project,
        service,
        image: &image,
        create: &create,
        id: &record.id,
        command: record.command.clone(),
        mounts: mounts.clone(),
        joins: record.joins.clone(),
        network: &network,
    });
    Ok(Wanted {
        record: ContainerRecord {
            created: record.created,
            image_id: record.image_id.clone(),
            ..renewed
        },
        start: StartRecord {
            limits: service.limits.clone(),
            pre_stop: service.pre_stop.clone(),
            network,
            ..(*start).clone()
        },
        regrant,
    })
}

/// Sets the limits of a container that runs, and lets `exec` know of control groups that it has gained.
fn limit(live: &Live, limits: &Limits, oom_kill_disable: bool) -> Result<(), UpdateError> {
    let Some(mut place) = exit::place(live) else { return Ok(()) };
    place.update(&wishes::limits(limits, oom_kill_disable))?;
    let path = live.paths.launch();
    if let Some(launch) = read_record::<Launch>(&path)?
        && launch.cgroup.as_ref() != Some(&place)
    {
        replace_volatile_record(&path, &Launch { cgroup: Some(place.clone()), ..launch })?;
    }
    *live.place.borrow_mut() = Some(place);
    Ok(())
}

/// Takes a container off networks, puts it on others, and gives it the names of `wanted` on those that it keeps.
fn move_networks(
    walk: &Walk,
    live: &Rc<Live>,
    update: &UpdateContainer,
    wanted: &NetworkStart,
) -> Result<(), UpdateError> {
    let NetworkStart::Own(wanted) = wanted else { return Ok(()) };
    let supervisor = &walk.supervisor;
    let mut moved = false;
    for network in &update.leave {
        if let Some(place) = place_on(live, network)? {
            connect::take_off(supervisor, live, network)?;
            release(supervisor, &place);
            moved = true;
        }
    }
    for place in wanted {
        match place_on(live, &place.network)? {
            Some(kept) if kept.wish.names != place.wish.names => rename(supervisor, live, place)?,
            Some(_) => {}
            None if update.join.contains(&place.network) => {
                let place = with_free_interface(supervisor, live, place)?;
                connect::put_on(supervisor, live, place)?;
                moved = true;
            }
            None => {}
        }
    }
    if moved && live.is_running() {
        start::write_etc(supervisor, live)?;
    }
    Ok(())
}

fn place_on(live: &Live, network: &str) -> Result<Option<Place>, UpdateError> {
    Ok(connect::places(live)?.into_iter().find(|place| place.network == network))
}

/// Nobody comes back to an address on a network that the service has left.
fn release(supervisor: &Supervisor, place: &Place) {
    if let Ok(network) = supervisor.network(&place.network)
        && let Err(error) = network.release(&place.wish.lease_key)
    {
        tracing::warn!(network = place.network, %error, "lease");
    }
}

/// The place with an interface that the container does not have yet.
fn with_free_interface(
    supervisor: &Supervisor,
    live: &Live,
    place: &Place,
) -> Result<Place, UpdateError> {
    let network = supervisor.network(&place.network)?;
    let prefix = network.record().wanted.options.get(network_option::INTERFACE_PREFIX);
    let used = connect::places(live)?.into_iter().map(|place| place.wish.interface);
    let interface = endpoint::Names::used(used)
        .next(None, prefix.map(String::as_str))
        .map_err(EndpointError::from)?;
    let mut place = place.clone();
    place.wish.interface = interface;
    Ok(place)
}

fn rename(supervisor: &Supervisor, live: &Live, wanted: &Place) -> Result<(), UpdateError> {
    let mut network = live.network.borrow().clone();
    if let NetworkStart::Own(places) = &mut network
        && let Some(place) = places.iter_mut().find(|place| place.network == wanted.network)
    {
        place.wish.names.clone_from(&wanted.wish.names);
        names::rename(supervisor, live, place)?;
    }
    *live.network.borrow_mut() = network;
    Ok(())
}

/// Writes down what the container is, with its networks as they have become.
fn write_down(supervisor: &Supervisor, live: &Live, wanted: Wanted) -> Result<(), UpdateError> {
    let Wanted { mut record, mut start, regrant: _ } = wanted;
    start.network = live.network.borrow().clone();
    let known = live.record();
    let is_wanted = |network: &str| record.networks.iter().any(|one| one.network == network);
    let others = known.networks.iter().filter(|one| one.connected && !is_wanted(&one.network));
    let others: Vec<_> = others.cloned().collect();
    record.networks.extend(others);
    Ok(live.renew(&supervisor.roots, record, start)?)
}
