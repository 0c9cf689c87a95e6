//! `extra_hosts` and `build.ssh`.

use std::sync::Arc;

use crate::file::node::{Map, Node, Value};
use crate::file::schema::Shape;
use crate::file::source::Span;

use super::{Checker, Variables, text_of};

impl Checker<'_> {
    /// A list of `HOST=ADDRESS`.
    pub(super) fn extra_hosts(&mut self, node: Node) -> Option<Node> {
        let span = node.span;
        self.distinct(&node);
        let mut lines = Vec::new();
        match node.value {
            Value::Map(entries) => {
                for (host, entry) in entries {
                    if !self.is_named(&host, entry.key) {
                        continue;
                    }
                    match entry.node.value {
                        Value::Text(address) => lines.push(line(&host, &address, entry.node.span)),
                        Value::List(addresses) => {
                            lines.extend(self.addresses(&host, addresses));
                        }
                        _ => self.key(&host, |checker| {
                            checker.wrong_type(&entry.node, "an address or a list of addresses");
                        }),
                    }
                }
            }
            Value::List(items) => {
                for item in self.items(items, &Shape::Text) {
                    let text = item.as_str().unwrap_or_default();
                    let Some((host, address)) =
                        text.split_once('=').or_else(|| text.split_once(':'))
                    else {
                        self.report
                            .error(item.span, format!("`{text}` has no address"))
                            .help("write `HOST=ADDRESS`");
                        continue;
                    };
                    if host.is_empty() {
                        self.report
                            .error(item.span, format!("`{text}` has no host"))
                            .help("write `HOST=ADDRESS`");
                        continue;
                    }
                    let addresses = address.split(',');
                    lines.extend(addresses.map(|address| line(host, address, item.span)));
                }
            }
            value => {
                self.wrong_type(&Node::new(value, span), Shape::ExtraHosts.expected());
                return None;
            }
        }
        Some(Node::list(lines, span))
    }

    /// Refuses a key without a letter.
    fn is_named(&mut self, key: &str, place: Span) -> bool {
        if key.is_empty() {
            let attribute = self.attribute();
            self.report
                .error(place, format!("a key of `{attribute}` is empty"))
                .help("give it a name, or remove it");
        }
        !key.is_empty()
    }

    fn addresses(&mut self, host: &Arc<str>, addresses: Vec<Node>) -> Vec<Node> {
        let addresses = self.items(addresses, &Shape::Text);
        addresses
            .into_iter()
            .map(|address| line(host, address.as_str().unwrap_or_default(), address.span))
            .collect()
    }

    /// A mapping from id to path; the path of an agent is empty.
    pub(super) fn ssh(&mut self, node: Node) -> Option<Node> {
        let span = node.span;
        self.distinct(&node);
        let mut keys = Map::default();
        match node.value {
            Value::Map(entries) => {
                for (id, entry) in entries {
                    if !self.is_named(&id, entry.key) {
                        continue;
                    }
                    let path = match &entry.node.value {
                        Value::Null => String::new(),
                        value => match text_of(value) {
                            Some(path) => path,
                            None => {
                                self.key(&id, |checker| checker.wrong_type(&entry.node, "a path"));
                                continue;
                            }
                        },
                    };
                    keys.insert(id, entry.key, Node::text(path, entry.node.span));
                }
            }
            Value::List(items) => {
                for item in self.items(items, &Shape::Text) {
                    let text = item.as_str().unwrap_or_default();
                    // `ID: PATH` is what `config` prints.
                    let pair = text.split_once('=').or_else(|| text.split_once(": "));
                    let (id, path) = match pair {
                        Some((id, path)) => (id, Value::Text(path.into())),
                        None if text != "default" => {
                            self.report
                                .error(item.span, format!("the SSH key `{text}` has no path"))
                                .help("write `ID=PATH`, or `default` for the agent");
                            continue;
                        }
                        None if self.variables == Variables::Kept => (text, Value::Null),
                        None => (text, Value::Text("".into())),
                    };
                    keys.insert(id, item.span, Node::new(path, item.span));
                }
            }
            value => {
                self.wrong_type(&Node::new(value, span), Shape::Ssh.expected());
                return None;
            }
        }
        Some(Node::map(keys, span))
    }
}

fn line(host: &str, address: &str, span: Span) -> Node {
    let bare = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    Node::text(format!("{host}={}", bare.unwrap_or(address)), span)
}
