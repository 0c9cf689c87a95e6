//! A document as `config` prints it.

use std::borrow::Cow;

use serde_json::Number;

use super::canonical::PORT;
use super::node::{Map, Node, Value};
use super::order;
use super::printed::{Piece, Printed};
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
pub(super) fn document(tree: &Node, nulls: Nulls) -> Printed<'_> {
    let mut document = Renderer { nulls }.object(tree, &PROJECT);
    if let (Nulls::Shown, Printed::Map(entries)) = (nulls, &mut document) {
        entries.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
    }
    document
}

/// The same as [`document`] with [`Nulls::Hidden`], piece by piece.
pub(super) fn pieces<'d>(tree: &'d Node, visit: &mut dyn FnMut(Piece<'d>)) {
    let renderer = Renderer { nulls: Nulls::Hidden };
    let map = tree.as_map();
    for field in PROJECT.fields {
        let node = map.and_then(|map| map.get(field.name));
        match (&field.shape, node.map(|node| &node.value)) {
            (Shape::Map(shape), Some(Value::Map(entries))) if !entries.is_empty() => {
                visit(Piece::Open(field.name.into()));
                let mut entries: Vec<(&str, &Node)> =
                    entries.iter().map(|(key, entry)| (&**key, &entry.node)).collect();
                entries.sort_unstable_by(|(a, _), (b, _)| order::natural(a, b));
                for (key, node) in entries {
                    visit(Piece::Inner(key.into(), renderer.shape(node, shape.value)));
                }
            }
            _ => {
                if let Some(value) = renderer.field(node, field) {
                    visit(Piece::Entry(field.name.into(), value));
                }
            }
        }
    }
    let entries = map.into_iter().flat_map(Map::iter);
    let others = entries.filter(|(key, _)| PROJECT.place(key).is_none());
    let others = others.map(|(key, entry)| (Cow::from(&**key), renderer.plain(&entry.node)));
    for (key, value) in renderer.in_order(others.collect()) {
        visit(Piece::Entry(key, value));
    }
}

/// The whole document as it is written, in the order of the keys.
pub(super) fn written(tree: &Node, nulls: Nulls) -> Printed<'_> {
    Renderer { nulls }.plain(tree)
}

/// One service, as in JSON output.
pub(super) fn service(service: &Node) -> Printed<'_> {
    Renderer { nulls: Nulls::Shown }.object(service, &SERVICE)
}

/// Any value by its shape.
pub(super) fn value<'d>(node: &'d Node, shape: &Shape) -> Printed<'d> {
    Renderer { nulls: Nulls::Hidden }.shape(node, shape)
}

impl Renderer {
    fn shape<'d>(&self, node: &'d Node, shape: &Shape) -> Printed<'d> {
        match (shape, &node.value) {
            (Shape::Object(object), Value::Map(_) | Value::Null) => self.object(node, object),
            (_, Value::Null) => Printed::Null,
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
                lines.into_iter().map(Printed::from).collect()
            }
            (Shape::Ssh, Value::Map(keys)) => ssh(keys),
            (Shape::Bytes | Shape::BytesText, Value::Int(bytes)) => {
                Printed::from(bytes.get().to_string())
            }
            (Shape::Mode, Value::Int(mode)) => Printed::from(format!("0{:03o}", mode.get())),
            (Shape::Number, Value::Int(_) | Value::Float(_)) => self.number(node),
            (Shape::Ulimit, Value::Map(entries)) => {
                let keys = ["soft", "hard"].into_iter();
                let part =
                    |key| entries.get(key).map(|node| (Cow::Borrowed(key), self.plain(node)));
                Printed::Map(keys.filter_map(part).collect())
            }
            _ => self.plain(node),
        }
    }

    fn object<'d>(&self, node: &'d Node, object: &'static Object) -> Printed<'d> {
        match &node.value {
            Value::Map(map) => self.fields(Some(map), object),
            Value::Null => self.fields(None, object),
            _ => self.plain(node),
        }
    }

    fn fields<'d>(&self, map: Option<&'d Map>, object: &'static Object) -> Printed<'d> {
        let mut known: Vec<Option<&'d Node>> = vec![None; object.fields.len()];
        let mut others = Vec::new();
        for (key, entry) in map.into_iter().flat_map(Map::iter) {
            match object.place(key) {
                Some(at) => known[at] = Some(&entry.node),
                None => others.push((&**key, &entry.node)),
            }
        }
        let mut rendered: Vec<(Cow<'d, str>, Printed<'d>)> =
            Vec::with_capacity(map.map_or(0, Map::len));
        let fields = object.fields.iter().zip(known);
        // Without a value only JSON has something to say.
        let fields = fields.filter(|(_, node)| node.is_some() || self.nulls == Nulls::Shown);
        rendered.extend(fields.filter_map(|(field, node)| {
            Some((self.spelled(field.name, object), self.field(node, field)?))
        }));
        if self.nulls == Nulls::Hidden || std::ptr::eq(object, &PROJECT) {
            let others = others.into_iter().map(|(key, node)| (Cow::from(key), self.plain(node)));
            rendered.extend(self.in_order(others.collect()));
        }
        Printed::Map(rendered)
    }

    fn spelled(&self, name: &'static str, object: &Object) -> Cow<'static, str> {
        let mut letters = name.chars();
        match (self.nulls, object.json_keys, letters.next()) {
            (Nulls::Shown, JsonKeys::Capitals, Some(first)) => {
                Cow::Owned(first.to_uppercase().chain(letters).collect())
            }
            _ => Cow::Borrowed(name),
        }
    }

    /// A mapping in the order of its keys.
    fn sorted<'d>(
        &self,
        entries: &'d Map,
        render: impl Fn(&'d Node) -> Printed<'d>,
    ) -> Printed<'d> {
        let rendered =
            entries.iter().map(|(key, entry)| (Cow::from(&**key), render(&entry.node))).collect();
        Printed::Map(self.in_order(rendered))
    }

    fn in_order<'d>(
        &self,
        mut entries: Vec<(Cow<'d, str>, Printed<'d>)>,
    ) -> Vec<(Cow<'d, str>, Printed<'d>)> {
        match self.nulls {
            Nulls::Shown => entries.sort_unstable_by(|(a, _), (b, _)| a.cmp(b)),
            Nulls::Hidden => entries.sort_unstable_by(|(a, _), (b, _)| order::natural(a, b)),
        }
        entries
    }

    /// A value without any shape.
    fn plain<'d>(&self, node: &'d Node) -> Printed<'d> {
        match &node.value {
            Value::Null => Printed::Null,
            Value::Bool(flag) => Printed::Bool(*flag),
            Value::Int(number) => integer(number.get()),
            Value::Float(number) => {
                Number::from_f64(*number).map_or(Printed::Null, Printed::Number)
            }
            Value::Text(text) | Value::Time(text) => Printed::from(&**text),
            Value::List(items) => items.iter().map(|item| self.plain(item)).collect(),
            Value::Map(entries) => self.sorted(entries, |node| self.plain(node)),
        }
    }

    /// A number in the precision of docker compose, which is single.
    fn number<'d>(&self, node: &'d Node) -> Printed<'d> {
        match node.value {
            Value::Float(number) if number.fract() == 0.0 && number.abs() < 1e15 => {
                #[expect(clippy::cast_possible_truncation, reason = "the fraction is zero")]
                let whole = number as i64;
                Printed::Number(whole.into())
            }
            Value::Float(number) => {
                #[expect(clippy::cast_possible_truncation, reason = "single precision is wanted")]
                let single = number as f32;
                let shortest = single.to_string().parse().unwrap_or(number);
                Number::from_f64(shortest).map_or(Printed::Null, Printed::Number)
            }
            _ => self.plain(node),
        }
    }

    /// What is printed of a key; nothing if it says nothing.
    fn field<'d>(&self, node: Option<&'d Node>, field: &'static Field) -> Option<Printed<'d>> {
        let json = self.nulls == Nulls::Shown;
        let value = node.map(|node| self.shape(node, &field.shape));
        match (value, field.empty) {
            (_, Empty::NotInJson) if json => None,
            (Some(value), Empty::Shown | Empty::Null) if value != Printed::Null => Some(value),
            (Some(value), Empty::ShownInYaml) if !json => Some(value),
            (Some(value), _) if !is_empty(&value, &field.shape) => Some(value),
            (_, Empty::Null) if json => Some(Printed::Null),
            (_, Empty::Always) if json => match &field.shape {
                Shape::Object(object) => Some(self.fields(None, object)),
                _ => None,
            },
            _ => None,
        }
    }
}

/// Any value as it is.
pub(super) fn any(node: &Node) -> Printed<'_> {
    Renderer { nulls: Nulls::Hidden }.plain(node)
}

fn integer(number: i128) -> Printed<'static> {
    match (i64::try_from(number), u64::try_from(number)) {
        (Ok(number), _) => Printed::Number(number.into()),
        (_, Ok(number)) => Printed::Number(number.into()),
        _ => Printed::from(number.to_string()),
    }
}

fn ssh(keys: &Map) -> Printed<'_> {
    keys.iter()
        .map(|(id, entry)| match entry.node.as_str().unwrap_or_default() {
            "" => Printed::from(&**id),
            path => Printed::from(format!("{id}: {path}")),
        })
        .collect()
}

/// True if a value says no more than its absence.
fn is_empty(value: &Printed<'_>, shape: &Shape) -> bool {
    match (shape, value.as_str()) {
        (Shape::Bytes | Shape::BytesText, Some(text)) => return text == "0",
        (Shape::Duration, Some(text)) => return text == "0s",
        _ => {}
    }
    match value {
        Printed::Null => true,
        Printed::Bool(flag) => !flag,
        Printed::Number(number) => number.as_f64() == Some(0.0),
        Printed::Text(text) => text.is_empty(),
        Printed::List(items) => items.is_empty(),
        Printed::Map(entries) => entries.is_empty(),
    }
}
