//! What can only be said of the merged document: required keys, items that are there twice, and
//! the values that stand where a file says nothing.

use std::collections::HashMap;

use super::canonical::{PORT, ULIMIT, Variables};
use super::node::{Map, Node, Value};
use super::report::Report;
use super::schema::{List, ListMerge, Object, Shape};
use super::source::Span;

/// Checks that all required keys are there and that no list has an item twice.
pub(super) fn check(report: &mut Report, node: &Node, shape: &Shape) {
    check_at(report, node, None, shape);
}

fn check_at(report: &mut Report, node: &Node, key: Option<Span>, shape: &Shape) {
    match shape {
        Shape::Object(object) | Shape::ObjectOrNull(object) => {
            check_object(report, node, key, object);
        }
        Shape::Long(long) => check_object(report, node, key, long.object),
        Shape::Map(map) => {
            for (_, entry) in node.entries() {
                check_at(report, &entry.node, Some(entry.key), map.value);
            }
        }
        Shape::List(list) => check_list(report, node, list),
        Shape::Ports => {
            for port in node.items() {
                check_object(report, port, None, &PORT);
            }
        }
        Shape::Ulimit => check_object(report, node, key, &ULIMIT),
        _ => {}
    }
}

fn check_object(report: &mut Report, node: &Node, key: Option<Span>, object: &'static Object) {
    let Some(map) = node.as_map() else { return };
    for required in object.required {
        if !map.contains(required) {
            let removed = report.removed(node.span, required);
            report
                .error(key.unwrap_or(node.span), format!("{} needs `{required}`", object.name))
                .also_at(removed, "removed here")
                .help(format!("add `{required}: …`"));
        }
    }
    for (name, entry) in map.iter() {
        if let Some(field) = object.field(name) {
            if field.shape.leaves_open(&entry.node) && !was_refused(report, &entry.node) {
                nothing(report, name, &entry.node, field.shape.expected());
            }
            check_at(report, &entry.node, Some(entry.key), &field.shape);
        }
    }
}

/// True for nothing that stands where something was refused, and not where the file itself says nothing.
pub(super) fn was_refused(report: &Report, node: &Node) -> bool {
    let written = report.sources.slice(node.span).trim();
    node.is_null() && !matches!(written, "" | "~" | "null" | "Null" | "NULL")
}

/// Refuses a key that says nothing where it must be what is `expected`.
pub(super) fn nothing(report: &mut Report, name: &str, node: &Node, expected: &str) {
    report
        .error(node.span, format!("`{name}` must be {expected}, not nothing"))
        .says("this is nothing")
        .help("remove the key, or give it a value");
}

fn check_list(report: &mut Report, node: &Node, list: &List) {
    if matches!(list.merge, ListMerge::Distinct) {
        let mut seen: HashMap<&str, Span> = HashMap::new();
        for item in node.items() {
            let Some(text) = item.as_str() else { continue };
            if let Some(first) = seen.insert(text, item.span) {
                report
                    .error(item.span, format!("`{text}` is there twice"))
                    .also(first, "first here")
                    .help("remove one of them");
            }
        }
    }
    for item in node.items() {
        check_at(report, item, None, list.item);
    }
}

/// Puts in what stands where the files say nothing.
pub(super) fn defaults(project: &mut Node, variables: Variables) {
    let Some(services) = project.as_map_mut().and_then(|map| map.get_mut("services")) else {
        return;
    };
    let Some(services) = services.as_map_mut() else { return };
    for (_, entry) in services.iter_mut() {
        let Some(service) = entry.node.as_map_mut() else { continue };
        service_defaults(service, variables);
    }
}

fn service_defaults(service: &mut Map, variables: Variables) {
    let all = match variables {
        Variables::FilledIn => Value::int(-1),
        Variables::Kept => Value::Text("all".into()),
    };
    let count_default = |request: &mut Node| count_default(request, all.clone());
    if let Some(build) = service.get_mut("build") {
        default_text(build, "context", ".");
    }
    each(service.get_mut("secrets"), secret_default);
    each(service.get_mut("ports"), |port| {
        default_text(port, "mode", "ingress");
        default_text(port, "protocol", "tcp");
    });
    if variables == Variables::Kept {
        each(service.get_mut("env_file"), required_default);
    }
    each(service.get_mut("gpus"), count_default);
    let deploy = service.get_mut("deploy").and_then(Node::as_map_mut);
    let resources = deploy.and_then(|map| map.get_mut("resources")).and_then(Node::as_map_mut);
    let reservations =
        resources.and_then(|map| map.get_mut("reservations")).and_then(Node::as_map_mut);
    each(reservations.and_then(|map| map.get_mut("devices")), count_default);
    if let Some(Value::List(servers)) = service.get_mut("dns").map(|dns| &mut dns.value) {
        servers.retain(|server| server.as_str() != Some(""));
    }
}

fn each(list: Option<&mut Node>, change: impl FnMut(&mut Node)) {
    if let Some(list) = list {
        list.items_mut().iter_mut().for_each(change);
    }
}

fn default_text(node: &mut Node, key: &str, text: &str) {
    let span = node.span;
    if let Some(map) = node.as_map_mut()
        && !map.contains(key)
    {
        map.set(key, Node::text(text, span.implied()));
    }
}

fn secret_default(grant: &mut Node) {
    if let Some(source) = grant.get("source").and_then(Node::as_str).map(str::to_owned) {
        default_text(grant, "target", &format!("/run/secrets/{source}"));
    }
}

/// Once an environment file is read, nobody sees this any more.
fn required_default(file: &mut Node) {
    let span = file.span;
    if let Some(map) = file.as_map_mut()
        && !map.contains("required")
    {
        map.set("required", Node::new(Value::Bool(true), span));
    }
}

fn count_default(request: &mut Node, all: Value) {
    let span = request.span;
    if let Some(map) = request.as_map_mut()
        && !map.contains("count")
        && !map.contains("device_ids")
    {
        map.set("count", Node::new(all, span));
    }
}
