//! The merged document: everything that the files say, in the long form, before it is typed.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value as Json;

use crate::diagnostic::Diagnostic;
use crate::model::{FileSource, Project};

use super::canonical::Variables;
use super::env_file::Required;
use super::interpolate;
use super::locate::{self, Located};
use super::node::{Map, Node};
use super::paths::Base;
use super::printed::{Piece, Printed};
use super::read::{DOCUMENT, Granted, Reader, Scope};
use super::remote::Remotes;
use super::render::{self, Nulls};
use super::report::Report;
use super::source::{Sources, Span};
use super::template::Mention;
use super::{LoadOptions, Loaded, Skip, check, complete, env_file, normalize, resolve, select};

/// Everything that the files of a project say, merged and in the long form.
#[derive(Debug)]
pub struct Document {
    pub(super) sources: Sources,
    pub(super) tree: Node,
    pub(super) disabled: Map,
    pub(super) name: String,
    pub(super) files: Vec<PathBuf>,
    pub(super) dir: PathBuf,
    pub(super) environment: BTreeMap<String, String>,
    pub(super) granted: Granted,
    skip: Skip,
    warnings: Vec<Diagnostic>,
}

/// A variable that the files mention.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// The files cannot be read without it.
    pub required: bool,
    /// What stands in for it where it is not set.
    pub default: String,
    /// What stands there where it is set.
    pub alternate: String,
}

impl Document {
    /// Reads and merges the files of a project.
    ///
    /// # Errors
    ///
    /// All that is wrong with the files, in their order, warnings included.
    pub fn read(options: &LoadOptions) -> Result<Self, Vec<Diagnostic>> {
        let mut report = Report::default();
        let document = read(&mut report, options);
        if !report.has_errors()
            && let Some(document) = document
        {
            let (sources, warnings) = report.into_parts();
            return Ok(Self { sources, warnings, ..document });
        }
        if let Some(document) = document {
            // What one phase finds does not hide what the next one would.
            report.doubt(|report| resolve::check(report, &document));
        }
        Err(report.into_diagnostics())
    }

    /// What would keep the project from starting, although the document is well-formed.
    pub fn doubts(&self) -> Vec<Diagnostic> {
        let mut report = Report::over(self.sources.clone());
        resolve::check(&mut report, self);
        report.into_diagnostics()
    }

    /// What is odd about the files.
    pub fn warnings(&self) -> &[Diagnostic] {
        &self.warnings
    }

    /// The name of the project.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The variables with which the files were filled in.
    pub fn environment(&self) -> &BTreeMap<String, String> {
        &self.environment
    }

    /// What `config` prints: the whole document, each object in the order of its table; by the
    /// order of keys if variables were not filled in.
    pub fn to_value(&self, nulls: Nulls) -> Printed<'_> {
        if self.skip.interpolation {
            return render::written(&self.tree, nulls);
        }
        render::document(&self.tree, nulls)
    }

    /// How many bytes the files have from which it was read.
    pub fn read_bytes(&self) -> usize {
        self.sources.size()
    }

    /// What `config` prints as YAML, piece by piece: the same as [`Self::to_value`].
    pub fn pieces<'d>(&'d self, visit: &mut dyn FnMut(Piece<'d>)) {
        if !self.skip.interpolation {
            return render::pieces(&self.tree, visit);
        }
        if let Printed::Map(entries) = render::written(&self.tree, Nulls::Hidden) {
            entries.into_iter().for_each(|(key, value)| visit(Piece::Entry(key, value)));
        }
    }

    /// One service as `config` prints it in JSON; nothing if there is none of this name.
    pub fn service_value(&self, name: &str) -> Option<Json> {
        let service = self.tree.get("services")?.get(name)?;
        Some(render::service(service).into_json())
    }

    /// The keys of a top-level mapping (`services`, `volumes`, …) in the order of their names.
    pub fn keys(&self, kind: &str) -> Vec<String> {
        let entries = self.tree.get(kind).into_iter().flat_map(Node::entries);
        let names: BTreeSet<String> = entries.map(|(name, _)| name.to_string()).collect();
        names.into_iter().collect()
    }

    /// The images of all services; that of a service which is built has the service's name.
    pub fn images(&self) -> BTreeMap<String, String> {
        let services = self.tree.get("services").into_iter().flat_map(Node::entries);
        services
            .map(|(name, entry)| {
                let image = entry.node.get("image").and_then(Node::as_str);
                let image = image.map_or_else(|| format!("{}-{name}", self.name), str::to_owned);
                (name.to_string(), image)
            })
            .collect()
    }

    /// The models that services use, by what they are and not by their keys.
    pub fn models(&self) -> BTreeSet<String> {
        let models = self.tree.get("models").into_iter().flat_map(Node::entries);
        models
            .filter_map(|(_, entry)| Some(entry.node.get("model")?.as_str()?.to_owned()))
            .collect()
    }

    /// All profiles of all services, active or not.
    pub fn profiles(&self) -> BTreeSet<String> {
        let enabled = self.tree.get("services").into_iter().flat_map(Node::entries);
        let services = enabled.chain(self.disabled.iter());
        services
            .flat_map(|(_, entry)| entry.node.get("profiles").map(Node::items).unwrap_or_default())
            .filter_map(|profile| profile.as_str().map(str::to_owned))
            .collect()
    }

    /// The variables that the files mention, those that they include and extend among them.
    ///
    /// # Errors
    ///
    /// What keeps the files from being read.
    pub fn variables(options: &LoadOptions) -> Result<Vec<Variable>, Vec<Diagnostic>> {
        let mut report = Report::default();
        let skip = Skip { interpolation: true, normalization: true, ..options.skip };
        let document = read(&mut report, &LoadOptions { skip, ..options.clone() });
        let Some(document) = document.filter(|_| !report.has_errors()) else {
            return Err(report.into_diagnostics());
        };
        let mut found: BTreeMap<String, Mention> = BTreeMap::new();
        interpolate::mentioned(&document.tree, &mut found);
        let variable = |(name, Mention { required, default, alternate })| Variable {
            name,
            required,
            default,
            alternate,
        };
        Ok(found.into_iter().map(variable).collect())
    }
}

/// Reads the files of a project to the end: what one phase finds does not hide what the next one
/// would.
pub(super) fn load(options: &LoadOptions) -> Result<Loaded, Vec<Diagnostic>> {
    let mut report = Report::default();
    let document = read(&mut report, options);
    let project = document.and_then(|document| resolve::project(&mut report, &document));
    match project {
        Some(project) if !report.has_errors() => {
            let inputs = inputs(&report, &project);
            Ok(Loaded { project, warnings: report.into_diagnostics(), inputs })
        }
        _ => Err(report.into_diagnostics()),
    }
}

/// The files that make a project what it is.
fn inputs(report: &Report, project: &Project) -> BTreeSet<PathBuf> {
    let secrets = project.secrets.values().map(|secret| &secret.source);
    let sources = secrets.chain(project.configs.values().map(|config| &config.source));
    let granted = sources.filter_map(|source| match source {
        FileSource::File(path) => Some(path.as_path()),
        _ => None,
    });
    let read = report.sources.paths().filter(|path| path.is_absolute());
    read.chain(granted).map(Path::to_owned).collect()
}

fn reader<'r>(report: &'r mut Report, options: &LoadOptions, located: &Located) -> Reader<'r> {
    let variables = if options.skip.interpolation { Variables::Kept } else { Variables::FilledIn };
    Reader {
        report,
        variables,
        home: located.environment.get("HOME").map(PathBuf::from),
        remotes: Remotes::from_environment(&located.environment),
        extended: HashMap::new(),
        circular: HashSet::new(),
        ahead: HashMap::new(),
        granted: HashMap::new(),
    }
}

/// The documents of all files: the name of the project is needed before anything is filled in.
fn read_ahead(
    report: &mut Report,
    options: &LoadOptions,
    located: &Located,
) -> HashMap<PathBuf, Vec<Node>> {
    let mut reader = reader(report, options, located);
    let documents = |path: &PathBuf| (path.clone(), reader.documents(path, None));
    located.files.iter().map(documents).collect()
}

fn read(report: &mut Report, options: &LoadOptions) -> Option<Document> {
    let mut located = locate::locate(report, options)?;
    let ahead = read_ahead(report, options, &located);
    let name = project_name(report, options, &located, &ahead)?;
    located.environment.set("COMPOSE_PROJECT_NAME", name.as_str());
    let Located { files, project_dir, environment, .. } = &located;
    let scope = Scope {
        dir: project_dir.clone(),
        environment: Arc::new(environment.clone()),
        chain: Vec::new(),
    };
    let mut reader = reader(report, options, &located);
    reader.ahead = ahead;
    let merged = reader.files(files, &scope, None);
    let Some(mut tree) = merged.filter(|tree| tree.entries().next().is_some()) else {
        if !report.has_errors() {
            let list: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
            report
                .error_without_place(format!("{} is empty", list.join(", ")))
                .help("begin with `services:`");
        }
        return None;
    };
    reader.settle(&mut tree, &scope, false);
    let home = reader.home.clone();
    let granted = std::mem::take(&mut reader.granted);
    complete::defaults(&mut tree, reader.variables);
    complete::check(report, &tree, &DOCUMENT);
    if !options.skip.paths {
        let base = Base { dir: project_dir.clone(), home };
        super::paths::resolve(&mut tree, &base);
    }
    check::values(report, &tree);
    let disabled = finish(report, options, &mut tree, &located, &name);
    Some(Document {
        sources: Sources::default(),
        tree,
        disabled,
        name,
        files: located.files,
        dir: located.project_dir,
        environment: located.environment.into_values(),
        granted,
        skip: options.skip,
        warnings: Vec::new(),
    })
}

/// Normalises, selects services, checks, and reads the files of the services that are on.
fn finish(
    report: &mut Report,
    options: &LoadOptions,
    tree: &mut Node,
    located: &Located,
    name: &str,
) -> Map {
    let Located { profiles, environment, .. } = located;
    let span = tree.span;
    if let Some(map) = tree.as_map_mut() {
        let written = options.skip.normalization && located.name.is_none();
        let span = match map.get("name") {
            Some(written) if written.as_str() == Some(name) => written.span,
            _ => span.implied(),
        };
        if !written || !map.contains("name") {
            map.set("name", Node::text(name, span));
        }
        if !options.skip.interpolation && !map.contains("services") {
            map.set("services", Node::map(Map::default(), span));
        }
    }
    if !options.skip.normalization {
        normalize::normalize(report, tree, name);
    }
    if options.skip.interpolation {
        return Map::default();
    }
    let mut disabled = select::by_profile(tree, profiles);
    if !options.services.is_empty() {
        let implied = select::implied_profiles(&disabled, &options.services);
        if !implied.is_empty() {
            let all: Vec<String> = profiles.iter().cloned().chain(implied).collect();
            enable(tree, &mut disabled);
            disabled = select::by_profile(tree, &all);
        }
    }
    if !options.skip.consistency {
        check::references(report, tree, &disabled);
    }
    if !options.services.is_empty() {
        select::by_name(report, tree, &mut disabled, &options.services);
    }
    let honoured =
        if options.skip.missing_env_files { Required::Waived } else { Required::Honoured };
    if let Some(services) = tree.as_map_mut().and_then(|map| map.get_mut("services"))
        && let Some(services) = services.as_map_mut()
    {
        for (_, entry) in services.iter_mut() {
            env_file::apply_to_service(report, &mut entry.node, environment, honoured);
            env_file::apply_labels(report, &mut entry.node, environment);
        }
    }
    if !options.skip.unused {
        select::remove_unused(tree);
    }
    disabled
}

fn enable(tree: &mut Node, disabled: &mut Map) {
    let services = tree.as_map_mut().and_then(|map| map.get_mut("services"));
    if let Some(services) = services.and_then(Node::as_map_mut) {
        for (name, entry) in std::mem::take(disabled) {
            services.insert(name, entry.key, entry.node);
        }
    }
}

/// `-p`, else `COMPOSE_PROJECT_NAME`, else the last `name` of the files, else the directory.
fn project_name(
    report: &mut Report,
    options: &LoadOptions,
    located: &Located,
    ahead: &HashMap<PathBuf, Vec<Node>>,
) -> Option<String> {
    if let Some(name) = &located.name {
        if locate::normalized_name(name) == *name {
            return Some(name.clone());
        }
        report
            .error_without_place(format!("`{name}` cannot be the name of a project"))
            .help("use lower-case letters, digits, `-` and `_`, with a letter or digit first");
        return None;
    }
    let directory =
        |path: &Path| path.file_name().map(|name| locate::normalized_name(&name.to_string_lossy()));
    if let Some((span, written)) = name_in_files(report, options, located, ahead) {
        let name = locate::normalized_name(&written);
        if name.is_empty() {
            report
                .error(span, "the name of the project is empty")
                .says(format!("this is `{written}`"))
                .help("is a variable not set? names have lower-case letters, digits, `-` and `_`");
            return None;
        }
        return Some(name);
    }
    let name = directory(&located.named_dir)
        .filter(|name| !name.is_empty())
        .or_else(|| directory(&options.working_dir).filter(|name| !name.is_empty()));
    if name.is_none() {
        report
            .error_without_place("the project has no name")
            .help("add `name: …` to the compose file, or use `-p`");
    }
    name
}

/// The last `name` that the files write, with its variables filled in: others may mention it.
fn name_in_files(
    report: &Report,
    options: &LoadOptions,
    located: &Located,
    ahead: &HashMap<PathBuf, Vec<Node>>,
) -> Option<(Span, String)> {
    let documents = located.files.iter().filter_map(|path| ahead.get(path)).flatten();
    let mut names = documents.filter_map(|document| {
        let mut name = document.get("name").filter(|name| name.as_str() != Some(""))?.clone();
        if !options.skip.interpolation {
            // What is wrong with it is reported when the whole file is filled in.
            let mut scratch = report.scratch();
            interpolate::interpolate(&mut scratch, &located.environment, &mut name);
        }
        name.as_str().map(|text| (name.span, text.to_owned()))
    });
    names.next_back()
}
