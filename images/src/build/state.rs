//! What a stage is at one point: its layers, its configuration, its arguments.

use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use oci_spec::image::{Descriptor, MediaType};
use serde_json::{Map, Value, json};

use super::cache::{CachedLayer, StepRecord};
use super::dockerfile::{Command, Health, HealthKind};
use super::tree::field;
use crate::change;
use crate::digest::{Digest, Hasher};
use crate::image::DEFAULT_PATH;
use crate::manifest::canonical;
use crate::platform::Platform;
use crate::store::index::descriptor;

/// The shell of lines, unless `SHELL` says otherwise.
const SHELL: [&str; 2] = ["/bin/sh", "-c"];

/// A stage at one point.
#[derive(Debug, Clone, Default)]
pub(super) struct State {
    /// The document of the image, without `config`, `rootfs` and `history`.
    pub(super) document: Map<String, Value>,
    /// Its key `config`.
    pub(super) config: Map<String, Value>,
    /// What `history` has.
    pub(super) history: Vec<Value>,
    /// Digests of the uncompressed layers, lowest first.
    pub(super) diff_ids: Vec<Digest>,
    /// The layers as the manifest names them, lowest first.
    pub(super) layers: Vec<Descriptor>,
    /// The directories of the unpacked layers, topmost first.
    pub(super) directories: Vec<PathBuf>,
    /// The arguments that were declared and have a value.
    pub(super) args: HashMap<String, String>,
    /// When its last layer was made.
    pub(super) created: Option<Timestamp>,
    /// Whether `CMD` was set in this stage, and not by the base.
    pub(super) has_command: bool,
}

impl State {
    /// What it is for.
    pub(super) fn platform(&self) -> Platform {
        let text = |key: &str| self.document.get(key).and_then(Value::as_str).unwrap_or_default();
        Platform::new(text("os"), text("architecture"))
    }

    /// Everything of the root file system, in one digest.
    pub(super) fn chain(&self) -> Digest {
        let mut hasher = Hasher::default();
        for diff_id in &self.diff_ids {
            field(&mut hasher, diff_id.as_bytes());
        }
        hasher.finish().0
    }

    /// Variables for words: arguments, and the environment over them.
    pub(super) fn variables(&self) -> HashMap<String, String> {
        let mut all = self.args.clone();
        all.extend(self.env());
        all
    }

    /// The environment, in order.
    pub(super) fn env(&self) -> Vec<(String, String)> {
        let entries = self.list("Env");
        let pair = |entry: &String| {
            let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
            (name.to_owned(), value.to_owned())
        };
        entries.iter().map(pair).collect()
    }

    /// With the usual `PATH` if there is none, as docker begins every stage: `ENV PATH=/app:$PATH` keeps the rest.
    pub(super) fn with_search_path(mut self) -> Self {
        let (name, value) = DEFAULT_PATH.split_once('=').unwrap_or_default();
        if self.env().iter().all(|(known, _)| known != name) {
            self.set_env(name, value);
        }
        self
    }

    pub(super) fn set_env(&mut self, name: &str, value: &str) {
        let mut env = self.env();
        match env.iter_mut().find(|(known, _)| known == name) {
            Some((_, old)) => value.clone_into(old),
            None => env.push((name.to_owned(), value.to_owned())),
        }
        let entries: Vec<String> =
            env.iter().map(|(name, value)| format!("{name}={value}")).collect();
        self.set("Env", json!(entries));
    }

    pub(super) fn list(&self, key: &str) -> Vec<String> {
        let items = self.config.get(key).and_then(Value::as_array);
        items.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    }

    pub(super) fn text(&self, key: &str) -> String {
        self.config.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
    }

    pub(super) fn set(&mut self, key: &str, value: Value) {
        self.config.insert(key.to_owned(), value);
    }

    /// Adds words as keys with an empty object, which is how ports and volumes are kept.
    pub(super) fn add_keys(&mut self, key: &str, words: impl IntoIterator<Item = String>) {
        let entry = self.config.entry(key).or_insert_with(|| json!({}));
        if !entry.is_object() {
            *entry = json!({});
        }
        if let Some(map) = entry.as_object_mut() {
            map.extend(words.into_iter().map(|word| (word, json!({}))));
        }
    }

    pub(super) fn add_label(&mut self, name: &str, value: &str) {
        let entry = self.config.entry("Labels").or_insert_with(|| json!({}));
        if !entry.is_object() {
            *entry = json!({});
        }
        entry[name] = json!(value);
    }

    /// The shell of lines.
    pub(super) fn shell(&self) -> Vec<String> {
        let shell = self.list("Shell");
        if shell.is_empty() { SHELL.map(str::to_owned).to_vec() } else { shell }
    }

    /// A command as a list.
    pub(super) fn command(&self, command: &Command) -> Vec<String> {
        match command {
            Command::Exec(words) => words.clone(),
            Command::Shell(line) => [self.shell(), vec![line.clone()]].concat(),
        }
    }

    /// The working directory.
    pub(super) fn directory(&self) -> PathBuf {
        let directory = self.text("WorkingDir");
        join(Path::new("/"), &directory)
    }

    /// A path as seen from the working directory; a slash at its end stays.
    pub(super) fn absolute(&self, path: &str) -> String {
        let joined = join(&self.directory(), path).display().to_string();
        let is_directory =
            path.ends_with('/') || path.ends_with("/.") || path == "." || path.is_empty();
        if is_directory && joined != "/" { format!("{joined}/") } else { joined }
    }

    pub(super) fn set_health(&mut self, health: &Health) {
        let test = match &health.kind {
            HealthKind::None => vec!["NONE".to_owned()],
            HealthKind::Command(Command::Shell(line)) => vec!["CMD-SHELL".to_owned(), line.clone()],
            HealthKind::Command(Command::Exec(words)) => {
                [vec!["CMD".to_owned()], words.clone()].concat()
            }
        };
        let mut value = json!({ "Test": test });
        let times = [
            ("Interval", health.interval),
            ("Timeout", health.timeout),
            ("StartPeriod", health.start_period),
            ("StartInterval", health.start_interval),
        ];
        for (key, time) in times {
            if let Some(time) = time {
                let nanoseconds = u64::try_from(Duration::as_nanos(&time)).unwrap_or(u64::MAX);
                value[key] = json!(nanoseconds);
            }
        }
        if let Some(retries) = health.retries {
            value["Retries"] = json!(retries);
        }
        self.set("Healthcheck", value);
    }

    /// Notes an instruction that changes no file.
    pub(super) fn note(&mut self, source: &str) {
        let mut entry = json!({ "created_by": source, "empty_layer": true, "comment": COMMENT });
        if let Some(created) = self.created {
            entry["created"] = json!(created.to_string());
        }
        self.history.push(entry);
    }

    /// Adds what a step has made.
    pub(super) fn add_step(
        &mut self,
        source: &str,
        record: &StepRecord,
        directory: Option<PathBuf>,
    ) {
        let Some(CachedLayer { diff_id, blob, blob_size }) = record.layer else {
            return self.note(source);
        };
        self.created = Some(record.created);
        self.diff_ids.push(diff_id);
        self.layers.push(descriptor(MediaType::ImageLayerZstd, blob_size, blob));
        if let Some(directory) = directory {
            self.push_directory(directory);
        }
        self.history.push(json!({
            "created": record.created.to_string(), "created_by": source, "comment": COMMENT,
        }));
    }

    /// Puts a layer on top. Overlayfs refuses the same directory twice, and the lower one of two equal layers changes
    /// nothing.
    pub(super) fn push_directory(&mut self, directory: PathBuf) {
        self.directories.retain(|known| *known != directory);
        self.directories.insert(0, directory);
    }

    /// The document of the image.
    pub(super) fn configuration(&self, latest: Option<i64>) -> Vec<u8> {
        let mut document = self.document.clone();
        let clamped = |created: Timestamp| match latest
            .and_then(|latest| Timestamp::from_second(latest).ok())
        {
            Some(latest) => created.min(latest),
            None => created,
        };
        let created = self.created.map(clamped).or_else(|| Timestamp::from_second(latest?).ok());
        match created {
            Some(created) => document.insert("created".to_owned(), json!(created.to_string())),
            None => document.remove("created"),
        };
        let mut history = self.history.clone();
        for entry in &mut history {
            let time =
                entry.get("created").and_then(Value::as_str).and_then(|text| text.parse().ok());
            if let Some(time) = time {
                entry["created"] = json!(clamped(time).to_string());
            }
        }
        let diff_ids: Vec<String> = self.diff_ids.iter().map(Digest::to_string).collect();
        document.insert("config".to_owned(), Value::Object(self.config.clone()));
        document.insert("rootfs".to_owned(), json!({ "type": "layers", "diff_ids": diff_ids }));
        document.insert("history".to_owned(), Value::Array(history));
        canonical(Value::Object(document))
    }
}

const COMMENT: &str = "compose";

/// Joins paths of a container: without `.` and `..`.
pub(super) fn join(directory: &Path, path: &str) -> PathBuf {
    let mut out = PathBuf::from("/");
    for part in directory.join(path).components() {
        match part {
            Component::Normal(name) => out.push(name),
            Component::ParentDir => {
                out.pop();
            }
            _ => {}
        }
    }
    out
}

/// The ports of a word of `EXPOSE`.
pub(super) fn ports(word: &str) -> Result<Vec<String>, change::ChangeError> {
    change::parse_ports(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_seen_from_the_working_directory() {
        let mut state = State::default();
        #[rustfmt::skip]
        let table = [
            ("", "a", "/a"), ("/srv", "a/", "/srv/a/"), ("/srv", "/a/../b", "/b"), ("/srv", ".", "/srv/"),
            ("/srv", "./", "/srv/"), ("/srv", "../..", "/"), ("", "/", "/"), ("/srv", "x/.", "/srv/x/"),
        ];
        for (directory, path, expected) in table {
            state.set("WorkingDir", json!(directory));
            assert_eq!(state.absolute(path), expected, "{path} in {directory}");
        }
    }

    #[test]
    fn the_environment_goes_before_arguments_and_keeps_its_order() {
        let args =
            HashMap::from([("A".to_owned(), "arg".to_owned()), ("B".to_owned(), "arg".to_owned())]);
        let mut state = State { args, ..State::default() };
        state.set_env("A", "env");
        state.set_env("C", "x=y");
        state.set_env("A", "new");
        assert_eq!(state.list("Env"), ["A=new", "C=x=y"]);
        assert_eq!(state.variables()["A"], "new");
        assert_eq!(state.variables()["B"], "arg");
    }
}
