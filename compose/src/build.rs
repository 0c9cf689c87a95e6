//! From `build` of a service to a recipe, and the world that a build needs around it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use images::build::{
    CacheFrom, CacheTo, CacheWordError, ContextError, DockerfileSource, Entitlement, Event,
    FailedStep, Foreign, Fresh, Halt, Recipe, RunNetwork, Sandbox, Secret, Source, Ssh, SshError,
    Surroundings,
};
use images::registry::{Cancel, LayerStatus, Progress, Pull, Registry};
use images::{Platform, Reference, Store};
use network::dns::Resolver;
use network::{Endpoint, EndpointWish, Network, NetworkName, Wanted, WayOut};
use rustix::fs::FlockOperation;

use crate::apply::image::Fetching;
use crate::apply::wishes;
use crate::model::{Build, FileSource, HostAddress, Project, Service, ServiceName};
use crate::record::{Roots, labels};

/// The network of `RUN`. It goes when the last build has ended.
const NETWORK: &str = "compose_build";

/// A recipe cannot be made of what the file says.
#[derive(Debug, thiserror::Error)]
pub enum RecipeError {
    /// A context.
    #[error(transparent)]
    Context(#[from] ContextError),
    /// A name of the image.
    #[error("`{name}` cannot be the name of an image")]
    Name {
        /// What was written.
        name: String,
        /// Why not.
        source: images::ReferenceError,
    },
    /// A platform.
    #[error(transparent)]
    Platform(#[from] images::PlatformError),
    /// A secret without content.
    #[error(
        "the secret `{0}` has no content: its variable is not set, or it is not in the project"
    )]
    Secret(String),
    /// Neither an agent nor a key.
    #[error("`{id}` of `ssh` cannot be used")]
    Agent {
        /// Its id.
        id: String,
        /// Why not.
        source: SshError,
    },
    /// A service whose image is to be a context, and that has none.
    #[error("there is no service `{0}` whose image could be a context")]
    Service(String),
    /// An address that a build does not know.
    #[error("`host-gateway` of {0} is not known in a build: write an address")]
    Gateway(String),
    /// A cache that is said to be nowhere.
    #[error("`{text}` does not say where a cache is")]
    Cache {
        /// What was written.
        text: String,
        /// Why not.
        source: CacheWordError,
    },
    /// A network that no build has.
    #[error("a build has no network `{0}`: write default, none or host")]
    Network(String),
}

/// How the image of `service` is built; `None` if it is not built.
///
/// # Errors
///
/// [`RecipeError`].
pub fn recipe(project: &Project, service: &Service) -> Result<Option<Recipe>, RecipeError> {
    let Some(build) = &service.build else { return Ok(None) };
    let mut recipe = Recipe::new(Source::parse(&build.context)?);
    if let Some(text) = &build.dockerfile_inline {
        recipe.dockerfile = DockerfileSource::Inline(text.clone());
    } else if let Some(path) = &build.dockerfile {
        recipe.dockerfile = DockerfileSource::File(PathBuf::from(path));
    }
    let value = |(name, value): (&String, &Option<String>)| {
        let value = value.clone().or_else(|| project.environment.get(name).cloned())?;
        Some((name.clone(), value))
    };
    recipe.args = build.args.iter().filter_map(value).collect();
    recipe.target.clone_from(&build.target);
    recipe.platform = platform(service, build)?;
    recipe.names = names(project, service)?;
    recipe.labels = build.labels.clone();
    recipe.labels.insert(labels::PROJECT.to_owned(), project.name.to_string());
    recipe.labels.insert(labels::SERVICE.to_owned(), service.name.to_string());
    for (name, text) in &build.additional_contexts {
        recipe.contexts.insert(name.clone(), context(project, text)?);
    }
    recipe.secrets = secrets(project, build)?;
    recipe.ssh = agents(&build.ssh, project)?;
    recipe.fresh = match (build.no_cache, build.no_cache_filter.is_empty()) {
        (true, _) => Fresh::Everything,
        (false, false) => Fresh::Stages(build.no_cache_filter.clone()),
        (false, true) => Fresh::Nothing,
    };
    recipe.pull = build.pull;
    recipe.network = match build.network.as_deref() {
        None | Some("" | "default") => RunNetwork::Default,
        Some("none") => RunNetwork::None,
        Some("host") => RunNetwork::Host,
        Some(other) => return Err(RecipeError::Network(other.to_owned())),
    };
    for host in &build.extra_hosts {
        let HostAddress::Ip(address) = &host.address else {
            return Err(RecipeError::Gateway(host.host.clone()));
        };
        recipe.extra_hosts.push((host.host.clone(), address.to_string()));
    }
    recipe.shm_bytes = build.shm_size_bytes;
    recipe.ulimits =
        build.ulimits.iter().map(|(name, limit)| (name.clone(), wishes::ulimit(*limit))).collect();
    recipe.privileged = build.privileged;
    let base = project.working_dir.as_path();
    let cache = |text: &String, source| RecipeError::Cache { text: text.clone(), source };
    for text in &build.cache_from {
        let found = CacheFrom::parse(text, base).map_err(|error| cache(text, error))?;
        recipe.cache_from.extend(found);
    }
    for text in &build.cache_to {
        let found = CacheTo::parse(text, base).map_err(|error| cache(text, error))?;
        recipe.cache_to.extend(found);
    }
    recipe.entitlements = entitlements(build);
    Ok(Some(recipe))
}

/// The images that building that of `service` would fetch, as far as can be said before: not what the same build makes
/// under a name of `own`.
pub fn bases(
    project: &Project,
    service: &Service,
    store: &Store,
    own: &BTreeSet<Reference>,
) -> BTreeSet<String> {
    // Whatever is wrong is told by whoever builds it.
    let Ok(Some(recipe)) = recipe(project, service) else { return BTreeSet::new() };
    let mut bases = images::build::bases(&recipe, store).unwrap_or_default();
    bases.retain(|name| name.parse().is_ok_and(|name| !own.contains(&name)));
    bases
}

/// What the image of `service` is called when it is built.
///
/// # Errors
///
/// [`RecipeError::Name`].
pub fn names(project: &Project, service: &Service) -> Result<Vec<Reference>, RecipeError> {
    let tags = service.build.iter().flat_map(|build| build.tags.iter().cloned());
    let mut names = Vec::new();
    for name in std::iter::once(service.image_reference(&project.name)).chain(tags) {
        match name.parse() {
            Ok(reference) if names.contains(&reference) => {}
            Ok(reference) => names.push(reference),
            Err(source) => return Err(RecipeError::Name { name, source }),
        }
    }
    Ok(names)
}

fn entitlements(build: &Build) -> BTreeSet<Entitlement> {
    let known = |name: &String| match name.as_str() {
        "network.host" => Some(Entitlement::NetworkHost),
        "security.insecure" => Some(Entitlement::SecurityInsecure),
        _ => None,
    };
    build.entitlements.iter().filter_map(known).collect()
}

/// The platform to build for: one.
fn platform(service: &Service, build: &Build) -> Result<Platform, RecipeError> {
    let wanted = build.platforms.first().or(service.platform.as_ref());
    Ok(wanted.map(|wanted| wanted.parse()).transpose()?.unwrap_or_else(Platform::host))
}

/// A further context; that of a service is its image.
fn context(project: &Project, text: &str) -> Result<Source, RecipeError> {
    let Some(name) = text.strip_prefix("service:") else { return Ok(Source::parse(text)?) };
    let service = name.parse().ok().and_then(|name| project.declared(&name));
    let service = service.ok_or_else(|| RecipeError::Service(name.to_owned()))?;
    Ok(Source::Image(service.image_reference(&project.name)))
}

/// The services whose images are contexts of this one.
pub fn dependencies(service: &Service) -> Vec<ServiceName> {
    let contexts = service.build.iter().flat_map(|build| build.additional_contexts.values());
    contexts.filter_map(|text| text.strip_prefix("service:")?.parse().ok()).collect()
}

fn secrets(project: &Project, build: &Build) -> Result<BTreeMap<String, Secret>, RecipeError> {
    let mut all = BTreeMap::new();
    for grant in &build.secrets {
        let missing = || RecipeError::Secret(grant.source.to_string());
        let secret = project.secrets.get(&grant.source).ok_or_else(missing)?;
        let content = match &secret.source {
            FileSource::File(path) => Secret::File(path.clone()),
            FileSource::Environment { value: Some(value), .. } | FileSource::Content(value) => {
                Secret::Value(value.clone().into_bytes())
            }
            _ => return Err(missing()),
        };
        let id = grant
            .target
            .file_name()
            .map_or_else(|| grant.source.to_string(), |name| name.to_string_lossy().into_owned());
        all.insert(id, content);
    }
    Ok(all)
}

/// Agents and keys; `default` without a path is the agent of whoever has read the files of `project`.
///
/// # Errors
///
/// [`RecipeError::Agent`].
pub fn agents(
    wanted: &BTreeMap<String, String>,
    project: &Project,
) -> Result<BTreeMap<String, Ssh>, RecipeError> {
    let own = || project.environment.get("SSH_AUTH_SOCK").cloned().unwrap_or_default();
    let open = |(id, path): (&String, &String)| {
        let path = if path.is_empty() { own() } else { path.clone() };
        let found = Ssh::open(&path);
        let ssh = found.map_err(|source| RecipeError::Agent { id: id.clone(), source })?;
        Ok((id.clone(), ssh))
    };
    wanted.iter().map(open).collect()
}

/// Where the images come from that others are built on.
#[derive(Debug, Clone, Copy)]
pub struct Bases<'a> {
    /// Where they are, and come to.
    pub store: &'a Store,
    /// The registries as the one who builds sees them.
    pub fetching: &'a Fetching,
    /// The names of what is built at the same time: no registry is asked for these, not even with `pull`.
    pub own: &'a BTreeSet<Reference>,
}

/// The world around builds.
pub struct Outside<'a> {
    roots: &'a Roots,
    filters: PathBuf,
    bases: Bases<'a>,
    tell: &'a (dyn Fn(Event) + Sync),
    on_failure: Option<&'a (dyn Fn(&FailedStep) + Sync)>,
    environment: &'a BTreeMap<String, String>,
    halt: Halt,
    /// Held while the network may be in use.
    _network: &'a BuildNetwork,
}

impl std::fmt::Debug for Outside<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Outside").field("bases", &self.bases).finish_non_exhaustive()
    }
}

impl<'a> Outside<'a> {
    /// The world around a build for `project`, whose events go to `tell`.
    pub fn new(
        roots: &'a Roots,
        network: &'a BuildNetwork,
        bases: Bases<'a>,
        project: &'a Project,
        tell: &'a (dyn Fn(Event) + Sync),
    ) -> Self {
        let (filters, environment) = (roots.cache(), &project.environment);
        let (on_failure, halt) = (None, Halt::default());
        Self { roots, filters, bases, tell, on_failure, environment, halt, _network: network }
    }

    /// The same, where a step that fails can be looked into.
    #[must_use]
    pub fn looked_into_by(mut self, call: Option<&'a (dyn Fn(&FailedStep) + Sync)>) -> Self {
        self.on_failure = call;
        self
    }

    /// The same, stopped by `halt`.
    #[must_use]
    pub fn stopped_by(mut self, halt: Halt) -> Self {
        self.halt = halt;
        self
    }
}

impl Surroundings for Outside<'_> {
    fn network(&self, kind: RunNetwork) -> Result<Box<dyn Sandbox>, Foreign> {
        let sandbox = network::Sandbox::create()?;
        let attached = match kind {
            RunNetwork::Default => Some(attach(self.roots, &sandbox)?),
            RunNetwork::None | RunNetwork::Host => None,
        };
        use std::os::fd::AsFd;
        let namespace = sandbox.as_fd().try_clone_to_owned()?;
        Ok(Box::new(Attached { namespace, attached }))
    }

    fn fetch(
        &self,
        image: &Reference,
        platform: &Platform,
        say: &(dyn Fn(String) + Sync),
    ) -> Result<(), Foreign> {
        if self.bases.own.contains(image) {
            return Ok(());
        }
        let report = |progress: Progress| {
            let layer = progress.layer.short();
            match progress.status {
                LayerStatus::Complete => say(format!("layer {layer}: fetched")),
                LayerStatus::Present => say(format!("layer {layer}: exists")),
                LayerStatus::Waiting | LayerStatus::Moving { .. } => {}
            }
        };
        let Fetching { registry, cancel, .. } = self.bases.fetching;
        let pull = Pull { reference: image, platform: Some(platform), cancel, report: &report };
        registry.pull(self.bases.store, &pull)?;
        Ok(())
    }

    fn download(&self, url: &str, to: &Path) -> Result<(), Foreign> {
        let Fetching { registry, cancel, .. } = self.bases.fetching;
        Ok(registry.download(url, to, cancel)?)
    }

    fn registry(&self) -> Result<(&Registry, &Cancel), Foreign> {
        let Fetching { registry, cancel, .. } = self.bases.fetching;
        Ok((registry, cancel))
    }

    fn tell(&self, event: Event) {
        (self.tell)(event);
    }

    fn filters(&self) -> &Path {
        &self.filters
    }

    fn environment(&self) -> Option<&BTreeMap<String, String>> {
        Some(self.environment)
    }

    fn halt(&self) -> Halt {
        self.halt.clone()
    }

    fn on_failure(&self, step: &FailedStep) {
        if let Some(call) = self.on_failure {
            call(step);
        }
    }
}

/// A namespace with a place on the network of builds.
struct Attached {
    namespace: OwnedFd,
    attached: Option<(Network, Endpoint)>,
}

// The namespace is used by one thread at a time.
impl Sandbox for Attached {
    fn namespace(&self) -> &OwnedFd {
        &self.namespace
    }

    fn resolver(&self) -> String {
        if self.attached.is_none() {
            return String::new();
        }
        resolver()
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        if let Some((network, endpoint)) = &self.attached {
            // What is left of it is taken away when the next build begins.
            let _ = network.detach(&self.namespace, endpoint);
            let _ = network.release(&endpoint.lease_key);
        }
    }
}

/// The servers of this machine that can be reached from another namespace.
fn resolver() -> String {
    let files = ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"];
    let mut first = None;
    for file in files {
        let Ok(text) = fs::read_to_string(file) else { continue };
        let mut resolver = Resolver::parse(&text);
        resolver.servers.retain(|server: &SocketAddr| !server.ip().is_loopback());
        if !resolver.servers.is_empty() {
            return resolver.to_string();
        }
        first.get_or_insert(text);
    }
    first.unwrap_or_default()
}

fn store(roots: &Roots) -> Result<network::Store, network::StoreError> {
    network::Store::open(&roots.networks(), &roots.network_namespaces())
}

fn attach(roots: &Roots, sandbox: &network::Sandbox) -> Result<(Network, Endpoint), Foreign> {
    let network = store(roots)?.create(&Wanted::new(NETWORK.parse::<NetworkName>()?))?;
    let mut id = [0; 8];
    rustix::rand::getrandom(&mut id, rustix::rand::GetRandomFlags::empty())?;
    let id: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
    let wish = EndpointWish::new(&format!("build-{id}"), &format!("build/{id}"), "eth0".parse()?);
    let endpoint = network.attach(sandbox, &wish, WayOut::BOTH)?;
    Ok((network, endpoint))
}

/// The network of all builds of this machine, while any is underway.
#[derive(Debug)]
pub struct BuildNetwork {
    roots: Roots,
    lock: File,
}

impl BuildNetwork {
    /// Begins to use it. What killed builds have left on it is taken away, if nobody else uses it.
    ///
    /// # Errors
    ///
    /// When its lock cannot be had.
    pub fn begin(roots: &Roots) -> io::Result<Self> {
        fs::create_dir_all(roots.networks())?;
        let path = roots.data.join("build.lock");
        let lock = File::options().create(true).write(true).truncate(false).open(path)?;
        let network = Self { roots: roots.clone(), lock };
        network.sweep();
        rustix::io::retry_on_intr(|| rustix::fs::flock(&network.lock, FlockOperation::LockShared))?;
        Ok(network)
    }

    /// Removes the network, with all that is on it, if nobody else uses it.
    fn sweep(&self) {
        if rustix::fs::flock(&self.lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            return;
        }
        let remove = || -> Result<(), Foreign> {
            let name: NetworkName = NETWORK.parse()?;
            let store = store(&self.roots)?;
            if store.record(&name)?.is_none() {
                return Ok(());
            }
            if let Some(network) = store.find(&name)? {
                for member in network.members()? {
                    network.forget(&member.endpoint.container)?;
                }
            }
            Ok(store.remove(&name)?)
        };
        // What resists is tried again by the next build.
        let _ = remove();
    }
}

impl Drop for BuildNetwork {
    fn drop(&mut self) {
        self.sweep();
    }
}
