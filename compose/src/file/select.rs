//! Profiles, and the services that a command names.

use std::collections::{BTreeMap, BTreeSet};

use super::node::{Map, Node, Value};
use super::report::{Report, closest};

/// Takes the services that are off out of `project` and returns them.
pub(super) fn by_profile(project: &mut Node, profiles: &[String]) -> Map {
    let mut disabled = Map::default();
    let Some(services) = services(project) else { return disabled };
    let all = std::mem::take(services);
    for (name, entry) in all {
        let kept = if is_on(&entry.node, profiles) { &mut *services } else { &mut disabled };
        kept.insert(name, entry.key, entry.node);
    }
    disabled
}

/// True if one of the profiles of `service` is active, or it has none. The one without a name (a variable that is not set) is
/// active as long as nobody asks for others.
fn is_on(service: &Node, profiles: &[String]) -> bool {
    let own = service.get("profiles").map(Node::items).unwrap_or_default();
    let is_active = |own: &str| match profiles {
        [] => own.is_empty(),
        active => active.iter().any(|active| active == own),
    };
    own.is_empty()
        || profiles.iter().any(|profile| profile == "*")
        || own.iter().filter_map(Node::as_str).any(is_active)
}

/// The profiles that are on because a command names services that they switch on.
pub(super) fn implied_profiles(disabled: &Map, names: &[String]) -> Vec<String> {
    let mut profiles = Vec::new();
    for name in names {
        let own = disabled.get(name).and_then(|service| service.get("profiles"));
        let own = own.map(Node::items).unwrap_or_default();
        profiles.extend(own.iter().filter_map(Node::as_str).map(str::to_owned));
    }
    profiles
}

/// Keeps the named services and all that they depend on; the others are disabled.
pub(super) fn by_name(
    report: &mut Report,
    project: &mut Node,
    disabled: &mut Map,
    names: &[String],
) {
    let Some(services) = services(project) else { return };
    let mut wanted: BTreeSet<String> = BTreeSet::new();
    let mut open: Vec<String> = Vec::new();
    for name in names {
        if services.contains(name) {
            open.push(name.clone());
        } else {
            let known = closest(name, services.keys());
            let finding = report.error_without_place(format!("no such service: {name}"));
            match known {
                Some(known) => finding.help(format!("did you mean `{known}`?")),
                None => finding.help("`compose config --services` lists the services"),
            };
        }
    }
    while let Some(name) = open.pop() {
        if let Some(service) = services.get(&name) {
            let dependencies = service.get("depends_on").into_iter().flat_map(Node::entries);
            open.extend(
                dependencies
                    .map(|(name, _)| name.to_string())
                    .filter(|name| !wanted.contains(name)),
            );
        }
        wanted.insert(name);
    }
    for (name, entry) in std::mem::take(services) {
        let kept = if wanted.contains(&*name) { &mut *services } else { &mut *disabled };
        kept.insert(name, entry.key, entry.node);
    }
}

fn services(project: &mut Node) -> Option<&mut Map> {
    project.as_map_mut()?.get_mut("services")?.as_map_mut()
}

/// Takes out the networks, volumes, secrets, configs and models that no service uses.
pub(super) fn remove_unused(project: &mut Node) {
    let mut used: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for (_, entry) in project.get("services").into_iter().flat_map(Node::entries) {
        note_used(&entry.node, &mut used);
    }
    let Some(project) = project.as_map_mut() else { return };
    for kind in ["networks", "volumes", "secrets", "configs", "models"] {
        let names = used.remove(kind).unwrap_or_default();
        let Some(resources) = project.get_mut(kind).and_then(Node::as_map_mut) else { continue };
        resources.retain(|name, _| names.contains(name));
        if resources.is_empty() {
            project.remove(kind);
        }
    }
}

fn note_used(service: &Node, used: &mut BTreeMap<&'static str, BTreeSet<String>>) {
    let mut note = |kind: &'static str, name: &str| {
        used.entry(kind).or_default().insert(name.to_owned());
    };
    for (kind, key) in [("networks", "networks"), ("models", "models")] {
        for (name, _) in service.get(key).into_iter().flat_map(Node::entries) {
            note(kind, name);
        }
    }
    for mount in service.get("volumes").map(Node::items).unwrap_or_default() {
        let text = |key: &str| mount.get(key).and_then(Node::as_str);
        if let (Some("volume"), Some(source)) = (text("type"), text("source")) {
            note("volumes", source);
        }
    }
    let build = service.get("build");
    for (kind, grants) in [
        ("secrets", service.get("secrets")),
        ("secrets", build.and_then(|build| build.get("secrets"))),
        ("configs", service.get("configs")),
    ] {
        for grant in grants.map(Node::items).unwrap_or_default() {
            if let Some(source) = grant.get("source").and_then(Node::as_str) {
                note(kind, source);
            }
        }
    }
    let credential = service.get("credential_spec").and_then(|spec| spec.get("config"));
    if let Some(Value::Text(config)) = credential.map(|node| &node.value) {
        note("configs", config);
    }
}
