//! `services.NAME.deploy`, and requests for devices.

use super::{Bare, Empty, Field, ListMerge, Object, Others, Shape, field, list, object, shown};

#[rustfmt::skip]
pub(super) static DEPLOY: Object = object("`deploy`", &[
    field("mode", Shape::Text),
    shown("replicas", Shape::Integer),
    field("labels", Shape::Pairs(Bare::Empty)),
    shown("update_config", Shape::Object(&ROLLOUT)),
    shown("rollback_config", Shape::Object(&ROLLOUT)),
    Field { name: "resources", shape: Shape::Object(&RESOURCES), empty: Empty::Always },
    shown("restart_policy", Shape::Object(&RESTART_POLICY)),
    Field { name: "placement", shape: Shape::Object(&PLACEMENT), empty: Empty::Always },
    field("endpoint_mode", Shape::Text),
]);

#[rustfmt::skip]
static ROLLOUT: Object = object("the way of an update", &[
    shown("parallelism", Shape::Integer),
    field("delay", Shape::Duration),
    field("failure_action", Shape::Text),
    field("monitor", Shape::Duration),
    field("max_failure_ratio", Shape::Number),
    field("order", Shape::Choice(&["start-first", "stop-first"])),
]);

#[rustfmt::skip]
static RESOURCES: Object = object("`resources`", &[
    shown("limits", Shape::Object(&LIMITS)),
    shown("reservations", Shape::Object(&RESERVATIONS)),
]);

#[rustfmt::skip]
static LIMITS: Object = object("`limits`", &[
    field("cpus", Shape::Number),
    field("memory", Shape::BytesText),
    field("pids", Shape::Integer),
]);

#[rustfmt::skip]
static RESERVATIONS: Object = object("`reservations`", &[
    field("cpus", Shape::Number),
    field("memory", Shape::BytesText),
    field("devices", list(&Shape::Object(&DEVICE_REQUEST_STRICT), ListMerge::Append)),
    field("generic_resources", list(&Shape::Object(&GENERIC_RESOURCE), ListMerge::Append)),
]);

#[rustfmt::skip]
static GENERIC_RESOURCE: Object = object("a generic resource", &[
    field("discrete_resource_spec", Shape::Object(&DISCRETE)),
]);

#[rustfmt::skip]
static DISCRETE: Object = object("a discrete resource", &[
    field("kind", Shape::Text),
    field("value", Shape::Integer),
]);

static REQUEST_FIELDS: &[Field] = &[
    field("capabilities", list(&Shape::Text, ListMerge::Distinct)),
    field("driver", Shape::Text),
    field("count", Shape::Count),
    field("device_ids", list(&Shape::Text, ListMerge::Distinct)),
    field("options", Shape::DistinctPairs(Bare::Empty)),
];

static DEVICE_REQUEST_STRICT: Object =
    Object { required: &["capabilities"], ..object("a request for devices", REQUEST_FIELDS) };

static DEVICE_REQUEST: Object =
    Object { others: Others::Any, ..object("a request for GPUs", REQUEST_FIELDS) };

/// `gpus`: `all`, or a list of requests.
pub(super) const DEVICE_REQUESTS: Shape = Shape::List(super::List {
    item: &Shape::Long(&super::Long {
        object: &DEVICE_REQUEST,
        forms: "`all`, or a list of requests",
        short: crate::file::canonical::device::all,
    }),
    single: true,
    merge: ListMerge::Append,
});

#[rustfmt::skip]
static RESTART_POLICY: Object = object("`restart_policy`", &[
    field("condition", Shape::Text),
    shown("delay", Shape::Duration),
    shown("max_attempts", Shape::Integer),
    shown("window", Shape::Duration),
]);

#[rustfmt::skip]
static PLACEMENT: Object = object("`placement`", &[
    field("constraints", list(&Shape::Text, ListMerge::Append)),
    field("preferences", list(&Shape::Object(&PREFERENCE), ListMerge::Append)),
    field("max_replicas_per_node", Shape::Integer),
]);

static PREFERENCE: Object = object("a preference", &[field("spread", Shape::Text)]);
