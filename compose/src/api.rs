//! What the command line asks of the supervisor: paths and bodies.
//!
//! HTTP/1.1 on the unix socket `RUN/projects/PROJECT/api.sock`. A request is a `POST` whose
//! body is the JSON of one of the `…Request` types; the answer is 200 and a stream of
//! [`crate::event::Event`], one JSON object a line, the last being `done` or `failed`. A request
//! that is not understood is answered with a 4xx status and one `failed` line. Closing the
//! connection early gives up waiting, not the work: what has been started is finished.
//!
//! Two paths differ: `GET` [`path::EVENTS`] answers with the events of the project from the
//! moment at which the answer's head is sent, without end; [`path::attach`] upgrades to the frames
//! of [`frame`].
//!
//! ```sh
//! curl --unix-socket /run/compose/projects/shop/api.sock http://compose/v1/events
//! ```

pub mod frame;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use images::registry::Environment;
use serde::{Deserialize, Serialize};

use crate::file::LoadOptions;
use crate::model::{Hook, Project, PullPolicy, ServiceName, Signal};
use crate::plan::Plan;

/// A project and what to do with it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Request<P, O> {
    /// What the compose files say.
    pub project: P,
    /// What the command line says beside them.
    pub options: O,
}

/// Body for [`path::UP`].
pub type UpRequest = Request<Project, UpOptions>;
/// Body for [`path::DOWN`]; without a project the records say what there is.
pub type DownRequest = Request<Option<Project>, DownOptions>;
/// Body for [`path::START`].
pub type StartRequest = Request<Option<Project>, StartOptions>;
/// Body for [`path::STOP`].
pub type StopRequest = Request<Option<Project>, StopOptions>;
/// Body for [`path::RESTART`].
pub type RestartRequest = Request<Option<Project>, RestartOptions>;
/// Body for [`path::KILL`].
pub type KillRequest = Request<Option<Project>, KillOptions>;
/// Body for [`path::PAUSE`].
pub type PauseRequest = Request<Option<Project>, PauseOptions>;
/// Body for [`path::UNPAUSE`].
pub type UnpauseRequest = Request<Option<Project>, UnpauseOptions>;
/// Body for [`path::RM`].
pub type RmRequest = Request<Option<Project>, RmOptions>;
/// Body for [`path::RUN`].
pub type RunRequest = Request<Project, RunOptions>;

/// Where the requests are posted to.
pub mod path {
    /// [`super::UpRequest`]: brings the project to what the file says.
    pub const UP: &str = "/v1/up";
    /// [`super::SavedPlan`]: does that, or refuses if it would be something else by now.
    pub const APPLY: &str = "/v1/apply";
    /// [`super::DownRequest`]: takes the project away.
    pub const DOWN: &str = "/v1/down";
    /// [`super::StartRequest`]: starts containers that exist.
    pub const START: &str = "/v1/start";
    /// [`super::StopRequest`]: stops containers and keeps them.
    pub const STOP: &str = "/v1/stop";
    /// [`super::RestartRequest`]: stops and starts containers.
    pub const RESTART: &str = "/v1/restart";
    /// [`super::KillRequest`]: sends a signal to PID 1 of containers.
    pub const KILL: &str = "/v1/kill";
    /// [`super::PauseRequest`]: freezes containers.
    pub const PAUSE: &str = "/v1/pause";
    /// [`super::UnpauseRequest`]: lets frozen containers go on.
    pub const UNPAUSE: &str = "/v1/unpause";
    /// [`super::RmRequest`]: removes stopped containers.
    pub const RM: &str = "/v1/rm";
    /// [`super::RunRequest`]: makes a one-off container.
    pub const RUN: &str = "/v1/run";
    /// [`super::ConnectRequest`]: puts a container on a network.
    pub const CONNECT: &str = "/v1/networks/connect";
    /// [`super::DisconnectRequest`]: takes a container off a network.
    pub const DISCONNECT: &str = "/v1/networks/disconnect";
    /// [`super::HookRequest`]: runs a command in the running containers of a service.
    pub const HOOK: &str = "/v1/hook";
    /// `GET`: the events of the project, from now on.
    pub const EVENTS: &str = "/v1/events";

    /// The terminal of the one-off container `id`, with [`super::frame`]s; starts it.
    #[must_use]
    pub fn attach(id: &str) -> String {
        format!("/v1/containers/{id}/attach")
    }

    /// The streams of the container `id`, which runs, from now on, with [`super::frame`]s; starts nothing.
    #[must_use]
    pub fn join(id: &str) -> String {
        format!("/v1/containers/{id}/join")
    }

    /// The id in a path made by [`attach`].
    #[must_use]
    pub fn attach_target(path: &str) -> Option<&str> {
        path.strip_prefix("/v1/containers/")?.strip_suffix("/attach")
    }

    /// The id in a path made by [`join`].
    #[must_use]
    pub fn join_target(path: &str) -> Option<&str> {
        path.strip_prefix("/v1/containers/")?.strip_suffix("/join")
    }
}

/// Body for [`path::CONNECT`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectRequest {
    /// The container, by its whole id.
    pub container: String,
    /// The network, by its real name.
    pub network: String,
    /// Further names by which others on it find the container.
    pub aliases: Vec<String>,
    /// A fixed address.
    pub ipv4: Option<Ipv4Addr>,
    /// A fixed IPv6 address.
    pub ipv6: Option<Ipv6Addr>,
    /// The default routes go out by the network for which this is highest.
    pub gateway_priority: i64,
    /// Further addresses, for the link only.
    pub link_local: Vec<IpAddr>,
    /// Options of the interface.
    pub driver_opts: BTreeMap<String, String>,
    /// Names that only the container has for others on the network.
    pub links: BTreeMap<String, String>,
}

/// Body for [`path::APPLY`], and what `compose plan -o` writes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SavedPlan {
    /// Version of this layout, and of what the planner means by it.
    pub version: u32,
    /// What was planned for.
    pub request: UpRequest,
    /// What was planned, those without steps left out: images to fetch and build, then everything else.
    pub plans: Vec<Plan>,
}

impl SavedPlan {
    /// The version that this binary writes and takes.
    pub const VERSION: u32 = 2;
}

/// Body for [`path::HOOK`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HookRequest {
    /// In whose containers; one-offs are left alone.
    pub service: ServiceName,
    /// The command.
    pub hook: Hook,
}

/// Body for [`path::DISCONNECT`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DisconnectRequest {
    /// The container, by its whole id.
    pub container: String,
    /// The network, by its real name.
    pub network: String,
}

/// What `up` and `create` may be told beside the project.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct UpOptions {
    /// Services to bring up, with what they depend on; empty: all of them.
    pub services: Vec<ServiceName>,
    /// When the containers of those services are replaced.
    pub recreate: Recreate,
    /// When the containers of what they depend on are replaced.
    pub recreate_dependencies: Recreate,
    /// `--no-deps` makes this false: what the services depend on is left alone.
    pub dependencies: bool,
    /// Replicas by service; over what the file says.
    pub scale: BTreeMap<ServiceName, u32>,
    /// What to do with containers of services that the file does not have.
    pub orphans: Orphans,
    /// Seconds between the stop signal and SIGKILL; over `stop_grace_period`.
    pub timeout_seconds: Option<u32>,
    /// `--follow`: the supervisor does the same again whenever the files of the project change. Without it nothing is
    /// followed any longer.
    pub follow: Option<Follow>,
    /// What is followed in the background stays so, as far as `follow` says nothing: `watch`.
    pub keeps_following: bool,
    /// `-V`: a replaced container gets new anonymous volumes.
    pub renew_anonymous_volumes: bool,
    /// False for `create` and `up --no-start`.
    pub start: bool,
    /// `--wait`: done when everything is running or healthy.
    pub wait: Option<Wait>,
    /// How many steps run side by side at most.
    pub parallel: Option<u32>,
    /// `--all-resources`: networks and volumes that no service uses are made as well.
    pub all_resources: bool,
    /// Volumes that are made anew, without their data, if they do not match the file.
    pub replace_volumes: BTreeSet<String>,
    /// When and how images are fetched.
    pub pull: PullOptions,
    /// When and how images are built.
    pub build: BuildOptions,
}

/// When and how images are built.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BuildOptions {
    /// Which images are built.
    pub when: BuildWhen,
    /// Services whose images are built even if they are here.
    pub services: BTreeSet<ServiceName>,
    /// `--quiet-build`: nothing is told of how far it is.
    pub quiet: bool,
}

/// Which images are built.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BuildWhen {
    /// Those that are not here and that no registry has, and those of `pull_policy: build`.
    #[default]
    Missing,
    /// All that have `build`: `--build`.
    Always,
    /// None: `--no-build`.
    Never,
}

/// When and how images are fetched.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PullOptions {
    /// `--pull`: over what the services say.
    pub policy: Option<PullPolicy>,
    /// `--quiet-pull`: nothing is told of how far it is.
    pub quiet: bool,
    /// Where the one who asks has credentials, proxies and certificates.
    pub environment: Environment,
}

/// The files that a supervisor follows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Follow {
    /// How they are read.
    pub load: LoadOptions,
    /// `--compatibility`.
    pub compatibility: bool,
}

impl Default for UpOptions {
    fn default() -> Self {
        Self {
            services: Vec::new(),
            recreate: Recreate::Diverged,
            recreate_dependencies: Recreate::Diverged,
            dependencies: true,
            scale: BTreeMap::new(),
            orphans: Orphans::Warn,
            timeout_seconds: None,
            renew_anonymous_volumes: false,
            start: true,
            wait: None,
            parallel: None,
            all_resources: false,
            replace_volumes: BTreeSet::new(),
            pull: PullOptions::default(),
            build: BuildOptions::default(),
            follow: None,
            keeps_following: false,
        }
    }
}

/// When a container that exists is replaced.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Recreate {
    /// When it no longer matches its service.
    #[default]
    Diverged,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl BuildWhen {
    /// What of it holds when the project is brought up again by itself: what was asked for once is done.
    #[must_use]
    pub const fn from_now_on(self) -> Self {
        match self {
            Self::Always => Self::Missing,
            other => other,
        }
    }
}

/// What happens to containers of services that the file does not have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Orphans {
    /// They stay and are named in a warning.
    #[default]
    Warn,
    /// They stay (`COMPOSE_IGNORE_ORPHANS`).
    Ignore,
    /// They are removed.
    Remove,
}

/// Waiting for containers to be ready.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wait {
    /// Seconds after which waiting is given up; none: never.
    pub timeout_seconds: Option<u32>,
}

impl Wait {
    /// The limit as a duration.
    #[must_use]
    pub fn timeout(self) -> Option<Duration> {
        self.timeout_seconds.map(|seconds| Duration::from_secs(seconds.into()))
    }
}

/// What `down` may be told.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DownOptions {
    /// Services to take down, with what depends on them; empty: the whole project.
    pub services: Vec<ServiceName>,
    /// What to do with containers of services that the file does not have, and with one-offs.
    pub orphans: Orphans,
    /// `-v`: named volumes of the project go as well; anonymous ones too.
    pub volumes: bool,
    /// `--rmi`: images go as well.
    pub images: Option<ImageRemoval>,
    /// Seconds between the stop signal and SIGKILL; over `stop_grace_period`.
    pub timeout_seconds: Option<u32>,
    /// How many steps run side by side at most.
    pub parallel: Option<u32>,
}

/// Which images `down --rmi` removes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImageRemoval {
    /// Those whose name the project made up, that is, built ones.
    Local,
    /// All that its services use.
    All,
}

/// What `start` may be told.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StartOptions {
    /// Services to start, with what they depend on; empty: all.
    pub services: Vec<ServiceName>,
    /// Ids of containers: of the services that are named these alone; empty: all of theirs.
    pub only: Vec<String>,
    /// `--wait`: done when everything is running or healthy.
    pub wait: Option<Wait>,
    /// How many steps run side by side at most.
    pub parallel: Option<u32>,
}

/// What `stop` may be told.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StopOptions {
    /// Services to stop; empty: all.
    pub services: Vec<ServiceName>,
    /// Ids of containers: of the services that are named these alone; empty: all of theirs.
    pub only: Vec<String>,
    /// Seconds between the stop signal and SIGKILL; over `stop_grace_period`.
    pub timeout_seconds: Option<u32>,
    /// How many steps run side by side at most.
    pub parallel: Option<u32>,
}

/// What `restart` may be told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RestartOptions {
    /// Services to restart; empty: all.
    pub services: Vec<ServiceName>,
    /// Ids of containers: of the services that are named these alone; empty: all of theirs.
    pub only: Vec<String>,
    /// `--no-deps` makes this false: dependents with `restart: true` are left alone.
    pub dependents: bool,
    /// Seconds between the stop signal and SIGKILL; over `stop_grace_period`.
    pub timeout_seconds: Option<u32>,
    /// How many steps run side by side at most.
    pub parallel: Option<u32>,
}

impl Default for RestartOptions {
    fn default() -> Self {
        Self {
            services: Vec::new(),
            only: Vec::new(),
            dependents: true,
            timeout_seconds: None,
            parallel: None,
        }
    }
}

/// What `kill` may be told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct KillOptions {
    /// Services to signal, one-offs included; empty: all.
    pub services: Vec<ServiceName>,
    /// By number.
    pub signal: Signal,
    /// What to do with containers of services that the file does not have.
    pub orphans: Orphans,
    /// How many steps run side by side at most.
    pub parallel: Option<u32>,
}

impl Default for KillOptions {
    fn default() -> Self {
        Self {
            services: Vec::new(),
            signal: Signal::KILL,
            orphans: Orphans::Ignore,
            parallel: None,
        }
    }
}

/// What `pause` may be told.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PauseOptions {
    /// Services to freeze; empty: all.
    pub services: Vec<ServiceName>,
    /// How many steps run side by side at most.
    pub parallel: Option<u32>,
}

/// What `unpause` may be told.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct UnpauseOptions {
    /// Services to let go on; empty: all that are frozen.
    pub services: Vec<ServiceName>,
    /// How many steps run side by side at most.
    pub parallel: Option<u32>,
}

/// What `rm` may be told. Only containers that do not run are removed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RmOptions {
    /// Services whose containers go; empty: all.
    pub services: Vec<ServiceName>,
    /// The containers that go, by id, those of `run` as well; empty: all but those.
    pub only: Vec<String>,
    /// `-s`: stop them first.
    pub stop: bool,
    /// `-v`: their anonymous volumes go too.
    pub volumes: bool,
    /// How many steps run side by side at most.
    pub parallel: Option<u32>,
}

/// What `run` may be told. Changes to the service itself (command, environment, mounts, ports …)
/// are already in the project of the request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunOptions {
    /// The service to make a container of.
    pub service: ServiceName,
    /// Name of the container; none: `PROJECT-SERVICE-run-SLUG`.
    pub name: Option<String>,
    /// `--rm`: remove the container when it has exited.
    pub remove: bool,
    /// `-d`: start it and leave it alone. Otherwise it is started by [`path::attach`].
    pub detach: bool,
    /// `--no-deps` makes this false: what the service depends on is left alone.
    pub dependencies: bool,
    /// `--service-ports`, or ports given with `-p`: publish what the service of the request says.
    pub publish: bool,
    /// `--use-aliases`: answer to the names of the service.
    pub use_aliases: bool,
    /// Variables of `-e` and `--env-from-file`, which nobody else may set.
    #[serde(default)]
    pub environment: BTreeMap<String, Option<String>>,
    /// What to do with containers of services that the file does not have.
    pub orphans: Orphans,
    /// When and how images are fetched.
    #[serde(default)]
    pub pull: PullOptions,
    /// How many steps run side by side at most.
    #[serde(default)]
    pub parallel: Option<u32>,
    /// When and how images are built.
    #[serde(default)]
    pub build: BuildOptions,
}
