//! The files that a project was read from, as something to follow.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Component, Path, PathBuf};

use crate::file::LOOKED_FOR;

/// Symbolic links that are followed one after the other: the kernel's own limit (path_resolution(7)).
const LINKS: usize = 40;

/// Files whose change may change the project: those that were read, the links that lead to them, and those that would
/// have been read if they had been there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inputs {
    paths: BTreeSet<PathBuf>,
}

impl Inputs {
    /// The inputs of a project in `folder` that was read from `files`.
    #[must_use]
    pub fn new<'p>(folder: &Path, files: impl IntoIterator<Item = &'p PathBuf>) -> Self {
        let mut inputs = Self::of_files(files);
        inputs.paths.extend(LOOKED_FOR.iter().map(|name| folder.join(name)));
        inputs
    }

    /// `files` alone, and the links that lead to them.
    #[must_use]
    pub fn of_files<'p>(files: impl IntoIterator<Item = &'p PathBuf>) -> Self {
        let mut paths = BTreeSet::new();
        for file in files {
            follow(file, &mut paths);
        }
        Self { paths }
    }

    /// The directories in which a change of an input is seen.
    pub fn directories(&self) -> BTreeSet<&Path> {
        self.paths.iter().filter_map(|path| path.parent()).collect()
    }

    /// Whether a change of `path` is one of an input: of itself, or of a directory that it is in.
    #[must_use]
    pub fn concern(&self, path: &Path) -> bool {
        let mut after = self.paths.range(path.to_owned()..);
        after.next().is_some_and(|input| input.starts_with(path))
    }
}

/// Adds `path`, every link on the way, and where it leads in the end.
fn follow(path: &Path, paths: &mut BTreeSet<PathBuf>) {
    let mut path = path.to_owned();
    for _ in 0..LINKS {
        paths.insert(path.clone());
        let Some(link) = first_link(&path) else { return };
        let Ok(target) = fs::read_link(&link) else { return };
        let rest = path.strip_prefix(&link).map(Path::to_owned).unwrap_or_default();
        let mut led = link.with_file_name("").join(target);
        if !rest.as_os_str().is_empty() {
            led.push(rest);
        }
        paths.insert(link);
        path = without_dots(&led);
    }
}

/// The shortest part of `path` that is a symbolic link.
fn first_link(path: &Path) -> Option<PathBuf> {
    let mut parts: Vec<&Path> = path.ancestors().collect();
    parts.reverse();
    let link = |part: &&&Path| fs::symlink_metadata(part).is_ok_and(|found| found.is_symlink());
    parts.iter().find(link).map(|part| (*part).to_owned())
}

/// Takes `..` back by name: what is before it is no link, or it would have been followed first.
fn without_dots(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => {
                plain.pop();
            }
            Component::CurDir => {}
            other => plain.push(other),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_on_the_way_count_as_well() {
        let folder = tempfile::tempdir().unwrap();
        let top = fs::canonicalize(folder.path()).unwrap();
        fs::create_dir_all(top.join("v1")).unwrap();
        fs::write(top.join("v1/app.conf"), "").unwrap();
        symlink("v1", top.join("current")).unwrap();
        symlink("current/app.conf", top.join("app.conf")).unwrap();
        let inputs = Inputs::new(&top, [&top.join("app.conf")]);
        for path in ["app.conf", "current", "v1/app.conf", "v1", ".env", "compose.override.yaml"] {
            assert!(inputs.concern(&top.join(path)), "{path}");
        }
        for path in ["v1/other", "app.conf~", "v", "v1/app.conf/x"] {
            assert!(!inputs.concern(&top.join(path)), "{path}");
        }
        assert!(inputs.directories().contains(&*top.join("v1")));
    }
}
