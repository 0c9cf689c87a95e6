//! Compose files that are not on this machine: in git repositories, and in registries.
//!
//! `-f`, `include` and `extends` take them. Each is fetched once per commit or digest, into the cache folder of the
//! user; what a name stands for is asked anew each time.
//!
//! Source: compose reference L62; docker/compose `pkg/remote`.

mod git;
mod oci;

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use git::{GitError, GitRef};
use oci::ArtifactError;

/// What stands before the name of a registry's artifact.
const OCI: &str = "oci://";

/// Switches git remotes off when it is false.
const GIT_SWITCH: &str = "COMPOSE_EXPERIMENTAL_GIT_REMOTE";
/// Switches remotes in registries off when it is false.
const OCI_SWITCH: &str = "COMPOSE_EXPERIMENTAL_OCI_REMOTE";

/// Where the files of remotes are kept, and which remotes are allowed.
#[derive(Debug, Clone, Default)]
pub(super) struct Remotes {
    cache: Option<PathBuf>,
    git: bool,
    oci: bool,
}

/// A remote file that cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum RemoteError {
    /// The user has switched remotes of this kind off.
    #[error("{switch} is false, so no {what} is read")]
    Disabled { switch: &'static str, what: &'static str },
    /// Nowhere to put it.
    #[error("there is no cache folder: neither XDG_CACHE_HOME nor HOME is set")]
    NoCache,
    /// A repository.
    #[error(transparent)]
    Git(#[from] GitError),
    /// A registry.
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
}

impl RemoteError {
    /// What to do about it.
    pub(super) fn help(&self) -> String {
        match self {
            Self::Disabled { switch, .. } => format!("set {switch}=true, or name a local file"),
            Self::NoCache => "set HOME".to_owned(),
            Self::Git(error) => error.help().to_owned(),
            Self::Artifact(error) => error.help(),
        }
    }
}

/// True if `text` names something that is not on this machine's own paths.
pub(super) fn is_remote(text: &str) -> bool {
    text.starts_with(OCI) || GitRef::parse(text).is_some()
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
        Self {
            cache: caches.map(|path| path.join("compose")),
            git: !off(GIT_SWITCH),
            oci: !off(OCI_SWITCH),
        }
    }

    /// The local copy of the remote file `text`.
    ///
    /// # Errors
    ///
    /// When it is switched off, cannot be fetched, or is not there.
    pub(super) fn fetch(&self, text: &str) -> Result<PathBuf, RemoteError> {
        let cache = || self.cache.as_deref().ok_or(RemoteError::NoCache);
        if let Some(wanted) = GitRef::parse(text) {
            if !self.git {
                let (switch, what) = (GIT_SWITCH, "git repository");
                return Err(RemoteError::Disabled { switch, what });
            }
            return Ok(git::fetch(&wanted, &cache()?.join("git"))?);
        }
        if !self.oci {
            let (switch, what) = (OCI_SWITCH, "registry");
            return Err(RemoteError::Disabled { switch, what });
        }
        Ok(oci::fetch(text.strip_prefix(OCI).unwrap_or(text), &cache()?.join("oci"))?)
    }
}

/// Makes `folder` with what `make` puts into it: whole or not at all, for this user only.
fn whole<E>(
    folder: &Path,
    cannot: impl Fn(io::Error) -> E,
    make: impl FnOnce(&Path) -> Result<(), E>,
) -> Result<(), E> {
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    let scratch = folder.with_file_name(format!(".{name}.{}", std::process::id()));
    DirBuilder::new().recursive(true).mode(0o700).create(&scratch).map_err(&cannot)?;
    let made = make(&scratch).and_then(|()| match fs::rename(&scratch, folder) {
        // Somebody else was faster.
        Err(error) if !folder.is_dir() => Err(cannot(error)),
        _ => Ok(()),
    });
    // After a rename there is nothing left; what cannot be removed does no harm.
    let _left = fs::remove_dir_all(&scratch);
    made
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remote() {
        for text in ["oci://docker.io/x/y:1", "https://h/r.git#main", "git@h:o/r"] {
            assert!(is_remote(text), "{text}");
        }
        for text in ["/oci/x", "oci:x", "compose.yaml", "https://h/compose.yaml"] {
            assert!(!is_remote(text), "{text}");
        }
    }

    #[test]
    fn the_variables() {
        let remotes = |pairs: &[(&str, &str)]| {
            let pairs = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            Remotes::from_environment(&pairs.collect())
        };
        let home = remotes(&[("HOME", "/home/u")]);
        assert_eq!(home.cache.as_deref(), Some(Path::new("/home/u/.cache/compose")));
        for (switch, text) in [(GIT_SWITCH, "https://h/r.git"), (OCI_SWITCH, "oci://h/r")] {
            let off = remotes(&[("HOME", "/h"), (switch, "False")]);
            let error = off.fetch(text).unwrap_err();
            assert!(matches!(error, RemoteError::Disabled { .. }), "{error}");
            assert!(error.help().contains(switch));
        }
        let nowhere = remotes(&[("XDG_CACHE_HOME", "relative")]);
        assert!(matches!(nowhere.fetch("oci://h/r"), Err(RemoteError::NoCache)));
    }

    #[test]
    fn a_folder_is_made_whole_and_once() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("cache/digest");
        let make = |text: &str| {
            whole(&folder, |error| error, |scratch| fs::write(scratch.join("file"), text))
        };
        let failed = whole(&folder, |error| error, |_| Err(io::Error::other("no")));
        assert!(failed.is_err() && !folder.exists());
        make("one").unwrap();
        make("two").unwrap();
        assert_eq!(fs::read_to_string(folder.join("file")).unwrap(), "one");
        assert_eq!(fs::read_dir(root.path().join("cache")).unwrap().count(), 1);
    }
}
