//! The top level: everything but the services themselves.

use super::service::{SERVICE, keyed};
use super::{
    Bare, Empty, Field, ListMerge, Long, Map, Object, Others, Shape, field, list, object,
    one_or_list, shown,
};
use crate::file::node::Node;

pub(crate) static PROJECT: Object = object("a compose file", FIELDS);

#[rustfmt::skip]
static FIELDS: &[Field] = &[
    field("version", Shape::Text),
    field("name", Shape::Text),
    field("include", list(&INCLUDE, ListMerge::Append)),
    shown("services", Shape::Map(Map { value: &Shape::Object(&SERVICE), key: "service", null_values: false, from_list: None })),
    field("networks", Shape::Map(Map { value: &Shape::Object(&NETWORK), key: "network", null_values: true, from_list: None })),
    field("volumes", Shape::Map(Map { value: &Shape::Object(&VOLUME), key: "volume", null_values: true, from_list: None })),
    field("secrets", Shape::Map(Map { value: &Shape::Object(&SECRET), key: "secret", null_values: false, from_list: None })),
    field("configs", Shape::Map(Map { value: &Shape::Object(&CONFIG), key: "config", null_values: false, from_list: None })),
    Field { name: "models", empty: Empty::NotInJson, shape: Shape::Map(Map { value: &Shape::Object(&MODEL), key: "model", null_values: false, from_list: None }) },
];

pub(crate) static INCLUDE: Shape = Shape::Long(&Long {
    object: &Object {
        others: Others::None,
        ..object(
            "an include",
            &[
                field("path", one_or_list(&Shape::Text, ListMerge::Append)),
                field("env_file", one_or_list(&Shape::Text, ListMerge::Append)),
                field("project_directory", Shape::Text),
            ],
        )
    },
    forms: "a path, or a mapping with `path`, `env_file` and `project_directory`",
    short: |node| keyed(node, "path"),
});

#[rustfmt::skip]
static NETWORK: Object = object("a network", &[
    field("name", Shape::Text),
    field("driver", Shape::Text),
    field("driver_opts", Shape::DriverOptions),
    Field { name: "ipam", shape: Shape::Object(&IPAM), empty: Empty::Always },
    field("external", Shape::External),
    field("internal", Shape::Flag),
    field("attachable", Shape::Flag),
    field("labels", Shape::Pairs(Bare::Empty)),
    shown("enable_ipv4", Shape::Flag),
    shown("enable_ipv6", Shape::Flag),
]);

#[rustfmt::skip]
static IPAM: Object = object("`ipam`", &[
    field("driver", Shape::Text),
    field("config", list(&Shape::Object(&POOL), ListMerge::Merged(subnet))),
    Field { name: "options", shape: TEXTS, empty: Empty::NotInJson },
]);

#[rustfmt::skip]
static POOL: Object = object("an address pool", &[
    field("subnet", Shape::Text),
    field("gateway", Shape::Text),
    field("ip_range", Shape::Text),
    field("aux_addresses", TEXTS),
]);

const TEXTS: Shape =
    Shape::Map(Map { value: &Shape::Text, key: "option", null_values: false, from_list: None });

fn subnet(pool: &Node) -> String {
    pool.get("subnet").and_then(Node::as_str).unwrap_or_default().to_owned()
}

#[rustfmt::skip]
static VOLUME: Object = object("a volume", &[
    field("name", Shape::Text),
    field("driver", Shape::Text),
    field("driver_opts", Shape::DriverOptions),
    field("external", Shape::External),
    field("labels", Shape::DistinctPairs(Bare::Empty)),
]);

#[rustfmt::skip]
static SECRET: Object = object("a secret", &[
    field("name", Shape::Text),
    field("file", Shape::Text),
    field("environment", Shape::Text),
    field("content", Shape::Text),
    field("external", Shape::External),
    field("labels", Shape::DistinctPairs(Bare::Empty)),
    field("driver", Shape::Text),
    field("driver_opts", Shape::DriverOptions),
    field("template_driver", Shape::Text),
]);

#[rustfmt::skip]
static CONFIG: Object = object("a config", &[
    field("name", Shape::Text),
    field("file", Shape::Text),
    field("environment", Shape::Text),
    field("content", Shape::Text),
    field("external", Shape::External),
    field("labels", Shape::DistinctPairs(Bare::Empty)),
    field("template_driver", Shape::Text),
]);

static MODEL: Object = Object {
    required: &["model"],
    ..object(
        "a model",
        &[
            field("name", Shape::Text),
            field("model", Shape::Text),
            field("context_size", Shape::BareInteger),
            field("runtime_flags", list(&Shape::Text, ListMerge::Append)),
        ],
    )
};
