//! Where files come from: a directory, an archive, a git repository, a URL.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use sys::root::Root;

use super::ignore::{PatternError, Patterns};
use super::stats::Stats;
use super::tree::{Tree, below};
use super::{DockerfileSource, Foreign, Recipe, Surroundings};
use crate::layer::{LayerError, is_archive, unpack_foreign};
use crate::store::StoreError;
use crate::store::workspace::Workspace;

/// What the Dockerfile is called if nobody says otherwise.
const DOCKERFILE: &str = "Dockerfile";

/// What a context may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A directory of this machine.
    Directory(PathBuf),
    /// An archive on this machine.
    Archive(PathBuf),
    /// A git repository.
    Git(GitSource),
    /// An archive, or a Dockerfile alone, that is fetched.
    Url(String),
    /// The files of an image.
    Image(String),
}

/// A place in a git repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GitSource {
    /// What git fetches from.
    pub remote: String,
    /// A branch, a tag or a commit; the default branch without.
    pub reference: Option<String>,
    /// The directory in it.
    pub directory: Option<String>,
}

/// A context cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ContextError {
    /// It is not there, or cannot be read.
    #[error("cannot use {} as a context", path.display())]
    Open {
        /// The directory or archive.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// An archive.
    #[error("cannot unpack the context {name}")]
    Archive {
        /// What it is called.
        name: String,
        /// Why not.
        source: LayerError,
    },
    /// The Dockerfile is not there, or cannot be read.
    #[error("cannot read {}", path.display())]
    Dockerfile {
        /// Where it was looked for.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The ignore file.
    #[error("{} is wrong", path.display())]
    Ignore {
        /// The file.
        path: PathBuf,
        /// Which pattern.
        source: PatternError,
    },
    /// git has failed.
    #[error("git cannot fetch {remote}: {output}")]
    Git {
        /// The repository.
        remote: String,
        /// What git said.
        output: String,
    },
    /// A fetch has failed.
    #[error("cannot fetch {url}")]
    Fetch {
        /// The address.
        url: String,
        /// Why.
        source: Foreign,
    },
    /// An image cannot be the main context.
    #[error(
        "the image {0} cannot be the context: name a directory, and the image with `additional_contexts`"
    )]
    Image(String),
    /// Something of a kind that is not known.
    #[error(
        "`{0}` is no context that can be used: name a directory, a git repository, an address, docker-image://IMAGE or service:NAME"
    )]
    Unknown(String),
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Source {
    /// Reads what a person writes: a directory (absolute), an archive, a git repository, an address or an image.
    ///
    /// # Errors
    ///
    /// [`ContextError::Unknown`].
    pub fn parse(text: &str) -> Result<Self, ContextError> {
        if let Some(image) = text.strip_prefix("docker-image://") {
            return Ok(Self::Image(image.to_owned()));
        }
        if let Some(git) = GitSource::parse(text) {
            return Ok(Self::Git(git));
        }
        if text.starts_with("http://") || text.starts_with("https://") {
            return Ok(Self::Url(text.to_owned()));
        }
        if text.contains("://") {
            return Err(ContextError::Unknown(text.to_owned()));
        }
        let path = PathBuf::from(text);
        Ok(if path.is_file() { Self::Archive(path) } else { Self::Directory(path) })
    }
}

impl Source {
    /// What a file of a context is called that is read somewhere else than where it is.
    fn name_of(&self, file: &Path) -> Option<String> {
        let file = file.display();
        Some(match self {
            Self::Directory(_) | Self::Image(_) => return None,
            Self::Archive(path) => format!("{}/{file}", path.display()),
            Self::Url(url) => format!("{}/{file}", without_password(url)),
            Self::Git(GitSource { remote, reference, directory }) => {
                let reference = reference.as_deref().unwrap_or_default();
                let path = directory.as_ref().map_or(PathBuf::new(), PathBuf::from);
                let path = path.join(file.to_string());
                format!("{}#{reference}:{}", without_password(remote), path.display())
            }
        })
    }
}

/// An address without what stands before `@`.
fn without_password(address: &str) -> String {
    let Some((scheme, rest)) = address.split_once("://") else { return address.to_owned() };
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    format!("{scheme}://{host}{path}")
}

impl GitSource {
    /// Reads `https://host/x.git#REFERENCE:DIRECTORY` and the other forms of git.
    pub fn parse(text: &str) -> Option<Self> {
        let (remote, fragment) = text.split_once('#').unwrap_or((text, ""));
        let is_git = remote.starts_with("git://")
            || remote.starts_with("ssh://")
            || remote.starts_with("git@")
            || (remote.starts_with("http://")
                || remote.starts_with("https://")
                || remote.starts_with("file://"))
                && remote.ends_with(".git");
        let hub = remote.starts_with("github.com/");
        if !is_git && !hub {
            return None;
        }
        let remote = if hub { format!("https://{remote}") } else { remote.to_owned() };
        let (reference, directory) = fragment.split_once(':').unwrap_or((fragment, ""));
        let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Some(Self { remote, reference: given(reference), directory: given(directory) })
    }

    /// Fetches it into a new directory; returns the directory in it that is meant.
    pub(super) fn fetch(
        &self,
        into: &Path,
        keep: KeepGit,
        surroundings: &dyn Surroundings,
    ) -> Result<PathBuf, ContextError> {
        let run = |arguments: &[&str]| {
            let mut git = Command::new("git");
            git.arg("-C").arg(into).args(["-c", "protocol.ext.allow=never"]).args(arguments);
            if let Some(environment) = surroundings.environment() {
                git.env_clear().envs(environment);
            }
            let done = git.env("GIT_TERMINAL_PROMPT", "0").output();
            let failed = |output: String| ContextError::Git { remote: self.remote.clone(), output };
            let output = done.map_err(|error| failed(error.to_string()))?;
            if output.status.success() {
                return Ok(());
            }
            Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
        };
        fs::create_dir(into).map_err(StoreError::access("create", into))?;
        run(&["init", "--quiet"])?;
        let reference = self.reference.as_deref().unwrap_or("HEAD");
        let shallow = run(&[
            "fetch",
            "--quiet",
            "--depth=1",
            "--no-tags",
            "--end-of-options",
            &self.remote,
            reference,
        ]);
        if shallow.is_err() {
            // A server may refuse to give a single commit.
            run(&["fetch", "--quiet", "--end-of-options", &self.remote, "+refs/*:refs/fetched/*"])?;
            run(&["checkout", "--quiet", "--detach", reference])?;
        } else {
            run(&["checkout", "--quiet", "--detach", "FETCH_HEAD"])?;
        }
        run(&["submodule", "update", "--quiet", "--init", "--recursive", "--depth=1"])?;
        let directory = below(self.directory.as_deref().unwrap_or_default());
        if keep == KeepGit::No {
            let git = into.join(".git");
            sys::remove::remove_tree(&git).map_err(StoreError::access("delete", &git))?;
        }
        let unusable = |source| ContextError::Open { path: into.join(&directory), source };
        // A link in the repository may not lead out of it.
        let root = Root::open(into).map_err(unusable)?;
        let opened = root.open_dir(&directory).map_err(unusable)?;
        super::run::path_of(&opened).map_err(unusable)
    }
}

/// Whether the folder of git itself stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeepGit {
    Yes,
    No,
}

/// A context that can be read.
#[derive(Debug)]
pub(super) struct Context {
    /// Its files.
    pub(super) tree: Tree,
    /// Its directory.
    pub(super) path: PathBuf,
}

/// The Dockerfile with its name.
#[derive(Debug)]
pub(super) struct Text {
    pub(super) name: String,
    pub(super) text: String,
}

/// A directory with the files of a context.
struct Located {
    path: PathBuf,
    /// Whether it is nothing but a Dockerfile, which was fetched by its address.
    is_dockerfile: bool,
}

/// Brings the files of a context into a directory of this machine.
fn locate(
    source: &Source,
    workspace: &Workspace<'_>,
    surroundings: &dyn Surroundings,
    name: &str,
) -> Result<Located, ContextError> {
    let unpacked = |archive: &Path, called: &str| -> Result<PathBuf, ContextError> {
        let into = workspace.new_layer(name)?;
        let open = || {
            let unusable = |source| ContextError::Open { path: archive.to_owned(), source };
            File::open(archive).map_err(unusable)
        };
        unpack_foreign(open()?, &into)
            .map_err(|source| ContextError::Archive { name: called.to_owned(), source })?;
        Ok(into)
    };
    let path = match source {
        Source::Directory(path) => path.clone(),
        Source::Archive(path) => unpacked(path, &path.display().to_string())?,
        Source::Git(git) => git.fetch(&workspace.path().join(name), KeepGit::No, surroundings)?,
        Source::Url(url) => {
            let fetched = workspace.path().join(format!("{name}.fetched"));
            surroundings
                .download(url, &fetched)
                .map_err(|source| ContextError::Fetch { url: url.clone(), source })?;
            let opened = File::open(&fetched).and_then(is_archive);
            let unusable = |source| ContextError::Open { path: fetched.clone(), source };
            if !opened.map_err(unusable)? {
                let path = workspace.new_layer(name)?;
                let dockerfile = path.join(DOCKERFILE);
                fs::rename(&fetched, &dockerfile)
                    .map_err(StoreError::access("create", &dockerfile))?;
                return Ok(Located { path, is_dockerfile: true });
            }
            unpacked(&fetched, url)?
        }
        Source::Image(image) => return Err(ContextError::Image(image.clone())),
    };
    Ok(Located { path, is_dockerfile: false })
}

/// Opens a further context.
pub(super) fn open(
    source: &Source,
    workspace: &Workspace<'_>,
    surroundings: &dyn Surroundings,
    name: &str,
) -> Result<Context, ContextError> {
    let Located { path, .. } = locate(source, workspace, surroundings, name)?;
    open_located(source, path, workspace, None)
}

/// Opens what is in `path`; `dockerfile` may have an ignore file of its own, instead of `.dockerignore`.
fn open_located(
    source: &Source,
    path: PathBuf,
    workspace: &Workspace<'_>,
    dockerfile: Option<&Path>,
) -> Result<Context, ContextError> {
    let unusable = |source| ContextError::Open { path: path.clone(), source };
    let root = Root::open(&path).map_err(unusable)?;
    let hidden = ignore(&root, &path, dockerfile)?;
    // What was brought here for this build has not been read before.
    let stats = matches!(source, Source::Directory(_))
        .then(|| Stats::open(workspace.store().stats_path(&path)));
    let tree = Tree { root, hidden, owned: false, stats };
    Ok(Context { tree, path })
}

/// The patterns of `DOCKERFILE.dockerignore`, else of `.dockerignore`.
fn ignore(root: &Root, path: &Path, dockerfile: Option<&Path>) -> Result<Patterns, ContextError> {
    let mut candidates = Vec::new();
    if let Some(dockerfile) = dockerfile {
        let mut own = path.join(dockerfile).into_os_string();
        own.push(".dockerignore");
        candidates.push(PathBuf::from(own));
    }
    candidates.push(path.join(".dockerignore"));
    for candidate in candidates {
        // What lies in the context may be a link out of it, and is read below it.
        let text = match candidate.strip_prefix(path) {
            Ok(inside) => root.open_file(inside).and_then(io::read_to_string),
            Err(_) => fs::read_to_string(&candidate),
        };
        match text {
            Ok(text) => {
                return Patterns::parse(&text)
                    .map_err(|source| ContextError::Ignore { path: candidate, source });
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(ContextError::Open { path: candidate, source }),
        }
    }
    Ok(Patterns::default())
}

/// The Dockerfile, if nothing has to be fetched or unpacked to read it.
pub(super) fn at_hand(recipe: &Recipe) -> Result<Option<Text>, ContextError> {
    match (&recipe.dockerfile, &recipe.context) {
        (DockerfileSource::Inline(text), _) => Ok(Some(inline(text))),
        (DockerfileSource::File(file), Source::Directory(path)) => {
            let path = path.join(file);
            match fs::read_to_string(&path) {
                Ok(text) => Ok(Some(Text { name: path.display().to_string(), text })),
                Err(source) => Err(ContextError::Dockerfile { path, source }),
            }
        }
        (DockerfileSource::File(_), _) => Ok(None),
    }
}

fn inline(text: &str) -> Text {
    Text { name: "dockerfile_inline".to_owned(), text: text.to_owned() }
}

/// Opens the main context with its Dockerfile.
pub(super) fn main(
    recipe: &Recipe,
    workspace: &Workspace<'_>,
    surroundings: &dyn Surroundings,
) -> Result<(Context, Text), ContextError> {
    let Located { path, is_dockerfile } =
        locate(&recipe.context, workspace, surroundings, "context")?;
    let file = match &recipe.dockerfile {
        // There is only one, whatever it was called where it came from.
        DockerfileSource::File(_) if is_dockerfile => Some(Path::new(DOCKERFILE)),
        DockerfileSource::File(path) => Some(path.as_path()),
        DockerfileSource::Inline(_) => None,
    };
    let context = open_located(&recipe.context, path, workspace, file)?;
    let text = match (&recipe.dockerfile, file) {
        (DockerfileSource::Inline(text), _) => inline(text),
        (DockerfileSource::File(_), file) => {
            let path = file.expect("a file was meant");
            let whole = context.path.join(path);
            let name = match &recipe.context {
                Source::Url(url) if is_dockerfile => without_password(url),
                other => other.name_of(path).unwrap_or_else(|| whole.display().to_string()),
            };
            let called = PathBuf::from(&name);
            let unreadable = |source| ContextError::Dockerfile { path: called, source };
            // Only the user's own directory may have its Dockerfile elsewhere.
            let text = if matches!(recipe.context, Source::Directory(_)) {
                fs::read_to_string(&whole).map_err(unreadable)?
            } else {
                let file = context.tree.root.open_file(&below(&path.to_string_lossy()));
                file.and_then(io::read_to_string).map_err(unreadable)?
            };
            Text { name, text }
        }
    };
    Ok((context, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contexts_are_told_apart() {
        let git = |remote: &str, reference: Option<&str>, directory: Option<&str>| {
            Source::Git(GitSource {
                remote: remote.to_owned(),
                reference: reference.map(str::to_owned),
                directory: directory.map(str::to_owned),
            })
        };
        #[rustfmt::skip]
        let table = [
            ("/src/app", Source::Directory("/src/app".into())),
            ("https://host/a/b.git#v1:sub/dir", git("https://host/a/b.git", Some("v1"), Some("sub/dir"))),
            ("git@host:a/b#:sub", git("git@host:a/b", None, Some("sub"))),
            ("ssh://git@host/a", git("ssh://git@host/a", None, None)),
            ("github.com/a/b#main", git("https://github.com/a/b", Some("main"), None)),
            ("https://host/context.tar.gz", Source::Url("https://host/context.tar.gz".into())),
            ("docker-image://alpine:3", Source::Image("alpine:3".into())),
        ];
        for (text, expected) in table {
            assert_eq!(Source::parse(text).unwrap(), expected, "{text}");
        }
        assert!(Source::parse("oci-layout://x").is_err());
    }

    #[test]
    fn files_are_called_by_where_they_come_from() {
        for (text, name) in [
            ("https://me:word@host/b.git#v1:sub", Some("https://host/b.git#v1:sub/Dockerfile")),
            ("git@host:a/b", Some("git@host:a/b#:Dockerfile")),
            ("https://me@host/c.tar", Some("https://host/c.tar/Dockerfile")),
            ("/src", None),
        ] {
            let found = Source::parse(text).unwrap().name_of(Path::new("Dockerfile"));
            assert_eq!(found.as_deref(), name, "{text}");
        }
    }
}
