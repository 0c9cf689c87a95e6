//! The project and its networks, volumes, secrets and configs.

use std::collections::BTreeMap;
use std::str::FromStr;

use crate::file::document::Document;
use crate::file::locate::absolute;
use crate::file::node::{Entry, Map, Node};
use crate::file::render;
use crate::file::report::Report;
use crate::file::schema::{PROJECT, Shape};
use crate::file::source::Span;
use crate::file::text;
use crate::model::{
    Config, ConfigKey, FileSource, Ipam, IpamPool, Kept, NameError, Network, NetworkKey, Place,
    Project, Seccomp, Secret, SecretKey, Service, ServiceName, Volume, VolumeKey,
};

use super::fields::Fields;
use super::service::Origins;
use super::{models, predefined, service};

/// Makes the typed project; nothing, with errors, if that cannot be.
pub(in crate::file) fn project(report: &mut Report, document: &Document) -> Option<Project> {
    let tree = &document.tree;
    let name = document.name.parse().ok()?;
    let enabled = tree.get("services").and_then(Node::as_map);
    // Services that are off may be unfinished; what is wrong with them is not told.
    let mut scratch = report.scratch();
    let noted = Origins::Noted;
    let mut project = Project {
        name,
        working_dir: document.dir.clone(),
        files: document.files.clone(),
        environment: document.environment.clone(),
        services: services(report, enabled, document, noted).collect(),
        disabled: services(&mut scratch, Some(&document.disabled), document, noted).collect(),
        networks: named(report, tree, "networks", noted, network),
        volumes: named(report, tree, "volumes", noted, volume),
        secrets: named(report, tree, "secrets", noted, |fields, place| {
            secret(fields, place, document)
        }),
        configs: named(report, tree, "configs", noted, |fields, place| {
            config(fields, place, document)
        }),
        kept: kept(report, tree),
        compatibility: false,
    };
    predefined::settle(&mut project);
    models::settle(&mut project);
    Some(project)
}

/// Tells what keeps [`project`] from being whole, piece by piece: nobody needs the whole, which would be as large as the
/// document.
pub(in crate::file) fn check(report: &mut Report, document: &Document) {
    let tree = &document.tree;
    let enabled = tree.get("services").and_then(Node::as_map);
    let left = Origins::Left;
    services(report, enabled, document, left).for_each(drop);
    drop(named::<NetworkKey, _>(report, tree, "networks", left, network));
    drop(named::<VolumeKey, _>(report, tree, "volumes", left, volume));
    drop(named::<SecretKey, _>(report, tree, "secrets", left, |fields, place| {
        secret(fields, place, document)
    }));
    drop(named::<ConfigKey, _>(report, tree, "configs", left, |fields, place| {
        config(fields, place, document)
    }));
}

fn services<'d>(
    report: &mut Report,
    map: Option<&'d Map>,
    document: &'d Document,
    origins: Origins,
) -> impl Iterator<Item = (ServiceName, Service)> {
    map.into_iter().flat_map(Map::iter).filter_map(move |(name, entry)| {
        let name: ServiceName = name.parse().ok()?;
        let mut service = service::service(report, name.clone(), entry, origins);
        // `config` shows this path as it is written, so the document has it so.
        if let Seccomp::Profile(profile) = &mut service.security.seccomp {
            *profile = absolute(&document.dir, profile);
        }
        Some((name, service))
    })
}

/// All entries of a top-level mapping.
fn named<K: FromStr<Err = NameError> + Ord, T>(
    report: &mut Report,
    tree: &Node,
    kind: &str,
    origins: Origins,
    read: impl Fn(&mut Fields<'_, '_>, Option<Place>) -> T,
) -> BTreeMap<K, T> {
    let mut found = BTreeMap::new();
    for (name, entry) in tree.get(kind).into_iter().flat_map(Node::entries) {
        let Ok(key) = name.parse::<K>() else { continue };
        let place = (origins == Origins::Noted).then(|| report.sources.place(entry.key));
        let mut fields = Fields::new(report, Some(&entry.node));
        if let Some(empty) = fields.get("name").filter(|node| node.as_str() == Some("")) {
            let message = format!("the name of `{kind}.{name}` is empty");
            fields.refuse(empty.span, message, "is a variable not set?");
        }
        found.insert(key, read(&mut fields, place));
    }
    found
}

fn network(fields: &mut Fields<'_, '_>, place: Option<Place>) -> Network {
    let ipam = fields.inner("ipam");
    let pools = ipam.items("config").iter().map(|pool| {
        let text = |key: &str| pool.get(key).and_then(Node::as_str).map(str::to_owned);
        let aux = pool.get("aux_addresses").into_iter().flat_map(Node::entries);
        let address = |(host, entry): (&std::sync::Arc<str>, &Entry)| {
            (host.to_string(), entry.node.as_str().unwrap_or_default().to_owned())
        };
        IpamPool {
            subnet: text("subnet"),
            ip_range: text("ip_range"),
            gateway: text("gateway"),
            aux_addresses: aux.map(address).collect(),
        }
    });
    let ipam = Ipam {
        driver: ipam.text("driver"),
        pools: pools.collect(),
        options: ipam.pairs("options"),
    };
    Network {
        name: fields.text("name").unwrap_or_default(),
        external: fields.flag("external"),
        driver: fields.text("driver"),
        driver_opts: fields.pairs("driver_opts"),
        internal: fields.flag("internal"),
        attachable: fields.flag("attachable"),
        enable_ipv4: fields.optional_flag("enable_ipv4"),
        enable_ipv6: fields.optional_flag("enable_ipv6"),
        ipam,
        labels: fields.pairs("labels"),
        place,
    }
}

fn volume(fields: &mut Fields<'_, '_>, place: Option<Place>) -> Volume {
    Volume {
        name: fields.text("name").unwrap_or_default(),
        external: fields.flag("external"),
        driver: fields.text("driver"),
        driver_opts: fields.pairs("driver_opts"),
        labels: fields.pairs("labels"),
        place,
    }
}

fn secret(fields: &mut Fields<'_, '_>, place: Option<Place>, document: &Document) -> Secret {
    let (source, digest) = source(fields, document);
    let name = fields.text("name").unwrap_or_default();
    Secret { name, source, digest, labels: fields.pairs("labels"), place }
}

fn config(fields: &mut Fields<'_, '_>, place: Option<Place>, document: &Document) -> Config {
    let (source, digest) = source(fields, document);
    let name = fields.text("name").unwrap_or_default();
    Config { name, source, digest, labels: fields.pairs("labels"), place }
}

/// Where the bytes come from; for a file with its digest.
fn source(fields: &Fields<'_, '_>, document: &Document) -> (FileSource, Option<String>) {
    if let Some(driver) = fields.text("template_driver") {
        return (FileSource::Template(driver), None);
    }
    if let Some(driver) = fields.text("driver") {
        return (FileSource::Driver(driver), None);
    }
    if let Some(path) = fields.path("file") {
        let digest = text::digest(&path);
        return (FileSource::File(path), digest);
    }
    let source = if let Some(variable) = fields.text("environment") {
        let of_include = || {
            let Span { file, start, .. } = fields.get("environment")?.span;
            document.granted.get(&(file, start))
        };
        let value = document.environment.get(&variable).or_else(of_include).cloned();
        FileSource::Environment { variable, value }
    } else if let Some(content) = fields.get("content").and_then(Node::as_str) {
        FileSource::Content(content.to_owned())
    } else {
        FileSource::External
    };
    (source, None)
}

fn kept(report: &Report, tree: &Node) -> BTreeMap<String, Kept> {
    let mut kept = BTreeMap::new();
    let models = tree.as_map().and_then(|map| map.entry("models"));
    if let (Some(entry), Some(field)) = (models, PROJECT.field("models")) {
        let shape: &Shape = &field.shape;
        let value = render::value(&entry.node, shape).into_json();
        let place = Some(report.sources.place(entry.key));
        kept.insert("models".to_owned(), Kept { value, place });
    }
    kept
}
