//! Checks a document against the tables of [`super::schema`] and turns all short forms into long
//! ones.
//!
//! It looks at one document at a time, before merging, so that a mistake is found where it was
//! made; what can only be said of the merged whole (required keys, items that are there twice) is
//! in [`super::complete`].

pub(crate) mod device;
pub(crate) mod env_file;
pub(crate) mod grant;
mod hosts;
mod pairs;
mod port;
mod scalar;
mod surprise;
pub(crate) mod volume;

use std::sync::Arc;

use super::node::{Entry, Map, Node, Tag, Value};
use super::report::Report;
use super::schema::{self, Bare, List, Long, Object, Others, Shape};
use super::source::Span;

use pairs::Nothing;
pub(crate) use port::{PORT, key as port_key, range as port_range};
pub(crate) use scalar::text_of;

/// Whether variables were filled in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Variables {
    /// They were: every value must be what its attribute wants.
    FilledIn,
    /// They were not: a value with a `$` may mean anything, and every value stays as it is written.
    Kept,
}

/// Checks `node` and brings it into its long form; nothing if it was refused.
pub(crate) fn canonical(
    report: &mut Report,
    variables: Variables,
    node: Node,
    shape: &Shape,
) -> Option<Node> {
    Checker { report, variables, path: Vec::new() }.shape(node, shape)
}

/// A step on the way to a value.
#[derive(Debug, Clone)]
enum Step {
    Key(Arc<str>),
    Item(usize),
}

impl Step {
    fn key(&self) -> Option<&str> {
        match self {
            Self::Key(key) => Some(key),
            Self::Item(_) => None,
        }
    }
}

struct Checker<'r> {
    report: &'r mut Report,
    variables: Variables,
    path: Vec<Step>,
}

impl Checker<'_> {
    fn shape(&mut self, mut node: Node, shape: &Shape) -> Option<Node> {
        let tag = node.tag;
        if tag == Tag::Reset {
            return Some(Node { value: Value::Null, ..node });
        }
        let written = match self.variables {
            Variables::Kept if is_template(&node) && !has_short_form(shape) => return Some(node),
            Variables::Kept if stays_as_written(shape) => Some(node.clone()),
            _ => None,
        };
        node.tag = Tag::None;
        let checked = match shape {
            Shape::List(list) => self.list(node, list),
            Shape::Map(map) => self.map(node, map, shape),
            Shape::ObjectOrNull(_) if node.is_null() => Some(node),
            Shape::Object(object) | Shape::ObjectOrNull(object) => self.object(node, object),
            Shape::Long(long) => self.long(node, long, shape),
            Shape::Ports => self.ports(node),
            Shape::ExtraHosts => self.extra_hosts(node),
            Shape::Ssh => self.ssh(node),
            Shape::Pairs(bare) => self.pairs(node, *bare),
            Shape::DistinctPairs(bare) => {
                self.distinct(&node);
                self.pairs(node, *bare)
            }
            Shape::Contexts => {
                self.named_contexts(&node);
                self.pairs(node, Bare::Empty)
            }
            Shape::Options => self.options(node, Nothing::Allowed),
            Shape::DriverOptions => self.options(node, Nothing::Refused),
            Shape::Command => self.command(node),
            Shape::HealthTest => self.health_test(node),
            Shape::Ulimit if node.as_map().is_some() => self.object(node, &ULIMIT),
            scalar => self.scalar(node, scalar),
        };
        let checked = checked?;
        Some(Node { tag, ..written.unwrap_or(checked) })
    }

    /// The attribute that is looked at, as a user would name it.
    fn attribute(&self) -> String {
        let mut text = String::new();
        let last_key = self.path.iter().rposition(|step| matches!(step, Step::Key(_)));
        for step in &self.path[last_key.unwrap_or(0)..] {
            match step {
                Step::Key(key) => text.push_str(key),
                Step::Item(index) => text.push_str(&format!("[{index}]")),
            }
        }
        text
    }

    fn wrong_type(&mut self, node: &Node, expected: &str) {
        let attribute = self.attribute();
        let found = node.kind();
        let message = match attribute.as_str() {
            "" => format!("this must be {expected}, not {found}"),
            attribute => format!("`{attribute}` must be {expected}, not {found}"),
        };
        let written = self.report.sources.slice(node.span).trim().to_owned();
        let help = match node.value {
            Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Time(_)
                if expected.contains("string") =>
            {
                format!("put it in quotes: \"{written}\"")
            }
            Value::Null => "remove the key, or give it a value".to_owned(),
            Value::Text(_) | Value::Int(_) | Value::Float(_) if expected.starts_with("a list") => {
                format!("write `[{written}]`")
            }
            Value::List(ref items) if items.len() == 1 => {
                "remove the brackets or the dash".to_owned()
            }
            Value::Text(ref text) if expected.starts_with("a mapping") && glued(text) => {
                format!("put a space behind the `:`: `{}`", text.replacen(':', ": ", 1))
            }
            _ => format!("write {expected}"),
        };
        self.report.error(node.span, message).says(format!("this is {found}")).help(help);
    }

    /// The part of a short form that `message` quotes first; all of it if that is not clear.
    fn fault(&self, node: &Node, message: &str) -> Span {
        message.split('`').nth(1).map_or(node.span, |part| self.report.part(node.span, part))
    }

    fn key<T>(&mut self, key: &Arc<str>, check: impl FnOnce(&mut Self) -> T) -> T {
        self.path.push(Step::Key(key.clone()));
        let result = check(self);
        self.path.pop();
        result
    }

    fn list(&mut self, node: Node, list: &List) -> Option<Node> {
        let span = node.span;
        let items = match node.value {
            Value::List(items) => items,
            Value::Text(_) if list.single && self.stays_single(list) => return Some(node),
            Value::Text(_) if list.single => vec![node],
            Value::Bool(_) | Value::Int(_) | Value::Float(_)
                if list.single && matches!(list.item, Shape::Scalar) =>
            {
                vec![node]
            }
            _ => {
                let expected = if list.single { "a string or a list" } else { "a list" };
                self.wrong_type(&node, expected);
                return None;
            }
        };
        let items = self.items(items, list.item);
        Some(Node::list(items, span))
    }

    /// True if a single item that stands for a list is printed as it is written.
    fn stays_single(&self, list: &List) -> bool {
        let lifted = matches!(list.item, Shape::Long(_))
            || matches!(self.attribute().as_str(), "dns" | "label_file" | "include" | "ignore");
        self.variables == Variables::Kept && !lifted
    }

    fn items(&mut self, items: Vec<Node>, shape: &Shape) -> Vec<Node> {
        let check = |(index, item): (usize, Node)| {
            if item.tag == Tag::Reset {
                return None;
            }
            self.path.push(Step::Item(index));
            let checked = self.shape(item, shape);
            self.path.pop();
            checked
        };
        items.into_iter().enumerate().filter_map(check).collect()
    }

    fn map(&mut self, node: Node, map: &schema::Map, shape: &Shape) -> Option<Node> {
        let span = node.span;
        self.distinct(&node);
        let mut entries = match (node.value, map.from_list) {
            (Value::Map(entries), _) => entries,
            (Value::List(names), Some(value_of)) => self.names(names, value_of),
            (value, _) => {
                self.wrong_type(&Node { value, ..Node::null(span) }, shape.expected());
                return None;
            }
        };
        entries.retain_entries(|key, entry| {
            self.user_key(key, entry.key, map.key);
            if map.null_values && entry.node.is_null() {
                return true;
            }
            match self.key(key, |checker| checker.shape(entry.node.take(), map.value)) {
                Some(mut node) => {
                    complete_dependency(map, &mut node);
                    entry.node = node;
                    true
                }
                None => {
                    self.report.note_refused(map.key, key);
                    false
                }
            }
        });
        Some(Node::map(entries, span))
    }

    /// A list of names as the keys of a mapping.
    fn names(&mut self, names: Vec<Node>, value_of: fn(&Node) -> Node) -> Map {
        let mut map = Map::default();
        for name in self.items(names, &Shape::Text) {
            if let Value::Text(text) = &name.value {
                map.insert(text.clone(), name.span, value_of(&name));
            }
        }
        map
    }

    fn user_key(&mut self, key: &str, span: Span, kind: &str) {
        let named =
            matches!(kind, "service" | "network" | "volume" | "secret" | "config" | "model");
        let valid = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        if named && (key.is_empty() || !key.bytes().all(valid)) {
            let message = match key {
                "" => format!("the name of a {kind} cannot be empty"),
                key => format!("`{key}` cannot be the name of a {kind}"),
            };
            self.report.error(span, message).help("use letters, digits, `.`, `_` and `-`");
        }
    }

    fn object(&mut self, node: Node, object: &'static Object) -> Option<Node> {
        let span = node.span;
        let mut entries = match node.value {
            Value::Map(entries) => entries,
            value => {
                let expected = format!("a mapping ({})", object.name);
                self.wrong_type(&Node { value, ..Node::null(span) }, &expected);
                return None;
            }
        };
        self.lift_external(&mut entries);
        entries.retain_entries(|key, entry| {
            let Some(field) = object.field(key) else {
                // What is taken away need not be known.
                if !object.allows(key) && entry.node.tag != Tag::Reset {
                    self.unknown_key(key, entry, object);
                    return false;
                }
                return true;
            };
            if !field.shape.leaves_open(&entry.node) {
                // What was refused leaves nothing behind: the key is there, so nobody misses it.
                let null = Node::null(entry.node.span);
                let node = self.key(key, |checker| checker.shape(entry.node.take(), &field.shape));
                entry.node = node.unwrap_or(null);
            }
            true
        });
        Some(Node::map(entries, span))
    }

    fn unknown_key(&mut self, key: &str, entry: &Entry, object: &'static Object) {
        let span = entry.key;
        let is_service = ["image", "build"].iter().any(|key| entry.node.get(key).is_some());
        if std::ptr::eq(object, &schema::PROJECT) && is_service {
            self.report
                .error(span, format!("`{key}` is not a key of {}", object.name))
                .help("services stand below `services:`, indented by two spaces");
            return;
        }
        let names = || object.fields.iter().map(|field| field.name);
        let short = object.fields.len() <= 12;
        let message = format!("`{key}` is not a key of {}", object.name);
        let finding = match object.others {
            Others::Ignored => self.report.warning(span, format!("{message} and says nothing")),
            _ => self.report.error(span, message),
        };
        let finding = finding.did_you_mean(key, names());
        if short {
            let list: Vec<&str> = names().collect();
            finding.help(format!("the keys are {}", list.join(", ")));
        } else if object.allows("x-") {
            finding.help(format!("keys of your own begin with `x-`: `x-{key}`"));
        }
    }

    /// `external: {name: X}`, which is no longer recommended, as `external: true` and `name: X`.
    fn lift_external(&mut self, entries: &mut Map) {
        let Some(Entry { node, key }) = entries.entry("external").cloned() else { return };
        let Some(external) = node.as_map() else { return };
        self.report
            .warning(key, "`external.name` is deprecated")
            .help("write `external: true` and `name: …`");
        let others =
            external.iter().filter(|(name, _)| &***name != "name" && !name.starts_with("x-"));
        let kind = self.path.iter().find_map(Step::key);
        for (name, other) in others {
            let message = format!("`{name}` is not a key of `external`");
            let finding = match kind {
                Some("configs" | "secrets") => {
                    self.report.warning(other.key, format!("{message} and says nothing"))
                }
                _ => self.report.error(other.key, message),
            };
            finding.help("write `external: true`, and the other keys beside it");
        }
        if let Some(Entry { key: name_key, node: name }) = external.entry("name").cloned() {
            if let Some(other) = entries.entry("name") {
                let other = other.key;
                self.report
                    .error(name_key, "`name` and `external.name` cannot both be given")
                    .also(other, "the other one is here")
                    .help("keep `name`");
            }
            entries.insert("name", name_key, name);
        }
        entries.insert("external", key, Node::new(Value::Bool(true), node.span));
    }

    fn long(&mut self, node: Node, long: &'static Long, shape: &Shape) -> Option<Node> {
        match node.value {
            Value::Map(_) => self.object(node, long.object),
            Value::Text(_) => match (long.short)(&node) {
                Ok(long_form) => self.object(long_form, long.object),
                Err(_) if self.variables == Variables::Kept && is_template(&node) => Some(node),
                Err(error) => {
                    let place = self.fault(&node, &error.message);
                    let finding = self.report.error(place, error.message);
                    if let Some(help) = error.help {
                        finding.help(help);
                    }
                    None
                }
            },
            _ => {
                self.wrong_type(&node, shape.expected());
                None
            }
        }
    }
}

/// `image:nginx`, which has no space behind the colon.
fn glued(text: &str) -> bool {
    text.split_once(':').is_some_and(|(key, value)| {
        let is_word = |c: char| c.is_ascii_lowercase() || c == '_';
        !key.is_empty() && key.chars().all(is_word) && !value.is_empty()
    })
}

fn is_template(node: &Node) -> bool {
    node.as_str().is_some_and(|text| text.contains('$'))
}

/// True for what is brought into its long form even if variables are not filled in.
const fn has_short_form(shape: &Shape) -> bool {
    matches!(shape, Shape::List(_) | Shape::Long(_))
}

/// True for values of which the form does not matter as long as variables are not filled in.
const fn stays_as_written(shape: &Shape) -> bool {
    !matches!(
        shape,
        Shape::List(_)
            | Shape::Map(_)
            | Shape::Object(_)
            | Shape::ObjectOrNull(_)
            | Shape::Long(_)
            | Shape::Ports
            | Shape::Ssh
            | Shape::Contexts
            | Shape::External
    )
}

/// `required` is true where a dependency says nothing.
fn complete_dependency(map: &schema::Map, node: &mut Node) {
    let span = node.span;
    let is_dependency = matches!(map.value, Shape::Object(object) if object.name == "a dependency");
    if let (true, Some(entries)) = (is_dependency && node.tag != Tag::Reset, node.as_map_mut())
        && !entries.contains("required")
    {
        entries.set("required", Node::new(Value::Bool(true), span.implied()));
    }
}

pub(crate) static ULIMIT: Object = Object {
    required: &["soft", "hard"],
    ..schema::object(
        "a limit",
        &[
            schema::Field { name: "soft", shape: Shape::Integer, empty: schema::Empty::Shown },
            schema::Field { name: "hard", shape: Shape::Integer, empty: schema::Empty::Shown },
        ],
    )
};
