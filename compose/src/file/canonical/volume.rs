//! `volumes` of a service: `[SOURCE:]TARGET[:OPTIONS]`.

use crate::file::node::{Map, Node, Value};
use crate::file::schema::ShortError;
use crate::file::source::Span;

const PROPAGATIONS: [&str; 6] = ["private", "rprivate", "shared", "rshared", "slave", "rslave"];

/// What makes two mounts the same: where they are seen.
pub(crate) fn key(mount: &Node) -> String {
    let target = mount.get("target").and_then(Node::as_str).or(mount.as_str());
    target.unwrap_or_default().to_owned()
}

/// The long form.
pub(crate) fn long(node: &Node) -> Result<Node, ShortError> {
    let text = node.as_str().unwrap_or_default();
    let mount = parse(text).map_err(|what| {
        ShortError::new(format!("`{text}` is not a mount: {what}"))
            .help("write `[SOURCE:]TARGET[:ro]`, as in `data:/var/lib/data` or `./src:/src:ro`")
    })?;
    Ok(mount.long(node.span))
}

/// The short form of a mount, in parts.
#[derive(Debug, Default, PartialEq, Eq)]
struct ShortMount {
    source: String,
    target: String,
    read_only: bool,
    nocopy: bool,
    subpath: Option<String>,
    propagation: Option<&'static str>,
    selinux: Option<&'static str>,
    /// Too short to have a source.
    bare: bool,
}

/// Reads the short form. A single letter before a colon is a drive of Windows, here as in docker
/// compose, so that a file means the same everywhere.
fn parse(text: &str) -> Result<ShortMount, &'static str> {
    let mut mount = ShortMount::default();
    if text.is_empty() {
        return Err("there is nothing");
    }
    if text.len() <= 2 {
        text.clone_into(&mut mount.target);
        mount.bare = true;
        return Ok(mount);
    }
    let mut part = String::new();
    for c in text.chars() {
        if c == ':' && !is_drive(&part) {
            mount.take(&part, false)?;
            part.clear();
        } else {
            part.push(c);
        }
    }
    mount.take(&part, true)?;
    Ok(mount)
}

fn is_drive(part: &str) -> bool {
    let mut chars = part.chars();
    matches!((chars.next(), chars.next()), (Some(letter), None) if letter.is_alphabetic())
}

impl ShortMount {
    fn take(&mut self, part: &str, last: bool) -> Result<(), &'static str> {
        if part.is_empty() {
            return Err("there is nothing between two colons");
        }
        if self.source.is_empty() && last {
            part.clone_into(&mut self.target);
        } else if self.source.is_empty() {
            part.clone_into(&mut self.source);
        } else if self.target.is_empty() {
            part.clone_into(&mut self.target);
        } else if last {
            part.split(',').for_each(|option| self.option(option));
        } else {
            return Err("there are too many colons");
        }
        Ok(())
    }

    fn option(&mut self, option: &str) {
        match option {
            "ro" => self.read_only = true,
            "rw" => self.read_only = false,
            "nocopy" => self.nocopy = true,
            "z" => self.selinux = Some("z"),
            "Z" => self.selinux = Some("Z"),
            _ => {
                if let Some(path) = option.strip_prefix("subpath=") {
                    self.subpath = Some(path.to_owned()).filter(|path| !path.is_empty());
                } else if let Some(known) = PROPAGATIONS.iter().find(|known| **known == option) {
                    self.propagation = Some(known);
                }
            }
        }
    }

    fn long(self, span: Span) -> Node {
        let text = |text: &str| Node::text(text, span);
        let flag = |flag: bool| Node::new(Value::Bool(flag), span);
        let bind = is_path(&self.source);
        let mut mount = Map::with_capacity(4);
        let kind = if bind { "bind" } else { "volume" };
        mount.set("type", Node::text(kind, span.implied()));
        if !self.source.is_empty() {
            mount.set("source", text(&self.source));
        }
        mount.set("target", text(&self.target));
        if self.read_only {
            mount.set("read_only", flag(true));
        }
        let mut binding = Map::default();
        if let Some(selinux) = self.selinux {
            binding.set("selinux", text(selinux));
        }
        if let Some(propagation) = self.propagation {
            binding.set("propagation", text(propagation));
        }
        if bind {
            binding.set("create_host_path", Node::new(Value::Bool(true), span.implied()));
        }
        if !binding.is_empty() {
            mount.set("bind", Node::map(binding, span));
        }
        let mut volume = Map::default();
        if self.nocopy {
            volume.set("nocopy", flag(true));
        }
        if let Some(subpath) = &self.subpath {
            volume.set("subpath", text(subpath));
        }
        if !bind && !self.bare || !volume.is_empty() {
            mount.set("volume", Node::map(volume, span));
        }
        Node::map(mount, span)
    }
}

/// True if `source` is a path of the host and not the name of a volume.
pub(crate) fn is_path(source: &str) -> bool {
    let mut chars = source.chars();
    match chars.next() {
        Some('.' | '/' | '~') => true,
        Some('\\') => source.starts_with("\\\\"),
        Some(letter) => letter.is_alphabetic() && chars.next() == Some(':'),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        match parse(text) {
            Ok(ShortMount { source, target, read_only, .. }) => {
                format!("{source} {target} {}", if read_only { "ro" } else { "rw" })
            }
            Err(error) => error.to_owned(),
        }
    }

    #[test]
    fn short_forms() {
        #[rustfmt::skip]
        let table = [
            ("/a", " /a rw"), ("/anon", " /anon rw"), ("data:/d", "data /d rw"), ("./a:/b:ro", "./a /b ro"),
            ("~/x:/y:rw,z", "~/x /y rw"), ("v:/v", " v:/v rw"), ("C:\\a:/b", "C:\\a /b rw"),
            (":foo", "there is nothing between two colons"), ("/a::ro", "there is nothing between two colons"),
            ("/a:/b:ro:rw", "there are too many colons"), ("", "there is nothing"),
            ("data:/d:", "there is nothing between two colons"),
        ];
        for (text, parts) in table {
            assert_eq!(shown(text), parts, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn never_panics(text in "[a-cC:./~\\\\,é]{0,16}") {
            let _ = shown(&text);
            let _ = is_path(&text);
        }
    }
}
