//! Merges one document over another, by the rules of [`super::schema`].

use super::canonical;
use super::node::{Map, Node, Tag, Value};
use super::report::Report;
use super::schema::{List, ListMerge, Object, ObjectMerge, Shape};

/// Lays `right` over `left`.
///
/// Both are in their long form, so that mappings merge key by key and lists one after the other;
/// what a table says otherwise, and the tags `!reset` and `!override`, are seen to here.
pub(crate) fn merge(report: &mut Report, left: Node, right: Node, shape: &Shape) -> Node {
    match right.tag {
        Tag::Reset => return right,
        Tag::Override => return Node { tag: left.tag, ..right },
        Tag::None => {}
    }
    if left.tag == Tag::Reset {
        return right;
    }
    let tag = left.tag;
    let merged = match shape {
        Shape::Object(object) | Shape::ObjectOrNull(object) => {
            merge_object(report, left, right, object)
        }
        Shape::Long(long) => merge_object(report, left, right, long.object),
        Shape::Map(map) => merge_keys(report, left, right, |report, _, left, right| {
            merge(report, left, right, map.value)
        }),
        Shape::Pairs(_) => merge_keys(report, left, right, |_, _, _, right| right),
        Shape::Options | Shape::Ssh => {
            merge_keys(
                report,
                left,
                right,
                |_, _, left, right| {
                    if right.is_null() { left } else { right }
                },
            )
        }
        Shape::List(list) => merge_lists(left, right, list),
        Shape::Ports => unique(left, right, canonical::port_key),
        Shape::ExtraHosts => unique(left, right, |line| line.as_str().unwrap_or_default().into()),
        Shape::Command | Shape::HealthTest | Shape::Ulimit => right,
        _ if right.is_null() => left,
        _ => right,
    };
    if tag == Tag::None { merged } else { Node { tag, ..merged } }
}

fn merge_object(report: &mut Report, left: Node, right: Node, object: &'static Object) -> Node {
    if object.merge == ObjectMerge::SameDriver {
        let driver = |node: &Node| node.get("driver").and_then(Node::as_str).map(str::to_owned);
        if let (Some(left_driver), Some(right_driver)) = (driver(&left), driver(&right))
            && left_driver != right_driver
        {
            return right;
        }
    }
    merge_keys(report, left, right, |report, key, left, right| match object.field(key) {
        Some(field) => merge(report, left, right, &field.shape),
        None => merge_any(report, left, right),
    })
}

/// Merges key by key; keys that only one side has stay as they are.
fn merge_keys(
    report: &mut Report,
    left: Node,
    right: Node,
    mut merge_values: impl FnMut(&mut Report, &str, Node, Node) -> Node,
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
                *slot = merge_values(report, &key, left, entry.node);
            }
            None => merged.insert(key, entry.key, entry.node),
        }
    }
    Node::map(merged, span)
}

fn merge_lists(left: Node, right: Node, list: &List) -> Node {
    match list.merge {
        ListMerge::Append | ListMerge::Distinct => joined(left, right),
        ListMerge::Unique(key) => unique(left, right, key),
    }
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
fn unique(left: Node, right: Node, key: fn(&Node) -> String) -> Node {
    once_each(joined(left, right), key)
}

/// Of items with the same key the last one, at the place of the first.
fn once_each(mut list: Node, key: fn(&Node) -> String) -> Node {
    if let Value::List(items) = &mut list.value {
        let mut kept: indexmap::IndexMap<String, Node> =
            indexmap::IndexMap::with_capacity(items.len());
        for item in items.drain(..) {
            kept.insert(key(&item), item);
        }
        items.extend(kept.into_values());
    }
    list
}

/// Takes repeated items out of all lists that have a key; also within one document.
pub(crate) fn deduplicate(node: &mut Node, shape: &Shape) {
    match shape {
        Shape::Object(object) | Shape::ObjectOrNull(object) => deduplicate_object(node, object),
        Shape::Long(long) => deduplicate_object(node, long.object),
        Shape::Map(map) => {
            if let Some(entries) = node.as_map_mut() {
                entries.iter_mut().for_each(|(_, entry)| deduplicate(&mut entry.node, map.value));
            }
        }
        Shape::List(list) => {
            node.items_mut().iter_mut().for_each(|item| deduplicate(item, list.item));
            if let ListMerge::Unique(key) = list.merge {
                replace_with(node, |list| once_each(list, key));
            }
        }
        Shape::Ports => replace_with(node, |ports| once_each(ports, canonical::port_key)),
        Shape::ExtraHosts => replace_with(node, |hosts| {
            once_each(hosts, |line| line.as_str().unwrap_or_default().into())
        }),
        _ => {}
    }
}

fn deduplicate_object(node: &mut Node, object: &'static Object) {
    if let Some(entries) = node.as_map_mut() {
        for (key, entry) in entries.iter_mut() {
            if let Some(field) = object.field(key) {
                deduplicate(&mut entry.node, &field.shape);
            }
        }
    }
}

fn replace_with(node: &mut Node, change: impl FnOnce(Node) -> Node) {
    let taken = std::mem::replace(node, Node::null(node.span));
    *node = change(taken);
}

/// Merges extensions: mappings key by key, lists one after the other, scalars by the right one.
fn merge_any(report: &mut Report, left: Node, right: Node) -> Node {
    match (&left.value, &right.value) {
        (Value::Map(_), Value::Map(_)) => {
            merge_keys(report, left, right, |report, _, left, right| merge_any(report, left, right))
        }
        (Value::List(_), Value::List(_)) => joined(left, right),
        (_, Value::Null) => left,
        (Value::Map(_) | Value::List(_), _) | (_, Value::Map(_) | Value::List(_)) => {
            report
                .error(
                    right.span,
                    format!("{} cannot be merged over {}", right.kind(), left.kind()),
                )
                .also(left.span, "merged over this")
                .help("`!override` replaces a value instead of merging it");
            left
        }
        _ => right,
    }
}

/// Takes out what `!reset` has left.
pub(crate) fn remove_reset(node: &mut Node) {
    match &mut node.value {
        Value::List(items) => {
            items.retain(|item| item.tag != Tag::Reset);
            items.iter_mut().for_each(remove_reset);
        }
        Value::Map(map) => {
            map.retain(|_, node| node.tag != Tag::Reset);
            let entries: &mut Map = map;
            entries.iter_mut().for_each(|(_, entry)| remove_reset(&mut entry.node));
        }
        _ => {}
    }
}
