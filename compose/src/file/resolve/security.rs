//! What a service may do, and whose namespaces and devices it uses.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::file::node::Node;
use crate::file::report::{Report, closest};
use crate::model::{
    Capability, CgroupMode, Device, DevicePermissions, DeviceRequest, DeviceRequestCount, IpcMode,
    PidMode, Seccomp, Security, Service, UsernsMode, UtsMode,
};

use super::fields::Fields;

pub(super) fn security(fields: &mut Fields<'_, '_>, service: &mut Service) {
    service.privileged = fields.flag("privileged");
    service.cap_add = capabilities(fields, "cap_add");
    service.cap_drop = capabilities(fields, "cap_drop");
    service.security = options(fields);
    service.devices =
        fields.items("devices").iter().filter_map(|node| device(fields, node)).collect();
    service.device_cgroup_rules = fields.texts("device_cgroup_rules");
    let gpus = fields.items("gpus").iter();
    service.gpus = gpus.map(|node| device_request(fields.report, node)).collect();
    service.pid = pid(fields);
    service.ipc = ipc(fields);
    service.uts = uts(fields);
    service.cgroup = match fields.text("cgroup").as_deref() {
        Some("host") => CgroupMode::Host,
        _ => CgroupMode::Private,
    };
    service.userns = match fields.text("userns_mode").as_deref() {
        None | Some("") => UsernsMode::Default,
        Some("host") => UsernsMode::Host,
        Some(mode) => UsernsMode::Other(mode.to_owned()),
    };
}

fn capabilities(fields: &mut Fields<'_, '_>, key: &str) -> Vec<Capability> {
    let mut capabilities = Vec::new();
    for node in fields.items(key) {
        let text = node.as_str().unwrap_or_default();
        match text.parse() {
            Ok(capability) => capabilities.push(capability),
            Err(_) => {
                let upper = text.to_ascii_uppercase();
                let bare = |name: &'static str| name.strip_prefix("CAP_").unwrap_or(name);
                let known = Capability::NAMES.into_iter().map(bare);
                let close = closest(upper.strip_prefix("CAP_").unwrap_or(&upper), known);
                let finding =
                    fields.report.error(node.span, format!("`{text}` is not a capability"));
                match close {
                    Some(close) => finding.help(format!("did you mean `{close}`?")),
                    None => finding.help("capabilities(7) lists them"),
                };
            }
        }
    }
    capabilities
}

fn options(fields: &mut Fields<'_, '_>) -> Security {
    let mut security = Security::default();
    for node in fields.items("security_opt") {
        let text = node.as_str().unwrap_or_default();
        let (name, value) = text.split_once(['=', ':']).unwrap_or((text, ""));
        match (name, value) {
            ("no-new-privileges", "" | "true") => security.no_new_privileges = true,
            ("no-new-privileges", "false") => security.no_new_privileges = false,
            ("seccomp", "unconfined") => security.seccomp = Seccomp::Unconfined,
            ("seccomp", "builtin") => security.seccomp = Seccomp::Default,
            ("seccomp", path) if !path.is_empty() => {
                security.seccomp = Seccomp::Profile(PathBuf::from(path));
            }
            ("apparmor", profile) if !profile.is_empty() => {
                security.apparmor = Some(profile.to_owned());
            }
            ("label", label) if !label.is_empty() => security.labels.push(label.to_owned()),
            ("systempaths", "unconfined") => security.unmasked = true,
            _ => {
                fields.report.error(node.span, format!("`{text}` is not a security option")).help(
                    "the options are no-new-privileges, seccomp=FILE|unconfined, \
                         apparmor=PROFILE, label=…, systempaths=unconfined",
                );
            }
        }
    }
    security
}

fn device(fields: &mut Fields<'_, '_>, node: &Node) -> Option<Device> {
    let device = Fields::new(fields.report, Some(node));
    let source = device.text("source")?;
    if !source.starts_with('/') && source.contains('=') {
        return Some(Device::Cdi(source));
    }
    let letters = device.text("permissions").unwrap_or_else(|| "rwm".to_owned());
    if !letters.bytes().all(|letter| matches!(letter, b'r' | b'w' | b'm')) {
        device
            .report
            .error(node.span, format!("`{letters}` are not the permissions of a device"))
            .help("they are some of `r`, `w` and `m`");
        return None;
    }
    let target = device.path("target").unwrap_or_else(|| PathBuf::from(&source));
    let permissions = DevicePermissions {
        read: letters.contains('r'),
        write: letters.contains('w'),
        mknod: letters.contains('m'),
    };
    Some(Device::Host { source: PathBuf::from(source), target, permissions })
}

/// A request for devices.
pub(super) fn device_request(report: &mut Report, node: &Node) -> DeviceRequest {
    let mut request = Fields::new(report, Some(node));
    let ids = request.texts("device_ids");
    let count = match request.get("count").and_then(Node::as_int) {
        _ if !ids.is_empty() => DeviceRequestCount::Ids(ids),
        None | Some(-1) => DeviceRequestCount::All,
        Some(_) => {
            request.integer("count").map_or(DeviceRequestCount::All, DeviceRequestCount::Count)
        }
    };
    let options: BTreeMap<String, String> = request.pairs("options");
    DeviceRequest {
        capabilities: request.texts("capabilities"),
        driver: request.text("driver"),
        count,
        options,
    }
}

/// `service:X` or `container:X`.
enum Shared<S> {
    Service(S),
    Container(String),
}

fn shared<S: std::str::FromStr>(text: &str) -> Option<Shared<S>> {
    if let Some(service) = text.strip_prefix("service:") {
        return service.parse().ok().map(Shared::Service);
    }
    text.strip_prefix("container:").map(|name| Shared::Container(name.to_owned()))
}

fn not_a_mode(fields: &mut Fields<'_, '_>, key: &str, node: &Node, modes: &str) {
    let text = node.as_str().unwrap_or_default();
    fields
        .report
        .error(node.span, format!("`{key}` cannot be `{text}`"))
        .help(format!("it is {modes}"));
}

fn pid(fields: &mut Fields<'_, '_>) -> PidMode {
    let Some(node) = fields.get("pid") else { return PidMode::Private };
    let text = node.as_str().unwrap_or_default();
    match (text, shared(text)) {
        (_, Some(Shared::Service(service))) => PidMode::Service(service),
        (_, Some(Shared::Container(container))) => PidMode::Container(container),
        ("host", _) => PidMode::Host,
        ("" | "private", _) => PidMode::Private,
        _ => {
            not_a_mode(fields, "pid", node, "`host`, `service:NAME` or `container:NAME`");
            PidMode::Private
        }
    }
}

fn ipc(fields: &mut Fields<'_, '_>) -> IpcMode {
    let Some(node) = fields.get("ipc") else { return IpcMode::Shareable };
    let text = node.as_str().unwrap_or_default();
    match (text, shared(text)) {
        (_, Some(Shared::Service(service))) => IpcMode::Service(service),
        (_, Some(Shared::Container(container))) => IpcMode::Container(container),
        ("host", _) => IpcMode::Host,
        ("private", _) => IpcMode::Private,
        ("none", _) => IpcMode::None,
        ("" | "shareable", _) => IpcMode::Shareable,
        _ => {
            let modes =
                "`shareable`, `private`, `none`, `host`, `service:NAME` or `container:NAME`";
            not_a_mode(fields, "ipc", node, modes);
            IpcMode::Shareable
        }
    }
}

fn uts(fields: &mut Fields<'_, '_>) -> UtsMode {
    let Some(node) = fields.get("uts") else { return UtsMode::Private };
    let text = node.as_str().unwrap_or_default();
    match (text, shared(text)) {
        (_, Some(Shared::Service(service))) => UtsMode::Service(service),
        (_, Some(Shared::Container(container))) => UtsMode::Container(container),
        ("host", _) => UtsMode::Host,
        ("" | "private", _) => UtsMode::Private,
        _ => {
            not_a_mode(fields, "uts", node, "`host`");
            UtsMode::Private
        }
    }
}
