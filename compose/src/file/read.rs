//! Reads the files of a project one after the other and merges them into one document.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::canonical::{self, Variables};
use super::environment::Environment;
use super::interpolate::interpolate;
use super::merge::{self, Merger};
use super::node::{Map, Node, Tag, Value};
use super::paths::Base;
use super::remote::{self, Remotes};
use super::report::Report;
use super::schema::{PROJECT, Shape};
use super::source::{FileId, Sources, Span};
use super::trace::Cause;
use super::{complete, env_file, extends, include, locate, paths, text, yaml};

pub(super) static DOCUMENT: Shape = Shape::Object(&PROJECT);

/// What all files of a run share.
pub(super) struct Reader<'r> {
    pub(super) report: &'r mut Report,
    pub(super) variables: Variables,
    pub(super) home: Option<PathBuf>,
    pub(super) remotes: Remotes,
    /// The services of files that are extended, as they were written.
    pub(super) extended: HashMap<PathBuf, Option<Arc<Extended>>>,
    /// Services whose `extends` goes in a circle.
    pub(super) circular: HashSet<(PathBuf, Arc<str>)>,
    /// Documents that were read before they were needed.
    pub(super) ahead: HashMap<PathBuf, Vec<Node>>,
    pub(super) granted: Granted,
}

/// The services of a file that is extended.
#[derive(Debug)]
pub(super) struct Extended {
    pub(super) services: Map,
    /// It was not read to the end.
    pub(super) broken: bool,
}

/// The variables that secrets and configs of included files name, with the values that they have there: by the place at
/// which the name is written.
pub(super) type Granted = HashMap<(FileId, u32), String>;

/// What the files of one project, or of one include, share.
#[derive(Debug, Clone)]
pub(super) struct Scope {
    /// Against this directory paths are resolved.
    pub(super) dir: PathBuf,
    /// The variables.
    pub(super) environment: Arc<Environment>,
    /// The files that led here through `include`, the first first.
    pub(super) chain: Vec<PathBuf>,
}

impl Reader<'_> {
    /// Reads `files` and merges them, the later over the earlier. Nothing if nothing could be read.
    pub(super) fn files(
        &mut self,
        files: &[PathBuf],
        scope: &Scope,
        from: Option<&Cause>,
    ) -> Option<Node> {
        let mut merged: Option<Node> = None;
        for path in files {
            for mut document in self.documents(path, from) {
                if let Some(earlier) = &merged {
                    remove_silent_services(&mut document, earlier);
                }
                let mut scope = scope.clone();
                scope.chain.push(path.clone());
                let Some(document) = self.document(document, path, &scope) else { continue };
                merged = Some(match merged {
                    Some(left) => self.merge(left, document, &DOCUMENT),
                    None => document,
                });
            }
        }
        let mut merged = merged?;
        merge::remove_reset(self.report, &mut merged);
        merge::deduplicate(self.report, &mut merged, &DOCUMENT);
        Some(merged)
    }

    /// Lays `right` over `left`.
    pub(super) fn merge(&mut self, left: Node, right: Node, shape: &Shape) -> Node {
        Merger { report: self.report, variables: self.variables }.merge(left, right, shape)
    }

    /// The documents of a file, as they were written. `from` is what names the file.
    pub(super) fn documents(&mut self, path: &Path, from: Option<&Cause>) -> Vec<Node> {
        if let Some(documents) = self.ahead.remove(path) {
            return documents;
        }
        match self.open(path, from) {
            Some(file) => yaml::documents(self.report, file),
            None => Vec::new(),
        }
    }

    pub(super) fn open(&mut self, path: &Path, from: Option<&Cause>) -> Option<FileId> {
        match text::read(path) {
            Ok(text) => Some(self.report.sources.add(path, text, from.cloned())),
            Err(error) => {
                let named = from.and_then(Cause::place);
                text::refuse(self.report, error, named, from.cloned());
                None
            }
        }
    }

    /// The file that `text` names: a path, or a file of a remote, which is fetched.
    pub(super) fn local(&mut self, text: &str, base: &Base, place: Span) -> Option<PathBuf> {
        if !remote::is_remote(text) {
            return Some(PathBuf::from(base.path(text)));
        }
        match self.remotes.fetch(text) {
            Ok(path) => Some(path),
            Err(error) => {
                let message = format!("cannot read {text}: {}", locate::chain(&error));
                self.report.error(place, message).help(error.help());
                None
            }
        }
    }

    fn document(&mut self, mut document: Node, path: &Path, scope: &Scope) -> Option<Node> {
        if document.as_map().is_none() {
            let message = format!("a compose file is a mapping, and this is {}", document.kind());
            self.report.error(document.span, message).help("begin with `services:`");
            return None;
        }
        if self.variables == Variables::FilledIn {
            interpolate(self.report, &scope.environment, &mut document);
        }
        self.obsolete_version(&mut document);
        self.services_of_nothing(&mut document);
        let includes = document.as_map_mut().and_then(|map| map.remove("include"));
        let mut document = canonical::canonical(self.report, self.variables, document, &DOCUMENT)?;
        if let Some(includes) = includes.filter(|includes| !includes.node.is_null()) {
            document = include::apply(self, document, includes.node, scope);
        }
        extends::apply(self, &mut document, path, scope);
        Some(document)
    }

    /// Unlike other keys this one has to say something even if another file says it.
    fn services_of_nothing(&mut self, document: &mut Node) {
        let Some(services) = document.as_map_mut().and_then(|map| map.get_mut("services")) else {
            return;
        };
        if services.is_null() && services.tag == Tag::None {
            complete::nothing(self.report, "services", services, "a mapping");
            services.value = Value::Map(Map::default());
        }
    }

    fn obsolete_version(&mut self, document: &mut Node) {
        let Some(version) = document.as_map_mut().and_then(|map| map.remove("version")) else {
            return;
        };
        if matches!(version.node.value, Value::Text(_)) {
            self.report
                .warning(version.key, "the attribute `version` is obsolete and will be ignored")
                .help("remove it");
        } else {
            let written = self.report.sources.slice(version.node.span).to_owned();
            self.report
                .error(version.node.span, "`version` must be a string")
                .help(format!("remove it, or write \"{written}\""));
        }
    }

    /// Fills in the variables of `environment` that have no value, and makes paths absolute.
    pub(super) fn settle(&mut self, project: &mut Node, scope: &Scope, resolve_paths: bool) {
        if self.variables == Variables::FilledIn {
            bare_variables(&mut self.report.sources, project, &scope.environment);
        }
        if resolve_paths {
            let base = Base { dir: scope.dir.clone(), home: self.home.clone() };
            paths::resolve(project, &base);
        }
    }
}

/// Takes out the services of which nothing is said, if `earlier` says something of them.
fn remove_silent_services(document: &mut Node, earlier: &Node) {
    let services = document.as_map_mut().and_then(|map| map.get_mut("services"));
    let Some(services) = services.and_then(Node::as_map_mut) else { return };
    let Some(known) = earlier.get("services").and_then(Node::as_map) else { return };
    services.retain(|name, service| {
        !service.is_null() || service.tag != Tag::None || !known.contains(name)
    });
}

/// Gives the keys of `environment` and `build.args` that have no value that of the environment.
fn bare_variables(sources: &mut Sources, project: &mut Node, environment: &Environment) {
    let Some(services) = project.as_map_mut().and_then(|map| map.get_mut("services")) else {
        return;
    };
    let Some(services) = services.as_map_mut() else { return };
    for (_, entry) in services.iter_mut() {
        let Some(service) = entry.node.as_map_mut() else { continue };
        if let Some(variables) = service.get_mut("environment") {
            env_file::fill_bare(sources, variables, environment);
        }
        if let Some(build) = service.get_mut("build").and_then(Node::as_map_mut)
            && let Some(arguments) = build.get_mut("args")
        {
            env_file::fill_bare(sources, arguments, environment);
        }
    }
}
