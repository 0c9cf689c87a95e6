//! From a Dockerfile to an image.
//!
//! `dockerfile` reads the file, `solve` runs the stages that the target needs, side by side, `step` says what one
//! instruction does, `copy` and `run` change files, `pack` makes layers of the changes, `cache` remembers them, `shared`
//! exchanges them with other machines, and `export` writes the image.
//!
//! # Invariants
//!
//! - What a step reads is its key in the cache: contents, not times. Equal keys have equal results.
//! - A record of the cache is written after its layer is in the store; so no killed build leaves anything that a later
//!   one trips over.
//! - A `RUN` is a container as any other: same filter, same capabilities, same devices. What it is given beside its
//!   files is in its own mount namespace and in no layer.
//! - Files of contexts, stages and images are read below their own root, and written below that of the stage.

mod cache;
mod cell;
mod context;
mod copy;
pub(crate) mod dockerfile;
mod error;
mod event;
mod export;
mod halt;
pub(crate) mod ignore;
mod mode;
mod mounts;
mod pack;
mod read;
mod room;
mod run;
mod shared;
mod solve;
mod ssh;
mod state;
mod stats;
mod step;
mod tree;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use runtime::spec::Ulimit;

use crate::image::Image;
use crate::platform::Platform;
use crate::reference::Reference;
use crate::registry::{Cancel, Registry};
use crate::store::Store;

pub(crate) use cache::CachedLayer;
pub use context::{ContextError, GitSource, Source};
pub use dockerfile::Problem;
pub use error::{BuildError, Mistakes};
pub use event::Event;
pub use halt::Halt;
pub use ignore::{PatternError, Patterns};
pub use room::{CacheKind, CacheRecord, PrunedCache};
pub use run::FailedStep;
pub use shared::{CacheFrom, CacheTo, CacheWordError, KeptAt};
pub use ssh::{KeyError, Keys, Ssh, SshError};

/// What is to be built, and how.
#[derive(Debug, Clone)]
pub struct Recipe {
    /// Where `COPY` takes files from.
    pub context: Source,
    /// The Dockerfile.
    pub dockerfile: DockerfileSource,
    /// Values of `ARG`.
    pub args: BTreeMap<String, String>,
    /// The stage to build; the last one without.
    pub target: Option<String>,
    /// For which machines.
    pub platform: Platform,
    /// What the image is called.
    pub names: Vec<Reference>,
    /// Labels beside those of the file.
    pub labels: BTreeMap<String, String>,
    /// Further contexts by name.
    pub contexts: BTreeMap<String, Source>,
    /// Secrets by id.
    pub secrets: BTreeMap<String, Secret>,
    /// Agents and keys by id.
    pub ssh: BTreeMap<String, Ssh>,
    /// Of what nothing is taken from the cache.
    pub fresh: Fresh,
    /// Base images are fetched even if they are here.
    pub pull: bool,
    /// The network of `RUN`.
    pub network: RunNetwork,
    /// Lines of `/etc/hosts`: name and address.
    pub extra_hosts: Vec<(String, String)>,
    /// Bytes of `/dev/shm`.
    pub shm_bytes: Option<u64>,
    /// Bytes of memory of each `RUN`.
    pub memory_bytes: Option<u64>,
    /// Limits by name.
    pub ulimits: BTreeMap<String, Ulimit>,
    /// What `RUN` may ask for.
    pub entitlements: BTreeSet<Entitlement>,
    /// Every `RUN` has all rights.
    pub privileged: bool,
    /// Caches of other machines to take from.
    pub cache_from: Vec<CacheFrom>,
    /// Caches to write for other machines.
    pub cache_to: Vec<CacheTo>,
}

impl Recipe {
    /// The image of the directory `context`, with everything else as it is if nobody says otherwise.
    pub fn new(context: Source) -> Self {
        Self {
            context,
            dockerfile: DockerfileSource::File(PathBuf::from("Dockerfile")),
            args: BTreeMap::new(),
            target: None,
            platform: Platform::host(),
            names: Vec::new(),
            labels: BTreeMap::new(),
            contexts: BTreeMap::new(),
            secrets: BTreeMap::new(),
            ssh: BTreeMap::new(),
            fresh: Fresh::Nothing,
            pull: false,
            network: RunNetwork::Default,
            extra_hosts: Vec::new(),
            shm_bytes: None,
            memory_bytes: None,
            ulimits: BTreeMap::new(),
            entitlements: BTreeSet::new(),
            privileged: false,
            cache_from: Vec::new(),
            cache_to: Vec::new(),
        }
    }
}

/// Where the Dockerfile is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DockerfileSource {
    /// A file, relative to the context.
    File(PathBuf),
    /// Its text.
    Inline(String),
}

/// A secret of `RUN --mount=type=secret`.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    /// The content of a file.
    File(PathBuf),
    /// The content itself.
    Value(Vec<u8>),
}

impl Debug for Secret {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => formatter.debug_tuple("File").field(path).finish(),
            Self::Value(_) => formatter.write_str("Value"),
        }
    }
}

/// Of what nothing is taken from the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fresh {
    /// The cache is used.
    Nothing,
    /// Everything is built.
    Everything,
    /// These stages are built.
    Stages(Vec<String>),
}

/// The network of a `RUN`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunNetwork {
    /// A way out.
    Default,
    /// Loopback only.
    None,
    /// That of the machine.
    Host,
}

/// A right that a Dockerfile may use only if the user has said so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Entitlement {
    /// `RUN --network=host`.
    NetworkHost,
    /// `RUN --security=insecure`.
    SecurityInsecure,
}

/// A failure of something that this crate knows nothing of.
pub type Foreign = Box<dyn std::error::Error + Send + Sync>;

/// A network namespace for a `RUN`, until it is dropped.
pub trait Sandbox: Send {
    /// The namespace.
    fn namespace(&self) -> &OwnedFd;
    /// What is in `/etc/resolv.conf`.
    fn resolver(&self) -> String;
}

/// What a build needs of the world outside.
pub trait Surroundings: Sync {
    /// Makes a network namespace: with a way out, or with loopback only.
    ///
    /// # Errors
    ///
    /// Whatever keeps it from being made.
    fn network(&self, kind: RunNetwork) -> Result<Box<dyn Sandbox>, Foreign>;

    /// Brings an image into the store as its registry has it, and tells `say` how that goes.
    ///
    /// # Errors
    ///
    /// Whatever keeps it from coming.
    fn fetch(
        &self,
        image: &Reference,
        platform: &Platform,
        say: &(dyn Fn(String) + Sync),
    ) -> Result<(), Foreign>;

    /// Fetches a file. It can be read by its owner alone, and its time is the one that its server names, else the
    /// beginning of 1970.
    ///
    /// # Errors
    ///
    /// Whatever keeps it from coming.
    fn download(&self, url: &str, to: &Path) -> Result<(), Foreign>;

    /// Takes a note of what happens.
    fn tell(&self, event: Event);

    /// Where compiled system call filters are kept.
    fn filters(&self) -> &Path;

    /// Is called when a `RUN` has failed, while all that it left is still there.
    fn on_failure(&self, step: &FailedStep);

    /// The registries that caches are read from and written to, and what gives that up.
    ///
    /// # Errors
    ///
    /// If there are none.
    fn registry(&self) -> Result<(&Registry, &Cancel), Foreign> {
        Err("registries are not asked".into())
    }

    /// What git sees of the environment; without: all that this process does.
    fn environment(&self) -> Option<&BTreeMap<String, String>> {
        None
    }

    /// What stops the build from outside.
    fn halt(&self) -> Halt {
        Halt::default()
    }
}

impl Store {
    /// Builds an image and gives it its names.
    ///
    /// # Errors
    ///
    /// [`BuildError`]; the store has no new image, and what was built until then is in the cache.
    pub fn build(
        &self,
        recipe: &Recipe,
        surroundings: &dyn Surroundings,
    ) -> Result<Image, BuildError> {
        solve::build(self, recipe, surroundings)
    }
}

/// The images that a build would fetch, as far as its Dockerfile says: those that the wanted stages begin with or take
/// files from, and that are not in the store. None, if the Dockerfile itself has to be fetched first; and what a base
/// image asks for with `ONBUILD` is not known before it is there.
///
/// # Errors
///
/// [`BuildError`]: what is wrong with the Dockerfile.
pub fn bases(recipe: &Recipe, store: &Store) -> Result<BTreeSet<String>, BuildError> {
    solve::bases(store, recipe)
}

/// What is wrong with a Dockerfile, without building anything.
///
/// # Errors
///
/// [`BuildError`]: all mistakes at once.
pub fn check(recipe: &Recipe, store: &Store) -> Result<(), BuildError> {
    solve::check(store, recipe)
}
