//! The host's side of a bind mount.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// What to do about a source that is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// Make a folder, parents included: the short syntax, and `create_host_path: true`.
    Create,
    /// Refuse: `create_host_path: false`.
    Refuse,
}

/// What the source is, which decides what the target must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A folder: the target is a folder.
    Directory,
    /// A file, socket, fifo or device: the target is a file.
    File,
}

/// A source that can be bound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The path as it was given.
    pub path: PathBuf,
    /// What is there.
    pub kind: Kind,
}

/// A source that cannot be bound.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// A path that depends on where one stands; the model resolves those.
    #[error("the source of a bind mount must be an absolute path, not {path}")]
    Relative {
        /// The path.
        path: PathBuf,
    },
    /// Nothing there, and not to be made.
    #[error("bind source {path} does not exist{}", nearest(path))]
    Missing {
        /// The path.
        path: PathBuf,
    },
    /// A symbolic link that leads nowhere, where a folder would have to be made.
    #[error("bind source {path} is a symbolic link to {target}, which does not exist")]
    Dangling {
        /// The path.
        path: PathBuf,
        /// Where the link points.
        target: PathBuf,
    },
    /// It could not be made.
    #[error("cannot create the bind source {path}")]
    Create {
        /// The path.
        path: PathBuf,
        /// The kernel's words.
        source: io::Error,
    },
    /// It could not be looked at.
    #[error("cannot look at the bind source {path}")]
    Look {
        /// The path.
        path: PathBuf,
        /// The kernel's words.
        source: io::Error,
    },
}

/// Checks the source of a bind mount, making it if that is wanted. Links are followed, as by mount(8): the file is trusted.
///
/// # Errors
///
/// [`BindError`].
pub fn check(path: &Path, missing: Missing) -> Result<Source, BindError> {
    let path = path.to_owned();
    if !path.is_absolute() {
        return Err(BindError::Relative { path });
    }
    match path.metadata() {
        Ok(found) => {
            let kind = if found.is_dir() { Kind::Directory } else { Kind::File };
            Ok(Source { path, kind })
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            match (path.read_link(), missing) {
                (Ok(target), _) => Err(BindError::Dangling { path, target }),
                (Err(_), Missing::Refuse) => Err(BindError::Missing { path }),
                (Err(_), Missing::Create) => create(path),
            }
        }
        // A file where a folder of the path should be.
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            Err(BindError::Missing { path })
        }
        Err(source) => Err(BindError::Look { path, source }),
    }
}

fn create(path: PathBuf) -> Result<Source, BindError> {
    match DirBuilder::new().recursive(true).mode(0o755).create(&path) {
        Ok(()) => Ok(Source { path, kind: Kind::Directory }),
        Err(source) => Err(BindError::Create { path, source }),
    }
}

/// The part of the path that is there: it shows a slip of the pen at a glance.
fn nearest(path: &Path) -> String {
    let mut above = path.ancestors().skip(1);
    match above.find_map(|path| path.metadata().ok().map(|found| (path, found.mode()))) {
        Some((above, _)) if above == Path::new("/") => String::new(),
        Some((above, mode)) if mode & libc::S_IFMT != libc::S_IFDIR => {
            format!(" ({} is a file)", above.display())
        }
        Some((above, _)) => format!(" (but {} does)", above.display()),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn tells_files_from_folders() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(dir.path(), &link).unwrap();
        for (path, kind) in
            [(file, Kind::File), (dir.path().to_owned(), Kind::Directory), (link, Kind::Directory)]
        {
            assert_eq!(check(&path, Missing::Refuse).unwrap(), Source { path, kind });
        }
    }

    #[test]
    fn makes_what_is_missing_only_if_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b");
        let refused = check(&path, Missing::Refuse).unwrap_err().to_string();
        let expected = format!(
            "bind source {} does not exist (but {} does)",
            path.display(),
            dir.path().display()
        );
        assert_eq!(refused, expected);
        assert_eq!(check(&path, Missing::Create).unwrap().kind, Kind::Directory);
        assert!(path.is_dir());
    }

    #[test]
    fn says_what_is_in_the_way() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        let refused = check(&file.join("x"), Missing::Create).unwrap_err().to_string();
        assert!(refused.ends_with(&format!("({} is a file)", file.display())), "{refused}");
        let link = dir.path().join("link");
        std::os::unix::fs::symlink("nowhere", &link).unwrap();
        assert!(matches!(check(&link, Missing::Create), Err(BindError::Dangling { .. })));
        assert!(matches!(check(Path::new("a"), Missing::Create), Err(BindError::Relative { .. })));
    }
}
