//! Makes the paths of a document absolute.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::locate::clean;
use super::node::{Node, Value};
use super::remote;

/// Against what paths are resolved.
#[derive(Debug, Clone)]
pub(super) struct Base {
    pub(super) dir: PathBuf,
    pub(super) home: Option<PathBuf>,
}

impl Base {
    /// `text` as an absolute path; absolute paths stay as they are.
    pub(super) fn path(&self, text: &str) -> String {
        if text.is_empty() {
            return String::new();
        }
        let expanded = self.expand_home(text);
        if expanded.is_absolute() {
            return expanded.to_string_lossy().into_owned();
        }
        clean(&self.dir.join(expanded)).to_string_lossy().into_owned()
    }

    fn expand_home(&self, text: &str) -> PathBuf {
        // Any `~` is the home of the caller, here as in docker compose.
        match (text.strip_prefix('~'), &self.home) {
            (Some(rest), Some(home)) => clean(&home.join(rest.trim_start_matches('/'))),
            _ => PathBuf::from(text),
        }
    }

    /// The context of a build: a directory, a URL or a service.
    fn context(&self, text: &str) -> String {
        if is_remote(text) { text.to_owned() } else { self.path(text) }
    }
}

fn is_remote(context: &str) -> bool {
    ["https://", "http://", "git://", "ssh://", "github.com/", "git@", "service:"]
        .iter()
        .any(|prefix| context.starts_with(prefix))
        || context.contains("://")
}

/// Makes all paths below the top level absolute.
pub(super) fn resolve(project: &mut Node, base: &Base) {
    let Some(project) = project.as_map_mut() else { return };
    each(project.get_mut("services"), |service| resolve_service(service, base));
    for kind in ["secrets", "configs"] {
        each(project.get_mut(kind), |file| text(file, &["file"], |path| base.path(path)));
    }
    each(project.get_mut("volumes"), |volume| resolve_volume(volume, base));
}

/// Makes all paths of a service absolute.
pub(super) fn resolve_service(service: &mut Node, base: &Base) {
    let path = |text: &str| base.path(text);
    text(service, &["build", "context"], |context| base.context(context));
    each(at(service, &["build", "additional_contexts"]), |context| {
        text(context, &[], |context| base.context(context));
    });
    each(at(service, &["build", "ssh"]), |key| text(key, &[], path));
    items(at(service, &["env_file"]), |file| text(file, &["path"], path));
    items(at(service, &["label_file"]), |file| text(file, &[], path));
    text(service, &["extends", "file"], |file| {
        if remote::is_remote(file) { file.to_owned() } else { base.path(file) }
    });
    items(at(service, &["develop", "watch"]), |rule| text(rule, &["path"], path));
    items(at(service, &["volumes"]), |mount| {
        if mount.get("type").and_then(Node::as_str) == Some("bind") {
            text(mount, &["source"], |source| bind_source(source, base));
        }
    });
}

fn bind_source(source: &str, base: &Base) -> String {
    if is_windows_path(source) { source.to_owned() } else { base.path(source) }
}

/// `C:\…`, `C:/…` or `\\…`; anything else, `C:x` too, is relative to the project.
fn is_windows_path(text: &str) -> bool {
    let mut chars = text.chars();
    match chars.next() {
        Some('\\') => text.starts_with("\\\\"),
        Some(letter) => {
            letter.is_alphabetic()
                && chars.next() == Some(':')
                && matches!(chars.next(), Some('\\' | '/'))
        }
        None => false,
    }
}

/// The local driver can bind a directory: `o: bind` and `device: ./data`.
fn resolve_volume(volume: &mut Node, base: &Base) {
    let driver = volume.get("driver").and_then(Node::as_str);
    let options = volume.get("driver_opts").and_then(|options| options.get("o"));
    let binds = options.and_then(Node::as_str) == Some("bind");
    if binds && driver == Some("local") {
        let dir = || base.dir.to_string_lossy().into_owned();
        text(volume, &["driver_opts", "device"], |device| {
            if device.is_empty() { dir() } else { base.path(device) }
        });
    }
}

fn at<'n>(node: &'n mut Node, path: &[&str]) -> Option<&'n mut Node> {
    path.iter().try_fold(node, |node, key| node.as_map_mut()?.get_mut(key))
}

fn each(map: Option<&mut Node>, mut change: impl FnMut(&mut Node)) {
    if let Some(map) = map.and_then(Node::as_map_mut) {
        map.iter_mut().for_each(|(_, entry)| change(&mut entry.node));
    }
}

fn items(list: Option<&mut Node>, change: impl FnMut(&mut Node)) {
    if let Some(list) = list {
        list.items_mut().iter_mut().for_each(change);
    }
}

fn text(node: &mut Node, path: &[&str], change: impl FnOnce(&str) -> String) {
    if let Some(node) = at(node, path)
        && let Value::Text(text) = &node.value
    {
        node.value = Value::Text(Arc::from(change(text)));
    }
}

/// The directory of a file.
pub(super) fn directory(file: &Path) -> PathBuf {
    file.parent().unwrap_or(Path::new("/")).to_owned()
}
