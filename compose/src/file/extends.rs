//! `extends`: a service on the base of another one, of this file or of another.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::canonical;
use super::complete::was_refused;
use super::interpolate::interpolate;
use super::node::{Map, Node, Tag, Value};
use super::paths::{self, Base};
use super::read::{Extended, Reader, Scope};
use super::report;
use super::schema::{SERVICE, Shape};
use super::source::Span;
use super::trace::{self, Cause};

/// Nobody could say any more where a value comes from.
const MAX_CHAIN: usize = 50;

static SHAPE: Shape = Shape::Object(&SERVICE);

/// A service on the way from the first one that extends to its last base.
#[derive(Debug, Clone, PartialEq)]
struct Link {
    file: PathBuf,
    service: Arc<str>,
    place: Span,
}

/// Replaces every `extends` of `document`, which was read from `path`.
pub(super) fn apply(reader: &mut Reader<'_>, document: &mut Node, path: &Path, scope: &Scope) {
    let Some(services) = document.as_map_mut().and_then(|map| map.get_mut("services")) else {
        return;
    };
    let Some(services) = services.as_map_mut() else { return };
    let extending: Vec<Arc<str>> = services
        .iter()
        .filter(|(_, entry)| entry.node.get("extends").is_some())
        .map(|(name, _)| name.clone())
        .collect();
    let mut done = HashMap::new();
    for name in extending {
        let mut chain = Vec::new();
        let extended = local(reader, services, &name, path, scope, &mut chain, &mut done);
        if let (Some(extended), Some(slot)) = (extended, services.get_mut(&name)) {
            *slot = extended;
        }
    }
}

/// The service `name` of `services`, with its base; all of this file is in the long form.
fn local(
    reader: &mut Reader<'_>,
    services: &Map,
    name: &Arc<str>,
    path: &Path,
    scope: &Scope,
    chain: &mut Vec<Link>,
    done: &mut HashMap<Arc<str>, Node>,
) -> Option<Node> {
    if let Some(node) = done.get(name) {
        return Some(node.clone());
    }
    let mut service = services.get(name)?.clone();
    let Some(extends) = service.as_map_mut().and_then(|map| map.remove("extends")) else {
        return Some(service);
    };
    if extends.node.tag == Tag::Reset {
        return Some(service);
    }
    let wanted = Wanted::read(reader, &extends.node)?;
    if !enter(reader, chain, path, name, extends.key) {
        return None;
    }
    let base = match &wanted.file {
        Some(file) => foreign(reader, &wanted, file, &scope.dir, scope, chain),
        None => {
            if !services.contains(&wanted.service) {
                let others = services.keys().filter(|other| *other != &**name);
                unknown(reader, &wanted, others, None);
            }
            local(reader, services, &wanted.service, path, scope, chain, done)
        }
    };
    chain.pop();
    let mut base = base?;
    if wanted.file.is_none() {
        trace::mark(&mut reader.report.sources, &mut base, &Cause::Extends(wanted.place));
    }
    let merged = lay_over(reader, base, service);
    done.insert(name.clone(), merged.clone());
    Some(merged)
}

/// What an `extends` asks for.
#[derive(Debug)]
struct Wanted {
    service: Arc<str>,
    place: Span,
    file: Option<(String, Span)>,
}

impl Wanted {
    fn read(reader: &mut Reader<'_>, extends: &Node) -> Option<Self> {
        let service = extends.get("service");
        let Some((Value::Text(name), place)) = service.map(|node| (&node.value, node.span)) else {
            reader
                .report
                .error(extends.span, "`extends` does not say which service")
                .help("add `service: NAME`");
            return None;
        };
        if extends.get("file").is_some_and(|file| was_refused(reader.report, file)) {
            return None;
        }
        let file = extends
            .get("file")
            .and_then(|node| node.as_str().map(|text| (text.to_owned(), node.span)));
        Some(Self { service: name.clone(), place, file })
    }
}

/// Notes that `name` is being extended; false, with an error, if it is already.
fn enter(
    reader: &mut Reader<'_>,
    chain: &mut Vec<Link>,
    path: &Path,
    name: &Arc<str>,
    place: Span,
) -> bool {
    if reader.circular.contains(&(path.to_owned(), name.clone())) {
        return false;
    }
    let same = |link: &Link| link.file == path && link.service == *name;
    if let Some(at) = chain.iter().position(same) {
        let circle = chain[at..].iter().map(|link| (link.file.clone(), link.service.clone()));
        reader.circular.extend(circle);
        let names: Vec<&str> =
            chain[at..].iter().map(|link| &*link.service).chain([&**name]).collect();
        let message = format!("`extends` goes in a circle: {}", names.join(" -> "));
        let mut finding = reader.report.error(chain[at].place, message);
        for link in &chain[at + 1..] {
            finding = finding.also(link.place, format!("`{}` extends", link.service));
        }
        finding.help("a service cannot be its own base");
        return false;
    }
    if chain.len() >= MAX_CHAIN {
        reader
            .report
            .error(place, format!("more than {MAX_CHAIN} services extend one another"))
            .help("put the common part into one service");
        return false;
    }
    chain.push(Link { file: path.to_owned(), service: name.clone(), place });
    true
}

/// The service of another file, with its base and with its paths made absolute.
fn foreign(
    reader: &mut Reader<'_>,
    wanted: &Wanted,
    (file, file_place): &(String, Span),
    from: &Path,
    scope: &Scope,
    chain: &mut Vec<Link>,
) -> Option<Node> {
    let base = Base { dir: from.to_owned(), home: reader.home.clone() };
    let path = reader.local(file, &base, *file_place)?;
    let extended = open(reader, &path, *file_place, scope)?;
    let dir = paths::directory(&path);
    let base = Base { dir: dir.clone(), home: reader.home.clone() };
    raw(reader, &extended, wanted, &path, &base, scope, chain)
}

/// A service of a file of which only this service counts.
fn raw(
    reader: &mut Reader<'_>,
    extended: &Arc<Extended>,
    wanted: &Wanted,
    path: &Path,
    base: &Base,
    scope: &Scope,
    chain: &mut Vec<Link>,
) -> Option<Node> {
    let Some(mut service) = extended.services.get(&wanted.service).cloned() else {
        if !extended.broken {
            unknown(reader, wanted, extended.services.keys(), Some(path));
        }
        return None;
    };
    trace::mark(&mut reader.report.sources, &mut service, &Cause::Extends(wanted.place));
    if service.is_null() {
        // A base of which nothing is said is a base that adds nothing.
        service.value = Value::Map(Map::default());
    }
    let mut service = canonical::canonical(reader.report, reader.variables, service, &SHAPE)?;
    let extends = service.as_map_mut().and_then(|map| map.remove("extends"));
    paths::resolve_service(&mut service, base);
    let Some(extends) = extends.filter(|extends| extends.node.tag != Tag::Reset) else {
        return Some(service);
    };
    let next = Wanted::read(reader, &extends.node)?;
    if !enter(reader, chain, path, &wanted.service, extends.key) {
        return None;
    }
    let below = match &next.file {
        Some(file) => foreign(reader, &next, file, &base.dir, scope, chain),
        None => raw(reader, extended, &next, path, base, scope, chain),
    };
    chain.pop();
    Some(lay_over(reader, below?, service))
}

/// The services of the file at `path`, with variables filled in and nothing else done.
fn open(reader: &mut Reader<'_>, path: &Path, place: Span, scope: &Scope) -> Option<Arc<Extended>> {
    if let Some(known) = reader.extended.get(path) {
        return known.clone();
    }
    let extended = parse(reader, path, place, scope).map(Arc::new);
    reader.extended.insert(path.to_owned(), extended.clone());
    extended
}

fn parse(reader: &mut Reader<'_>, path: &Path, place: Span, scope: &Scope) -> Option<Extended> {
    let file = reader.open(path, Some(&Cause::Extends(place)))?;
    let mut services = Map::default();
    let before = reader.report.errors();
    let documents = super::yaml::documents(reader.report, file);
    let broken = reader.report.errors() > before;
    for mut document in documents {
        if reader.variables == canonical::Variables::FilledIn {
            interpolate(reader.report, &scope.environment, &mut document);
        }
        let found = document.as_map_mut().and_then(|map| map.remove("services"));
        if let Some(Value::Map(found)) = found.map(|entry| entry.node.value) {
            for (name, entry) in found {
                match services.remove(&name) {
                    None => services.insert(name, entry.key, entry.node),
                    // A later document of the file is laid over the earlier ones.
                    Some(earlier) => {
                        if let Some(merged) = over(reader, earlier.node, entry.node) {
                            services.insert(name, earlier.key, merged);
                        }
                    }
                }
            }
        }
    }
    Some(Extended { services, broken })
}

fn unknown<'k>(
    reader: &mut Reader<'_>,
    wanted: &Wanted,
    known: impl Iterator<Item = &'k str>,
    file: Option<&Path>,
) {
    let known: Vec<&str> = known.collect();
    let name = &wanted.service;
    let message = match file {
        Some(file) => format!("there is no service `{name}` in {}", file.display()),
        None => format!("there is no service `{name}` in this file"),
    };
    let close = report::closest(name, known.iter().copied());
    let finding = reader.report.error(wanted.place, message);
    match (close, file) {
        (Some(close), _) => finding.help(format!("did you mean `{close}`?")),
        (None, None) => finding.help("`file: …` takes it from another file"),
        (None, Some(_)) => finding.help(format!("its services are {}", known.join(", "))),
    };
}

fn over(reader: &mut Reader<'_>, earlier: Node, later: Node) -> Option<Node> {
    let [earlier, later] = [earlier, later]
        .map(|node| canonical::canonical(reader.report, reader.variables, node, &SHAPE));
    Some(lay_over(reader, earlier?, later?))
}

fn lay_over(reader: &mut Reader<'_>, base: Node, service: Node) -> Node {
    reader.merge(base, service, &SHAPE)
}
