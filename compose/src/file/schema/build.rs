//! `services.NAME.build`.

use super::service::{SECRET_GRANT, keyed};
use super::{Bare, Field, ListMerge, Long, Map, Shape, UNIQUE, field, list, object, one_or_list};
use crate::file::canonical::grant;

pub(crate) static BUILD: Long = Long {
    object: &object("a build", FIELDS),
    forms: "a directory, or a mapping",
    short: |node| keyed(node, "context"),
};

pub(super) const ULIMITS: Shape =
    Shape::Map(Map { value: &Shape::Ulimit, key: "limit", null_values: false, from_list: None });

#[rustfmt::skip]
static FIELDS: &[Field] = &[
    field("context", Shape::Text),
    field("dockerfile", Shape::Text),
    field("dockerfile_inline", Shape::Text),
    field("entitlements", list(&Shape::Text, ListMerge::Append)),
    field("args", Shape::Pairs(Bare::Unset)),
    field("provenance", Shape::TextOrFlag),
    field("sbom", Shape::TextOrFlag),
    field("ssh", Shape::Ssh),
    field("labels", Shape::Pairs(Bare::Empty)),
    field("cache_from", list(&Shape::Text, ListMerge::Append)),
    field("cache_to", list(&Shape::Text, ListMerge::Append)),
    field("no_cache", Shape::Flag),
    field("no_cache_filter", one_or_list(&Shape::Text, ListMerge::Append)),
    field("additional_contexts", Shape::Contexts),
    field("pull", Shape::Flag),
    field("extra_hosts", Shape::ExtraHosts),
    field("isolation", Shape::Text),
    field("network", Shape::Text),
    field("target", Shape::Text),
    field("secrets", list(&SECRET_GRANT, ListMerge::Unique(grant::secret_key))),
    field("shm_size", Shape::Bytes),
    field("tags", list(&Shape::Text, UNIQUE)),
    field("ulimits", ULIMITS),
    field("platforms", list(&Shape::Text, ListMerge::Append)),
    field("privileged", Shape::Flag),
];
