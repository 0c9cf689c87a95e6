//! `secrets` and `configs` of a service.

use crate::file::node::Node;

/// What makes two secrets of a service the same: the file.
pub(crate) fn secret_key(grant: &Node) -> String {
    key(grant, "/run/secrets/")
}

/// What makes two configs of a service the same: the file.
pub(crate) fn config_key(grant: &Node) -> String {
    key(grant, "/")
}

fn key(grant: &Node, directory: &str) -> String {
    let text = |name: &str| grant.get(name).and_then(Node::as_str);
    match text("target") {
        Some(target) => target.to_owned(),
        None => format!("{directory}{}", text("source").unwrap_or_default()),
    }
}
