//! `services.NAME`.

use super::super::canonical::{device, env_file, grant, volume};
use super::super::node::{Map as Entries, Node};
use super::build::{BUILD, ULIMITS};
use super::deploy::{DEPLOY, DEVICE_REQUESTS};
use super::{
    Bare, Empty, Field, JsonKeys, ListMerge, Long, Map, Object, ObjectMerge, Others, Pattern,
    Shape, ShortError, UNIQUE, field, list, object, one_or_list, shown,
};

pub(crate) static SERVICE: Object = object("a service", FIELDS);

#[rustfmt::skip]
static FIELDS: &[Field] = &[
    field("profiles", list(&Shape::Text, UNIQUE)),
    field("annotations", Shape::Pairs(Bare::Empty)),
    shown("attach", Shape::Flag),
    field("build", Shape::Long(&BUILD)),
    shown("develop", Shape::ObjectOrNull(&DEVELOP)),
    shown("blkio_config", Shape::Object(&BLKIO)),
    field("cap_add", list(&Shape::Text, UNIQUE)),
    field("cap_drop", list(&Shape::Text, UNIQUE)),
    field("cgroup_parent", Shape::Text),
    field("cgroup", Shape::Choice(&["host", "private"])),
    field("cpu_count", Shape::Bounded(0, i64::MAX as i128)),
    field("cpu_percent", Shape::Bounded(0, 100)),
    field("cpu_period", Shape::Integer),
    field("cpu_quota", Shape::Integer),
    field("cpu_rt_period", Shape::Integer),
    field("cpu_rt_runtime", Shape::Integer),
    field("cpus", Shape::Number),
    field("cpuset", Shape::Text),
    field("cpu_shares", Shape::Integer),
    Field { name: "command", shape: Shape::Command, empty: Empty::Null },
    field("configs", list(&CONFIG_GRANT, ListMerge::Unique(grant::config_key))),
    field("container_name", Shape::Pattern(&CONTAINER_NAME)),
    shown("credential_spec", Shape::Object(&CREDENTIAL_SPEC)),
    field("depends_on", Shape::Map(Map { value: &DEPENDENCY, key: "service", null_values: false, from_list: Some(started) })),
    shown("deploy", Shape::ObjectOrNull(&DEPLOY)),
    field("device_cgroup_rules", list(&Shape::Text, ListMerge::Distinct)),
    field("devices", list(&DEVICE, ListMerge::Unique(device::key))),
    field("dns", one_or_list(&Shape::Text, UNIQUE)),
    field("dns_opt", list(&Shape::Text, UNIQUE)),
    field("dns_search", one_or_list(&Shape::Text, UNIQUE)),
    field("domainname", Shape::Text),
    Field { name: "entrypoint", shape: Shape::Command, empty: Empty::Null },
    field("provider", Shape::Object(&PROVIDER)),
    field("environment", Shape::Pairs(Bare::Unset)),
    field("env_file", one_or_list(&ENV_FILE, ListMerge::Unique(env_file::key))),
    field("expose", list(&Shape::TextOrInteger, UNIQUE)),
    field("extends", Shape::Long(&EXTENDS)),
    field("external_links", list(&Shape::Text, ListMerge::Distinct)),
    field("extra_hosts", Shape::ExtraHosts),
    field("group_add", list(&Shape::TextLike, ListMerge::Distinct)),
    field("gpus", DEVICE_REQUESTS),
    field("hostname", Shape::Text),
    shown("healthcheck", Shape::Object(&HEALTHCHECK)),
    field("image", Shape::Text),
    shown("init", Shape::Flag),
    field("ipc", Shape::Text),
    field("isolation", Shape::Text),
    field("labels", Shape::Pairs(Bare::Empty)),
    field("label_file", one_or_list(&Shape::Text, UNIQUE)),
    field("links", list(&Shape::Text, UNIQUE)),
    shown("logging", Shape::Object(&LOGGING)),
    field("mem_limit", Shape::Bytes),
    field("mem_reservation", Shape::Bytes),
    field("memswap_limit", Shape::Bytes),
    field("mem_swappiness", Shape::Bytes),
    field("mac_address", Shape::Text),
    field("models", Shape::Map(Map { value: &SERVICE_MODEL, key: "model", null_values: true, from_list: Some(null_value) })),
    field("network_mode", Shape::Text),
    field("networks", Shape::Map(Map { value: &ATTACHMENT, key: "network", null_values: true, from_list: Some(null_value) })),
    field("oom_kill_disable", Shape::Flag),
    field("oom_score_adj", Shape::Bounded(-1000, 1000)),
    field("pid", Shape::TextOrNull),
    field("pids_limit", Shape::Integer),
    field("platform", Shape::Text),
    field("ports", Shape::Ports),
    field("privileged", Shape::Flag),
    field("pull_policy", Shape::Pattern(&PULL_POLICY)),
    field("pull_refresh_after", Shape::Text),
    field("read_only", Shape::Flag),
    field("restart", Shape::Text),
    field("runtime", Shape::Text),
    shown("scale", Shape::Integer),
    field("secrets", list(&SECRET_GRANT, ListMerge::Unique(grant::secret_key))),
    field("security_opt", list(&Shape::Text, ListMerge::Distinct)),
    field("shm_size", Shape::Bytes),
    field("stdin_open", Shape::Flag),
    shown("stop_grace_period", Shape::Duration),
    field("stop_signal", Shape::Text),
    field("storage_opt", Shape::Options),
    field("sysctls", Shape::Pairs(Bare::Empty)),
    field("tmpfs", one_or_list(&Shape::Text, UNIQUE)),
    field("tty", Shape::Flag),
    field("ulimits", ULIMITS),
    field("use_api_socket", Shape::BareFlag),
    field("user", Shape::Text),
    field("userns_mode", Shape::Text),
    field("uts", Shape::Text),
    field("volumes", list(&MOUNT, ListMerge::Unique(volume::key))),
    field("volumes_from", list(&Shape::Text, ListMerge::Distinct)),
    field("working_dir", Shape::Text),
    field("pre_start", list(&Shape::Object(&PRE_START), ListMerge::Append)),
    field("post_start", list(&Shape::Object(&HOOK), ListMerge::Append)),
    field("pre_stop", list(&Shape::Object(&HOOK), ListMerge::Append)),
];

/// Docker compose looks for these anywhere in the text; the container itself is more particular.
static CONTAINER_NAME: Pattern = Pattern {
    found_in: |text| {
        let name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
        let mut pairs = text.as_bytes().windows(2);
        pairs.any(|pair| pair[0].is_ascii_alphanumeric() && name(pair[1]))
    },
    words: &[],
    expression: "[a-zA-Z0-9][a-zA-Z0-9_.-]+",
    forms: "at least two letters, digits, `_`, `.` or `-`, with a letter or digit first",
};

const PULL_POLICIES: [&str; 8] =
    ["always", "never", "build", "if_not_present", "missing", "refresh", "daily", "weekly"];

static PULL_POLICY: Pattern = Pattern {
    found_in: |text| {
        let every = |after: &str| {
            let digits = after.bytes().take_while(u8::is_ascii_digit).count();
            digits > 0 && after[digits..].starts_with(['w', 'd', 'h', 'm', 's'])
        };
        PULL_POLICIES.iter().any(|word| text.contains(word))
            || text.split("every_").skip(1).any(every)
    },
    words: &PULL_POLICIES,
    expression: "always|never|build|if_not_present|missing|refresh|daily|weekly|every_[0-9]+[wdhms]",
    forms: "`always`, `missing`, `never`, `build`, `daily`, `weekly` or `every_12h`",
};

pub(crate) static EXTENDS: Long = Long {
    object: &Object {
        required: &["service"],
        others: Others::Ignored,
        ..object("`extends`", &[field("service", Shape::Text), field("file", Shape::TextOrNull)])
    },
    forms: "the name of a service, or a mapping with `service` and `file`",
    short: |node| keyed(node, "service"),
};

/// The text `node` as the only key of a mapping.
pub(super) fn keyed(node: &Node, key: &str) -> Result<Node, ShortError> {
    let mut map = Entries::default();
    map.set(key, node.clone());
    Ok(Node::map(map, node.span))
}

fn null_value(name: &Node) -> Node {
    Node::null(name.span)
}

fn started(name: &Node) -> Node {
    let mut map = Entries::default();
    let span = name.span.implied();
    map.set("condition", Node::text("service_started", span));
    map.set("required", Node::new(super::super::node::Value::Bool(true), span));
    Node::map(map, name.span)
}

static DEPENDENCY: Shape = Shape::Object(&Object {
    required: &["condition"],
    ..object(
        "a dependency",
        &[
            field(
                "condition",
                Shape::Choice(&[
                    "service_started",
                    "service_healthy",
                    "service_completed_successfully",
                ]),
            ),
            field("restart", Shape::Flag),
            shown("required", Shape::BareFlag),
        ],
    )
});

static ATTACHMENT: Shape = Shape::ObjectOrNull(&object(
    "the place on a network",
    &[
        field("aliases", list(&Shape::Text, UNIQUE)),
        field("driver_opts", Shape::DriverOptions),
        field("gw_priority", Shape::BareInteger),
        field("interface_name", Shape::Text),
        field("ipv4_address", Shape::Text),
        field("ipv6_address", Shape::Text),
        field("link_local_ips", list(&Shape::Text, UNIQUE)),
        field("mac_address", Shape::Text),
        field("priority", Shape::BareInteger),
    ],
));

static SERVICE_MODEL: Shape = Shape::ObjectOrNull(&object(
    "the use of a model",
    &[field("endpoint_var", Shape::Text), field("model_var", Shape::Text)],
));

static CREDENTIAL_SPEC: Object = object(
    "`credential_spec`",
    &[field("config", Shape::Text), field("file", Shape::Text), field("registry", Shape::Text)],
);

static PROVIDER: Object = Object {
    required: &["type"],
    ..object("a provider", &[field("type", Shape::Text), field("options", PROVIDER_OPTIONS)])
};

const PROVIDER_OPTIONS: Shape = Shape::Map(Map {
    value: &Shape::List(super::List {
        item: &Shape::Scalar,
        single: true,
        merge: ListMerge::Append,
    }),
    key: "option",
    null_values: false,
    from_list: None,
});

static HEALTHCHECK: Object = object(
    "a health check",
    &[
        field("test", Shape::HealthTest),
        shown("timeout", Shape::Duration),
        shown("interval", Shape::Duration),
        shown("retries", Shape::Integer),
        shown("start_period", Shape::Duration),
        shown("start_interval", Shape::Duration),
        field("disable", Shape::Flag),
    ],
);

static LOGGING: Object = Object {
    merge: ObjectMerge::SameDriver,
    ..object("`logging`", &[field("driver", Shape::Text), field("options", Shape::Options)])
};

static ENV_FILE: Shape = Shape::Long(&Long {
    object: &Object {
        required: &["path"],
        others: Others::None,
        ..object(
            "an environment file",
            &[
                field("path", Shape::Text),
                shown("required", Shape::Flag),
                field("format", Shape::Text),
            ],
        )
    },
    forms: "a path, or a mapping with `path`, `required` and `format`",
    short: |node| keyed(node, "path"),
});

static DEVICE: Shape = Shape::Long(&Long {
    object: &Object {
        required: &["source"],
        ..object(
            "a device",
            &[
                field("source", Shape::Text),
                field("target", Shape::Text),
                field("permissions", Shape::Text),
            ],
        )
    },
    forms: "a string like `HOST[:CONTAINER[:rwm]]`, or a mapping",
    short: device::long,
});

static CONFIG_GRANT: Shape = Shape::Long(&Long {
    object: &Object { required: &["source"], ..object("a config of a service", GRANT_FIELDS) },
    forms: "the name of a config, or a mapping with `source`",
    short: |node| keyed(node, "source"),
});

pub(super) static SECRET_GRANT: Shape = Shape::Long(&Long {
    object: &Object { required: &["source"], ..object("a secret of a service", GRANT_FIELDS) },
    forms: "the name of a secret, or a mapping with `source`",
    short: |node| keyed(node, "source"),
});

static GRANT_FIELDS: &[Field] = &[
    field("source", Shape::Text),
    field("target", Shape::Text),
    field("uid", Shape::Text),
    field("gid", Shape::Text),
    shown("mode", Shape::Mode),
];

static MOUNT: Shape = Shape::Long(&Long {
    object: &Object {
        required: &["type"],
        ..object(
            "a mount",
            &[
                field(
                    "type",
                    Shape::Choice(&["bind", "volume", "tmpfs", "cluster", "npipe", "image"]),
                ),
                field("source", Shape::Text),
                field("target", Shape::Text),
                field("read_only", Shape::Flag),
                field("consistency", Shape::Text),
                shown("bind", Shape::Object(&BIND)),
                shown("volume", Shape::Object(&VOLUME)),
                shown("tmpfs", Shape::Object(&TMPFS)),
                shown("image", Shape::Object(&IMAGE)),
            ],
        )
    },
    forms: "a string like `[SOURCE:]TARGET[:ro]`, or a mapping",
    short: volume::long,
});

static BIND: Object = object(
    "the options of a bind",
    &[
        field("selinux", Shape::Choice(&["z", "Z"])),
        field("propagation", Shape::Text),
        Field { name: "create_host_path", shape: Shape::Flag, empty: Empty::ShownInYaml },
        field("recursive", Shape::Choice(&["enabled", "disabled", "writable", "readonly"])),
    ],
);

static VOLUME: Object = object(
    "the options of a volume",
    &[
        field("labels", Shape::DistinctPairs(Bare::Empty)),
        field("nocopy", Shape::Flag),
        field("subpath", Shape::Text),
    ],
);

static TMPFS: Object = object(
    "the options of a tmpfs",
    &[field("size", Shape::Bytes), field("mode", Shape::ModeNumber)],
);

static IMAGE: Object = object("the options of an image mount", &[field("subpath", Shape::Text)]);

static HOOK: Object = Object { required: &["command"], ..object("a hook", HOOK_FIELDS) };

#[rustfmt::skip]
static HOOK_FIELDS: &[Field] = &[
    Field { name: "command", shape: Shape::Command, empty: Empty::Null },
    field("user", Shape::Text),
    field("privileged", Shape::Flag),
    field("working_dir", Shape::Text),
    field("environment", Shape::DistinctPairs(Bare::Unset)),
];

static PRE_START: Object = object(
    "a `pre_start` container",
    &[
        field("image", Shape::Text),
        field("command", Shape::Command),
        field("user", Shape::Text),
        field("privileged", Shape::Flag),
        field("working_dir", Shape::Text),
        field("environment", Shape::DistinctPairs(Bare::Unset)),
        field("per_replica", Shape::Flag),
    ],
);

static DEVELOP: Object =
    object("`develop`", &[field("watch", list(&Shape::Object(&WATCH), ListMerge::Append))]);

static WATCH: Object = Object {
    required: &["path", "action"],
    ..object(
        "a watch rule",
        &[
            field("path", Shape::Text),
            field(
                "action",
                Shape::Choice(&["rebuild", "sync", "restart", "sync+restart", "sync+exec"]),
            ),
            field("target", Shape::Text),
            Field { name: "exec", shape: Shape::Object(&HOOK), empty: Empty::Always },
            field("include", one_or_list(&Shape::Text, ListMerge::Distinct)),
            field("ignore", one_or_list(&Shape::Text, ListMerge::Distinct)),
            field("initial_sync", Shape::BareFlag),
        ],
    )
};

static BLKIO: Object = Object {
    others: Others::None,
    ..object(
        "`blkio_config`",
        &[
            field("weight", Shape::Integer),
            field("weight_device", list(&Shape::Object(&DEVICE_WEIGHT), ListMerge::Append)),
            field("device_read_bps", list(&Shape::Object(&DEVICE_RATE), ListMerge::Append)),
            field("device_read_iops", list(&Shape::Object(&DEVICE_RATE), ListMerge::Append)),
            field("device_write_bps", list(&Shape::Object(&DEVICE_RATE), ListMerge::Append)),
            field("device_write_iops", list(&Shape::Object(&DEVICE_RATE), ListMerge::Append)),
        ],
    )
};

static DEVICE_WEIGHT: Object = Object {
    others: Others::None,
    json_keys: JsonKeys::Capitals,
    ..object(
        "the weight of a device",
        &[field("path", Shape::Text), field("weight", Shape::Integer)],
    )
};

static DEVICE_RATE: Object = Object {
    others: Others::None,
    json_keys: JsonKeys::Capitals,
    ..object("the rate of a device", &[field("path", Shape::Text), field("rate", Shape::Bytes)])
};
