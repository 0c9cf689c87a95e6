//! Which networks are in use, who is on them, and what is told of that to those who ask for names.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::rc::Rc;
use std::sync::Arc;

use network::dns::{Names, Outside, Upstreams, Zone};
use network::{Member, Network, NetworkName, Wanted};
use rustix::fs::inotify;
use tokio::sync::watch;

use super::AttachError;
use crate::supervisor::Supervisor;
use crate::supervisor::readiness::{self, Descriptor};

/// The network for `network_mode: bridge`, which belongs to no project.
const BRIDGE: &str = "bridge";

/// The networks that are in use, who is on them, and what each container may look up.
#[derive(Debug)]
pub struct Directory {
    pub(super) networks: RefCell<BTreeMap<String, Joined>>,
    pub(super) views: RefCell<BTreeMap<String, View>>,
    watcher: Option<Descriptor>,
    pub(super) upstreams: Arc<Upstreams>,
}

/// A network that is in use.
#[derive(Debug)]
pub(super) struct Joined {
    network: Rc<Network>,
    pub(super) members: BTreeMap<String, Member>,
    names: Arc<Names>,
}

/// What one container may look up.
#[derive(Debug)]
pub(super) struct View {
    pub(super) networks: Vec<String>,
    pub(super) links: BTreeMap<String, String>,
    pub(super) outside: Outside,
    pub(super) zone: watch::Sender<Zone>,
}

impl Default for Directory {
    fn default() -> Self {
        let watcher = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK);
        Self {
            networks: RefCell::default(),
            views: RefCell::default(),
            watcher: watcher.ok().and_then(|watcher| readiness::register(watcher).ok()),
            upstreams: Arc::new(Upstreams::of_file("/etc/resolv.conf")),
        }
    }
}

impl Directory {
    /// Lets go of a network that is to be removed.
    pub fn forget(&self, name: &str) {
        self.networks.borrow_mut().remove(name);
    }

    pub(super) fn joined(&self, name: &str, member: Member) {
        if let Some(joined) = self.networks.borrow_mut().get_mut(name) {
            joined.members.insert(member.endpoint.container.clone(), member);
            joined.names = Arc::new(Names::new(name, joined.members.values()));
        }
        self.publish(name);
    }

    pub(super) fn left(&self, name: &str, container: &str) {
        if let Some(joined) = self.networks.borrow_mut().get_mut(name)
            && joined.members.remove(container).is_some()
        {
            joined.names = Arc::new(Names::new(name, joined.members.values()));
        }
        self.publish(name);
    }

    /// Lets every container on the network see its names as they are.
    fn publish(&self, network: &str) {
        for view in self.views.borrow().values() {
            if view.networks.iter().any(|name| name == network) {
                view.zone.send_replace(self.zone(view));
            }
        }
    }

    pub(super) fn zone(&self, view: &View) -> Zone {
        let networks = self.networks.borrow();
        let names = view.networks.iter().filter_map(|name| networks.get(name));
        let names = names.map(|joined| Arc::clone(&joined.names)).collect();
        Zone::new(names, view.links.clone(), view.outside)
    }

    /// Waits until somebody, of whichever project, joins or leaves one of the networks that are in use.
    async fn changed(&self) {
        let Some(watcher) = &self.watcher else { return std::future::pending().await };
        let mut buffer = [std::mem::MaybeUninit::uninit(); 4096];
        loop {
            let Ok(mut ready) = watcher.readable().await else { return };
            let mut reader = inotify::Reader::new(&watcher.get_ref().0, &mut buffer);
            let mut seen = false;
            while reader.next().is_ok() {
                seen = true;
            }
            ready.clear_ready();
            if seen {
                return;
            }
        }
    }
}

/// Keeps the names of containers of other projects on shared networks up to date.
pub async fn follow_others(supervisor: Rc<Supervisor>) {
    loop {
        supervisor.names.changed().await;
        let networks: Vec<(String, Rc<Network>)> = {
            let networks = supervisor.names.networks.borrow();
            networks
                .iter()
                .map(|(name, joined)| (name.clone(), Rc::clone(&joined.network)))
                .collect()
        };
        for (name, network) in networks {
            if refresh(&supervisor, &name, &network) {
                supervisor.names.publish(&name);
            }
        }
    }
}

/// Reads anew who of other projects is on a network, and says whether that has changed. Our own are known.
fn refresh(supervisor: &Supervisor, name: &str, network: &Network) -> bool {
    let is_ours = |id: &str| supervisor.container(id).is_some();
    let mut networks = supervisor.names.networks.borrow_mut();
    let Some(joined) = networks.get_mut(name) else { return false };
    let seen = foreign_members(network, is_ours);
    let known = joined.members.keys().filter(|id| !is_ours(id)).count();
    let is_known = |member: &Member| joined.members.get(&member.endpoint.container) == Some(member);
    if known == seen.len() && seen.iter().all(is_known) {
        return false;
    }
    joined.members.retain(|id, _| is_ours(id));
    joined
        .members
        .extend(seen.into_iter().map(|member| (member.endpoint.container.clone(), member)));
    joined.names = Arc::new(Names::new(name, joined.members.values()));
    true
}

fn foreign_members(network: &Network, is_ours: impl Fn(&str) -> bool) -> Vec<Member> {
    let mut members = network.members().unwrap_or_default();
    members.retain(|member| !is_ours(&member.endpoint.container));
    members
}

/// The network with this real name, brought up if a reboot has left only its record.
///
/// # Errors
///
/// [`AttachError::Missing`] and [`AttachError::Store`].
pub fn network(supervisor: &Supervisor, name: &str) -> Result<Rc<Network>, AttachError> {
    if let Some(known) = supervisor.names.networks.borrow().get(name) {
        return Ok(Rc::clone(&known.network));
    }
    let wanted: NetworkName = name.parse()?;
    let found = if name == BRIDGE {
        Some(supervisor.networks.create(&Wanted::new(wanted))?)
    } else {
        supervisor.networks.find(&wanted)?
    };
    let network = Rc::new(found.ok_or_else(|| AttachError::Missing { name: name.to_owned() })?);
    let members: BTreeMap<String, Member> = network
        .members()
        .unwrap_or_default()
        .into_iter()
        .map(|member| (member.endpoint.container.clone(), member))
        .collect();
    if let Some(watcher) = &supervisor.names.watcher {
        let _ = fs::create_dir_all(network.endpoints());
        let events = inotify::WatchFlags::MOVED_TO | inotify::WatchFlags::DELETE;
        if let Err(error) = inotify::add_watch(&watcher.get_ref().0, network.endpoints(), events) {
            tracing::warn!(network = name, %error, "names of other projects will not be seen");
        }
    }
    let names = Arc::new(Names::new(name, members.values()));
    let joined = Joined { network: Rc::clone(&network), members, names };
    supervisor.names.networks.borrow_mut().insert(name.to_owned(), joined);
    Ok(network)
}
