//! Compose files that lie in git repositories: `https://HOST/REPO.git#REF:FOLDER`.
//!
//! `-f`, `include` and `extends` take them. A repository is fetched once per commit, into the cache
//! folder of the user; what a name like `main` stands for is asked anew each time.
//!
//! Source: compose reference L62; docker/compose `pkg/remote/git.go`, the form of the reference
//! as in buildkit's `util/gitutil`.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::process::{Command, Stdio};

use super::locate::NAMES;

/// Switches git remotes off when it is false.
const SWITCH: &str = "COMPOSE_EXPERIMENTAL_GIT_REMOTE";

/// Where the files of remotes are kept, and which remotes are allowed.
#[derive(Debug, Clone, Default)]
pub(super) struct Remotes {
    cache: Option<PathBuf>,
    git: bool,
}

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

/// A remote file that cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum RemoteError {
    /// The user has switched remotes off.
    #[error("{SWITCH} is false, so no git repository is read")]
    Disabled,
    /// A registry.
    #[error("compose files in registries are not read: {0}")]
    Registry(String),
    /// Nowhere to put it.
    #[error("there is no cache folder for repositories: neither XDG_CACHE_HOME nor HOME is set")]
    NoCache,
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

impl RemoteError {
    /// What to do about it.
    pub(super) const fn help(&self) -> &'static str {
        match self {
            Self::Disabled => "set COMPOSE_EXPERIMENTAL_GIT_REMOTE=true, or name a local file",
            Self::Registry(_) => "fetch the artifact with another tool and name the local file",
            Self::NoCache => "set HOME",
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

/// True if `text` names something that is not on this machine's own paths.
pub(super) fn is_remote(text: &str) -> bool {
    text.starts_with("oci://") || GitRef::parse(text).is_some()
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

impl Remotes {
    /// What the variables say.
    pub(super) fn from_environment(environment: &BTreeMap<String, String>) -> Self {
        let folder =
            |name: &str| environment.get(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let caches = folder("XDG_CACHE_HOME").or_else(|| Some(folder("HOME")?.join(".cache")));
        let off = |name: &str| {
            environment.get(name).is_some_and(|value| {
                matches!(value.to_ascii_lowercase().as_str(), "0" | "f" | "false" | "n" | "no")
            })
        };
        Self { cache: caches.map(|path| path.join("compose/git")), git: !off(SWITCH) }
    }

    /// The local copy of the remote file `text`.
    ///
    /// # Errors
    ///
    /// When it is switched off, cannot be fetched, or is not there.
    pub(super) fn fetch(&self, text: &str) -> Result<PathBuf, RemoteError> {
        let Some(wanted) = GitRef::parse(text) else {
            return Err(RemoteError::Registry(text.to_owned()));
        };
        if !self.git {
            return Err(RemoteError::Disabled);
        }
        let cache = self.cache.as_deref().ok_or(RemoteError::NoCache)?;
        let commit = commit(&wanted)?;
        let folder = cache.join(&commit);
        if !folder.is_dir() {
            check_out(&wanted, &commit, cache, &folder)?;
        }
        file_in(&wanted, &folder)
    }
}

/// The commit that the reference stands for.
fn commit(wanted: &GitRef) -> Result<String, RemoteError> {
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
    Err(RemoteError::NoReference {
        repository: repository.clone(),
        reference: reference.to_owned(),
    })
}

fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Fetches one commit into `folder`, whole or not at all.
fn check_out(
    wanted: &GitRef,
    commit: &str,
    cache: &Path,
    folder: &Path,
) -> Result<(), RemoteError> {
    let cannot = |source| RemoteError::Cache { path: cache.to_owned(), source };
    let scratch = cache.join(format!(".{commit}.{}", std::process::id()));
    fs::create_dir_all(&scratch).map_err(cannot)?;
    let fetched = fetch_into(wanted, commit, &scratch).and_then(|()| {
        match fs::rename(&scratch, folder) {
            // Somebody else was faster.
            Err(error) if !folder.is_dir() => Err(cannot(error)),
            _ => Ok(()),
        }
    });
    // After a rename there is nothing left; what cannot be removed does no harm.
    let _left = fs::remove_dir_all(&scratch);
    fetched
}

fn fetch_into(wanted: &GitRef, commit: &str, folder: &Path) -> Result<(), RemoteError> {
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
fn git(wanted: &GitRef, folder: Option<&Path>, words: &[&str]) -> Result<String, RemoteError> {
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
        .map_err(|source| RemoteError::NoGit { repository: wanted.repository.clone(), source })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said: Vec<&str> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    Err(RemoteError::Git {
        attempt: format!("git {} {}", words[0], wanted.repository),
        said: said.join("; "),
    })
}

/// The compose file that is meant, inside of the checked-out `folder`.
fn file_in(wanted: &GitRef, folder: &Path) -> Result<PathBuf, RemoteError> {
    let repository = || wanted.repository.clone();
    let mut place = folder.to_owned();
    if let Some(path) = &wanted.path {
        let inside = Path::new(path.trim_start_matches('/'));
        let plain = |part| matches!(part, Component::Normal(_) | Component::CurDir);
        if !inside.components().all(plain) {
            return Err(RemoteError::Outside(path.clone()));
        }
        place.push(inside);
        let missing =
            || RemoteError::Missing { repository: repository(), what: format!("`{path}`") };
        let real = place.canonicalize().map_err(|_| missing())?;
        let root = folder.canonicalize().map_err(|_| missing())?;
        // A link of the repository may lead anywhere.
        if !real.starts_with(root) {
            return Err(RemoteError::Outside(path.clone()));
        }
    }
    if place.is_file() {
        return Ok(place);
    }
    let named = NAMES.iter().map(|name| place.join(name)).find(|file| file.is_file());
    named.ok_or_else(|| {
        let path = wanted.path.as_deref().unwrap_or("its root");
        let what = format!("compose file in {path}");
        RemoteError::Missing { repository: repository(), what }
    })
}

#[cfg(test)]
mod tests {
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
        assert!(is_remote("oci://docker.io/x/y:1") && !is_remote("/oci/x"));
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

    #[test]
    fn the_variables() {
        let remotes = |pairs: &[(&str, &str)]| {
            let pairs = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            Remotes::from_environment(&pairs.collect())
        };
        let home = remotes(&[("HOME", "/home/u")]);
        assert_eq!(home.cache.as_deref(), Some(Path::new("/home/u/.cache/compose/git")));
        let off = remotes(&[("HOME", "/h"), (SWITCH, "false")]);
        assert!(matches!(off.fetch("https://h/r.git"), Err(RemoteError::Disabled)));
        assert!(matches!(remotes(&[]).fetch("git://h/r"), Err(RemoteError::NoCache)));
        assert!(matches!(home.fetch("oci://h/r"), Err(RemoteError::Registry(_))));
    }
}
