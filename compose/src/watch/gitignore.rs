//! `.gitignore`: what of a tree is made and not written by hand.
//!
//! Source: gitignore(5). Files count from the top of the repository down, else from that of the project; those of
//! directories below a rule are read when something there is asked about. All are one list, each pattern below the
//! directory of its file, so that the last one that fits decides, as git has it. In one thing this is not git: what lies
//! in an ignored directory can be excepted.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use images::build::Patterns;

/// What the `.gitignore` files of a tree say.
#[derive(Debug, Clone)]
pub struct GitIgnore {
    root: PathBuf,
    known: RefCell<Known>,
}

/// What has been read so far.
#[derive(Debug, Clone, Default)]
struct Known {
    directories: BTreeSet<PathBuf>,
    /// In the order from the top down.
    lines: BTreeMap<PathBuf, Vec<String>>,
    patterns: Patterns,
}

impl GitIgnore {
    /// For `path` in a repository, or else in the project at `project`.
    #[must_use]
    pub fn around(path: &Path, project: &Path) -> Self {
        let repository = path.ancestors().find(|above| above.join(".git").exists());
        let root = match repository {
            Some(root) => root,
            None if path.starts_with(project) => project,
            None => path,
        };
        Self { root: root.to_owned(), known: RefCell::default() }
    }

    /// Whether a file is ignored.
    #[must_use]
    pub fn hides(&self, file: &Path) -> bool {
        self.ask(file, Patterns::matches)
    }

    /// Whether everything in a directory is ignored.
    #[must_use]
    pub fn hides_all(&self, directory: &Path) -> bool {
        // A pattern for directories fits what is in them.
        self.ask(directory, |patterns, path| {
            patterns.matches(&path.join("*")) && !patterns.has_exception_below(path)
        })
    }

    /// Reads the files again when they are needed.
    pub fn forget(&self) {
        self.known.take();
    }

    fn ask(&self, path: &Path, ask: impl Fn(&Patterns, &Path) -> bool) -> bool {
        let Ok(inside) = path.strip_prefix(&self.root) else { return false };
        self.read_above(path);
        ask(&self.known.borrow().patterns, inside)
    }

    /// Reads the files in the directories that `path` lies in.
    fn read_above(&self, path: &Path) {
        let mut known = self.known.borrow_mut();
        let above = path.ancestors().skip(1).take_while(|above| above.starts_with(&self.root));
        let new: Vec<&Path> = above.filter(|above| !known.directories.contains(*above)).collect();
        let mut found = false;
        for directory in new {
            known.directories.insert(directory.to_owned());
            let Ok(text) = fs::read_to_string(directory.join(".gitignore")) else { continue };
            let inside = directory.strip_prefix(&self.root).unwrap_or(directory);
            let lines = text.lines().filter_map(|line| translated(inside, line));
            // A line that is no pattern ignores nothing.
            let lines = lines.filter(|line| Patterns::of([line.as_str()]).is_ok()).collect();
            known.lines.insert(directory.to_owned(), lines);
            found = true;
        }
        if found {
            let lines = known.lines.values().flatten().map(String::as_str);
            known.patterns = Patterns::of(lines).unwrap_or_default();
        }
    }
}

/// A line of the file in `directory` as a pattern of [`Patterns`] below the top.
fn translated(directory: &Path, line: &str) -> Option<String> {
    let line = line.trim_end();
    if line.is_empty() || line.starts_with('#') {
        return None;
    }
    let (mark, line) = line.strip_prefix('!').map_or(("", line), |line| ("!", line));
    let (line, only_directories) =
        line.strip_suffix('/').map_or((line, false), |line| (line, true));
    let deep = if line.contains('/') { "" } else { "**/" };
    let below = if only_directories { "/**" } else { "" };
    let line = line.trim_start_matches('/');
    let mut place = String::new();
    for character in directory.to_string_lossy().chars() {
        if "*?[\\".contains(character) {
            place.push('\\');
        }
        place.push(character);
    }
    if !place.is_empty() {
        place.push('/');
    }
    Some(format!("{mark}{place}{deep}{line}{below}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_git_says() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let write = |name: &str, text: &str| {
            let path = root.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write(".gitignore", "# made\n*.o\n/dist\nnode_modules/\n!keep.o\n\n[\n");
        write("app/.gitignore", "secret\n!*.o\n/own\n");
        write("[app]/.gitignore", "/own\n");
        let ignore = GitIgnore::around(&root.join("app"), root);
        for (path, hidden) in [
            ("a.o", true),
            ("lib/deep/a.o", true),
            ("keep.o", false),
            ("app/a.o", false),
            ("dist/x", true),
            ("app/dist/x", false),
            ("app/node_modules/a/b", true),
            ("app/secret", true),
            ("app/deep/secret", true),
            ("secret", false),
            ("app/own", true),
            ("app/deep/own", false),
            ("[app]/own", true),
            ("a/own", false),
            ("app/page", false),
        ] {
            assert_eq!(ignore.hides(&root.join(path)), hidden, "{path}");
        }
        // The exceptions may be anywhere.
        assert!(!ignore.hides_all(&root.join("app/node_modules")));
        assert!(!ignore.hides(Path::new("/elsewhere/a.o")));
        // A file that changes is read again when somebody says so.
        write("app/.gitignore", "page\n");
        assert!(!ignore.hides(&root.join("app/page")));
        ignore.forget();
        assert!(ignore.hides(&root.join("app/page")));
    }

    #[test]
    fn nobody_looks_into_a_directory_in_which_everything_is_ignored() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        fs::write(root.join(".gitignore"), "node_modules/\n/dist\n").unwrap();
        let ignore = GitIgnore::around(root, root);
        assert!(ignore.hides_all(&root.join("app/node_modules")));
        assert!(ignore.hides_all(&root.join("dist")));
        assert!(!ignore.hides_all(&root.join("app")));
    }

    #[test]
    fn begins_at_the_top_of_the_repository() {
        let folder = tempfile::tempdir().unwrap();
        let project = folder.path().join("project");
        fs::create_dir_all(project.join("src")).unwrap();
        fs::write(folder.path().join(".gitignore"), "x\n").unwrap();
        let asked = project.join("src/x");
        assert!(!GitIgnore::around(&project.join("src"), &project).hides(&asked));
        fs::create_dir(folder.path().join(".git")).unwrap();
        assert!(GitIgnore::around(&project.join("src"), &project).hides(&asked));
    }
}
