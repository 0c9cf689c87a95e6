//! Which files are read, against which directory, under which name, with which variables.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use super::dotenv;
use super::environment::Environment;
use super::paths::directory;
use super::remote::{self, Remotes};
use super::report::Report;
use super::{LoadOptions, env_file};

/// The names of a compose file, the best first.
pub(super) const NAMES: [&str; 4] =
    ["compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml"];
const OVERRIDES: [&str; 4] = [
    "compose.override.yml",
    "compose.override.yaml",
    "docker-compose.override.yml",
    "docker-compose.override.yaml",
];
/// Names that are looked for in the directory of a project.
pub const LOOKED_FOR: [&str; 9] = [
    NAMES[0],
    NAMES[1],
    NAMES[2],
    NAMES[3],
    OVERRIDES[0],
    OVERRIDES[1],
    OVERRIDES[2],
    OVERRIDES[3],
    ".env",
];

/// What was found before a compose file is read.
#[derive(Debug)]
pub(super) struct Located {
    /// The compose files, absolute; `-` is standard input.
    pub(super) files: Vec<PathBuf>,
    /// The directory of the project.
    pub(super) project_dir: PathBuf,
    /// The directory that names the project; another one if the files are remote.
    pub(super) named_dir: PathBuf,
    /// The main file, if it is a remote one.
    pub(super) remote: Option<String>,
    /// The variables for the files.
    pub(super) environment: Environment,
    /// The name that was asked for, valid or not.
    pub(super) name: Option<String>,
    /// The active profiles.
    pub(super) profiles: Vec<String>,
}

/// Finds the files and the environment of a project; nothing, with an error, if there are none.
pub(super) fn locate(report: &mut Report, options: &LoadOptions) -> Option<Located> {
    let mut environment = Environment::from(options.environment.clone());
    if !environment.contains_key("PWD") {
        environment.set("PWD", options.working_dir.display().to_string());
    }
    let explicit_env = explicit_env_files(options, &environment);
    let early_dir = match (&options.project_dir, options.files.first()) {
        (Some(dir), _) => absolute(&options.working_dir, dir),
        (None, Some(file)) if !is_elsewhere(file) => {
            directory(&absolute(&options.working_dir, file))
        }
        _ => options.working_dir.clone(),
    };
    read_env(report, options, &explicit_env, &early_dir, &mut environment);

    let named = compose_files(report, options, &environment)?;
    let named_dir = match (&options.project_dir, named.first()) {
        (Some(dir), _) => absolute(&options.working_dir, dir),
        (None, Some(file)) if !is_elsewhere(file) => directory(file),
        _ => options.working_dir.clone(),
    };
    if named_dir != early_dir {
        read_env(report, options, &explicit_env, &named_dir, &mut environment);
    }
    let files = local_files(report, &named, &environment)?;
    // The first remote file brings its folder with it.
    let fetched = named.iter().zip(&files).find(|(named, local)| named != local);
    let project_dir = fetched.map_or_else(|| named_dir.clone(), |(_, local)| directory(local));
    let remote = named.first().and_then(|main| main.to_str());
    let remote = remote.filter(|main| remote::is_remote(main)).map(str::to_owned);
    let name = options
        .project_name
        .clone()
        .or_else(|| environment.get("COMPOSE_PROJECT_NAME").cloned())
        .filter(|name| !name.is_empty());
    let profiles = profiles(options, &environment);
    Some(Located { files, project_dir, named_dir, remote, environment, name, profiles })
}

fn profiles(options: &LoadOptions, environment: &BTreeMap<String, String>) -> Vec<String> {
    let listed = environment.get("COMPOSE_PROFILES").map(String::as_str).unwrap_or_default();
    let from_environment = listed.split(',').map(str::trim).filter(|name| !name.is_empty());
    if options.profiles.is_empty() {
        from_environment.map(str::to_owned).collect()
    } else {
        options.profiles.clone()
    }
}

fn explicit_env_files(
    options: &LoadOptions,
    environment: &BTreeMap<String, String>,
) -> Vec<PathBuf> {
    if !options.env_files.is_empty() {
        return options.env_files.clone();
    }
    let listed = environment.get("COMPOSE_ENV_FILES").map(String::as_str).unwrap_or_default();
    listed.split(',').filter(|name| !name.is_empty()).map(PathBuf::from).collect()
}

/// Adds the variables of the env files, or of `.env` in `dir`, that are not there yet.
fn read_env(
    report: &mut Report,
    options: &LoadOptions,
    explicit: &[PathBuf],
    dir: &Path,
    environment: &mut Environment,
) {
    let mut found = Environment::default();
    if explicit.is_empty() {
        let disabled = environment.get("COMPOSE_DISABLE_ENV_FILE").is_some_and(|v| is_true(v));
        let file = dir.join(".env");
        if !disabled && file.is_file() {
            env_file::read_into(report, &file, dotenv::parse, environment, &mut found, None);
        }
    } else {
        for file in explicit {
            let path = absolute(&options.working_dir, file);
            if path == Path::new("/dev/null") {
                continue;
            }
            if path.exists() && !path.is_dir() {
                env_file::read_into(report, &path, dotenv::parse, environment, &mut found, None);
            } else {
                let what = if path.is_dir() { "is a directory" } else { "does not exist" };
                report
                    .error_without_place(format!("the env file {} {what}", path.display()))
                    .help("name a file that is there, or leave `--env-file` out");
            }
        }
    }
    environment.complete(found);
}

fn is_true(text: &str) -> bool {
    matches!(text.to_ascii_lowercase().as_str(), "1" | "t" | "true" | "y" | "yes")
}

fn compose_files(
    report: &mut Report,
    options: &LoadOptions,
    environment: &BTreeMap<String, String>,
) -> Option<Vec<PathBuf>> {
    let from = &options.working_dir;
    if !options.files.is_empty() {
        return Some(options.files.iter().map(|file| absolute(from, file)).collect());
    }
    if let Some(list) = environment.get("COMPOSE_FILE").filter(|list| !list.is_empty()) {
        let separator = environment.get("COMPOSE_PATH_SEPARATOR").filter(|text| !text.is_empty());
        let separator = separator.map_or(":", String::as_str);
        let files = split_list(list, separator);
        return Some(files.into_iter().map(|file| absolute(from, Path::new(file))).collect());
    }
    let start = options.project_dir.as_ref().map_or(from.clone(), |dir| absolute(from, dir));
    let Some(dir) = start.ancestors().find(|dir| first_of(dir, &NAMES).is_some()) else {
        report.error_without_place("there is no compose file here or in a directory above").help(
            format!("write a `compose.yaml` in {}, or name a file with `-f`", start.display()),
        );
        return None;
    };
    let mut files = Vec::new();
    for (kind, names) in [("config", &NAMES), ("override", &OVERRIDES)] {
        let present: Vec<&str> =
            names.iter().copied().filter(|name| dir.join(name).is_file()).collect();
        if let Some(first) = present.first() {
            files.push(dir.join(first));
        }
        if present.len() > 1 {
            let list = present.join(", ");
            report.warning_without_place(format!(
                "found multiple {kind} files with supported names in {}: {list}; using {}",
                dir.display(),
                present[0]
            ));
        }
    }
    Some(files)
}

/// The files of `COMPOSE_FILE`. The colons of a URL do not separate.
fn split_list<'t>(list: &'t str, separator: &str) -> Vec<&'t str> {
    if remote::is_remote(list) {
        return vec![list];
    }
    list.split(separator).collect()
}

fn first_of<'n>(dir: &Path, names: &[&'n str]) -> Option<&'n str> {
    names.iter().copied().find(|name| dir.join(name).is_file())
}

/// The files themselves: those of remotes are fetched.
fn local_files(
    report: &mut Report,
    named: &[PathBuf],
    environment: &BTreeMap<String, String>,
) -> Option<Vec<PathBuf>> {
    let remotes = Remotes::from_environment(environment);
    let mut files = Vec::with_capacity(named.len());
    for file in named {
        match file.to_str().filter(|text| remote::is_remote(text)) {
            None => files.push(file.clone()),
            Some(text) => match remotes.fetch(text) {
                Ok(local) => files.push(local),
                Err(error) => {
                    let message = format!("cannot read {text}: {}", chain(&error));
                    report.error_without_place(message).help(error.help());
                }
            },
        }
    }
    (files.len() == named.len()).then_some(files)
}

/// An error with its causes, on one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// True for standard input and for files of remotes.
fn is_elsewhere(file: &Path) -> bool {
    file == Path::new("-") || file.to_str().is_some_and(remote::is_remote)
}

/// `path` against `base`, without `.` and `..`; what lies elsewhere stays as it is.
pub(super) fn absolute(base: &Path, path: &Path) -> PathBuf {
    if is_elsewhere(path) { path.to_owned() } else { clean(&base.join(path)) }
}

/// Takes `.` and `..` out of a path, by its text alone.
pub(super) fn clean(path: &Path) -> PathBuf {
    let mut cleaned = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir if cleaned.file_name().is_some() => {
                cleaned.pop();
            }
            Component::ParentDir if cleaned.has_root() => {}
            other => cleaned.push(other),
        }
    }
    if cleaned.as_os_str().is_empty() { PathBuf::from(".") } else { cleaned }
}

/// Makes a project name out of a directory name or the text of `name`.
pub(super) fn normalized_name(text: &str) -> String {
    let lower = text.to_lowercase();
    let kept: String = lower
        .chars()
        .filter(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-'))
        .collect();
    kept.trim_start_matches(['_', '-']).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_without_dots() {
        for (path, cleaned) in [
            ("/a/./b/../c", "/a/c"),
            ("/..", "/"),
            ("a/..", "."),
            ("../a", "../a"),
            ("/a/b/", "/a/b"),
        ] {
            assert_eq!(clean(Path::new(path)), Path::new(cleaned), "{path}");
        }
    }

    #[test]
    fn names_of_directories() {
        for (text, name) in [("My Proj_1.x", "myproj_1x"), ("_-a", "a"), ("ÄB", "b"), ("...", "")]
        {
            assert_eq!(normalized_name(text), name, "{text}");
        }
    }
}
