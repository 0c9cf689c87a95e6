//! A document as `config` prints it.

use serde_json::{Map as JsonMap, Number, Value as Json};

use super::canonical::PORT;
use super::node::{Map, Node, Value};
use super::order;
use super::schema::{Empty, Field, JsonKeys, Object, PROJECT, SERVICE, Shape};

/// Whether keys that JSON output always has are put in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nulls {
    /// Only what is there: YAML.
    Hidden,
    /// `"command": null` and the like: JSON.
    Shown,
}

struct Renderer {
    nulls: Nulls,
}

/// The whole document, each object in the order of its table; but JSON has its top level in the
/// order of the keys.
pub(super) fn document(tree: &Node, nulls: Nulls) -> Json {
    let mut document = Renderer { nulls }.object(tree, &PROJECT);
    if let (Nulls::Shown, Json::Object(entries)) = (nulls, &mut document) {
        entries.sort_keys();
    }
    document
}

/// The whole document as it is written, in the order of the keys.
pub(super) fn written(tree: &Node, nulls: Nulls) -> Json {
    Renderer { nulls }.plain(tree)
}

/// One service, as in JSON output.
pub(super) fn service(service: &Node) -> Json {
    Renderer { nulls: Nulls::Shown }.object(service, &SERVICE)
}

/// Any value by its shape.
pub(super) fn value(node: &Node, shape: &Shape) -> Json {
    Renderer { nulls: Nulls::Hidden }.shape(node, shape)
}

impl Renderer {
    fn shape(&self, node: &Node, shape: &Shape) -> Json {
        match (shape, &node.value) {
            (Shape::Object(object), Value::Map(_) | Value::Null) => self.object(node, object),
            (_, Value::Null) => Json::Null,
            (Shape::ObjectOrNull(object), Value::Map(_)) => self.object(node, object),
            (Shape::Long(long), Value::Map(_)) => self.object(node, long.object),
            (Shape::Map(map), Value::Map(entries)) => {
                self.sorted(entries, |node| self.shape(node, map.value))
            }
            (
                Shape::Pairs(_)
                | Shape::DistinctPairs(_)
                | Shape::Contexts
                | Shape::Options
                | Shape::DriverOptions,
                Value::Map(entries),
            ) => self.sorted(entries, |node| self.plain(node)),
            (Shape::List(list), Value::List(items)) => {
                items.iter().map(|item| self.shape(item, list.item)).collect()
            }
            (Shape::Ports, Value::List(items)) => {
                items.iter().map(|item| self.shape(item, &Shape::Object(&PORT))).collect()
            }
            (Shape::ExtraHosts, Value::List(items)) => {
                let mut lines: Vec<&str> = items.iter().filter_map(Node::as_str).collect();
                lines.sort_unstable();
                lines.into_iter().map(Json::from).collect()
            }
            (Shape::Ssh, Value::Map(keys)) => ssh(keys),
            (Shape::Bytes | Shape::BytesText, Value::Int(bytes)) => Json::from(bytes.to_string()),
            (Shape::Mode, Value::Int(mode)) => Json::from(format!("0{mode:03o}")),
            (Shape::Number, Value::Int(_) | Value::Float(_)) => self.number(node),
            (Shape::Ulimit, Value::Map(entries)) => {
                let keys = ["soft", "hard"].into_iter();
                let part =
                    |key: &str| entries.get(key).map(|node| (key.to_owned(), self.plain(node)));
                Json::Object(keys.filter_map(part).collect())
            }
            _ => self.plain(node),
        }
    }

    fn object(&self, node: &Node, object: &'static Object) -> Json {
        match &node.value {
            Value::Map(map) => self.fields(map, object),
            Value::Null => self.fields(&Map::default(), object),
            _ => self.plain(node),
        }
    }

    fn fields(&self, map: &Map, object: &'static Object) -> Json {
        let mut rendered: JsonMap<String, Json> = object
            .fields
            .iter()
            .filter_map(|field| {
                let value = self.field(map.get(field.name), field)?;
                Some((self.spelled(field.name, object), value))
            })
            .collect();
        if self.nulls == Nulls::Hidden || std::ptr::eq(object, &PROJECT) {
            let others = map.iter().filter(|(key, _)| object.field(key).is_none());
            let others =
                others.map(|(key, entry)| (key.to_string(), self.plain(&entry.node))).collect();
            rendered.extend(self.in_order(others));
        }
        Json::Object(rendered)
    }

    fn spelled(&self, name: &str, object: &Object) -> String {
        let mut letters = name.chars();
        match (self.nulls, object.json_keys, letters.next()) {
            (Nulls::Shown, JsonKeys::Capitals, Some(first)) => {
                first.to_uppercase().chain(letters).collect()
            }
            _ => name.to_owned(),
        }
    }

    /// A mapping in the order of its keys.
    fn sorted(&self, entries: &Map, render: impl Fn(&Node) -> Json) -> Json {
        let rendered =
            entries.iter().map(|(key, entry)| (key.to_string(), render(&entry.node))).collect();
        Json::Object(self.in_order(rendered))
    }

    fn in_order(&self, entries: Vec<(String, Json)>) -> JsonMap<String, Json> {
        let mut entries = entries;
        match self.nulls {
            Nulls::Shown => entries.sort_unstable_by(|(a, _), (b, _)| a.cmp(b)),
            Nulls::Hidden => entries.sort_unstable_by(|(a, _), (b, _)| order::natural(a, b)),
        }
        entries.into_iter().collect()
    }

    /// A value without any shape.
    fn plain(&self, node: &Node) -> Json {
        match &node.value {
            Value::Null => Json::Null,
            Value::Bool(flag) => Json::Bool(*flag),
            Value::Int(number) => integer(*number),
            Value::Float(number) => Number::from_f64(*number).map_or(Json::Null, Json::Number),
            Value::Text(text) | Value::Time(text) => Json::from(&**text),
            Value::List(items) => items.iter().map(|item| self.plain(item)).collect(),
            Value::Map(entries) => self.sorted(entries, |node| self.plain(node)),
        }
    }

    /// A number in the precision of docker compose, which is single.
    fn number(&self, node: &Node) -> Json {
        match node.value {
            Value::Float(number) if number.fract() == 0.0 && number.abs() < 1e15 => {
                #[expect(clippy::cast_possible_truncation, reason = "the fraction is zero")]
                let whole = number as i64;
                Json::from(whole)
            }
            Value::Float(number) => {
                #[expect(clippy::cast_possible_truncation, reason = "single precision is wanted")]
                let single = number as f32;
                let shortest = single.to_string().parse().unwrap_or(number);
                Number::from_f64(shortest).map_or(Json::Null, Json::Number)
            }
            _ => self.plain(node),
        }
    }

    /// What is printed of a key; nothing if it says nothing.
    fn field(&self, node: Option<&Node>, field: &Field) -> Option<Json> {
        let json = self.nulls == Nulls::Shown;
        let value = node.map(|node| self.shape(node, &field.shape));
        match (value, field.empty) {
            (_, Empty::NotInJson) if json => None,
            (Some(value), Empty::Shown | Empty::Null) if !value.is_null() => Some(value),
            (Some(value), Empty::ShownInYaml) if !json => Some(value),
            (Some(value), _) if !is_empty(&value, &field.shape) => Some(value),
            (_, Empty::Null) if json => Some(Json::Null),
            (_, Empty::Always) if json => match &field.shape {
                Shape::Object(object) => Some(self.fields(&Map::default(), object)),
                _ => None,
            },
            _ => None,
        }
    }
}

/// Any value as it is.
pub(super) fn any(node: &Node) -> Json {
    Renderer { nulls: Nulls::Hidden }.plain(node)
}

fn integer(number: i128) -> Json {
    match (i64::try_from(number), u64::try_from(number)) {
        (Ok(number), _) => Json::from(number),
        (_, Ok(number)) => Json::from(number),
        _ => Json::from(number.to_string()),
    }
}

fn ssh(keys: &Map) -> Json {
    let line = |(id, entry): (&std::rc::Rc<str>, &super::node::Entry)| match entry
        .node
        .as_str()
        .unwrap_or_default()
    {
        "" => Json::from(&**id),
        path => Json::from(format!("{id}: {path}")),
    };
    keys.iter().map(line).collect()
}

/// True if a value says no more than its absence.
fn is_empty(value: &Json, shape: &Shape) -> bool {
    match (shape, value.as_str()) {
        (Shape::Bytes | Shape::BytesText, Some(text)) => return text == "0",
        (Shape::Duration, Some(text)) => return text == "0s",
        _ => {}
    }
    match value {
        Json::Null => true,
        Json::Bool(flag) => !flag,
        Json::Number(number) => number.as_f64() == Some(0.0),
        Json::String(text) => text.is_empty(),
        Json::Array(items) => items.is_empty(),
        Json::Object(entries) => entries.is_empty(),
    }
}
