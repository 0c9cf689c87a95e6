//! `env_file`.

use crate::file::node::Node;

/// What makes two environment files the same: the path.
pub(crate) fn key(file: &Node) -> String {
    let path = file.get("path").and_then(Node::as_str).or(file.as_str());
    path.unwrap_or_default().to_owned()
}
