//! `build`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{ExtraHost, Grant, SecretKey, Ulimit};

/// How the image of a service is built.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Build {
    /// An absolute directory or a URL.
    pub context: String,
    /// The Dockerfile, relative to the context.
    pub dockerfile: Option<String>,
    /// The Dockerfile itself.
    pub dockerfile_inline: Option<String>,
    /// The stage to build.
    pub target: Option<String>,
    /// Values of `ARG`; nothing for one that is not set.
    pub args: BTreeMap<String, Option<String>>,
    /// Further contexts by name: directory, URL, `docker-image://…` or `service:NAME`.
    pub additional_contexts: BTreeMap<String, String>,
    /// Agents and keys for `RUN --mount=type=ssh`, by id.
    pub ssh: BTreeMap<String, String>,
    /// Secrets for `RUN --mount=type=secret`.
    pub secrets: Vec<Grant<SecretKey>>,
    /// Labels of the image.
    pub labels: BTreeMap<String, String>,
    /// Further names of the image.
    pub tags: Vec<String>,
    /// The platforms to build for.
    pub platforms: Vec<String>,
    /// Where layers may be taken from.
    pub cache_from: Vec<String>,
    /// Where layers are put.
    pub cache_to: Vec<String>,
    /// Nothing is taken from the cache.
    pub no_cache: bool,
    /// Stages of which nothing is taken from the cache.
    pub no_cache_filter: Vec<String>,
    /// Base images are fetched each time.
    pub pull: bool,
    /// The network of `RUN`.
    pub network: Option<String>,
    /// Lines of `/etc/hosts` during the build.
    pub extra_hosts: Vec<ExtraHost>,
    /// The size of `/dev/shm` during the build.
    pub shm_size_bytes: Option<u64>,
    /// Limits during the build.
    pub ulimits: BTreeMap<String, Ulimit>,
    /// Steps run with all rights.
    pub privileged: bool,
    /// Further rights of the builder.
    pub entitlements: Vec<String>,
    /// Provenance attestation: true, false or its options.
    pub provenance: Option<String>,
    /// SBOM attestation: true, false or its options.
    pub sbom: Option<String>,
    /// Isolation technology, on Windows.
    pub isolation: Option<String>,
}
