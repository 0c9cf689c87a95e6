//! What each attribute alone allows and the whole does not: undefined names, contradictions,
//! circles.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use super::canonical::volume::key as mount_target;
use super::node::{Entry, Map, Node, Value};
use super::report::{Report, closest};
use super::source::Span;

/// Checks single attributes whose parts contradict each other.
pub(super) fn values(report: &mut Report, project: &Node) {
    for (name, entry) in entries(project, "volumes") {
        external_volume(report, name, entry);
    }
    for (name, entry) in entries(project, "secrets") {
        file_source(report, "secret", name, entry, &["file", "environment", "content"]);
    }
    for (name, entry) in entries(project, "configs") {
        file_source(report, "config", name, entry, &["file", "environment", "content"]);
    }
    for (_, entry) in entries(project, "services") {
        ports(report, &entry.node);
        device_requests(report, &entry.node);
        mounts(report, &entry.node);
    }
}

fn entries<'n>(project: &'n Node, kind: &str) -> impl Iterator<Item = (&'n str, &'n Entry)> {
    let map = project.get(kind).and_then(Node::as_map);
    map.into_iter().flat_map(Map::iter).map(|(name, entry)| (&**name, entry))
}

fn is_external(node: &Node) -> bool {
    node.get("external").and_then(Node::as_bool) == Some(true)
}

fn external_volume(report: &mut Report, name: &str, entry: &Entry) {
    if !is_external(&entry.node) {
        return;
    }
    for (key, other) in entry.node.entries() {
        if !matches!(&**key, "external" | "name") && !key.starts_with("x-") {
            report
                .error(
                    other.key,
                    format!("the volume `{name}` is external and cannot have `{key}`"),
                )
                .help("an external volume is made elsewhere; remove the key, or `external`");
        }
    }
}

fn file_source(report: &mut Report, kind: &str, name: &str, entry: &Entry, sources: &[&str]) {
    let node = &entry.node;
    let mut given = sources.iter().filter_map(|key| node.as_map().and_then(|map| map.entry(key)));
    let list = match kind {
        "secret" => "`file` or `environment`",
        _ => "`file`, `environment` or `content`",
    };
    match (given.next(), given.next()) {
        (_, None) if is_external(node) => {}
        (None, _) => {
            report
                .error(entry.key, format!("the {kind} `{name}` has no source"))
                .help(format!("add {list}, or `external: true`"));
        }
        (Some(first), Some(second)) => {
            report
                .error(second.key, format!("the {kind} `{name}` has two sources"))
                .also(first.key, "the other one")
                .help("keep one of them");
        }
        (Some(only), None) => {
            let variable = node.get("environment").and_then(Node::as_str);
            if kind == "secret" && variable == Some("") {
                report
                    .error(only.node.span, format!("the secret `{name}` has no source"))
                    .help("name the variable that has it");
            }
        }
    }
}

fn ports(report: &mut Report, service: &Node) {
    for port in service.get("ports").map(Node::items).unwrap_or_default() {
        let Some(address) = port.get("host_ip") else { continue };
        let Some(text) = address.as_str() else { continue };
        if !text.is_empty() && !text.contains('$') && text.parse::<IpAddr>().is_err() {
            report
                .error(address.span, format!("`{text}` is not an IP address"))
                .help("names are not resolved here; write an address like `127.0.0.1`");
        }
    }
}

fn device_requests(report: &mut Report, service: &Node) {
    let reserved = ["deploy", "resources", "reservations", "devices"]
        .iter()
        .try_fold(service, |node, key| node.get(key));
    for requests in [reserved, service.get("gpus")] {
        for request in requests.map(Node::items).unwrap_or_default() {
            let Some(request) = request.as_map() else { continue };
            if let (Some(count), Some(ids)) = (request.entry("count"), request.entry("device_ids"))
            {
                report
                    .error(ids.key, "`count` and `device_ids` cannot both be given")
                    .also(count.key, "the other one")
                    .help("keep one of them");
            }
        }
    }
}

fn mounts(report: &mut Report, service: &Node) {
    for mount in service.get("volumes").map(Node::items).unwrap_or_default() {
        let text = |key: &str| mount.get(key).and_then(Node::as_str);
        if text("type") == Some("bind") && text("source").unwrap_or_default().is_empty() {
            report.error(mount.span, "a bind needs `source`").help("add `source: ./directory`");
        }
        let size = mount.get("tmpfs").and_then(|tmpfs| tmpfs.get("size"));
        if let Some(size) = size.filter(|size| size.as_int().is_some_and(|size| size < 0)) {
            let finding = report.error(size.span, "the size of a tmpfs cannot be negative");
            finding.help("leave it out for half of the memory");
        }
    }
}

/// Checks that everything a service names is there, and what its attributes say together.
pub(super) fn references(report: &mut Report, project: &Node, disabled: &Map) {
    let services = Services { project, disabled };
    let mut names: BTreeMap<&str, Span> = BTreeMap::new();
    for (name, entry) in entries(project, "services") {
        let service = &entry.node;
        image(report, name, entry);
        build(report, service, &services);
        if !exclusive_networks(report, service) {
            attachments(report, service, &services);
        }
        resources(report, service, &services);
        dependencies(report, service, &services);
        health_check(report, service);
        deploy(report, service);
        targets(report, service);
        devices(report, service);
        watch(report, service);
        container_name(report, service, &mut names);
    }
    cycles(report, project);
}

struct Services<'n> {
    project: &'n Node,
    disabled: &'n Map,
}

impl Services<'_> {
    fn enabled(&self, name: &str) -> bool {
        self.project.get("services").is_some_and(|services| services.get(name).is_some())
    }
}

fn image(report: &mut Report, name: &str, entry: &Entry) {
    let sources = ["image", "build", "provider", "extends"];
    let says = |key: &&str| entry.node.get(key).is_some_and(|node| node.as_str() != Some(""));
    if sources.iter().any(says) || entry.node.get("build").is_some() {
        return;
    }
    if let Some(empty) = entry.node.get("image") {
        // What could not be filled in is empty as well.
        if !report.has_error_within(empty.span) {
            report
                .error(empty.span, format!("the image of the service `{name}` is empty"))
                .help("write `image: NAME`; is a variable not set?");
        }
        return;
    }
    let removed = sources.iter().find_map(|key| report.removed(entry.node.span, key));
    report
        .error(entry.key, format!("the service `{name}` has neither `image` nor `build`"))
        .also_at(removed, "removed here")
        .help("add `image: NAME`, or `build: DIRECTORY`");
}

fn build(report: &mut Report, service: &Node, services: &Services<'_>) {
    let Some(build) = service.get("build").and_then(Node::as_map) else { return };
    if let (Some(file), Some(inline)) =
        (build.entry("dockerfile"), build.entry("dockerfile_inline"))
    {
        report
            .error(inline.key, "`dockerfile` and `dockerfile_inline` cannot both be given")
            .also(file.key, "the other one")
            .help("keep one of them");
    }
    for (_, context) in build.get("additional_contexts").into_iter().flat_map(Node::entries) {
        let other = context.node.as_str().and_then(|text| text.strip_prefix("service:"));
        if let Some(other) = other
            && !services.enabled(other)
            && !services.disabled.contains(other)
        {
            let message = format!("there is no service `{other}` to build from");
            report
                .error(context.node.span, message)
                .help("name one of the services of the project");
        }
    }
    let platforms = build.get("platforms").map(Node::items).unwrap_or_default();
    if let Some(platform) = service.get("platform")
        && !platforms.is_empty()
        && !platforms.iter().any(|one| one.as_str() == platform.as_str())
    {
        let text = platform.as_str().unwrap_or_default();
        report
            .error(platform.span, format!("`build.platforms` does not have the platform `{text}`"))
            .also(platforms[0].span, "these are built")
            .help(format!("add `{text}` to `build.platforms`"));
    }
}

/// True, with an error, if a service says in two ways how it reaches the network.
fn exclusive_networks(report: &mut Report, service: &Node) -> bool {
    let Some(service) = service.as_map() else { return false };
    if let (Some(mode), Some(networks)) = (service.entry("network_mode"), service.entry("networks"))
    {
        report
            .error(mode.key, "`network_mode` and `networks` cannot both be given")
            .also(networks.key, "the other one")
            .help("keep one of them");
        return true;
    }
    false
}

fn attachments(report: &mut Report, service: &Node, services: &Services<'_>) {
    for (name, entry) in service.get("networks").into_iter().flat_map(Node::entries) {
        defined(report, services.project, "networks", name, entry.key);
    }
}

fn resources(report: &mut Report, service: &Node, services: &Services<'_>) {
    for (name, entry) in service.get("models").into_iter().flat_map(Node::entries) {
        defined(report, services.project, "models", name, entry.key);
    }
    for mount in service.get("volumes").map(Node::items).unwrap_or_default() {
        if mount.get("type").and_then(Node::as_str) == Some("volume")
            && let Some(source) = mount.get("source")
            && let Some(name) = source.as_str().filter(|name| !name.is_empty())
        {
            defined(report, services.project, "volumes", name, source.span);
        }
    }
    let build = service.get("build");
    for (kind, grants) in [
        ("secrets", service.get("secrets")),
        ("secrets", build.and_then(|build| build.get("secrets"))),
        ("configs", service.get("configs")),
    ] {
        for grant in grants.map(Node::items).unwrap_or_default() {
            if let Some(source) = grant.get("source") {
                defined(
                    report,
                    services.project,
                    kind,
                    source.as_str().unwrap_or_default(),
                    source.span,
                );
            }
        }
    }
}

fn defined(report: &mut Report, project: &Node, kind: &'static str, name: &str, place: Span) {
    if project.get(kind).is_some_and(|map| map.get(name).is_some()) {
        return;
    }
    let one = kind.trim_end_matches('s');
    if report.is_refused(one, name) {
        return;
    }
    let known: Vec<&str> = entries(project, kind).map(|(name, _)| name).collect();
    let removed = project.get(kind).and_then(|map| report.removed(map.span, name));
    let place = report.part(place, name);
    let finding = report
        .error(place, format!("the {one} `{name}` is not defined"))
        .also_at(removed, "removed here");
    match closest(name, known.iter().copied()) {
        _ if name.is_empty() => finding.help("is a variable not set?"),
        Some(close) => finding.help(format!("did you mean `{close}`?")),
        None if kind == "volumes" && name.contains('/') => {
            finding.help(format!("a path of the host begins with `.`, `/` or `~`: `./{name}`"))
        }
        None => finding.help(format!("define it at the top level: `{kind}: {{{name}: …}}`")),
    };
}

fn dependencies(report: &mut Report, service: &Node, services: &Services<'_>) {
    for (name, entry) in service.get("depends_on").into_iter().flat_map(Node::entries) {
        if services.enabled(name) || report.is_refused("service", name) {
            continue;
        }
        let required = entry.node.get("required").and_then(Node::as_bool).unwrap_or(true);
        if let Some(other) = services.disabled.entry(name) {
            if required {
                let profile = other.node.get("profiles").and_then(|list| list.items().first());
                let profile = profile.and_then(Node::as_str).unwrap_or_default();
                report
                    .error(entry.key, format!("the service `{name}` is not on"))
                    .also(other.key, "its profiles are not active")
                    .help(format!("use `--profile {profile}`, or write `required: false`"));
            }
            continue;
        }
        let known: Vec<&str> =
            super::check::entries(services.project, "services").map(|(name, _)| name).collect();
        let finding = report.error(entry.key, format!("there is no service `{name}` to depend on"));
        match closest(name, known.iter().copied()) {
            Some(close) => finding.help(format!("did you mean `{close}`?")),
            None => finding.help(format!("the services are {}", known.join(", "))),
        };
    }
}

fn health_check(report: &mut Report, service: &Node) {
    let Some(check) = service.get("healthcheck") else { return };
    let test = check.get("test");
    if let Some(first) = test.and_then(|test| test.items().first()) {
        let text = first.as_str().unwrap_or_default();
        if !matches!(text, "NONE" | "CMD" | "CMD-SHELL") {
            report
                .error(first.span, "a health check begins with `NONE`, `CMD` or `CMD-SHELL`")
                .help(format!("write `[CMD, {text}, …]`"));
        }
    }
    if let Some(interval) = check.as_map().and_then(|check| check.entry("start_interval"))
        && check.get("start_period").is_none()
    {
        report
            .warning(interval.key, "`start_interval` has no meaning without `start_period`")
            .help("add `start_period: 30s`");
    }
}

/// Keys of the service that say the same as keys of `deploy`.
fn deploy(report: &mut Report, service: &Node) {
    let limits = ["resources", "limits"];
    let reservations = ["resources", "reservations"];
    #[rustfmt::skip]
    let pairs: [(&str, &[&str], &str); 5] = [
        ("scale", &[], "replicas"),
        ("cpus", &limits, "cpus"),
        ("mem_limit", &limits, "memory"),
        ("pids_limit", &limits, "pids"),
        ("mem_reservation", &reservations, "memory"),
    ];
    let Some(map) = service.as_map() else { return };
    for (key, path, other) in pairs {
        let Some(here) = map.entry(key) else { continue };
        if key == "scale" && here.node.as_int().is_some_and(|scale| scale < 0) {
            let finding = report.error(here.node.span, "`scale` cannot be negative");
            finding.help("write 0 for no container");
        }
        let deploy = service.get("deploy");
        let parent =
            deploy.and_then(|deploy| path.iter().try_fold(deploy, |node, key| node.get(key)));
        let Some(there) = parent.and_then(Node::as_map).and_then(|map| map.entry(other)) else {
            continue;
        };
        if number(&here.node) != number(&there.node) {
            let full: Vec<&str> = ["deploy"].iter().chain(path).chain([&other]).copied().collect();
            let full = full.join(".");
            report
                .error(here.node.span, format!("`{key}` and `{full}` say different things"))
                .also(there.node.span, "the other one")
                .help(format!("keep only `{full}`"));
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "compared with one another only")]
fn number(node: &Node) -> Option<f64> {
    match node.value {
        Value::Int(number) => Some(number.get() as f64),
        Value::Float(number) => Some(number),
        _ => None,
    }
}

fn targets(report: &mut Report, service: &Node) {
    let mut seen: HashMap<String, Span> = HashMap::new();
    let mounts = service.get("volumes").map(Node::items).unwrap_or_default();
    let tmpfs = service.get("tmpfs").map(Node::items).unwrap_or_default();
    let places = mounts.iter().map(|mount| (mount_target(mount), mount.span));
    let memory = tmpfs.iter().map(|node| {
        let text = node.as_str().unwrap_or_default();
        (text.split(':').next().unwrap_or(text).to_owned(), node.span)
    });
    for (target, span) in places.chain(memory) {
        if let Some(first) = seen.insert(target.clone(), span) {
            report
                .error(span, format!("two things are mounted at `{target}`"))
                .also(first, "the other one")
                .help("keep one of them");
        }
    }
}

/// The long form has no default for the place in the container.
fn devices(report: &mut Report, service: &Node) {
    for device in service.get("devices").map(Node::items).unwrap_or_default() {
        let source = device.get("source").and_then(Node::as_str).unwrap_or_default();
        let target = device.get("target").and_then(Node::as_str).unwrap_or_default();
        if device.as_map().is_some() && target.is_empty() {
            report
                .error(device.span, format!("the device `{source}` has no place in the container"))
                .help(format!("add `target: {source}`"));
        }
    }
}

fn watch(report: &mut Report, service: &Node) {
    let rules = service.get("develop").and_then(|develop| develop.get("watch"));
    for rule in rules.map(Node::items).unwrap_or_default() {
        let action = rule.get("action").and_then(Node::as_str).unwrap_or_default();
        let is_empty = |key| rule.get(key).and_then(Node::as_str).is_none_or(str::is_empty);
        if let Some(path) = rule.get("path").filter(|_| is_empty("path")) {
            report
                .error(path.span, "the path to watch is empty")
                .help("`.` is the folder of the project; is a variable not set?");
        }
        if !matches!(action, "rebuild" | "restart") && is_empty("target") {
            report
                .error(rule.span, format!("the action `{action}` needs `target`"))
                .help("add `target: /path/in/container`");
        }
    }
}

fn container_name<'n>(report: &mut Report, service: &'n Node, names: &mut BTreeMap<&'n str, Span>) {
    let Some(name) = service.get("container_name") else { return };
    let text = name.as_str().unwrap_or_default();
    if let Some(first) = names.insert(text, name.span) {
        report
            .error(name.span, format!("two services have the container name `{text}`"))
            .also(first, "the other one")
            .help("remove `container_name`, or give each its own");
    }
    let replicas = service.get("deploy").and_then(|deploy| deploy.get("replicas"));
    let scale = service.get("scale").or(replicas);
    if let Some(scale) = scale.filter(|scale| scale.as_int().is_some_and(|scale| scale > 1)) {
        report
            .error(name.span, "several containers cannot have the same name")
            .also(scale.span, "this many")
            .help("remove `container_name`");
    }
}

/// Circles of `depends_on`, each reported once.
fn cycles(report: &mut Report, project: &Node) {
    let graph: BTreeMap<&str, Vec<(&str, Span)>> = entries(project, "services")
        .map(|(name, entry)| {
            let dependencies = entry.node.get("depends_on").into_iter().flat_map(Node::entries);
            (name, dependencies.map(|(other, entry)| (&**other, entry.key)).collect())
        })
        .collect();
    let mut state: BTreeMap<&str, bool> = BTreeMap::new();
    for start in graph.keys() {
        let mut path: Vec<(&str, usize, Option<Span>)> = Vec::new();
        if state.contains_key(start) {
            continue;
        }
        state.insert(start, false);
        path.push((start, 0, None));
        while let Some((name, next, _)) = path.last_mut() {
            let Some(&(other, place)) = graph.get(name).and_then(|list| list.get(*next)) else {
                state.insert(name, true);
                path.pop();
                continue;
            };
            *next += 1;
            match state.get(other) {
                None if graph.contains_key(other) => {
                    state.insert(other, false);
                    path.push((other, 0, Some(place)));
                }
                Some(false) => cycle(report, &path, other, place),
                _ => {}
            }
        }
    }
}

fn cycle(report: &mut Report, path: &[(&str, usize, Option<Span>)], back_to: &str, place: Span) {
    let start = path.iter().position(|(name, ..)| *name == back_to).unwrap_or(0);
    let names: Vec<&str> = path[start..].iter().map(|(name, ..)| *name).chain([back_to]).collect();
    let mut finding = report.error(
        place,
        format!("the services depend on each other in a circle: {}", names.join(" -> ")),
    );
    for (name, _, through) in &path[start + 1..] {
        if let Some(through) = through {
            finding = finding.also(*through, format!("through `{name}`"));
        }
    }
    finding.help("remove one of these dependencies");
}
