//! `KEY: VALUE` and `KEY=VALUE`.

use std::collections::HashMap;

use crate::file::node::{Map, Node, Tag, Value};
use crate::file::schema::{Bare, Shape};
use crate::file::source::Span;

use super::Checker;

/// Whether a key of a mapping of options may have no value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Nothing {
    Allowed,
    Refused,
}

impl Nothing {
    const fn expected(self) -> &'static str {
        match self {
            Self::Allowed => "a string, a number or nothing",
            Self::Refused => "a string or a number",
        }
    }
}

impl Checker<'_> {
    pub(super) fn pairs(&mut self, node: Node, bare: Bare) -> Option<Node> {
        let span = node.span;
        match node.value {
            Value::Map(entries) => Some(Node::map(self.pair_entries(entries, bare), span)),
            Value::List(items) => Some(Node::map(self.pair_items(items, bare), span)),
            value => {
                self.wrong_type(&Node::new(value, span), Shape::Pairs(bare).expected());
                None
            }
        }
    }

    fn pair_entries(&mut self, entries: Map, bare: Bare) -> Map {
        let mut checked = Map::with_capacity(entries.len());
        for (key, entry) in entries {
            let span = entry.node.span;
            let value = match &entry.node.value {
                Value::Null if entry.node.tag == Tag::Reset || bare == Bare::Unset => Value::Null,
                Value::Null => Value::Text("".into()),
                _ => match self.text(&entry.node) {
                    Some(text) => Value::Text(text.into()),
                    None => {
                        let wrong = entry.node.clone();
                        self.key(&key, |checker| {
                            checker.wrong_type(&wrong, "a string, a number, a boolean or nothing");
                        });
                        continue;
                    }
                },
            };
            self.old_boolean(&entry.node);
            checked.insert(key, entry.key, Node { value, span, tag: entry.node.tag });
        }
        checked
    }

    fn pair_items(&mut self, items: Vec<Node>, bare: Bare) -> Map {
        let mut checked = Map::with_capacity(items.len());
        for item in items {
            let span = item.span;
            let Some(text) = item.as_str() else {
                if item.tag != Tag::Reset {
                    self.wrong_type(&item, "a string like `KEY=VALUE`");
                }
                continue;
            };
            let (key, value) = match text.split_once('=') {
                Some((key, value)) => {
                    self.quotes_within(key, value, span);
                    (key, Value::Text(value.into()))
                }
                None if bare == Bare::Unset => (text, Value::Null),
                None => (text, Value::Text("".into())),
            };
            checked.insert(key, span, Node::new(value, span));
        }
        checked
    }

    /// Refuses a list of `KEY=VALUE` in which an item is there twice.
    pub(super) fn distinct(&mut self, node: &Node) {
        let mut seen: HashMap<&str, Span> = HashMap::new();
        for item in node.items() {
            let Some(text) = item.as_str() else { continue };
            if let Some(first) = seen.insert(text, item.span) {
                self.report
                    .error(item.span, format!("`{text}` is there twice"))
                    .also(first, "first here")
                    .help("remove one of them");
            }
        }
    }

    /// Refuses a list of contexts in which one has no name.
    pub(super) fn named_contexts(&mut self, node: &Node) {
        for item in node.items() {
            let text = item.as_str().unwrap_or_default();
            if item.as_str().is_some() && !text.contains('=') {
                self.report
                    .error(item.span, format!("the context `{text}` has no name"))
                    .help("write `NAME=CONTEXT`");
            }
        }
    }

    /// A mapping of strings and numbers; `nothing` says whether a key may have no value.
    pub(super) fn options(&mut self, node: Node, nothing: Nothing) -> Option<Node> {
        let span = node.span;
        let Value::Map(entries) = node.value else {
            self.wrong_type(&node, "a mapping");
            return None;
        };
        let mut checked = Map::with_capacity(entries.len());
        for (key, entry) in entries {
            let value = match &entry.node.value {
                Value::Null if entry.node.tag == Tag::Reset => Value::Null,
                Value::Null if nothing == Nothing::Allowed => Value::Text("".into()),
                Value::Text(_) | Value::Int(_) | Value::Float(_) => {
                    Value::Text(self.text(&entry.node).unwrap_or_default().into())
                }
                _ => {
                    self.key(&key, |checker| {
                        checker.wrong_type(&entry.node, nothing.expected());
                    });
                    continue;
                }
            };
            checked.insert(key, entry.key, Node { value, ..entry.node });
        }
        Some(Node::map(checked, span))
    }
}
