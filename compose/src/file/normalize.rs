//! What follows from the merged document without being written: the default network, names of
//! resources, dependencies that other keys imply.

use super::locate::clean;
use super::node::{Map, Node, Value};
use super::report::Report;
use super::source::Span;

/// Writes out what follows from the document.
pub(super) fn normalize(report: &mut Report, project: &mut Node, name: &str) {
    let span = project.span;
    let Some(project) = project.as_map_mut() else { return };
    let mut uses_default = false;
    if let Some(services) = project.get_mut("services").and_then(Node::as_map_mut) {
        for (_, entry) in services.iter_mut() {
            let span = entry.key;
            let Some(service) = entry.node.as_map_mut() else { continue };
            uses_default |= default_network(service, span);
            normalize_service(report, service, span);
        }
    }
    if uses_default {
        // What says nothing was refused: nobody has to be told of its networks as well.
        if project.get("networks").is_none_or(Node::is_null) {
            project.set("networks", Node::map(Map::default(), span));
        }
        if let Some(networks) = project.get_mut("networks").and_then(Node::as_map_mut)
            && !networks.contains("default")
        {
            networks.set("default", Node::null(span.implied()));
        }
    }
    for kind in ["networks", "volumes", "configs", "secrets"] {
        name_resources(project, kind, name);
    }
}

/// Attaches a service without networks to the default one; true if it is on that one.
fn default_network(service: &mut Map, span: Span) -> bool {
    if service.contains("provider") || service.contains("network_mode") {
        return false;
    }
    match service.get("networks").and_then(Node::as_map) {
        Some(networks) if !networks.is_empty() => networks.contains("default"),
        _ => {
            let mut networks = Map::default();
            networks.set("default", Node::null(span.implied()));
            service.set("networks", Node::map(networks, span));
            true
        }
    }
}

fn normalize_service(report: &mut Report, service: &mut Map, span: Span) {
    if let Some(policy) = service.get_mut("pull_policy")
        && policy.as_str() == Some("if_not_present")
    {
        policy.value = Value::Text("missing".into());
    }
    if let Some(build) = service.get_mut("build") {
        normalize_build(build);
    }
    implied_dependencies(service, span);
    if let Some(mounts) = service.get_mut("volumes") {
        for mount in mounts.items_mut() {
            clean_target(report, mount);
        }
    }
}

fn normalize_build(build: &mut Node) {
    let span = build.span;
    let Some(build) = build.as_map_mut() else { return };
    if !build.contains("dockerfile") && !build.contains("dockerfile_inline") {
        build.set("dockerfile", Node::text("Dockerfile", span.implied()));
    }
    // An argument that is not set anywhere is the Dockerfile's own business.
    match build.get_mut("args").map(|arguments| &mut arguments.value) {
        Some(Value::Map(arguments)) => arguments.retain(|_, value| !value.is_null()),
        Some(Value::List(lines)) => {
            lines.retain(|line| line.as_str().is_some_and(|line| line.contains('=')));
        }
        _ => {}
    }
}

fn clean_target(report: &mut Report, mount: &mut Node) {
    let span = mount.span;
    let Some(mount) = mount.as_map_mut() else { return };
    match mount.get_mut("target") {
        Some(target) => {
            if let Some(text) = target.as_str() {
                let cleaned = clean(text.as_ref()).to_string_lossy().into_owned();
                target.value = Value::Text(cleaned.into());
            }
        }
        None => {
            report.error(span, "a mount needs `target`").help("add `target: /path/in/container`");
        }
    }
}

/// `links`, shared namespaces and `volumes_from` say that another service must be there first.
fn implied_dependencies(service: &mut Map, span: Span) {
    let mut implied: Vec<(String, bool, Span)> = Vec::new();
    for link in service.get("links").map(Node::items).unwrap_or_default() {
        let text = link.as_str().unwrap_or_default();
        implied.push((text.split(':').next().unwrap_or(text).to_owned(), true, link.span));
    }
    for key in ["network_mode", "ipc", "pid", "uts", "cgroup"] {
        let Some(node) = service.get(key) else { continue };
        if let Some(name) = node.as_str().and_then(|text| text.strip_prefix("service:")) {
            implied.push((name.to_owned(), true, node.span));
        }
    }
    for other in service.get("volumes_from").map(Node::items).unwrap_or_default() {
        let text = other.as_str().unwrap_or_default();
        if !text.starts_with("container:") {
            implied.push((text.split(':').next().unwrap_or(text).to_owned(), false, other.span));
        }
    }
    if implied.is_empty() {
        return;
    }
    if !service.contains("depends_on") {
        service.set("depends_on", Node::map(Map::default(), span));
    }
    let Some(dependencies) = service.get_mut("depends_on").and_then(Node::as_map_mut) else {
        return;
    };
    for (name, restart, span) in implied {
        if !dependencies.contains(&name) {
            dependencies.insert(name, span, dependency(restart, span));
        }
    }
}

fn dependency(restart: bool, span: Span) -> Node {
    let mut map = Map::default();
    map.set("condition", Node::text("service_started", span));
    map.set("restart", Node::new(Value::Bool(restart), span));
    map.set("required", Node::new(Value::Bool(true), span));
    Node::map(map, span)
}

/// Gives each resource its real name.
fn name_resources(project: &mut Map, kind: &str, project_name: &str) {
    let Some(resources) = project.get_mut(kind).and_then(Node::as_map_mut) else { return };
    for (key, entry) in resources.iter_mut() {
        if entry.node.is_null() {
            entry.node.value = Value::Map(Map::default());
        }
        let span = entry.node.span;
        let Some(resource) = entry.node.as_map_mut() else { continue };
        if resource.contains("name") {
            continue;
        }
        let external = resource.get("external").and_then(Node::as_bool) == Some(true);
        let name = if external { key.to_string() } else { format!("{project_name}_{key}") };
        resource.set("name", Node::text(name, span.implied()));
    }
}
