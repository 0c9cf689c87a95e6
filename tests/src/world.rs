//! What exists of a project outside of its files: the things that must be gone after `down`.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Everything that a project may leave behind, each as a line that one can read.
///
/// Only what belongs to this stage is looked at, because other scenarios run at the same time: its namespaces, its roots, and
/// what bears the name of its project.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct World {
    things: BTreeSet<String>,
}

impl World {
    /// Looks at the world from the calling thread.
    pub fn observe(project: &str, roots: &Path) -> Self {
        let mut things = BTreeSet::new();
        things.extend(
            processes(project, roots)
                .into_iter()
                .map(|(pid, words)| format!("process {pid}: {words}")),
        );
        things.extend(mounts().map(|mount| format!("mount {mount}")));
        things.extend(links().map(|link| format!("link {link}")));
        things.extend(lines("ip", &["-o", "addr"]).map(|address| format!("address {address}")));
        things.extend(
            lines("ip", &["route", "show", "table", "all"]).map(|route| format!("route {route}")),
        );
        things.extend(lines("ip", &["rule"]).map(|rule| format!("rule {rule}")));
        things.extend(listeners().map(|listener| format!("listener {listener}")));
        things.extend(
            groups(project).into_iter().map(|group| format!("control group {}", group.display())),
        );
        things.extend(files(roots).into_iter().map(|file| format!("file {}", file.display())));
        Self { things }
    }

    /// What is here and was not there `before`, one thing a line.
    pub fn beyond(&self, before: &Self) -> String {
        self.things.difference(&before.things).fold(String::new(), |mut text, thing| {
            let _infallible = writeln!(text, "  {thing}");
            text
        })
    }
}

/// The processes of a project, by control group, by words, and by environment.
pub fn processes(project: &str, roots: &Path) -> Vec<(i32, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        let file = |name: &str| {
            String::from_utf8_lossy(&fs::read(entry.path().join(name)).unwrap_or_default())
                .replace('\0', " ")
        };
        let words = file("cmdline");
        let ours = file("cgroup").contains(&format!("/{project}/"))
            || words.split(' ').any(|word| word == project)
            || file("environ").contains(&roots.display().to_string());
        // A client of the scenario that is on its way out is not the project's.
        if ours && pid != std::process::id().cast_signed() && !words.is_empty() {
            found.push((pid, words.trim().to_owned()));
        }
    }
    found
}

fn mounts() -> impl Iterator<Item = String> {
    let text = fs::read_to_string("/proc/thread-self/mountinfo").unwrap_or_default();
    // Without the ids: a mount that went and came back is no leak.
    let rows = text.lines().map(|line| line.splitn(4, ' ').nth(3).unwrap_or_default().to_owned());
    rows.collect::<Vec<_>>().into_iter()
}

fn lines(program: &str, words: &[&str]) -> impl Iterator<Item = String> {
    let output =
        Command::new(program).args(words).output().map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&output).lines().map(str::to_owned).collect::<Vec<_>>().into_iter()
}

/// Index and name; the state of a link changes by itself.
fn links() -> impl Iterator<Item = String> {
    lines("ip", &["-o", "link"]).map(|link| link.split(": ").take(2).collect::<Vec<_>>().join(" "))
}

/// Sockets that wait for peers: TCP in state LISTEN (0A), UDP unconnected (07). proc_net(5).
fn listeners() -> impl Iterator<Item = String> {
    let mut found = Vec::new();
    for (table, state) in [("tcp", "0A"), ("tcp6", "0A"), ("udp", "07"), ("udp6", "07")] {
        let text = fs::read_to_string(format!("/proc/thread-self/net/{table}")).unwrap_or_default();
        for line in text.lines().skip(1) {
            let fields: Vec<_> = line.split_whitespace().collect();
            if let (Some(local), Some(&current)) = (fields.get(1), fields.get(3))
                && current == state
            {
                found.push(format!("{table} {local}"));
            }
        }
    }
    found.into_iter()
}

/// Control groups with the name of the project, in all hierarchies.
fn groups(project: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::from("/sys/fs/cgroup")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                if entry.file_name().to_str() == Some(project) {
                    found.push(entry.path());
                } else {
                    folders.push(entry.path());
                }
            }
        }
    }
    found
}

/// Files below the roots but those that a store keeps: images, compiled filters, locks, the records of volumes.
fn files(roots: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![roots.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
            let kept = ["data/images", "data/cache", "data/volumes"]
                .iter()
                .any(|kept| path == roots.join(kept));
            if kept || name.ends_with("lock") {
                continue;
            }
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push(path);
            } else {
                found.push(path);
            }
        }
    }
    found
}
