//! `config --explain`: where each value of the document comes from.

use std::fmt;

use serde_json::{Value as Json, json};

use super::document::Document;
use super::node::{Node, Value};
use super::read::DOCUMENT;
use super::render;
use super::report::closest;
use super::schema::{Object, Shape};
use super::source::{Sources, Span};
use super::trace::{Cause, Filled, Origin, Trace};
use crate::file::canonical::{PORT, ULIMIT};
use crate::model::Place;

/// A value and where it comes from.
#[derive(Debug, Clone)]
pub struct Explained {
    /// Where it is in the document: `services.web.ports[0].target`.
    pub path: String,
    /// The value, as `config` prints it.
    pub value: Json,
    /// Where it was written, or what it follows from.
    pub place: Place,
    /// How many characters are written there.
    pub width: usize,
    /// It is not written: it follows from what stands at the place.
    pub implied: bool,
    /// How it came from there to where it is, the nearest step first.
    pub steps: Vec<Step>,
}

/// One step on the way of a value.
#[derive(Debug, Clone)]
pub struct Step {
    kind: Kind,
    /// The place that it is about, if it is in a file.
    pub place: Option<Place>,
}

#[derive(Debug, Clone)]
enum Kind {
    Alias,
    Merge,
    Extends,
    Include,
    EnvFile,
    /// With what was written there.
    Overrides(String),
    Variable(Variable),
}

/// A variable that is part of the value.
#[derive(Debug, Clone)]
struct Variable {
    name: String,
    value: Option<String>,
    origin: &'static str,
}

/// There is no value at a path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is nothing at `{path}`")]
pub struct NoSuchPath {
    /// The path.
    pub path: String,
    /// What to do about it.
    pub help: String,
}

impl Document {
    /// Where the values at `path` and below it come from, in the order of the files; all values
    /// for the empty path.
    ///
    /// # Errors
    ///
    /// When there is no value at `path`.
    pub fn explain(&self, path: &str) -> Result<Vec<Explained>, NoSuchPath> {
        let sources = &self.sources;
        let mut found = Vec::new();
        let mut explain = |at: &str, node: &Node, shape: Option<&Shape>| {
            if is_below(at, path) {
                found.push(explained(sources, at, node, shape));
            }
        };
        walk("", &self.tree, Some(&DOCUMENT), &mut explain);
        if found.is_empty() {
            return Err(NoSuchPath { path: path.to_owned(), help: self.nearest(path) });
        }
        Ok(found)
    }

    /// What there is instead of `path`.
    fn nearest(&self, path: &str) -> String {
        let mut all = Vec::new();
        walk("", &self.tree, Some(&DOCUMENT), &mut |at, _, _| all.extend(ancestors(at)));
        let mut all: Vec<String> = all;
        all.sort_unstable();
        all.dedup();
        let way = ancestors(path);
        let known = way.iter().take_while(|at| all.contains(at)).count();
        let parent = known.checked_sub(1).map(|last| way[last].as_str()).unwrap_or_default();
        let below: Vec<&str> = all
            .iter()
            .filter(|at| is_below(at, parent) && ancestors(at).len() == known + 1)
            .map(String::as_str)
            .collect();
        if let Some(close) = way.get(known).and_then(|wrong| closest_end(wrong, parent, &below)) {
            return format!("did you mean `{close}`?");
        }
        let list: Vec<&str> = below.into_iter().take(12).collect();
        format!("there is {}", list.join(", "))
    }
}

/// The one of `known`, all of which lie below `parent`, that was probably meant by `wrong`.
fn closest_end<'k>(wrong: &str, parent: &str, known: &[&'k str]) -> Option<&'k str> {
    let wrong = wrong.get(parent.len()..)?;
    let ends = known.iter().filter_map(|path| path.get(parent.len()..));
    let end = closest(wrong.trim_start_matches('.'), ends.map(|end| end.trim_start_matches('.')))?;
    known.iter().copied().find(|path| path[parent.len()..].trim_start_matches('.') == end)
}

/// True if `at` is `path` or lies below it.
fn is_below(at: &str, path: &str) -> bool {
    path.is_empty()
        || at.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

/// The path and all that lead to it, the outermost first.
fn ancestors(path: &str) -> Vec<String> {
    let ends = path.match_indices(['.', '[']).map(|(at, _)| at).filter(|at| *at > 0);
    ends.chain([path.len()]).map(|end| path[..end].to_owned()).collect()
}

type Visit<'v> = dyn FnMut(&str, &Node, Option<&Shape>) + 'v;

/// Calls `visit` with each single value, and with each collection that has none.
fn walk(path: &str, node: &Node, shape: Option<&Shape>, visit: &mut Visit<'_>) {
    match &node.value {
        Value::Map(map) if !map.is_empty() => {
            for (key, entry) in map.iter() {
                let below = if path.is_empty() { key.to_string() } else { format!("{path}.{key}") };
                walk(&below, &entry.node, shape.and_then(|shape| of_key(shape, key)), visit);
            }
        }
        Value::List(items) if !items.is_empty() => {
            for (index, item) in items.iter().enumerate() {
                walk(&format!("{path}[{index}]"), item, shape.and_then(of_item), visit);
            }
        }
        _ => visit(path, node, shape),
    }
}

fn of_key<'s>(shape: &'s Shape, key: &str) -> Option<&'s Shape> {
    let field = |object: &'static Object| object.field(key).map(|field| &field.shape);
    match shape {
        Shape::Object(object) | Shape::ObjectOrNull(object) => field(object),
        Shape::Long(long) => field(long.object),
        Shape::Map(map) => Some(map.value),
        Shape::Ulimit => field(&ULIMIT),
        _ => None,
    }
}

fn of_item(shape: &Shape) -> Option<&Shape> {
    static PORTS: Shape = Shape::Object(&PORT);
    match shape {
        Shape::List(list) => Some(list.item),
        Shape::Ports => Some(&PORTS),
        _ => None,
    }
}

fn explained(sources: &Sources, path: &str, node: &Node, shape: Option<&Shape>) -> Explained {
    let label = sources.label(node.span, "");
    Explained {
        path: path.to_owned(),
        value: shape
            .map_or_else(|| render::any(node), |shape| render::value(node, shape))
            .into_json(),
        place: label.place,
        width: label.width,
        implied: node.span.trace == Trace::IMPLIED,
        steps: sources.causes(node.span).into_iter().map(|cause| step(sources, cause)).collect(),
    }
}

fn step(sources: &Sources, cause: &Cause) -> Step {
    let kind = match cause {
        Cause::Alias(_) => Kind::Alias,
        Cause::Merge(_) => Kind::Merge,
        Cause::Extends(_) => Kind::Extends,
        Cause::Include(_) => Kind::Include,
        Cause::EnvFile(_) => Kind::EnvFile,
        Cause::Replaces(span) => Kind::Overrides(written(sources, *span)),
        Cause::Variable(Filled { name, value, origin }) => Kind::Variable(Variable {
            name: name.to_string(),
            value: value.as_deref().map(str::to_owned),
            origin: match origin {
                Origin::Environment => "environment",
                Origin::Project => "project",
                Origin::File(_) => "file",
                Origin::Default => "default",
                Origin::Unset => "unset",
            },
        }),
    };
    Step { kind, place: cause.place().map(|span| sources.place(span)) }
}

/// What stands at `span`, if it is short.
fn written(sources: &Sources, span: Span) -> String {
    let text = sources.slice(span).trim();
    if text.len() <= 40 && !text.contains('\n') { text.to_owned() } else { String::new() }
}

impl Explained {
    /// As a JSON object: `path`, `value`, `file`, `line`, `column`, `end`, `implied` and `steps`.
    pub fn to_json(&self) -> Json {
        let Place { file, line, column } = &self.place;
        json!({
            "path": self.path,
            "value": self.value,
            "file": file.to_string_lossy(),
            "line": line,
            "column": column,
            "end": { "line": line, "column": *column as usize + self.width },
            "implied": self.implied,
            "steps": self.steps.iter().map(Step::to_json).collect::<Json>(),
        })
    }
}

impl Step {
    fn to_json(&self) -> Json {
        let mut object = serde_json::Map::new();
        let kind = match &self.kind {
            Kind::Alias => "alias",
            Kind::Merge => "merge",
            Kind::Extends => "extends",
            Kind::Include => "include",
            Kind::EnvFile => "env_file",
            Kind::Overrides(_) => "overrides",
            Kind::Variable(_) => "variable",
        };
        object.insert("kind".into(), json!(kind));
        if let Kind::Variable(Variable { name, value, origin }) = &self.kind {
            object.insert("name".into(), json!(name));
            object.insert("value".into(), json!(value));
            object.insert("origin".into(), json!(origin));
        }
        if let Some(Place { file, line, column }) = &self.place {
            object.insert("file".into(), json!(file.to_string_lossy()));
            object.insert("line".into(), json!(line));
            object.insert("column".into(), json!(column));
        }
        Json::Object(object)
    }

    /// The step in words; `shown` writes a place.
    pub fn in_words(&self, shown: impl Fn(&Place) -> String) -> String {
        let place = self.place.as_ref().map(shown).unwrap_or_default();
        match &self.kind {
            Kind::Alias => format!("used at {place}"),
            Kind::Merge => format!("merged in at {place}"),
            Kind::Extends => format!("extended from {place}"),
            Kind::Include => format!("included from {place}"),
            Kind::EnvFile => format!("read from {place}"),
            Kind::Overrides(text) if text.is_empty() => format!("overrides {place}"),
            Kind::Overrides(text) => format!("overrides `{text}` at {place}"),
            Kind::Variable(filled) if self.place.is_some() => format!("{filled}, set at {place}"),
            Kind::Variable(filled) => filled.to_string(),
        }
    }
}

impl fmt::Display for Variable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, value, origin } = self;
        match (value, *origin) {
            (Some(value), "environment") => write!(f, "`{name}` is `{value}` in the environment"),
            (Some(value), "project") => {
                write!(f, "`{name}` is `{value}`, the name of the project")
            }
            (Some(value), _) => write!(f, "`{name}` is `{value}`"),
            (None, "default") => write!(f, "`{name}` is not set"),
            (None, _) => write!(f, "`{name}` is not set and counts as empty"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_what_lies_below_them() {
        assert!(is_below("services.web.image", "services.web"));
        assert!(is_below("services.web", "services.web") && is_below("a", ""));
        assert!(is_below("a.ports[0].target", "a.ports") && is_below("a.ports[0]", "a.ports[0]"));
        assert!(!is_below("services.web2.image", "services.web"));
        assert_eq!(ancestors("a.b[0].c"), ["a", "a.b", "a.b[0]", "a.b[0].c"]);
    }
}
