//! What somebody should know before a project that others have written is brought up here.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;

use super::LoadOptions;
use super::canonical::Variables;
use super::environment::Environment;
use super::include;
use super::interpolate;
use super::locate;
use super::read::Reader;
use super::remote::{self, Remotes};
use super::report::Report;
use super::template::Mention;

/// A project whose main file is a remote one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Foreign {
    /// The name of its main file.
    pub name: String,
    /// Where the files of the project are kept.
    pub folder: PathBuf,
    /// Other remote files that it includes.
    pub includes: Vec<String>,
    /// The variables that it mentions.
    pub variables: Vec<Filling>,
}

/// What stands for a variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filling {
    /// The name of the variable.
    pub name: String,
    /// Its value in the environment, else its default.
    pub value: Option<String>,
    /// The environment has it.
    pub is_set: bool,
    /// The files cannot be read without it.
    pub required: bool,
    /// What stands in for it where it is not set.
    pub default: String,
}

/// What is to be known about the project if its main file is a remote one that can be read.
pub fn foreign(options: &LoadOptions) -> Option<Foreign> {
    let mut report = Report::default();
    let located = locate::locate(&mut report, options)?;
    let name = located.remote.clone()?;
    let mut reader = Reader {
        report: &mut report,
        variables: Variables::Kept,
        home: None,
        remotes: Remotes::default(),
        extended: HashMap::new(),
        circular: HashSet::new(),
        ahead: HashMap::new(),
        granted: HashMap::new(),
    };
    let mut found: BTreeMap<String, Mention> = BTreeMap::new();
    let mut includes = Vec::new();
    for file in &located.files {
        for document in reader.documents(file, None) {
            interpolate::mentioned(&document, &mut found);
            let paths = include::named(&document).filter_map(|path| path.as_str());
            includes.extend(paths.filter(|path| remote::is_remote(path)).map(str::to_owned));
        }
    }
    let filling = |(name, mention): (String, Mention)| filling(name, mention, &located.environment);
    let variables = found.into_iter().map(filling).collect();
    Some(Foreign { name, folder: located.project_dir, includes, variables })
}

fn filling(name: String, mention: Mention, environment: &Environment) -> Filling {
    let Mention { required, default, .. } = mention;
    let set = environment.get(&name).cloned();
    let is_set = set.is_some();
    let value = set.or_else(|| Some(default.clone()).filter(|default| !default.is_empty()));
    Filling { name, value, is_set, required, default }
}
