//! Published ports: bound before anything is changed, served while the container runs.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::fd::AsFd as _;
use std::rc::Rc;

use network::publish::{
    Former, HostPort, Publish, PublishError, Reserved, Served, Target, reserve,
};

use super::live::Live;
use super::names::WaysOut;
use super::{Supervisor, names};
use crate::event::Failure;
use crate::model::{Port, Project, Protocol, Published, RolloutOrder, Service};
use crate::plan::{Action, Plan};
use crate::record::PublishedPort;
use crate::record::start::NetworkStart;

/// Host ports that are bound for containers which do not run yet, by the container's name.
#[derive(Debug, Default)]
pub struct Reservations {
    bound: RefCell<BTreeMap<String, Vec<Reserved>>>,
}

impl Reservations {
    /// Binds every port that `plan` will need and that no container of the project has now, so that a conflict shows
    /// before anything is changed.
    ///
    /// # Errors
    ///
    /// All conflicts; nothing stays bound then.
    pub fn reserve(
        &self,
        supervisor: &Supervisor,
        project: &Project,
        plan: &Plan,
    ) -> Result<(), Vec<Failure>> {
        let mut failures = Vec::new();
        let yielded = yielded(supervisor, project, plan);
        for step in &plan.steps {
            let (instance, before) = match &step.action {
                Action::CreateContainer(create) => (&create.instance, create.replaces.as_ref()),
                Action::UpdateContainer(update) => (&update.instance, Some(&update.id)),
                _ => continue,
            };
            let service = &project.services[&instance.service];
            let held = before.and_then(|id| supervisor.container(id));
            let held = held.filter(|live| live.is_running());
            let is_free = |port: &&Port| {
                !held.as_deref().is_some_and(|live| has_port(live, port))
                    && !yielded.iter().any(|held| held.meets(port))
            };
            let wanted: Vec<&Port> = service.ports.iter().filter(is_free).collect();
            match reserve(&wishes(wanted)) {
                Ok(reserved) => {
                    self.bound.borrow_mut().insert(instance.name.clone(), reserved);
                }
                Err(error) => failures.push(self.refusal(supervisor, service, &error)),
            }
        }
        if failures.is_empty() {
            return Ok(());
        }
        self.clear();
        Err(failures)
    }

    fn refusal(&self, supervisor: &Supervisor, service: &Service, error: &PublishError) -> Failure {
        let concerns = |port: &Port| wish(port).is_some_and(|wish| concerns(error, &wish));
        let index = service.ports.iter().position(concerns);
        let attribute = index.map_or_else(|| "ports".to_owned(), |index| format!("ports[{index}]"));
        let place = service.places.of(&attribute).or(service.place.as_ref());
        let failure = Failure::new(error);
        let (message, help) = match (ours(error), self.rival(supervisor, error)) {
            (None, _) => (failure.message, help(error)),
            (Some(port), rival) => {
                let by = rival.map_or_else(
                    || "twice by the same service".to_owned(),
                    |rival| format!("by container {rival} as well"),
                );
                let help = "publish another host port, or a range such as `8080-8089:80`";
                (format!("{port} is published {by}"), Some(help.to_owned()))
            }
        };
        let message = format!("service {}: {message}", service.name);
        Failure { message, help, place: place.cloned().map(Into::into), ..Failure::default() }
    }

    /// The container of this project that has the port of `error`.
    fn rival(&self, supervisor: &Supervisor, error: &PublishError) -> Option<String> {
        let bound = self.bound.borrow();
        let has = |reserved: &Vec<Reserved>| {
            reserved.iter().any(|reserved| concerns(error, reserved.publish()))
        };
        let of_plan =
            bound.iter().find(|(_, reserved)| has(reserved)).map(|(name, _)| name.clone());
        let running = || {
            let live = supervisor.all().into_iter().find(|live| {
                live.is_running()
                    && wishes(&live.record().ports).iter().any(|wish| concerns(error, wish))
            });
            live.map(|live| live.record().name.clone())
        };
        of_plan.or_else(running)
    }

    /// Frees what has not been used.
    pub fn clear(&self) {
        self.bound.borrow_mut().clear();
    }

    /// The ports that are bound for this container.
    fn take(&self, name: &str) -> Vec<Reserved> {
        self.bound.borrow_mut().remove(name).unwrap_or_default()
    }
}

/// Ports that running containers have, and that `plan` takes from them before others start that may want them.
fn yielded(supervisor: &Supervisor, project: &Project, plan: &Plan) -> Vec<Port> {
    let mut yielded = Vec::new();
    for step in &plan.steps {
        let (id, keeps) = match &step.action {
            Action::StopContainer { id, .. } => (id, [].as_slice()),
            Action::HandOver { from: Some(id), rollout, .. }
                if rollout.order == RolloutOrder::StopFirst =>
            {
                (id, [].as_slice())
            }
            Action::UpdateContainer(update) => {
                (&update.id, project.services[&update.instance.service].ports.as_slice())
            }
            _ => continue,
        };
        let Some(live) = supervisor.container(id).filter(|live| live.is_running()) else {
            continue;
        };
        let record = live.record();
        yielded.extend(record.ports.iter().filter(|port| !keeps.contains(port)).cloned());
    }
    yielded
}

/// Whether a running container has the port: by its record, or because a change of its ports was cut off before that.
fn has_port(live: &Live, port: &Port) -> bool {
    let is_served =
        |wish: &Publish| live.tasks.borrow().published.iter().any(|served| serves(served, wish));
    live.record().ports.contains(port) || wish(port).as_ref().is_some_and(is_served)
}

/// The port that `error` says is taken, if this very process has it.
fn ours(error: &PublishError) -> Option<String> {
    match error {
        PublishError::InUse { address, protocol, holder: Some(holder), .. }
            if holder.pid == std::process::id().cast_signed() =>
        {
            Some(format!("{address}/{protocol}"))
        }
        _ => None,
    }
}

/// Whether it is `wish` that `error` is about.
fn concerns(error: &PublishError, wish: &Publish) -> bool {
    let same = |address: &SocketAddr| match wish.host_port {
        HostPort::Fixed(port) => port == address.port(),
        HostPort::Range { first, last } => (first..=last).contains(&address.port()),
        HostPort::Ephemeral => address.port() == 0,
    };
    match error {
        PublishError::InUse { address, protocol, .. }
        | PublishError::Listen { address, protocol, .. } => {
            wish.protocol == *protocol && same(address)
        }
        PublishError::NoSuchAddress { address, .. } => {
            wish.host_ip == Some(address.ip()) && same(address)
        }
        PublishError::RangeInUse { first, last, protocol, .. } => {
            wish.protocol == *protocol
                && wish.host_port == HostPort::Range { first: *first, last: *last }
        }
    }
}

/// What to do about a port that cannot be had.
pub fn help(error: &PublishError) -> Option<String> {
    match error {
        PublishError::InUse { holder: Some(_), .. } => {
            Some("stop that process, or publish another host port".to_owned())
        }
        PublishError::InUse { address, .. } => Some(format!(
            "`ss -lntup 'sport = {}'` shows which process holds the port",
            address.port()
        )),
        PublishError::RangeInUse { .. } => Some("publish a larger range".to_owned()),
        PublishError::NoSuchAddress { .. } => {
            Some("`ip address` shows the addresses of this host".to_owned())
        }
        PublishError::Listen { .. } => None,
    }
}

/// Binds the ports of `live`, as far as that has not been done.
///
/// # Errors
///
/// [`PublishError`] for the first that cannot be had.
pub fn prepare(supervisor: &Supervisor, live: &Live) -> Result<(), PublishError> {
    if !matches!(&*live.network.borrow(), NetworkStart::Own(places) if !places.is_empty()) {
        return Ok(());
    }
    if live.state().aside {
        // They are those of the container in its place.
        return Ok(());
    }
    let wanted = unserved(live, &live.record().ports);
    let reserved = bind(supervisor, live, wanted)?;
    live.tasks.borrow_mut().reserved = reserved;
    Ok(())
}

/// Binds the ports that `live` is to have and `from`, whose place it takes, has not.
///
/// # Errors
///
/// [`PublishError`] for the first that cannot be had.
pub fn prepare_hand_over(
    supervisor: &Supervisor,
    from: Option<&Rc<Live>>,
    live: &Live,
) -> Result<(), PublishError> {
    let mut wanted = wishes(&live.record().ports);
    if let Some(from) = from {
        for served in &from.tasks.borrow().published {
            if let Some(index) = wanted.iter().position(|wish| serves(served, wish)) {
                wanted.swap_remove(index);
            }
        }
    }
    let reserved = bind(supervisor, live, wanted)?;
    live.tasks.borrow_mut().reserved = reserved;
    Ok(())
}

/// Has the ports of `from` lead to `live` from here on, which takes its place, and serves those that have been bound
/// for it. Gives the connections that `from` still has.
pub fn hand_over(supervisor: &Supervisor, from: Option<&Rc<Live>>, live: &Live) -> Vec<Former> {
    let mut passed = Vec::new();
    if let Some(from) = from {
        let mut wanted = wishes(&live.record().ports);
        let mut tasks = from.tasks.borrow_mut();
        let (taken, left): (Vec<Served>, Vec<Served>) =
            std::mem::take(&mut tasks.published).into_iter().partition(|served| {
                let index = wanted.iter().position(|wish| serves(served, wish));
                index.map(|index| wanted.swap_remove(index)).is_some()
            });
        (passed, tasks.published) = (taken, left);
    }
    let target = target(supervisor, live);
    passed.iter().for_each(|served| served.retarget(target.clone()));
    let former = passed.iter().map(Served::former).collect();
    live.tasks.borrow_mut().published.extend(passed);
    let published = serve(supervisor, live);
    for (live, published) in
        from.map(|from| (&**from, Vec::new())).into_iter().chain([(live, published)])
    {
        if let Err(error) = live.change(|state| state.published = published) {
            tracing::warn!(container = live.record().name, %error, "state");
        }
    }
    former
}

/// Those of `ports` that are not served.
fn unserved(live: &Live, ports: &[Port]) -> Vec<Publish> {
    let tasks = live.tasks.borrow();
    let mut serving: Vec<&Served> = tasks.published.iter().collect();
    let mut wanted = wishes(ports);
    wanted.retain(|wish| match serving.iter().position(|served| serves(served, wish)) {
        Some(index) => {
            serving.swap_remove(index);
            false
        }
        None => true,
    });
    wanted
}

/// Whether `served` is what `wish` asks for.
fn serves(served: &Served, wish: &Publish) -> bool {
    let Publish { host_ip, host_port, target, protocol } = wish;
    let has = served.publish();
    let port = match host_port {
        HostPort::Fixed(port) => served.port() == *port,
        HostPort::Range { first, last } => (*first..=*last).contains(&served.port()),
        HostPort::Ephemeral => true,
    };
    port && has.host_ip == *host_ip && has.target == *target && has.protocol == *protocol
}

/// Binds what is `wanted` for `live`, as far as that has not been done before.
fn bind(
    supervisor: &Supervisor,
    live: &Live,
    mut wanted: Vec<Publish>,
) -> Result<Vec<Reserved>, PublishError> {
    let mut reserved = supervisor.ports.take(&live.record().name);
    reserved.retain(|reserved| {
        let index = wanted.iter().position(|wish| wish == reserved.publish());
        index.map(|index| wanted.swap_remove(index)).is_some()
    });
    reserved.extend(reserve(&wanted)?);
    Ok(reserved)
}

/// Publishes `ports` of a container and no others. Those that stay are not touched, and nor are their connections.
///
/// # Errors
///
/// [`PublishError`] for the first that cannot be had; what was published before is so then, too.
pub async fn change(
    supervisor: &Rc<Supervisor>,
    live: &Rc<Live>,
    ports: &[Port],
) -> Result<(), PublishError> {
    let dropped = {
        let mut wanted = wishes(ports);
        let mut tasks = live.tasks.borrow_mut();
        let (kept, dropped): (Vec<Served>, Vec<Served>) =
            std::mem::take(&mut tasks.published).into_iter().partition(|served| {
                let index = wanted.iter().position(|wish| serves(served, wish));
                index.map(|index| wanted.swap_remove(index)).is_some()
            });
        tasks.published = kept;
        dropped
    };
    for served in dropped {
        served.close().await;
    }
    let bound = match live.is_running() {
        true => bind(supervisor, live, unserved(live, ports)),
        // They are bound when it is started.
        false => Ok(Vec::new()),
    };
    let (bound, outcome) = match bound {
        Ok(bound) => (bound, Ok(())),
        Err(error) => {
            let before = unserved(live, &live.record().ports);
            (reserve(&before).unwrap_or_default(), Err(error))
        }
    };
    if live.is_running() {
        live.tasks.borrow_mut().reserved = bound;
        let published = serve(supervisor, live);
        if let Err(error) = live.change(|state| state.published = published) {
            tracing::warn!(container = live.record().name, %error, "state");
        }
    }
    outcome
}

/// Serves the bound ports of a container that has just been started.
pub fn begin(supervisor: &Supervisor, live: &Live) -> Vec<PublishedPort> {
    redirect(supervisor, live);
    serve(supervisor, live)
}

/// Serves the bound ports of a container beside those that are served already.
fn serve(supervisor: &Supervisor, live: &Live) -> Vec<PublishedPort> {
    let reserved = std::mem::take(&mut live.tasks.borrow_mut().reserved);
    let target = target(supervisor, live);
    let mut serving = std::mem::take(&mut live.tasks.borrow_mut().published);
    for reserved in reserved {
        match reserved.serve(target.clone()) {
            Ok(served) => serving.push(served),
            Err(error) => tracing::error!(container = live.record().name, %error, "publish"),
        }
    }
    let published = serving.iter().flat_map(ports).collect();
    live.tasks.borrow_mut().published = serving;
    published
}

fn ports(served: &Served) -> impl Iterator<Item = PublishedPort> {
    served.addresses().iter().map(|host| PublishedPort {
        host: *host,
        target: served.publish().target,
        protocol: protocol(served.publish().protocol),
    })
}

/// Lets connections wait until a container that is about to be started again runs.
pub fn pause(live: &Live) {
    for served in &live.tasks.borrow().published {
        served.retarget(None);
    }
}

/// Gives the ports of a container back that will not run again by itself.
pub async fn end(live: &Live) {
    live.tasks.borrow_mut().reserved.clear();
    let published = std::mem::take(&mut live.tasks.borrow_mut().published);
    for served in published {
        served.close().await;
    }
}

/// Binds and serves the ports of a container that runs already, at the host ports that it had.
pub fn take_up(supervisor: &Rc<Supervisor>, live: &Rc<Live>) {
    if live.state().aside {
        return;
    }
    let known = live.state().published.clone();
    let mut wanted = wishes(&live.record().ports);
    for wish in &mut wanted {
        let same = |port: &&PublishedPort| {
            port.target == wish.target && protocol(wish.protocol) == port.protocol
        };
        if let Some(port) = known.iter().find(same) {
            wish.host_port = HostPort::Fixed(port.host.port());
        }
    }
    match reserve(&wanted) {
        Ok(reserved) => {
            live.tasks.borrow_mut().reserved = reserved;
            let published = begin(supervisor, live);
            if published != known
                && let Err(error) = live.change(|state| state.published = published)
            {
                tracing::warn!(container = live.record().name, %error, "state");
            }
        }
        Err(error) => tracing::error!(container = live.record().name, %error, "publish"),
    }
}

/// Leads the ports of a container that has been put on a network or taken off one where they belong.
pub fn redirect(supervisor: &Supervisor, live: &Live) {
    let target = target(supervisor, live);
    for served in &live.tasks.borrow().published {
        served.retarget(target.clone());
    }
}

/// Where the ports of `live` lead: its addresses on the network with its way out, else on the first.
fn target(supervisor: &Supervisor, live: &Live) -> Option<Target> {
    let state = live.state();
    let start = live.network.borrow();
    let NetworkStart::Own(places) = &*start else { return None };
    let ways_out = WaysOut::of(supervisor, places).unwrap_or_default();
    let index = ways_out.main().unwrap_or(0);
    let place = places.get(index)?;
    let endpoint = state.endpoints.iter().find(|endpoint| endpoint.network == place.network)?;
    let network = names::network(supervisor, &endpoint.network).ok()?;
    if !network.record().wanted.driver.reaches_members() {
        let descriptors = live.descriptors.borrow();
        return Target::within(descriptors.sandbox.as_ref()?.as_fd(), endpoint.addresses()).ok();
    }
    let target = Target::new(&network, endpoint.addresses()).ok()?;
    // The kernel's way keeps the address of the client, whose answer goes back by the container's default route.
    target.by_kernel(&network, ways_out.at(index)).ok()
}

fn wishes<'a>(ports: impl IntoIterator<Item = &'a Port>) -> Vec<Publish> {
    ports.into_iter().filter_map(wish).collect()
}

fn wish(port: &Port) -> Option<Publish> {
    Some(Publish {
        host_ip: port.host_ip,
        host_port: match port.published {
            Published::Ephemeral => HostPort::Ephemeral,
            Published::Range(range) if range.first == range.last => HostPort::Fixed(range.first),
            Published::Range(range) => HostPort::Range { first: range.first, last: range.last },
        },
        target: port.target,
        protocol: match port.protocol {
            Protocol::Tcp => network::publish::Protocol::Tcp,
            Protocol::Udp => network::publish::Protocol::Udp,
            Protocol::Sctp => return None,
        },
    })
}

const fn protocol(protocol: network::publish::Protocol) -> Protocol {
    match protocol {
        network::publish::Protocol::Tcp => Protocol::Tcp,
        network::publish::Protocol::Udp => Protocol::Udp,
    }
}
