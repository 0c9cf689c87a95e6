//! The image of a service, and how it is built.

use crate::file::node::Node;
use crate::model::{Build, Service};

use super::fields::Fields;
use super::{limits, mount, network};

pub(super) fn image(fields: &mut Fields<'_, '_>, service: &mut Service) {
    service.image = fields.text("image");
    service.platform = fields.text("platform");
    service.build = fields.get("build").map(|_| build(fields));
}

fn build(fields: &mut Fields<'_, '_>) -> Build {
    let mut build = fields.inner("build");
    let ssh = build.pairs("ssh");
    Build {
        context: build.text("context").unwrap_or_default(),
        dockerfile: build.text("dockerfile"),
        dockerfile_inline: build.get("dockerfile_inline").and_then(Node::as_str).map(str::to_owned),
        target: build.text("target"),
        args: build.optional_pairs("args"),
        additional_contexts: build.pairs("additional_contexts"),
        ssh,
        secrets: mount::grants(&mut build, "secrets", "/run/secrets"),
        labels: build.pairs("labels"),
        tags: build.texts("tags"),
        platforms: build.texts("platforms"),
        cache_from: build.texts("cache_from"),
        cache_to: build.texts("cache_to"),
        no_cache: build.flag("no_cache"),
        no_cache_filter: build.texts("no_cache_filter"),
        pull: build.flag("pull"),
        network: build.text("network"),
        extra_hosts: network::hosts(&mut build, "extra_hosts"),
        shm_size_bytes: build.integer("shm_size").filter(|size| *size > 0),
        ulimits: limits::ulimits(&mut build, "ulimits"),
        privileged: build.flag("privileged"),
        entitlements: build.texts("entitlements"),
        provenance: build.text("provenance"),
        sbom: build.text("sbom"),
        isolation: build.text("isolation"),
    }
}
