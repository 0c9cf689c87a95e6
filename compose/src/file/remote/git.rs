//! Compose files that lie in git repositories: `https://HOST/REPO.git#REF:FOLDER`.
//!
//! A repository is fetched once per commit; what a name like `main` stands for is asked anew each time.
//!
//! Source: docker/compose `pkg/remote/git.go`, the form of the reference as in buildkit's `util/gitutil`.

use std::io;
use std::path::{Component, Path, PathBuf};
use std::process::{Command, Stdio};

use super::super::locate::NAMES;
use super::whole;

/// A place in a git repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct GitRef {
    /// What `git fetch` is given.
    repository: String,
    /// A branch, a tag or a commit; none: what the repository calls `HEAD`.
    reference: Option<String>,
    /// A folder or file in it.
    path: Option<String>,
}

/// A file of a repository that cannot be read.
#[derive(Debug, thiserror::Error)]
pub(in crate::file) enum GitError {
    /// Git cannot be run.
    #[error("git is needed to read {repository}, and cannot be run")]
    NoGit {
        repository: String,
        #[source]
        source: io::Error,
    },
    /// Git could not do it.
    #[error("{attempt} failed: {said}")]
    Git { attempt: String, said: String },
    /// No such branch, tag or commit.
    #[error("{repository} has no `{reference}`")]
    NoReference { repository: String, reference: String },
    /// The path leads elsewhere.
    #[error("`{0}` is not inside of the repository")]
    Outside(String),
    /// The repository does not have it.
    #[error("{repository} has no {what}")]
    Missing { repository: String, what: String },
    /// The cache folder does not work.
    #[error("cannot keep the repository in {}", path.display())]
    Cache {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

impl GitError {
    /// What to do about it.
    pub(super) const fn help(&self) -> &'static str {
        match self {
            Self::NoGit { .. } => "install git, or name a local file",
            Self::Git { .. } => "`git ls-remote REPOSITORY` shows whether it can be reached",
            Self::NoReference { .. } => {
                "write `REPOSITORY#BRANCH:FOLDER`, with a branch, tag or commit that is there"
            }
            Self::Outside(_) => "name a folder below the root of the repository",
            Self::Missing { .. } => "write `REPOSITORY#BRANCH:FOLDER` for a file in a folder",
            Self::Cache { .. } => "make room there, or set XDG_CACHE_HOME to another folder",
        }
    }
}

impl GitRef {
    /// Reads `REPOSITORY[#REF[:PATH]]`; nothing if `text` is a path.
    ///
    /// A URL over HTTP is one of a repository only if it ends with `.git`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (repository, fragment) = match text.split_once('#') {
            Some((repository, fragment)) => (repository, Some(fragment)),
            None => (text, None),
        };
        let repository = if repository.starts_with("github.com/") {
            format!("https://{repository}")
        } else {
            repository.to_owned()
        };
        let known = match repository.split_once("://") {
            Some(("git" | "ssh" | "file", rest)) => !rest.is_empty(),
            Some(("http" | "https", rest)) => {
                rest.ends_with(".git") || rest.starts_with("github.com/")
            }
            Some(_) => false,
            None => is_scp_like(&repository),
        };
        if !known {
            return None;
        }
        let part = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        let (reference, path) =
            match fragment.map(|text| text.split_once(':').unwrap_or((text, ""))) {
                Some((reference, path)) => (part(reference), part(path)),
                None => (None, None),
            };
        Some(Self { repository, reference, path })
    }
}

/// `git@HOST:PATH`.
fn is_scp_like(text: &str) -> bool {
    let Some((host, path)) = text.split_once(':') else { return false };
    let Some((user, host)) = host.split_once('@') else { return false };
    let word = |text: &str| {
        text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'))
    };
    word(user) && word(host) && !path.is_empty()
}

/// The file that is meant, in a copy of its repository below `cache`.
pub(super) fn fetch(wanted: &GitRef, cache: &Path) -> Result<PathBuf, GitError> {
    let commit = commit(wanted)?;
    let folder = cache.join(&commit);
    if !folder.is_dir() {
        check_out(wanted, &commit, cache, &folder)?;
    }
    file_in(wanted, &folder)
}

/// The commit that the reference stands for.
fn commit(wanted: &GitRef) -> Result<String, GitError> {
    let reference = wanted.reference.as_deref().unwrap_or("HEAD");
    if is_commit(reference) {
        return Ok(reference.to_owned());
    }
    let repository = &wanted.repository;
    // An annotated tag is an object of its own; what it stands for has its name with `^{}`, and is told to whoever asks for that.
    let peeled = format!("{reference}^{{}}");
    let said = git(wanted, None, &["ls-remote", "--", repository, reference, &peeled])?;
    let lines = said.lines().filter_map(|line| line.split_once('\t'));
    let (_, commit) = lines
        .map(|(commit, name)| (name.ends_with("^{}"), commit))
        .max_by_key(|(peeled, _)| *peeled)
        .unwrap_or_default();
    if is_commit(commit) {
        return Ok(commit.to_owned());
    }
    Err(GitError::NoReference { repository: repository.clone(), reference: reference.to_owned() })
}

fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Fetches one commit into `folder`, whole or not at all.
fn check_out(wanted: &GitRef, commit: &str, cache: &Path, folder: &Path) -> Result<(), GitError> {
    let cannot = |source| GitError::Cache { path: cache.to_owned(), source };
    whole(folder, cannot, |scratch| fetch_into(wanted, commit, scratch))
}

fn fetch_into(wanted: &GitRef, commit: &str, folder: &Path) -> Result<(), GitError> {
    let at = Some(folder);
    let repository = &wanted.repository;
    git(wanted, at, &["init", "--quiet"])?;
    let by_commit = git(wanted, at, &["fetch", "--quiet", "--depth=1", "--", repository, commit]);
    if let Err(error) = by_commit {
        // Old servers give out only what has a name, and plain web servers only whole histories.
        let reference = wanted.reference.as_deref().unwrap_or("HEAD");
        git(wanted, at, &["fetch", "--quiet", "--", repository, reference]).map_err(|_| error)?;
    }
    git(wanted, at, &["checkout", "--quiet", "--detach", commit])?;
    Ok(())
}

/// Runs git and returns what it printed. It asks nobody anything and runs no hooks.
fn git(wanted: &GitRef, folder: Option<&Path>, words: &[&str]) -> Result<String, GitError> {
    let mut command = Command::new("git");
    command
        .args(["-c", "core.hooksPath=/dev/null", "-c", "advice.detachedHead=false"])
        .args(words)
        .env("GIT_TERMINAL_PROMPT", "0")
        .stdin(Stdio::null());
    // A repository around the project is none of this one's.
    for variable in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"] {
        command.env_remove(variable);
    }
    if let Some(folder) = folder {
        command.current_dir(folder);
    }
    let output = command
        .output()
        .map_err(|source| GitError::NoGit { repository: wanted.repository.clone(), source })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said: Vec<&str> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    Err(GitError::Git {
        attempt: format!("git {} {}", words[0], wanted.repository),
        said: said.join("; "),
    })
}

/// The compose file that is meant, inside of the checked-out `folder`.
fn file_in(wanted: &GitRef, folder: &Path) -> Result<PathBuf, GitError> {
    let repository = || wanted.repository.clone();
    let mut place = folder.to_owned();
    if let Some(path) = &wanted.path {
        let inside = Path::new(path.trim_start_matches('/'));
        let plain = |part| matches!(part, Component::Normal(_) | Component::CurDir);
        if !inside.components().all(plain) {
            return Err(GitError::Outside(path.clone()));
        }
        place.push(inside);
        let missing = || GitError::Missing { repository: repository(), what: format!("`{path}`") };
        let real = place.canonicalize().map_err(|_| missing())?;
        let root = folder.canonicalize().map_err(|_| missing())?;
        // A link of the repository may lead anywhere.
        if !real.starts_with(root) {
            return Err(GitError::Outside(path.clone()));
        }
    }
    if place.is_file() {
        return Ok(place);
    }
    let named = NAMES.iter().map(|name| place.join(name)).find(|file| file.is_file());
    named.ok_or_else(|| {
        let path = wanted.path.as_deref().unwrap_or("its root");
        let what = format!("compose file in {path}");
        GitError::Missing { repository: repository(), what }
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn shown(text: &str) -> String {
        match GitRef::parse(text) {
            Some(GitRef { repository, reference, path }) => format!(
                "{repository} {} {}",
                reference.as_deref().unwrap_or("-"),
                path.as_deref().unwrap_or("-")
            ),
            None => "path".to_owned(),
        }
    }

    #[test]
    fn references() {
        #[rustfmt::skip]
        let table = [
            ("https://h/r.git", "https://h/r.git - -"), ("https://h/r.git#main", "https://h/r.git main -"),
            ("https://h/r.git#v1:a/b", "https://h/r.git v1 a/b"), ("https://h/r.git#:sub", "https://h/r.git - sub"),
            ("git@github.com:o/r.git#x", "git@github.com:o/r.git x -"), ("ssh://git@h/r", "ssh://git@h/r - -"),
            ("git://h/r", "git://h/r - -"), ("github.com/o/r", "https://github.com/o/r - -"),
            ("file:///srv/r.git#:a.yaml", "file:///srv/r.git - a.yaml"),
            ("https://h/compose.yaml", "path"), ("compose.yaml", "path"), ("./a#b", "path"), ("-", "path"),
            ("a@b/c:d", "path"), ("-o@h:x", "path"), ("ftp://h/r.git", "path"), ("git@h:", "path"),
        ];
        for (text, parts) in table {
            assert_eq!(shown(text), parts, "{text}");
        }
    }

    #[test]
    fn the_path_stays_inside() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("sub")).unwrap();
        fs::write(folder.path().join("sub/compose.yml"), "").unwrap();
        std::os::unix::fs::symlink("/etc", folder.path().join("link")).unwrap();
        let file = |path: &str| {
            let text = format!("https://h/r.git#:{path}");
            file_in(&GitRef::parse(&text).unwrap(), folder.path())
        };
        assert_eq!(file("sub").unwrap(), folder.path().join("sub/compose.yml"));
        assert_eq!(file("/sub/compose.yml").unwrap(), folder.path().join("sub/compose.yml"));
        for (path, error) in [
            ("../x", "`../x` is not inside of the repository"),
            ("link/passwd", "`link/passwd` is not inside of the repository"),
            ("gone", "https://h/r.git has no `gone`"),
            ("", "https://h/r.git has no compose file in its root"),
        ] {
            assert_eq!(file(path).unwrap_err().to_string(), error);
        }
    }
}
