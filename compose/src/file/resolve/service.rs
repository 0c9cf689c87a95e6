//! Services.

use std::collections::BTreeMap;

use crate::file::node::{Entry, Node, Value};
use crate::file::render;
use crate::file::report::Report;
use crate::file::schema::SERVICE;
use crate::file::units::Nanoseconds;
use crate::model::{
    Dependency, DependencyCondition, Deploy, DeployRestart, ExternalLink, FailureAction,
    HealthTest, Healthcheck, Hook, Kept, Link, Logging, Places, PreStart, Provider, PullPolicy,
    RestartPolicy, RolloutConfig, RolloutOrder, Service, ServiceName, WatchAction, WatchRule,
};

use super::fields::{Fields, What};
use super::{image, limits, mount, network, security};

/// Attributes that are valid but have no typed field.
const KEPT: [&str; 9] = [
    "cpu_count",
    "cpu_percent",
    "credential_spec",
    "isolation",
    "models",
    "pull_refresh_after",
    "use_api_socket",
    "deploy.mode",
    "deploy.endpoint_mode",
];

const SIGNAL: What =
    What { name: "a signal", help: "write a name like SIGTERM, or a number from 1 to 64" };

/// Whether a service is to say where it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origins {
    /// It is, and has the attributes without a typed field.
    Noted,
    /// Nobody will ask: only what is wrong with it is looked for.
    Left,
}

/// One service.
pub(super) fn service(
    report: &mut Report,
    name: ServiceName,
    entry: &Entry,
    origins: Origins,
) -> Service {
    let node = &entry.node;
    let mut service = Service::new(name);
    if origins == Origins::Noted {
        service.place = Some(report.sources.place(entry.key));
        service.places = places(report, node);
        service.kept = kept(report, node);
    }
    let fields = &mut Fields::new(report, Some(node));
    process(fields, &mut service);
    life(fields, &mut service);
    network::network(fields, &mut service);
    mount::mounts(fields, &mut service);
    limits::limits(fields, &mut service);
    security::security(fields, &mut service);
    image::image(fields, &mut service);
    rest(fields, &mut service);
    service
}

/// Where attributes were written: keys, and the items of lists.
fn places(report: &Report, service: &Node) -> Places {
    let mut places = Places::default();
    for (key, entry) in service.entries() {
        places.insert(&**key, report.sources.place(entry.key));
        for (index, item) in entry.node.items().iter().enumerate() {
            if item.span != entry.node.span {
                places.insert(format!("{key}[{index}]"), report.sources.place(item.span));
            }
        }
        if matches!(&**key, "depends_on" | "networks" | "ulimits" | "deploy" | "healthcheck") {
            for (inner, entry) in entry.node.entries() {
                places.insert(format!("{key}.{inner}"), report.sources.place(entry.key));
            }
        }
    }
    places
}

fn kept(report: &Report, service: &Node) -> BTreeMap<String, Kept> {
    let mut kept = BTreeMap::new();
    let mut keep = |path: &str, entry: &Entry, value: serde_json::Value| {
        let place = Some(report.sources.place(entry.key));
        kept.insert(path.to_owned(), Kept { value, place });
    };
    for path in KEPT {
        let (parent, key) = match path.split_once('.') {
            Some((parent, key)) => (service.get(parent), key),
            None => (Some(service), path),
        };
        let Some(entry) = parent.and_then(Node::as_map).and_then(|map| map.entry(key)) else {
            continue;
        };
        let shape = SERVICE.field(path).map(|field| &field.shape);
        let value = match shape {
            Some(shape) => render::value(&entry.node, shape).into_json(),
            None => entry.node.as_str().unwrap_or_default().into(),
        };
        keep(path, entry, value);
    }
    let deploy = service.get("deploy");
    let placement = deploy.and_then(Node::as_map).and_then(|map| map.entry("placement"));
    if let Some(entry) = placement {
        keep("deploy.placement", entry, render::any(&entry.node).into_json());
    }
    let reservations =
        deploy.and_then(|node| node.get("resources")).and_then(|node| node.get("reservations"));
    let generic =
        reservations.and_then(Node::as_map).and_then(|map| map.entry("generic_resources"));
    if let Some(entry) = generic {
        keep(
            "deploy.resources.reservations.generic_resources",
            entry,
            render::any(&entry.node).into_json(),
        );
    }
    kept
}

fn process(fields: &mut Fields<'_, '_>, service: &mut Service) {
    service.command = fields.command("command");
    service.entrypoint = fields.command("entrypoint");
    service.environment = fields.optional_pairs("environment");
    service.user = fields.text("user");
    service.group_add = fields.texts("group_add");
    service.working_dir = fields.path("working_dir");
    service.tty = fields.flag("tty");
    service.stdin_open = fields.flag("stdin_open");
    service.init = fields.flag("init");
    service.attach = fields.optional_flag("attach").unwrap_or(true);
}

fn life(fields: &mut Fields<'_, '_>, service: &mut Service) {
    service.profiles = fields.texts("profiles").into_iter().collect();
    service.container_name = fields.text("container_name");
    service.stop_signal = fields.parsed("stop_signal", SIGNAL);
    service.stop_grace_period = fields.duration("stop_grace_period");
    service.healthcheck = fields.get("healthcheck").map(|_| healthcheck(fields));
    service.post_start = fields.items("post_start").iter().map(|node| hook(fields, node)).collect();
    service.pre_stop = fields.items("pre_stop").iter().map(|node| hook(fields, node)).collect();
    service.pre_start =
        fields.items("pre_start").iter().map(|node| pre_start(fields, node)).collect();
    for (name, entry) in fields.entries("depends_on") {
        if let Ok(name) = name.parse() {
            service.depends_on.insert(name, dependency(&entry.node));
        }
    }
    let scale = fields.integer("scale");
    let (replicas, restart) = {
        let mut deploy = fields.inner("deploy");
        (deploy.integer("replicas"), deploy_restart(&mut deploy))
    };
    service.replicas = scale.or(replicas).unwrap_or(1);
    service.restart = restart.unwrap_or_else(|| restart_policy(fields));
    service.deploy = fields.get("deploy").map(|_| deploy(fields));
    if let Some(order) = update_order(fields) {
        let deploy = service.deploy.get_or_insert_default();
        deploy.update.get_or_insert_default().order = Some(order);
    }
}

fn dependency(node: &Node) -> Dependency {
    let flag = |key: &str| node.get(key).and_then(Node::as_bool);
    let condition = match node.get("condition").and_then(Node::as_str) {
        Some("service_healthy") => DependencyCondition::Healthy,
        Some("service_completed_successfully") => DependencyCondition::CompletedSuccessfully,
        _ => DependencyCondition::Started,
    };
    Dependency {
        condition,
        restart: flag("restart").unwrap_or(false),
        required: flag("required").unwrap_or(true),
    }
}

fn healthcheck(fields: &mut Fields<'_, '_>) -> Healthcheck {
    let mut check = fields.inner("healthcheck");
    let words = check.texts("test");
    let test = match words.split_first() {
        _ if check.flag("disable") => Some(HealthTest::Disabled),
        None => None,
        Some((first, _)) if first == "NONE" => Some(HealthTest::Disabled),
        Some((first, rest)) if first == "CMD" => Some(HealthTest::Exec(rest.to_vec())),
        Some((_, rest)) => Some(HealthTest::Shell(rest.join(" "))),
    };
    let positive = |duration: Option<std::time::Duration>| duration.filter(|d| !d.is_zero());
    Healthcheck {
        test,
        interval: positive(check.duration("interval")),
        timeout: positive(check.duration("timeout")),
        retries: check.integer("retries").filter(|retries| *retries > 0),
        start_period: check.duration("start_period"),
        start_interval: positive(check.duration("start_interval")),
    }
}

fn hook(fields: &mut Fields<'_, '_>, node: &Node) -> Hook {
    let hook = Fields::new(fields.report, Some(node));
    Hook {
        command: hook.texts("command"),
        user: hook.text("user"),
        privileged: hook.flag("privileged"),
        working_dir: hook.path("working_dir"),
        environment: hook.optional_pairs("environment"),
    }
}

fn pre_start(fields: &mut Fields<'_, '_>, node: &Node) -> PreStart {
    let hook = Fields::new(fields.report, Some(node));
    PreStart {
        image: hook.text("image"),
        command: hook.command("command"),
        user: hook.text("user"),
        privileged: hook.flag("privileged"),
        working_dir: hook.path("working_dir"),
        environment: hook.optional_pairs("environment"),
        per_replica: hook.flag("per_replica"),
    }
}

fn restart_policy(fields: &mut Fields<'_, '_>) -> RestartPolicy {
    let Some(node) = fields.get("restart") else { return RestartPolicy::No };
    let text = node.as_str().unwrap_or_default();
    let (word, retries) = match text.split_once(':') {
        Some((word, retries)) => (word, Some(retries)),
        None => (text, None),
    };
    match (word, retries) {
        ("no" | "", None) => RestartPolicy::No,
        ("always", None) => RestartPolicy::Always,
        ("unless-stopped", None) => RestartPolicy::UnlessStopped,
        ("on-failure", None) => RestartPolicy::OnFailure { max_retries: None },
        ("on-failure", Some(retries)) if retries.parse::<u32>().is_ok() => {
            let retries = retries.parse().ok().filter(|retries| *retries > 0);
            RestartPolicy::OnFailure { max_retries: retries }
        }
        _ => {
            fields
                .report
                .error(node.span, format!("`{text}` is not a restart policy"))
                .did_you_mean(word, ["no", "always", "on-failure", "unless-stopped"])
                .help("it is `no`, `always`, `on-failure[:TIMES]` or `unless-stopped`");
            RestartPolicy::No
        }
    }
}

fn deploy_restart(deploy: &mut Fields<'_, '_>) -> Option<RestartPolicy> {
    deploy.get("restart_policy")?;
    let mut policy = deploy.inner("restart_policy");
    let max_retries = policy.integer("max_attempts").filter(|attempts| *attempts > 0);
    let Some(condition) = policy.get("condition") else { return Some(RestartPolicy::Always) };
    match condition.as_str().unwrap_or_default() {
        "none" | "no" => Some(RestartPolicy::No),
        "on-failure" => Some(RestartPolicy::OnFailure { max_retries }),
        "any" | "always" | "" => Some(RestartPolicy::Always),
        "unless-stopped" => Some(RestartPolicy::UnlessStopped),
        other => {
            policy
                .report
                .error(condition.span, format!("`{other}` is not a restart condition"))
                .help("it is `none`, `on-failure`, `any` or `unless-stopped`");
            None
        }
    }
}

fn deploy(fields: &mut Fields<'_, '_>) -> Deploy {
    let mut deploy = fields.inner("deploy");
    let restart = deploy.get("restart_policy").map(|_| {
        let mut policy = deploy.inner("restart_policy");
        let max_attempts = policy.integer("max_attempts").filter(|attempts| *attempts > 0);
        DeployRestart {
            delay: policy.duration("delay"),
            max_attempts,
            window: policy.duration("window"),
        }
    });
    let update = rollout(&mut deploy, "update_config");
    let rollback = rollout(&mut deploy, "rollback_config");
    let labels = deploy.pairs("labels");
    let mut resources = deploy.inner("resources");
    let mut reservations = resources.inner("reservations");
    let reserved_nano_cpus = reservations.nano("cpus");
    let devices = reservations.items("devices").iter();
    let devices = devices.map(|node| security::device_request(reservations.report, node)).collect();
    Deploy { labels, update, rollback, restart, reserved_nano_cpus, devices }
}

/// `x-update`: the order of `deploy.update_config` in one word, for those who have no `deploy`.
fn update_order(fields: &mut Fields<'_, '_>) -> Option<RolloutOrder> {
    let node = fields.get("x-update")?;
    match node.as_str().unwrap_or_default() {
        "start-first" => Some(RolloutOrder::StartFirst),
        "stop-first" => Some(RolloutOrder::StopFirst),
        other => {
            fields
                .report
                .error(node.span, format!("`{other}` is not an order of updates"))
                .did_you_mean(other, ["start-first", "stop-first"])
                .help("it is `start-first` or `stop-first`");
            None
        }
    }
}

fn rollout(deploy: &mut Fields<'_, '_>, key: &str) -> Option<RolloutConfig> {
    deploy.get(key)?;
    let mut rollout = deploy.inner(key);
    let order = match rollout.get("order").and_then(Node::as_str) {
        Some("start-first") => Some(RolloutOrder::StartFirst),
        Some("stop-first") => Some(RolloutOrder::StopFirst),
        _ => None,
    };
    let failure_action =
        rollout.get("failure_action").and_then(|node| failure_action(&mut rollout, node));
    let ratio = rollout.get("max_failure_ratio").map(|node| &node.value);
    #[expect(clippy::cast_precision_loss, reason = "ratios are small")]
    let max_failure_ratio = match ratio {
        Some(Value::Float(ratio)) => Some(*ratio),
        Some(Value::Int(ratio)) => Some(ratio.get() as f64),
        _ => None,
    };
    Some(RolloutConfig {
        parallelism: rollout.integer("parallelism"),
        delay: rollout.duration("delay"),
        failure_action,
        monitor: rollout.duration("monitor"),
        max_failure_ratio,
        order,
    })
}

fn failure_action(rollout: &mut Fields<'_, '_>, node: &Node) -> Option<FailureAction> {
    match node.as_str().unwrap_or_default() {
        "" => None,
        "continue" => Some(FailureAction::Continue),
        "pause" => Some(FailureAction::Pause),
        "rollback" => Some(FailureAction::Rollback),
        other => {
            rollout
                .report
                .error(node.span, format!("`{other}` is not a failure action"))
                .help("it is `continue`, `pause` or `rollback`");
            None
        }
    }
}

fn rest(fields: &mut Fields<'_, '_>, service: &mut Service) {
    service.labels = fields.pairs("labels");
    service.annotations = fields.pairs("annotations");
    service.runtime = fields.text("runtime");
    service.cgroup_parent = fields.text("cgroup_parent");
    service.storage_opt = fields.pairs("storage_opt");
    service.pull_policy = pull_policy(fields);
    service.logging = fields.get("logging").map(|_| {
        let logging = fields.inner("logging");
        Logging { driver: logging.text("driver"), options: logging.pairs("options") }
    });
    service.provider = fields.get("provider").map(|_| {
        let provider = fields.inner("provider");
        let options = provider.entries("options").map(|(key, entry)| {
            let values = entry.node.items().iter().filter_map(Node::as_str).map(str::to_owned);
            (key.to_owned(), values.collect())
        });
        let options = options.collect();
        Provider { program: provider.text("type").unwrap_or_default(), options }
    });
    service.links = fields.items("links").iter().filter_map(|node| link(fields, node)).collect();
    let external = fields.items("external_links").iter().filter_map(Node::as_str);
    service.external_links = external
        .map(|text| {
            let (container, alias) = split_alias(text);
            ExternalLink { container: container.to_owned(), alias }
        })
        .collect();
    service.watch = watch_rules(fields);
}

/// The rules of `develop`, or of its old name where that is the only one.
///
/// An extension is not checked with the rest of the file, so what a rule must have is looked at here.
fn watch_rules(fields: &mut Fields<'_, '_>) -> Vec<WatchRule> {
    let legacy = match fields.get("develop") {
        Some(_) => None,
        None => fields.get("x-develop"),
    };
    let Some(node) = legacy else {
        let rules = fields.inner("develop").items("watch");
        return rules.iter().map(|node| watch(fields, node)).collect();
    };
    fields
        .report
        .warning(node.span, "`x-develop` is the old name of `develop`")
        .help("call it `develop`");
    let rules = node.get("watch").map(Node::items).unwrap_or_default();
    for rule in rules {
        let text = |key| rule.get(key).and_then(Node::as_str).unwrap_or_default();
        let missing = match text("action") {
            "rebuild" | "restart" => ["path"].iter().find(|key| text(key).is_empty()),
            "sync" | "sync+restart" | "sync+exec" => {
                ["path", "target"].iter().find(|key| text(key).is_empty())
            }
            _ => Some(&"action"),
        };
        if let Some(key) = missing {
            let message = format!("the rule has no `{key}` that can be used");
            fields.refuse(rule.span, message, "write it as one of `develop.watch`");
        }
    }
    rules.iter().map(|node| watch(fields, node)).collect()
}

fn split_alias(text: &str) -> (&str, Option<String>) {
    match text.split_once(':') {
        Some((name, alias)) => (name, Some(alias.to_owned())),
        None => (text, None),
    }
}

fn link(fields: &mut Fields<'_, '_>, node: &Node) -> Option<Link> {
    let (name, alias) = split_alias(node.as_str()?);
    match name.parse() {
        Ok(service) => Some(Link { service, alias }),
        Err(error) => {
            let message = format!("this is not a link: {error}");
            fields.refuse(node.span, message, "write `SERVICE[:ALIAS]`");
            None
        }
    }
}

fn pull_policy(fields: &mut Fields<'_, '_>) -> Option<PullPolicy> {
    let node = fields.get("pull_policy")?;
    let text = node.as_str()?;
    let day = std::time::Duration::from_secs(86_400);
    let policy = match text {
        "" => return None,
        "always" => PullPolicy::Always,
        "never" => PullPolicy::Never,
        "missing" | "if_not_present" => PullPolicy::Missing,
        "build" => PullPolicy::Build,
        "refresh" => {
            let after = fields.get("pull_refresh_after").and_then(Node::as_str);
            let after = after.and_then(|text| Nanoseconds::parse(text).ok());
            PullPolicy::Every(after.map_or(day, Nanoseconds::duration))
        }
        "daily" => PullPolicy::Every(day),
        "weekly" => PullPolicy::Every(day * 7),
        _ => match text.strip_prefix("every_").map(Nanoseconds::parse) {
            Some(Ok(interval)) => PullPolicy::Every(interval.duration()),
            _ => {
                fields
                    .report
                    .error(node.span, format!("`{text}` is not a pull policy"))
                    .did_you_mean(text, ["always", "never", "missing", "build", "daily", "weekly"])
                    .help("it is `always`, `never`, `missing`, `build`, `daily`, `weekly` or `every_12h`");
                return None;
            }
        },
    };
    Some(policy)
}

fn watch(fields: &mut Fields<'_, '_>, node: &Node) -> WatchRule {
    let rule = Fields::new(fields.report, Some(node));
    let action = match rule.text("action").as_deref() {
        Some("rebuild") => WatchAction::Rebuild,
        Some("restart") => WatchAction::Restart,
        Some("sync+restart") => WatchAction::SyncRestart,
        Some("sync+exec") => WatchAction::SyncExec,
        _ => WatchAction::Sync,
    };
    let exec = rule.get("exec");
    WatchRule {
        path: rule.path("path").unwrap_or_default(),
        action,
        target: rule.path("target"),
        ignore: rule.texts("ignore"),
        include: rule.texts("include"),
        initial_sync: rule.flag("initial_sync") || rule.flag("x-initialSync"),
        exec: exec.map(|node| hook(fields, node)),
    }
}
