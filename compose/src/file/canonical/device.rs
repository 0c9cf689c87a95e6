//! `devices` and `gpus`.

use crate::file::node::{Map, Node};
use crate::file::schema::ShortError;

/// What makes two devices the same: where they are seen.
pub(crate) fn key(device: &Node) -> String {
    let text = |name: &str| device.get(name).and_then(Node::as_str);
    text("target").or_else(|| text("source")).or(device.as_str()).unwrap_or_default().to_owned()
}

/// `HOST[:CONTAINER[:rwm]]`, or the name of a CDI device, in the long form.
pub(crate) fn long(node: &Node) -> Result<Node, ShortError> {
    let text = node.as_str().unwrap_or_default();
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, permissions) = match parts[..] {
        [source] => (source, source, "rwm"),
        [source, target] => (source, target, "rwm"),
        [source, target, permissions] => (source, target, permissions),
        _ => {
            return Err(ShortError::new(format!("`{text}` is not a device"))
                .help("write `HOST[:CONTAINER[:rwm]]`, as in `/dev/fuse`"));
        }
    };
    let target = if target.is_empty() { source } else { target };
    let mut device = Map::default();
    for (name, value) in [("source", source), ("target", target), ("permissions", permissions)] {
        device.set(name, Node::text(value, node.span));
    }
    Ok(Node::map(device, node.span))
}

/// `gpus: all` in the long form.
pub(crate) fn all(node: &Node) -> Result<Node, ShortError> {
    if node.as_str() != Some("all") {
        let text = node.as_str().unwrap_or_default();
        return Err(ShortError::new(format!("`gpus` cannot be `{text}`"))
            .help("write `all`, or a list of requests"));
    }
    let mut request = Map::default();
    request.set("count", node.clone());
    Ok(Node::map(request, node.span))
}
