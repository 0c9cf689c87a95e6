//! Files that a build reads: a context, or what other stages and images have; which of them are meant, and the digest
//! of their content.
//!
//! Such a tree is hostile: it is only read below its own descriptor.

use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};
use sys::root::Root;

use super::ignore::{PathPattern, PatternError, Patterns};
use super::read::{Content, read};
use super::stats::Stats;
use crate::digest::{Digest, Hasher};

/// A tree of files.
#[derive(Debug)]
pub(super) struct Tree {
    /// Where it is.
    pub(super) root: Root,
    /// What of it is not seen.
    pub(super) hidden: Patterns,
    /// Whether owners and attributes belong to its files, as in an image; those of a context do not matter.
    pub(super) owned: bool,
    /// Digests that are known from earlier builds.
    pub(super) stats: Option<Stats>,
}

/// One thing to be copied.
#[derive(Debug, Clone)]
pub(super) struct Item {
    /// Its path in the tree.
    pub(super) from: PathBuf,
    /// Its path below the target.
    pub(super) to: PathBuf,
    /// What it is.
    pub(super) stat: Stat,
    /// What a symbolic link says.
    pub(super) link: Option<OsString>,
    /// What is in a file, once that is known.
    pub(super) content: Option<Content>,
}

/// A source of `COPY` with all that is in it.
#[derive(Debug, Clone)]
pub(super) struct Source {
    /// What it is called.
    pub(super) name: OsString,
    /// Its path in the tree, symbolic links not followed.
    pub(super) path: PathBuf,
    /// It, and everything in it, parents first; in the order of their names.
    pub(super) items: Vec<Item>,
}

/// Files cannot be read, or are not there.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// There is no such file.
    #[error("`{0}` is not there")]
    Missing(String),
    /// It is there, and hidden by a pattern.
    #[error("`{0}` is hidden by a pattern of the ignore file")]
    Hidden(String),
    /// A pattern.
    #[error(transparent)]
    Pattern(#[from] PatternError),
    /// A file or directory cannot be read.
    #[error("cannot read `{path}`")]
    Read {
        /// Its path in the tree.
        path: String,
        /// The kernel's answer.
        source: io::Error,
    },
}

pub(super) fn unreadable(path: &Path) -> impl FnOnce(io::Error) -> TreeError {
    let path = path.display().to_string();
    move |source| TreeError::Read { path, source }
}

/// What kind of file a stat is about.
pub(super) fn kind(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// A path below the root of a tree: `..` stops there.
pub(super) fn below(path: &str) -> PathBuf {
    let mut clean = PathBuf::new();
    for part in Path::new(path).components() {
        match part {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => {
                clean.pop();
            }
            _ => {}
        }
    }
    clean
}

impl Tree {
    /// All sources that `text`, a path or a pattern, means. `exclude` is about paths within a source.
    pub(super) fn select(&self, text: &str, exclude: &Patterns) -> Result<Vec<Source>, TreeError> {
        let Some(pattern) = PathPattern::parse(text)? else {
            return Ok(vec![self.source(&below(text), text, exclude)?]);
        };
        let mut found = Vec::new();
        self.find(&pattern, Path::new(""), &mut found)?;
        found.iter().map(|path| self.source(path, &path.display().to_string(), exclude)).collect()
    }

    /// The directory or file at `path`, with everything in it.
    pub(super) fn select_directory(&self, path: &str) -> Result<Source, TreeError> {
        self.source(&below(path), path, &Patterns::default())
    }

    /// Collects the paths that fit.
    fn find(
        &self,
        pattern: &PathPattern,
        directory: &Path,
        found: &mut Vec<PathBuf>,
    ) -> Result<(), TreeError> {
        for (name, stat) in self.list(directory)? {
            let path = directory.join(name);
            let is_directory = kind(&stat) == FileType::Directory;
            let hidden = self.is_hidden(&path, is_directory);
            if pattern.matches(&path) {
                if !hidden {
                    found.push(path);
                }
            } else if is_directory && !hidden && pattern.reaches_below(&path) {
                self.find(pattern, &path, found)?;
            }
        }
        Ok(())
    }

    /// Whether nothing of `path` is seen.
    fn is_hidden(&self, path: &Path, is_directory: bool) -> bool {
        self.hidden.matches(path) && !(is_directory && self.hidden.has_exception_below(path))
    }

    /// The source at `path`; a symbolic link there is followed.
    fn source(&self, path: &Path, text: &str, exclude: &Patterns) -> Result<Source, TreeError> {
        let opened = self.root.resolve(path, OFlags::PATH, Mode::empty());
        let opened = opened.map_err(|source| match source.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
                TreeError::Missing(text.to_owned())
            }
            _ => unreadable(path)(source),
        })?;
        let stat = rustix::fs::fstat(&opened).map_err(|error| unreadable(path)(error.into()))?;
        let is_directory = kind(&stat) == FileType::Directory;
        if self.is_hidden(path, is_directory) {
            return Err(TreeError::Hidden(text.to_owned()));
        }
        let mut items = vec![Item {
            from: path.to_owned(),
            to: PathBuf::new(),
            stat,
            link: None,
            content: None,
        }];
        if is_directory {
            self.collect(path, Path::new(""), exclude, &mut items)?;
        } else if exclude.matches(Path::new(path.file_name().unwrap_or_default())) {
            items.clear();
        }
        let name = path.file_name().unwrap_or_default().to_owned();
        Ok(Source { name, path: path.to_owned(), items })
    }

    /// Collects what is in a directory, in the order of names.
    fn collect(
        &self,
        directory: &Path,
        at: &Path,
        exclude: &Patterns,
        items: &mut Vec<Item>,
    ) -> Result<(), TreeError> {
        for (name, stat) in self.list(directory)? {
            let (from, to) = (directory.join(&name), at.join(&name));
            let is_directory = kind(&stat) == FileType::Directory;
            let excluded =
                exclude.matches(&to) && !(is_directory && exclude.has_exception_below(&to));
            if self.is_hidden(&from, is_directory) || excluded {
                continue;
            }
            let link = match kind(&stat) {
                FileType::Symlink => {
                    let place = self.root.place(&from).map_err(unreadable(&from))?;
                    Some(place.read_link().map_err(unreadable(&from))?)
                }
                // There is no such thing in a layer.
                FileType::Socket => continue,
                _ => None,
            };
            items.push(Item { from: from.clone(), to: to.clone(), stat, link, content: None });
            if is_directory {
                let before = items.len();
                self.collect(&from, &to, exclude, items)?;
                // It is only there for what is an exception in it.
                let is_meant = self.hidden.matches(&from) || exclude.matches(&to);
                if is_meant && items.len() == before {
                    items.pop();
                }
            }
        }
        Ok(())
    }

    /// What is in a directory, sorted.
    fn list(&self, directory: &Path) -> Result<Vec<(OsString, Stat)>, TreeError> {
        let list = || -> io::Result<Vec<(OsString, Stat)>> {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY;
            let opened = self.root.resolve(directory, flags, Mode::empty())?;
            let mut found = Vec::new();
            for entry in Dir::read_from(&opened)? {
                let entry = entry?;
                let name = OsStr::from_bytes(entry.file_name().to_bytes());
                if name == "." || name == ".." {
                    continue;
                }
                match rustix::fs::statat(&opened, name, AtFlags::SYMLINK_NOFOLLOW) {
                    Ok(stat) => found.push((name.to_owned(), stat)),
                    // Deleted since.
                    Err(rustix::io::Errno::NOENT) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            found.sort_by(|one, other| one.0.cmp(&other.0));
            Ok(found)
        };
        list().map_err(unreadable(directory))
    }

    /// The digest of what is copied: names, kinds, permissions and contents, and in an image owners and attributes;
    /// times do not count.
    pub(super) fn digest(&self, sources: &mut [Source]) -> Result<Digest, TreeError> {
        read(self, sources)?;
        let mut hasher = Hasher::default();
        for source in sources {
            field(&mut hasher, b"source");
            field(&mut hasher, source.name.as_bytes());
            for item in &source.items {
                self.add(&mut hasher, item)?;
            }
        }
        Ok(hasher.finish().0)
    }

    fn add(&self, hasher: &mut Hasher, item: &Item) -> Result<(), TreeError> {
        field(hasher, item.to.as_os_str().as_bytes());
        let mode =
            if kind(&item.stat) == FileType::Symlink { 0o120_777 } else { item.stat.st_mode };
        field(hasher, &mode.to_le_bytes());
        match kind(&item.stat) {
            FileType::RegularFile => {
                let content = item.content.as_ref().expect("all files were read");
                field(hasher, content.digest.hex().as_bytes());
            }
            FileType::Symlink => {
                let link = item.link.as_deref().unwrap_or_default();
                field(hasher, link.as_bytes());
            }
            FileType::CharacterDevice | FileType::BlockDevice => {
                field(hasher, &item.stat.st_rdev.to_le_bytes());
            }
            _ => {}
        }
        if self.owned {
            let (uid, gid) = (item.stat.st_uid, item.stat.st_gid);
            field(hasher, format!("{uid}:{gid}").as_bytes());
            if let Some(capabilities) = self.capabilities(item)? {
                field(hasher, &capabilities);
            }
        }
        Ok(())
    }

    /// The file capabilities of a program.
    fn capabilities(&self, item: &Item) -> Result<Option<Vec<u8>>, TreeError> {
        if kind(&item.stat) != FileType::RegularFile || item.stat.st_mode & 0o111 == 0 {
            return Ok(None);
        }
        let file = self.root.open_file(&item.from).map_err(unreadable(&item.from))?;
        let mut value = [0; 256];
        Ok(rustix::fs::fgetxattr(&file, "security.capability", &mut value)
            .ok()
            .map(|length| value[..length].to_vec()))
    }
}

/// Adds a value that does not run into the next one.
pub(super) fn field(hasher: &mut Hasher, value: &[u8]) {
    let length = value.len() as u64;
    for part in [&length.to_le_bytes()[..], value] {
        hasher.write_all(part).expect("a hasher takes everything");
    }
}
