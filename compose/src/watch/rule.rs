//! What a path means for `develop.watch`.
//!
//! Source: Compose Develop Specification. Patterns are those of `.dockerignore`, relative to the `path` of the rule; the
//! `.dockerignore` of the service's build context, the `.gitignore` files around, `.git` and the temporary files of editors
//! count for every rule. A rule for something that git ignores means just that, and asks git nothing.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use images::build::{PatternError, Patterns};

use super::gitignore::GitIgnore;
use crate::model::{Build, Hook, MountKind, Service, ServiceName, WatchAction, WatchRule};

/// Files that editors and tools put down for a moment: `JetBrains`, emacs, vim, kate, GNOME, go.
const PASSING: [&str; 17] = [
    "**/.git",
    "**/*___jb_old___",
    "**/*___jb_tmp___",
    "**/.idea/**",
    "**/.#*",
    "**/#*#",
    "**/4913",
    "**/*~",
    "**/.*.swp",
    "**/.*.swpx",
    "**/.*.swo",
    "**/.*.swn",
    "**/.*.swx",
    "**/*.kate-swp",
    "**/.goutputstream-*",
    "**/*-go-tmp-umask",
    "**/.compose-sync-*",
];

/// A rule that cannot be followed.
#[derive(Debug, thiserror::Error)]
pub enum RuleError {
    /// A pattern of it.
    #[error("a watch rule of service {service}")]
    Pattern {
        /// Whose rule.
        service: ServiceName,
        /// Which pattern.
        source: PatternError,
    },
    /// An ignore file.
    #[error("cannot read {}", path.display())]
    Ignore {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// A rule of `develop.watch` that can be asked about paths.
#[derive(Debug, Clone)]
pub struct Rule {
    /// Whose rule it is.
    pub service: ServiceName,
    /// The file or directory, with its links resolved.
    pub path: PathBuf,
    /// What to do.
    pub action: WatchAction,
    /// Where files go inside the container.
    pub target: PathBuf,
    /// What to run after a copy.
    pub exec: Option<Hook>,
    /// Copy everything once when the watch starts.
    pub initial_sync: bool,
    ignore: Patterns,
    include: Patterns,
    /// The build context and what its ignore file says.
    context: Option<(PathBuf, Patterns)>,
    git: Option<GitIgnore>,
}

impl Rule {
    /// Reads a rule of `service` in the project at `project`, with the ignore file of its build context.
    ///
    /// # Errors
    ///
    /// [`RuleError`].
    pub fn new(service: &Service, rule: &WatchRule, project: &Path) -> Result<Self, RuleError> {
        let bad = |source| RuleError::Pattern { service: service.name.clone(), source };
        let WatchRule { path, action, target, ignore, include, exec, initial_sync } = rule;
        let patterns = PASSING.into_iter().chain(ignore.iter().map(String::as_str));
        let path = project.join(path);
        let path = fs::canonicalize(&path).unwrap_or(path);
        let project = fs::canonicalize(project).unwrap_or_else(|_| project.to_owned());
        let git = GitIgnore::around(&path, &project);
        Ok(Self {
            git: Some(git).filter(|git| !git.hides(&path) && !git.hides_all(&path)),
            service: service.name.clone(),
            path,
            action: *action,
            target: target.clone().unwrap_or_default(),
            exec: exec.clone(),
            initial_sync: *initial_sync,
            ignore: Patterns::of(patterns).map_err(bad)?,
            include: Patterns::of(include.iter().map(String::as_str)).map_err(bad)?,
            context: service.build.as_ref().map(hidden).transpose()?.flatten(),
        })
    }

    /// Whether its files go into the container.
    #[must_use]
    pub const fn copies(&self) -> bool {
        matches!(self.action, WatchAction::Sync | WatchAction::SyncRestart | WatchAction::SyncExec)
    }

    /// Whether a change of `path` is one for this rule.
    #[must_use]
    pub fn covers(&self, path: &Path) -> bool {
        let Some(inside) = self.inside(path) else { return false };
        let ignored = self.ignore.matches(&inside)
            || self.hides(path, Patterns::matches)
            || self.git.as_ref().is_some_and(|git| git.hides(path));
        !ignored && (self.include.is_empty() || self.include.matches(&inside))
    }

    /// Whether something in the directory `path`, below the rule's own, can be one for this rule.
    #[must_use]
    pub fn looks_into(&self, path: &Path) -> bool {
        let whole = |patterns: &Patterns, path: &Path| {
            patterns.matches(path) && !patterns.has_exception_below(path)
        };
        match self.inside(path) {
            None => false,
            Some(_) if path == self.path => true,
            Some(inside) => {
                !whole(&self.ignore, &inside)
                    && !self.hides(path, whole)
                    && !self.git.as_ref().is_some_and(|git| git.hides_all(path))
            }
        }
    }

    /// Reads the `.gitignore` files again when they are needed: one of them has changed.
    pub fn forget_git(&self) {
        if let Some(git) = &self.git {
            git.forget();
        }
    }

    /// Where `path` goes in the container.
    #[must_use]
    pub fn target_of(&self, path: &Path) -> Option<PathBuf> {
        let inside = path.strip_prefix(&self.path).ok()?;
        // Joining nothing would add a slash, and make a directory of a file.
        Some(match inside.as_os_str().is_empty() {
            true => self.target.clone(),
            false => self.target.join(inside),
        })
    }

    /// `path` below that of the rule; a rule for one file knows it by its name.
    fn inside(&self, path: &Path) -> Option<PathBuf> {
        let inside = path.strip_prefix(&self.path).ok()?;
        match inside.as_os_str().is_empty() {
            true => path.file_name().map(PathBuf::from),
            false => Some(inside.to_owned()),
        }
    }

    fn hides(&self, path: &Path, ask: impl Fn(&Patterns, &Path) -> bool) -> bool {
        self.context.as_ref().is_some_and(|(context, patterns)| {
            path.strip_prefix(context).is_ok_and(|inside| ask(patterns, inside))
        })
    }
}

/// The local build context and what its ignore file hides: `DOCKERFILE.dockerignore`, else `.dockerignore`.
fn hidden(build: &Build) -> Result<Option<(PathBuf, Patterns)>, RuleError> {
    let Ok(context) = fs::canonicalize(&build.context) else { return Ok(None) };
    let own = build.dockerfile.as_deref().map(|dockerfile| {
        let mut own = context.join(dockerfile).into_os_string();
        own.push(".dockerignore");
        PathBuf::from(own)
    });
    for path in own.into_iter().chain([context.join(".dockerignore")]) {
        match fs::read_to_string(&path) {
            Ok(text) => {
                let patterns = Patterns::parse(&text).map_err(|source| RuleError::Ignore {
                    path,
                    source: io::Error::new(io::ErrorKind::InvalidData, source),
                })?;
                return Ok(Some((context, patterns)));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(RuleError::Ignore { path, source }),
        }
    }
    Ok(None)
}

/// The bind mount of `service` that shows the container the files of `rule` anyway.
#[must_use]
pub fn bound(service: &Service, rule: &Rule) -> Option<PathBuf> {
    let sources = service.mounts.iter().filter_map(|mount| match &mount.kind {
        MountKind::Bind { source, .. } => Some(source),
        _ => None,
    });
    let mut sources =
        sources.map(|source| (source, fs::canonicalize(source).unwrap_or_else(|_| source.clone())));
    sources.find(|(_, real)| rule.path.starts_with(real)).map(|(source, _)| source.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(folder: &Path, ignore: &[&str], include: &[&str], build: Option<&Path>) -> Rule {
        let mut service = Service::new("web".parse().unwrap());
        service.build = build
            .map(|context| Build { context: context.display().to_string(), ..Build::default() });
        let words = |list: &[&str]| list.iter().map(|word| (*word).to_owned()).collect();
        let rule = WatchRule {
            path: folder.to_owned(),
            action: WatchAction::Sync,
            target: Some("/app".into()),
            ignore: words(ignore),
            include: words(include),
            exec: None,
            initial_sync: false,
        };
        Rule::new(&service, &rule, folder).unwrap()
    }

    #[test]
    fn patterns_decide_what_counts() {
        let folder = tempfile::tempdir().unwrap();
        let top = fs::canonicalize(folder.path()).unwrap();
        fs::create_dir(top.join("src")).unwrap();
        fs::write(top.join(".dockerignore"), "src/generated\n!src/generated/keep\nother\n")
            .unwrap();
        let src = top.join("src");
        type Words = &'static [&'static str];
        #[rustfmt::skip]
        let table: &[(Words, Words, Words, Words)] = &[
            (&[], &[], &["a", "d/a", "generated/keep"], &["generated/x", ".git/HEAD", "d/.git/x", ".a.swp", "d/a~", "4913"]),
            (&["d", "**/*.log"], &[], &["a"], &["d/a", "x/y.log", "y.log"]),
            (&["**/*.log"], &["**/*.py"], &["a.py", "d/b.py"], &["a", "a.log"]),
        ];
        for (ignore, include, counts, others) in table {
            let rule = rule(&src, ignore, include, Some(&top));
            for path in *counts {
                assert!(rule.covers(&src.join(path)), "{ignore:?} {include:?} {path}");
            }
            for path in *others {
                assert!(!rule.covers(&src.join(path)), "{ignore:?} {include:?} {path}");
            }
            assert!(!rule.covers(&top.join("a")));
        }
        let rule = rule(&src, &["d", "e/*", "!e/x"], &["**/*.py"], Some(&top));
        for (path, looked) in [
            ("", true),
            ("x", true),
            ("d", false),
            ("e", true),
            ("generated", true),
            (".git", false),
        ] {
            assert_eq!(rule.looks_into(&src.join(path)), looked, "{path}");
        }
    }

    #[test]
    fn what_git_ignores_counts_only_for_a_rule_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let top = fs::canonicalize(folder.path()).unwrap();
        fs::create_dir(top.join("dist")).unwrap();
        fs::write(top.join(".gitignore"), "dist/\n*.o\n").unwrap();
        let all = rule(&top, &[], &[], None);
        assert!(all.covers(&top.join("a.c")) && !all.covers(&top.join("a.o")));
        assert!(!all.covers(&top.join("dist/a")) && !all.looks_into(&top.join("dist")));
        let own = rule(&top.join("dist"), &[], &[], None);
        assert!(own.covers(&top.join("dist/a")));
        fs::write(top.join(".gitignore"), "").unwrap();
        all.forget_git();
        assert!(all.covers(&top.join("a.o")) && all.looks_into(&top.join("dist")));
    }

    #[test]
    fn files_keep_their_place_below_the_target() {
        let folder = tempfile::tempdir().unwrap();
        let top = fs::canonicalize(folder.path()).unwrap();
        fs::write(top.join("one"), "").unwrap();
        let tree = rule(&top, &[], &[], None);
        assert_eq!(tree.target_of(&top.join("a/b")), Some("/app/a/b".into()));
        let one = rule(&top.join("one"), &[], &[], None);
        assert!(one.covers(&top.join("one")) && !one.covers(&top.join("two")));
        assert_eq!(one.target_of(&top.join("one")).unwrap().as_os_str(), "/app");
    }
}
