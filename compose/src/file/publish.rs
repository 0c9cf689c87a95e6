//! The files of a project as `publish` gives them away: each as it was written, except for the names of files that
//! come along, which are those that they have in the artifact.
//!
//! Nothing is filled in: what variables stand for is for whoever uses the project to say.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::artifact::Role;
use super::canonical::Variables;
use super::environment::Environment;
use super::include;
use super::interpolate::interpolate;
use super::locate::{self, Located};
use super::node::Node;
use super::paths::{self, Base};
use super::read::Reader;
use super::remote::{self, Remotes};
use super::report::Report;
use super::source::{FileId, Span};
use super::trace::Cause;
use super::{LoadOptions, text, yaml};
use crate::diagnostic::{Diagnostic, Label};

/// A file that goes into the artifact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishedFile {
    /// Where it is.
    pub path: PathBuf,
    /// What it is called in the artifact.
    pub name: String,
    /// What it is for.
    pub role: Role,
    /// What is in it.
    pub text: String,
}

/// The files of a project that go into the artifact.
#[derive(Debug)]
pub struct Published {
    /// Compose files in the order in which they are merged, then those that are extended, then files of variables.
    pub files: Vec<PublishedFile>,
    /// Where files of environment variables are named.
    pub env_files: Vec<Label>,
}

/// The files of the project.
///
/// # Errors
///
/// What cannot be published, such as the `include` of a local file, at its place.
pub fn published(options: &LoadOptions) -> Result<Published, Vec<Diagnostic>> {
    let mut report = Report::default();
    let Some(located) = locate::locate(&mut report, options) else {
        return Err(report.into_diagnostics());
    };
    let mut publisher = Publisher::new(&mut report, &located);
    for path in &located.files {
        publisher.take(path, Role::Compose, &located.project_dir, None);
    }
    while let Some((path, place)) = publisher.open.pop() {
        let dir = paths::directory(&path);
        publisher.take(&path, Role::Extended, &dir, Some(place));
    }
    let Publisher { mut files, variables, env_files, .. } = publisher;
    for (path, place) in variables {
        match text::read(&path) {
            Ok(text) => {
                let name = name_of(&path, &located.project_dir, "env");
                files.push(PublishedFile { path, name, role: Role::Variables, text });
            }
            // One that need not be there, or of a service that nobody extends.
            Err(_) if !path.exists() => {}
            Err(error) => {
                text::refuse(&mut report, error, Some(place), None);
            }
        }
    }
    if report.has_errors() {
        return Err(report.into_diagnostics());
    }
    let env_files = env_files.into_iter().map(|span| report.sources.label(span, "")).collect();
    Ok(Published { files, env_files })
}

/// What a file with this path is called in the artifact: the same on every machine that has the project.
fn name_of(path: &Path, project_dir: &Path, ending: &str) -> String {
    let known = path.strip_prefix(project_dir).unwrap_or(path);
    let hash = Sha256::digest(known.as_os_str().as_encoded_bytes());
    let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{hex}.{ending}")
}

struct Publisher<'r> {
    reader: Reader<'r>,
    environment: &'r Environment,
    project_dir: &'r Path,
    files: Vec<PublishedFile>,
    /// Files that are extended and not read yet, and what names them.
    open: Vec<(PathBuf, Span)>,
    /// Files that are extended.
    extended: HashSet<PathBuf>,
    variables: BTreeMap<PathBuf, Span>,
    env_files: Vec<Span>,
}

/// The value of a key that names a file, and what the file is for.
struct Named {
    node: Node,
    role: Role,
    is_environment: bool,
}

impl<'r> Publisher<'r> {
    fn new(report: &'r mut Report, located: &'r Located) -> Self {
        let environment = &located.environment;
        let reader = Reader {
            report,
            variables: Variables::Kept,
            home: environment.get("HOME").map(PathBuf::from),
            remotes: Remotes::default(),
            extended: HashMap::new(),
            circular: HashSet::new(),
            ahead: HashMap::new(),
            granted: HashMap::new(),
        };
        Self {
            reader,
            environment,
            project_dir: &located.project_dir,
            files: Vec::new(),
            open: Vec::new(),
            extended: HashSet::new(),
            variables: BTreeMap::new(),
            env_files: Vec::new(),
        }
    }

    /// Takes a compose file, with other names for the files that it names, which are relative to `dir`.
    fn take(&mut self, path: &Path, role: Role, dir: &Path, named: Option<Span>) {
        let Some(file) = self.reader.open(path, named.map(Cause::Extends).as_ref()) else { return };
        let base = Base { dir: dir.to_owned(), home: self.reader.home.clone() };
        let mut edits: BTreeMap<(u32, u32), String> = BTreeMap::new();
        for document in yaml::documents(self.reader.report, file) {
            self.refuse_includes(&document);
            for named in named_files(&document) {
                if let Some(name) = self.rename(&named, &base) {
                    let (_, start, end) = named.node.span.bytes();
                    edits.insert((start, end), name);
                }
            }
        }
        let text = self.edited(file, &edits);
        let name = match role {
            Role::Compose => path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            _ => name_of(path, self.project_dir, "yaml"),
        };
        self.files.push(PublishedFile { path: path.to_owned(), name, role, text });
    }

    fn refuse_includes(&mut self, document: &Node) {
        let is_local = |path: &&Node| path.as_str().is_some_and(|text| !remote::is_remote(text));
        for path in include::named(document).filter(is_local) {
            self.reader
                .report
                .error(path.span, "a project that includes local files cannot be published")
                .help("publish what is included by itself and include it as `oci://…`, or merge it into this file");
        }
    }

    /// The name that a file gets; nothing for one that stays where it is.
    fn rename(&mut self, named: &Named, base: &Base) -> Option<String> {
        let mut node = named.node.clone();
        let mut scratch = self.reader.report.scratch();
        interpolate(&mut scratch, self.environment, &mut node);
        let text = node.as_str()?;
        if remote::is_remote(text) {
            return None;
        }
        let path = PathBuf::from(base.path(text));
        let place = named.node.span;
        if named.role == Role::Extended {
            // One that is missing belongs to a service that nobody extends.
            if !path.exists() {
                return None;
            }
            if self.extended.insert(path.clone()) {
                self.open.push((path.clone(), place));
            }
            return Some(name_of(&path, self.project_dir, "yaml"));
        }
        if named.is_environment {
            self.env_files.push(place);
        }
        let name = name_of(&path, self.project_dir, "env");
        self.variables.entry(path).or_insert(place);
        Some(name)
    }

    /// The text of a file with other names in it.
    fn edited(&mut self, file: FileId, edits: &BTreeMap<(u32, u32), String>) -> String {
        let text = self.reader.report.sources.text(file).clone();
        let mut edited = String::with_capacity(text.len());
        let mut from = 0;
        for ((start, end), name) in edits {
            let (start, end) = (*start as usize, *end as usize);
            edited.push_str(text.get(from..start).unwrap_or_default());
            edited.push_str(name);
            from = end;
        }
        edited.push_str(text.get(from..).unwrap_or_default());
        self.check(file, &edited, edits);
        edited
    }

    /// What is given away has the names that it should have, however oddly they were written.
    fn check(&mut self, file: FileId, edited: &str, edits: &BTreeMap<(u32, u32), String>) {
        let mut scratch = Report::default();
        let again = scratch.sources.add(Path::new(""), edited, None);
        let documents = yaml::documents(&mut scratch, again);
        let found: Vec<Named> = documents.iter().flat_map(named_files).collect();
        let is_there = |name: &String| found.iter().any(|one| one.node.as_str() == Some(name));
        if let Some(((start, end), _)) = edits.iter().find(|(_, name)| !is_there(name)) {
            let place = Span { start: *start, end: *end, ..file.start() };
            self.reader
                .report
                .error(place, "this name of a file cannot be replaced by the one it gets")
                .help("write it on one line, without an anchor or a tag");
        }
    }
}

/// All values of a document that name other files of a service.
fn named_files(document: &Node) -> Vec<Named> {
    let mut found = Vec::new();
    let services = document.get("services").into_iter().flat_map(Node::entries);
    for (_, entry) in services {
        let service = &entry.node;
        if let Some(file) = service.get("extends").and_then(|extends| extends.get("file")) {
            let (node, role) = (file.clone(), Role::Extended);
            found.push(Named { node, role, is_environment: false });
        }
        for (key, is_environment) in [("env_file", true), ("label_file", false)] {
            let files = service.get(key).map(Node::one_or_more).unwrap_or_default();
            for file in files {
                let (node, role) = (file.get("path").unwrap_or(file).clone(), Role::Variables);
                found.push(Named { node, role, is_environment });
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn files(texts: &[(&str, &str)]) -> Result<Vec<PublishedFile>, Vec<Diagnostic>> {
        let root = tempfile::tempdir().unwrap();
        for (name, text) in texts {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let options = LoadOptions { working_dir: root.path().to_owned(), ..LoadOptions::default() };
        published(&options).map(|published| published.files)
    }

    fn hashed(name: &str, ending: &str) -> String {
        name_of(Path::new(name), Path::new("/nowhere"), ending)
    }

    #[test]
    fn names_of_files_are_replaced_however_they_are_written() {
        let written = "services:\n  a:\n    extends: {file: sub/base.yaml, service: b} # why\n    env_file: [one.env, {path: '${X:-two}.env', required: false}]\n  b:\n    extends: {service: a}\n    env_file: \"one.env\"\n    label_file: labels\n";
        let found = files(&[
            ("compose.yaml", written),
            ("sub/base.yaml", "services: {b: {env_file: own.env, extends: {file: ../top.yaml, service: c}}, other: {extends: {file: gone.yaml, service: x}}}"),
            ("top.yaml", "services: {c: {image: i}}"),
            ("one.env", "A=1"),
            ("sub/own.env", "B=1"),
            ("labels", "c=1"),
        ])
        .unwrap();
        let names: Vec<(&str, Role)> =
            found.iter().map(|file| (file.name.as_str(), file.role)).collect();
        let [base, top] = ["sub/base.yaml", "top.yaml"].map(|name| hashed(name, "yaml"));
        let [one, own, labels] =
            ["one.env", "sub/own.env", "labels"].map(|name| hashed(name, "env"));
        assert_eq!(
            names,
            [
                ("compose.yaml", Role::Compose),
                (&*base, Role::Extended),
                (&*top, Role::Extended),
                (&*labels, Role::Variables),
                (&*one, Role::Variables),
                (&*own, Role::Variables),
            ]
        );
        let expected = written
            .replace("sub/base.yaml", &base)
            .replace("\"one.env\"", &one)
            .replace("one.env", &one)
            .replace("'${X:-two}.env'", &hashed("two.env", "env"))
            .replace("file: labels", &format!("file: {labels}"));
        assert_eq!(found[0].text, expected);
        assert!(found[1].text.contains(&own) && found[1].text.contains(&top), "{}", found[1].text);
        assert!(found[1].text.contains("gone.yaml"), "nobody extends that");
    }

    #[test]
    fn an_include_of_a_local_file_is_refused_and_one_from_elsewhere_stays() {
        let text = "include: ['oci://h/r', a.yaml, {path: [b.yaml]}]\nservices: {}\n";
        let found = files(&[("compose.yaml", text)]).unwrap_err();
        assert_eq!(found.len(), 2, "{found:?}");
        let text = "include: ['oci://h/r']\nservices: {}\n";
        assert_eq!(files(&[("compose.yaml", text)]).unwrap()[0].text, text);
    }

    #[test]
    fn a_name_behind_an_alias_is_replaced_once() {
        let text = "x-f: &f base.yaml\nservices:\n  a: {extends: {file: *f, service: b}}\n  c: {extends: {file: *f, service: b}}\n";
        let base = ("base.yaml", "services: {b: {image: i}}");
        let found = files(&[("compose.yaml", text), base]).unwrap();
        let expected = text.replace("base.yaml", &hashed("base.yaml", "yaml"));
        assert_eq!(found[0].text, expected);
    }
}
