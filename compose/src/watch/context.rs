//! The files that images are built from, as something to follow.
//!
//! What git ignores does not count, as for `develop.watch`, nor what is mounted into a container of the project: its changes
//! are seen there anyway, and a program that writes into its own sources would be built and replaced for ever.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::rule::{Rule, RuleError};
use crate::model::{Build, MountKind, Project, Service, ServiceName, WatchAction, WatchRule};

/// The contexts of the builds of a project.
#[derive(Debug, Clone, Default)]
pub struct Contexts {
    all: Vec<Context>,
    /// What containers see of the machine.
    mounted: Vec<PathBuf>,
}

/// The services whose images the files `now` build in another way than `before`.
pub fn built_otherwise(before: &Project, now: &Project) -> BTreeSet<ServiceName> {
    let differs = |service: &&Service| {
        let before = before.services.get(&service.name);
        service.build.is_some() && before.is_some_and(|before| before.build != service.build)
    };
    now.services.values().filter(differs).map(|service| service.name.clone()).collect()
}

/// What the image of one service is built from.
#[derive(Debug, Clone)]
struct Context {
    service: ServiceName,
    /// The Dockerfile and the ignore files, whatever these say.
    files: BTreeSet<PathBuf>,
    trees: Vec<Rule>,
}

impl Contexts {
    /// What the images of `services` are built from, as far as it is on this machine.
    ///
    /// # Errors
    ///
    /// [`RuleError`] when an ignore file cannot be read.
    pub fn new(project: &Project, services: &BTreeSet<ServiceName>) -> Result<Self, RuleError> {
        let mut all = Vec::new();
        for service in project.services.values().filter(|one| services.contains(&one.name)) {
            let Some(build) = &service.build else { continue };
            let further = build.additional_contexts.values();
            let trees = std::iter::once(&build.context).chain(further);
            let trees = trees.filter(|text| Path::new(text).is_dir());
            let trees = trees.map(|path| Rule::new(service, &rule(path), &project.working_dir));
            all.push(Context {
                service: service.name.clone(),
                files: files(build),
                trees: trees.collect::<Result<_, _>>()?,
            });
        }
        let mounted = project.services.values().flat_map(mounted).collect();
        Ok(Self { all, mounted })
    }

    /// The services whose images a change of `path` may change.
    pub fn built_from(&self, path: &Path) -> impl Iterator<Item = &ServiceName> {
        let is_mounted = self.is_mounted(path);
        let built = move |context: &&Context| {
            context.files.contains(path)
                || !is_mounted && context.trees.iter().any(|tree| tree.covers(path))
        };
        self.all.iter().filter(built).map(|context| &context.service)
    }

    /// Whether something in the directory `path` may change an image.
    #[must_use]
    pub fn looks_into(&self, path: &Path) -> bool {
        let mut trees = self.all.iter().flat_map(|context| &context.trees);
        !self.is_mounted(path) && trees.any(|tree| tree.looks_into(path))
    }

    /// The directories that are followed with all that is below them.
    pub fn trees(&self) -> impl Iterator<Item = &Path> {
        self.all.iter().flat_map(|context| &context.trees).map(|tree| tree.path.as_path())
    }

    /// The directories in which single files, or the trees themselves, are seen to change.
    pub fn directories(&self) -> impl Iterator<Item = &Path> {
        let files = self.all.iter().flat_map(|context| &context.files).map(PathBuf::as_path);
        files.chain(self.trees()).filter_map(Path::parent)
    }

    /// Reads the `.gitignore` files again when they are needed: one of them has changed.
    pub fn forget_git(&self) {
        self.all.iter().flat_map(|context| &context.trees).for_each(Rule::forget_git);
    }

    fn is_mounted(&self, path: &Path) -> bool {
        self.mounted.iter().any(|source| path.starts_with(source))
    }
}

fn rule(path: &str) -> WatchRule {
    WatchRule {
        path: PathBuf::from(path),
        action: WatchAction::Rebuild,
        target: None,
        ignore: Vec::new(),
        include: Vec::new(),
        exec: None,
        initial_sync: false,
    }
}

/// The Dockerfile of a local context, and its ignore files.
fn files(build: &Build) -> BTreeSet<PathBuf> {
    let Ok(context) = fs::canonicalize(&build.context) else { return BTreeSet::new() };
    let mut files = BTreeSet::from([context.join(".dockerignore")]);
    if build.dockerfile_inline.is_none() {
        let dockerfile = context.join(build.dockerfile.as_deref().unwrap_or("Dockerfile"));
        let mut ignore = dockerfile.clone().into_os_string();
        ignore.push(".dockerignore");
        files.extend([dockerfile, ignore.into()]);
    }
    files
}

fn mounted(service: &Service) -> impl Iterator<Item = PathBuf> {
    service.mounts.iter().filter_map(|mount| match &mount.kind {
        MountKind::Bind { source, .. } => {
            Some(fs::canonicalize(source).unwrap_or_else(|_| source.clone()))
        }
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::testing::project;
    use crate::model::{Mount, Recursive};

    #[test]
    fn what_is_built_from_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let top = fs::canonicalize(folder.path()).unwrap();
        for name in ["web/src", "web/node_modules/x", "web/data", "shared"] {
            fs::create_dir_all(top.join(name)).unwrap();
        }
        fs::write(top.join("web/.dockerignore"), "node_modules\nDockerfile\n").unwrap();
        let text = |name: &str| top.join(name).display().to_string();
        let mut project = project(&["web", "other", "far"]);
        let mut build = Build { context: text("web"), ..Build::default() };
        build.additional_contexts.insert("a".to_owned(), text("shared"));
        build.additional_contexts.insert("b".to_owned(), "service:other".to_owned());
        project.services.get_mut("web").unwrap().build = Some(build);
        let inline = Some("FROM scratch".to_owned());
        let other = Build { context: text("web"), dockerfile_inline: inline, ..Build::default() };
        project.services.get_mut("other").unwrap().build = Some(other);
        let far = Build { context: "https://example.com/x.git".to_owned(), ..Build::default() };
        project.services.get_mut("far").unwrap().build = Some(far);
        let kind = MountKind::Bind {
            source: top.join("web/data"),
            create_host_path: false,
            propagation: None,
            recursive: Recursive::Enabled,
            selinux: None,
        };
        let mount = Mount { target: "/data".into(), read_only: false, kind };
        project.services.get_mut("far").unwrap().mounts.push(mount);
        let services = project.services.keys().cloned().collect();
        let contexts = Contexts::new(&project, &services).unwrap();
        let built = |path: &str| -> Vec<&str> {
            contexts.built_from(&top.join(path)).map(ServiceName::as_str).collect()
        };
        assert_eq!(built("web/src/main.c"), ["other", "web"]);
        assert_eq!(built("web/Dockerfile"), ["web"]);
        assert_eq!(built("web/.dockerignore"), ["other", "web"]);
        assert_eq!(built("shared/x"), ["web"]);
        for path in ["web/node_modules/x/y", "web/data/log", "web/src/.main.c.swp", "elsewhere"] {
            assert!(built(path).is_empty(), "{path}");
        }
        assert!(contexts.looks_into(&top.join("web/src")));
        assert!(!contexts.looks_into(&top.join("web/node_modules")));
        assert!(!contexts.looks_into(&top.join("web/data")));
        assert!(contexts.directories().any(|path| path == top.join("web")));
        let some = BTreeSet::from(["other".parse().unwrap()]);
        let contexts = Contexts::new(&project, &some).unwrap();
        assert_eq!(contexts.built_from(&top.join("shared/x")).count(), 0);
    }
}
