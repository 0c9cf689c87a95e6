//! Merges one document over another, by the rules of [`super::schema`].

use std::collections::HashSet;
use std::sync::Arc;

use super::canonical::{self, Variables};
use super::node::{Entry, Map, Node, Tag, Value};
use super::report::Report;
use super::schema::{self, List, ListMerge, Object, ObjectMerge, Shape};
use super::trace::{Cause, Trace};

/// Lays one document over another.
pub(crate) struct Merger<'r> {
    pub(crate) report: &'r mut Report,
    /// Whether all values are in their long form.
    pub(crate) variables: Variables,
}

impl Merger<'_> {
    /// Lays `right` over `left`.
    ///
    /// Both are in their long form, so that mappings merge key by key and lists one after the
    /// other; what a table says otherwise, and the tags `!reset` and `!override`, are seen to here.
    pub(crate) fn merge(&mut self, left: Node, right: Node, shape: &Shape) -> Node {
        match right.tag {
            Tag::Reset => return right,
            Tag::Override => return Node { tag: left.tag, ..over(self.report, &left, right) },
            Tag::None => {}
        }
        if left.tag == Tag::Reset {
            return right;
        }
        let tag = left.tag;
        let merged = match shape {
            Shape::Object(object) | Shape::ObjectOrNull(object) => {
                self.objects(left, right, object)
            }
            Shape::Long(long) => self.objects(left, right, long.object),
            Shape::Map(map) => self
                .keys(left, right, |merger, _, left, right| merger.merge(left, right, map.value)),
            Shape::Pairs(_) | Shape::DistinctPairs(_) if self.variables == Variables::Kept => {
                unique(self.report, lines(left), lines(right), schema::before_equals)
            }
            Shape::Pairs(_) | Shape::DistinctPairs(_) | Shape::Contexts => {
                self.keys(left, right, |merger, _, left, right| over(merger.report, &left, right))
            }
            Shape::Options | Shape::DriverOptions | Shape::Ssh => {
                self.keys(left, right, |merger, _, left, right| {
                    if right.is_null() { left } else { over(merger.report, &left, right) }
                })
            }
            Shape::List(list) => self.lists(one_or_many(left), one_or_many(right), list),
            Shape::Ports => unique(self.report, left, right, canonical::port_key),
            Shape::ExtraHosts => unique(self.report, lines(left), lines(right), text),
            Shape::Command | Shape::HealthTest | Shape::Ulimit => over(self.report, &left, right),
            _ if right.is_null() => left,
            _ => over(self.report, &left, right),
        };
        if tag == Tag::None { merged } else { Node { tag, ..merged } }
    }

    fn lists(&mut self, left: Node, right: Node, list: &List) -> Node {
        match list.merge {
            ListMerge::Append | ListMerge::Distinct => joined(left, right),
            ListMerge::Unique(key) => unique(self.report, left, right, key),
            ListMerge::Merged(key) => {
                let mut whole = joined(left, right);
                if let Value::List(items) = &mut whole.value {
                    let mut merged: indexmap::IndexMap<String, Node> = indexmap::IndexMap::new();
                    for item in items.drain(..) {
                        let key = key(&item);
                        let item = match merged.get_mut(&key) {
                            Some(slot) => {
                                let earlier = std::mem::replace(slot, Node::null(item.span));
                                self.merge(earlier, item, list.item)
                            }
                            None => item,
                        };
                        merged.insert(key, item);
                    }
                    items.extend(merged.into_values());
                }
                whole
            }
        }
    }

    fn objects(&mut self, left: Node, right: Node, object: &'static Object) -> Node {
        if object.merge == ObjectMerge::SameDriver {
            let driver = |node: &Node| node.get("driver").and_then(Node::as_str).map(str::to_owned);
            if let (Some(left_driver), Some(right_driver)) = (driver(&left), driver(&right))
                && left_driver != right_driver
            {
                return over(self.report, &left, right);
            }
        }
        self.keys(left, right, |merger, key, left, right| match object.field(key) {
            Some(field) => merger.merge(left, right, &field.shape),
            None => merger.any(left, right),
        })
    }

    /// Merges key by key; keys that only one side has stay as they are.
    fn keys(
        &mut self,
        left: Node,
        right: Node,
        mut merge_values: impl FnMut(&mut Self, &str, Node, Node) -> Node,
    ) -> Node {
        let span = left.span;
        let (mut merged, over) = match (left.value, right.value) {
            (Value::Map(merged), Value::Map(over)) => (merged, over),
            (left, Value::Null) => return Node::new(left, span),
            (_, value) => return Node { value, ..right },
        };
        for (key, entry) in over {
            match merged.get_mut(&key) {
                Some(slot) => {
                    let left = std::mem::replace(slot, Node::null(span));
                    *slot = merge_values(self, &key, left, entry.node);
                }
                None => merged.insert(key, entry.key, entry.node),
            }
        }
        Node::map(merged, span)
    }

    /// Merges extensions: mappings key by key, lists one after the other, scalars by the right one.
    fn any(&mut self, left: Node, right: Node) -> Node {
        match (&left.value, &right.value) {
            (Value::Map(_), Value::Map(_)) => {
                self.keys(left, right, |merger, _, left, right| merger.any(left, right))
            }
            (Value::List(_), Value::List(_)) => joined(left, right),
            (_, Value::Null) => left,
            (Value::Map(_) | Value::List(_), _) | (_, Value::Map(_) | Value::List(_)) => {
                self.report
                    .error(
                        right.span,
                        format!("{} cannot be merged over {}", right.kind(), left.kind()),
                    )
                    .also(left.span, "merged over this")
                    .help("`!override` replaces a value instead of merging it");
                left
            }
            _ => over(self.report, &left, right),
        }
    }
}

/// `right`, which knows that it stands in the place of `left`.
fn over(report: &mut Report, left: &Node, mut right: Node) -> Node {
    if left.span.trace != Trace::IMPLIED && left.span.bytes() != right.span.bytes() {
        right.span = report.sources.traced(right.span, Cause::Replaces(left.span));
    }
    right
}

/// A single item, which stays as it is written if variables are not filled in, as a list.
fn one_or_many(node: Node) -> Node {
    match node.value {
        Value::Text(_) => Node::list(vec![node.clone()], node.span),
        _ => node,
    }
}

/// `KEY=VALUE` for each key of a mapping; a key without value is bare.
fn lines(node: Node) -> Node {
    let Value::Map(entries) = node.value else { return node };
    let mut entries: Vec<(Arc<str>, Entry)> = entries.into_iter().collect();
    entries.sort_by(|(a, _), (b, _)| a.cmp(b));
    let line = |(key, entry): (Arc<str>, Entry)| match canonical::text_of(&entry.node.value) {
        Some(value) => Node::text(format!("{key}={value}"), entry.node.span),
        None => Node::text(key, entry.key),
    };
    Node::list(entries.into_iter().map(line).collect(), node.span)
}

fn text(node: &Node) -> String {
    node.as_str().unwrap_or_default().to_owned()
}

fn joined(left: Node, right: Node) -> Node {
    let span = left.span;
    match (left.value, right.value) {
        (Value::List(mut items), Value::List(more)) => {
            items.extend(more);
            Node::list(items, span)
        }
        (left, Value::Null) => Node::new(left, span),
        (_, value) => Node { value, ..right },
    }
}

/// One after the other, then once each.
fn unique(report: &mut Report, left: Node, right: Node, key: fn(&Node) -> String) -> Node {
    once_each(report, joined(left, right), key)
}

/// Of items with the same key the last one, at the place of the first.
fn once_each(report: &mut Report, mut list: Node, key: fn(&Node) -> String) -> Node {
    if let Value::List(items) = &mut list.value {
        let mut seen = HashSet::new();
        if items.len() < 2 || items.iter().all(|item| seen.insert(key(item))) {
            return list;
        }
        let mut kept: indexmap::IndexMap<String, Node> =
            indexmap::IndexMap::with_capacity(items.len());
        for item in items.drain(..) {
            let key = key(&item);
            let item = match kept.get(&key) {
                Some(earlier) => over(report, earlier, item),
                None => item,
            };
            kept.insert(key, item);
        }
        items.extend(kept.into_values());
    }
    list
}

/// Takes repeated items out of all lists that have a key; also within one document.
pub(crate) fn deduplicate(report: &mut Report, node: &mut Node, shape: &Shape) {
    match shape {
        Shape::Object(object) | Shape::ObjectOrNull(object) => {
            deduplicate_object(report, node, object)
        }
        Shape::Long(long) => deduplicate_object(report, node, long.object),
        Shape::Map(map) => {
            if let Some(entries) = node.as_map_mut() {
                for (_, entry) in entries.iter_mut() {
                    deduplicate(report, &mut entry.node, map.value);
                }
            }
        }
        Shape::List(list) => {
            for item in node.items_mut() {
                deduplicate(report, item, list.item);
            }
            if let ListMerge::Unique(key) = list.merge {
                replace_with(node, |list| once_each(report, list, key));
            }
        }
        Shape::Ports => replace_with(node, |ports| once_each(report, ports, canonical::port_key)),
        Shape::ExtraHosts => replace_with(node, |hosts| once_each(report, hosts, text)),
        _ => {}
    }
}

fn deduplicate_object(report: &mut Report, node: &mut Node, object: &'static Object) {
    if let Some(entries) = node.as_map_mut() {
        for (key, entry) in entries.iter_mut() {
            if let Some(field) = object.field(key) {
                deduplicate(report, &mut entry.node, &field.shape);
            }
        }
    }
}

fn replace_with(node: &mut Node, change: impl FnOnce(Node) -> Node) {
    let taken = std::mem::replace(node, Node::null(node.span));
    *node = change(taken);
}

/// Takes out what `!reset` has left.
pub(crate) fn remove_reset(report: &mut Report, node: &mut Node) {
    match &mut node.value {
        Value::List(items) => {
            items.retain(|item| item.tag != Tag::Reset);
            items.iter_mut().for_each(|item| remove_reset(report, item));
        }
        Value::Map(map) => {
            let parent = node.span;
            map.retain(|key, node| {
                if node.tag == Tag::Reset {
                    report.note_removed(parent, key, node.span);
                }
                node.tag != Tag::Reset
            });
            let entries: &mut Map = map;
            entries.iter_mut().for_each(|(_, entry)| remove_reset(report, &mut entry.node));
        }
        _ => {}
    }
}
