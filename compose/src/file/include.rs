//! `include`: whole compose applications inside of another one.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::canonical;
use super::complete;
use super::dotenv;
use super::env_file;
use super::environment::Environment;
use super::locate::absolute;
use super::node::{Node, Value};
use super::paths::{Base, directory};
use super::read::{DOCUMENT, Reader, Scope};
use super::schema::INCLUDE;
use super::source::Span;
use super::trace::Cause;

/// The document with all that `includes` names under it.
pub(super) fn apply(
    reader: &mut Reader<'_>,
    document: Node,
    includes: Node,
    scope: &Scope,
) -> Node {
    let span = includes.span;
    let Value::List(items) = includes.value else {
        reader
            .report
            .error(span, format!("`include` must be a list, not {}", includes.kind()))
            .help("write `include: [FILE]`");
        return document;
    };
    let mut imported: Option<Node> = None;
    for item in items {
        let Some(item) = canonical::canonical(reader.report, reader.variables, item, &INCLUDE)
        else {
            continue;
        };
        let Some(project) = one(reader, &item, scope) else { continue };
        imported = Some(match imported {
            Some(earlier) => {
                conflicts(reader, &earlier, &project);
                reader.merge(earlier, project, &DOCUMENT)
            }
            None => project,
        });
    }
    match imported {
        Some(imported) => {
            conflicts(reader, &imported, &document);
            reader.merge(imported, document, &DOCUMENT)
        }
        None => document,
    }
}

/// The files that a document includes, as they are written.
pub(super) fn named(document: &Node) -> impl Iterator<Item = &Node> {
    let items = document.get("include").map(Node::items).unwrap_or_default();
    items.iter().flat_map(|item| item.get("path").unwrap_or(item).one_or_more())
}

/// The application that one item names.
fn one(reader: &mut Reader<'_>, item: &Node, scope: &Scope) -> Option<Node> {
    let base = Base { dir: scope.dir.clone(), home: reader.home.clone() };
    let texts = |key: &str| -> Vec<(&str, Span)> {
        // As long as variables are not filled in, one text stands for itself.
        let list = item.get(key).map(Node::one_or_more).unwrap_or_default();
        list.iter().filter_map(|node| node.as_str().map(|text| (text, node.span))).collect()
    };
    let paths = texts("path");
    let env_files: Vec<(String, Span)> =
        texts("env_file").into_iter().map(|(text, place)| (base.path(text), place)).collect();
    let Some((_, place)) = paths.first() else {
        reader
            .report
            .error(item.span, "`include` does not say which file")
            .help("add `path: FILE`");
        return None;
    };
    let place = *place;
    let files: Option<Vec<PathBuf>> =
        paths.iter().map(|(text, place)| reader.local(text, &base, *place)).collect();
    let files = files?;
    let main = files.first()?.clone();
    let dir = match item.get("project_directory").and_then(Node::as_str) {
        Some(dir) => folder(PathBuf::from(base.path(dir))),
        None => directory(&main),
    };
    if !acyclic(reader, &main, place, scope) {
        return None;
    }
    let environment = environment(reader, item, &env_files, &dir, scope);
    let inner = Scope { dir, environment, chain: scope.chain.clone() };
    let mut project = reader.files(&files, &inner, Some(&Cause::Include(place)))?;
    if let Some(map) = project.as_map_mut() {
        map.remove("name");
        map.retain(|key, _| !key.starts_with("x-"));
    }
    complete::defaults(&mut project, reader.variables);
    reader.settle(&mut project, &inner, true);
    grant(reader, &project, &inner);
    Some(project)
}

/// Keeps the values of the variables that secrets and configs name, which nobody else may know.
fn grant(reader: &mut Reader<'_>, project: &Node, scope: &Scope) {
    for kind in ["secrets", "configs"] {
        for (_, entry) in project.get(kind).into_iter().flat_map(Node::entries) {
            let Some(variable) = entry.node.get("environment") else { continue };
            let value = variable.as_str().and_then(|name| scope.environment.get(name));
            if let Some(value) = value {
                let Span { file, start, .. } = variable.span;
                reader.granted.entry((file, start)).or_insert_with(|| value.clone());
            }
        }
    }
}

/// `path` if it is a folder, else the one that it is in, as docker compose does.
fn folder(path: PathBuf) -> PathBuf {
    if path.is_dir() { path } else { directory(&path) }
}

/// Nobody could say any more where a service comes from.
const MAX_CHAIN: usize = 50;

fn acyclic(reader: &mut Reader<'_>, main: &Path, place: Span, scope: &Scope) -> bool {
    if scope.chain.len() > MAX_CHAIN {
        reader
            .report
            .error(place, format!("more than {MAX_CHAIN} files include one another"))
            .help("include the innermost file directly");
        return false;
    }
    if !scope.chain.iter().any(|file| file == main) {
        return true;
    }
    let chain: Vec<String> = scope
        .chain
        .iter()
        .map(PathBuf::as_path)
        .chain([main])
        .map(|file| file.file_name().unwrap_or_default().to_string_lossy().into_owned())
        .collect();
    reader
        .report
        .error(place, format!("`include` goes in a circle: {}", chain.join(" -> ")))
        .help("a file cannot include itself");
    false
}

/// The variables for an included application: those of the parent, then those of its own files.
fn environment(
    reader: &mut Reader<'_>,
    item: &Node,
    files: &[(String, Span)],
    dir: &Path,
    scope: &Scope,
) -> Arc<Environment> {
    let mut found = Environment::default();
    let own = dir.join(".env");
    if item.get("env_file").is_none() && own.is_file() {
        let outer = &scope.environment;
        env_file::read_into(reader.report, &own, dotenv::parse, outer, &mut found, None);
    }
    for (file, place) in files {
        let path = absolute(&scope.dir, Path::new(file));
        if path == Path::new("/dev/null") {
            continue;
        }
        if path.exists() {
            env_file::read_into(
                reader.report,
                &path,
                dotenv::parse,
                &scope.environment,
                &mut found,
                Some(*place),
            );
        } else {
            let message = format!("the env file {} does not exist", path.display());
            reader.report.error(*place, message).help("make it, or take it out of the list");
        }
    }
    let mut environment = (*scope.environment).clone();
    environment.complete(found);
    Arc::new(environment)
}

/// Two applications may name the same thing only if they say the same about it.
fn conflicts(reader: &mut Reader<'_>, imported: &Node, document: &Node) {
    for kind in ["services", "networks", "volumes", "secrets", "configs"] {
        let Some(there) = imported.get(kind).and_then(Node::as_map) else { continue };
        let Some(here) = document.get(kind) else { continue };
        for (name, entry) in here.entries() {
            let Some(other) = there.entry(name) else { continue };
            if !entry.node.same(&other.node) {
                reader
                    .report
                    .error(entry.key, format!("`{kind}.{name}` is also defined by an included file"))
                    .also(other.key, "the other definition")
                    .help("change it in an override file of the include: `include: [{path: [FILE, OVERRIDE]}]`");
            }
        }
    }
}
