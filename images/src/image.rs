//! An image as the rest of the program sees it: what to run and from which directories.

use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use oci_spec::image::{Arch, Config, ImageConfiguration, Os};
use serde::Deserialize;

use crate::digest::Digest;
use crate::platform::Platform;
use crate::reference::Reference;

/// The search path of a container whose image sets none.
///
/// Source: moby `daemon/pkg/oci/defaults.go`, `DefaultPathEnv`.
pub const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// An image, ready to be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// The name it was found by, or one of its names; `None` for an image without one.
    pub reference: Option<Reference>,
    /// The digest of its configuration: what `docker images` calls its id. For a plain directory, a digest of the
    /// words `rootfs:/dir`.
    pub id: Digest,
    /// The digest of its manifest; equal to `id` for a plain directory, which has none.
    pub manifest: Digest,
    /// The digest that the registry has under the name, when it came from one: that of an index if there is one.
    pub source: Option<Digest>,
    /// When it got its name, or its registry last confirmed it.
    pub named: Option<Timestamp>,
    /// What to run and how.
    pub config: ImageConfiguration,
    /// How to tell whether it works, if it says.
    pub health_check: Option<HealthCheck>,
    /// Its unpacked layers, topmost first, as overlayfs wants its lower directories. Read-only by agreement. A plain
    /// directory is its own single layer.
    pub layers: Vec<PathBuf>,
    /// Bytes of all files in all layers.
    pub size: u64,
    /// When it was made, if it says.
    pub created: Option<Timestamp>,
    /// Where its files come from.
    pub origin: Origin,
}

/// Where the files of an image come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// Layers in the store.
    Store,
    /// A directory of the host, named `rootfs:/dir`: its content may change, and may contain our own data root.
    Directory,
}

/// The key `Healthcheck` of Docker's image configuration, which the OCI configuration does not have.
///
/// Absent fields are those that the image leaves to the runtime.
///
/// Source: moby `image-spec/specs-go/v1/image.go`, `HealthcheckConfig`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HealthCheck {
    /// `["NONE"]`, `["CMD", …]` or `["CMD-SHELL", line]`; empty means inherited.
    pub test: Vec<String>,
    /// Time between two probes.
    pub interval: Option<Duration>,
    /// Time after which a probe has failed.
    pub timeout: Option<Duration>,
    /// Time after the start in which failures do not count.
    pub start_period: Option<Duration>,
    /// Time between two probes during the start period.
    pub start_interval: Option<Duration>,
    /// Failures in a row after which the container is unhealthy.
    pub retries: Option<u32>,
}

/// Durations are integers in nanoseconds, as Go writes them; zero means unset.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HealthCheckJson {
    test: Option<Vec<String>>,
    #[serde(default)]
    interval: u64,
    #[serde(default)]
    timeout: u64,
    #[serde(default)]
    start_period: u64,
    #[serde(default)]
    start_interval: u64,
    #[serde(default)]
    retries: u32,
}

impl HealthCheck {
    /// Reads the value of `Healthcheck`; a value that is malformed is taken as absent, because nothing else of the
    /// image depends on it.
    pub(crate) fn from_json(value: &serde_json::Value) -> Option<Self> {
        let json = HealthCheckJson::deserialize(value).ok()?;
        let duration = |nanoseconds| (nanoseconds > 0).then(|| Duration::from_nanos(nanoseconds));
        Some(Self {
            test: json.test.unwrap_or_default(),
            interval: duration(json.interval),
            timeout: duration(json.timeout),
            start_period: duration(json.start_period),
            start_interval: duration(json.start_interval),
            retries: (json.retries > 0).then_some(json.retries),
        })
    }
}

impl Image {
    /// The image that a plain directory makes: a shell in it.
    pub(crate) fn from_directory(name: &str, directory: PathBuf) -> Self {
        let mut execution = Config::default();
        execution.set_cmd(Some(vec!["/bin/sh".to_owned()]));
        execution.set_env(Some(vec![DEFAULT_PATH.to_owned()]));
        let mut config = ImageConfiguration::default();
        config.set_architecture(Arch::default());
        config.set_os(Os::default());
        config.set_config(Some(execution));
        let id = Digest::of(name.as_bytes());
        Self {
            reference: None,
            id,
            manifest: id,
            source: None,
            named: None,
            config,
            health_check: None,
            layers: vec![directory],
            size: 0,
            created: None,
            origin: Origin::Directory,
        }
    }

    /// What it says it is for.
    pub fn platform(&self) -> Platform {
        Platform::of(&self.config)
    }

    /// The execution part of the configuration; empty when the image has none.
    pub fn execution(&self) -> Config {
        self.config.config().clone().unwrap_or_default()
    }
}
