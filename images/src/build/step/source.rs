//! What `ADD` and `COPY` take: files of a tree, texts of the Dockerfile, and what is fetched from elsewhere.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use sys::root::Root;

use super::super::context::KeepGit;
use super::super::dockerfile::{Problem, Word};
use super::super::error::Failed;
use super::super::ignore::Patterns;
use super::super::solve::Builder;
use super::super::tree::{Source, Tree, below};
use super::flags::CopyFlags;
use super::{key, say};
use crate::build::GitSource;
use crate::digest::{Digest, Hasher};
use crate::store::StoreError;

/// A source of `ADD` or `COPY`.
pub(super) enum CopySource {
    Files(String, Word),
    Text(String, String),
    Url(String),
    Git(GitSource),
}

/// Something that was fetched.
pub(super) enum Fetched {
    File { path: PathBuf, name: String, digest: Digest },
    Directory(PathBuf),
}

impl Fetched {
    pub(super) fn tree(path: &Path) -> io::Result<Tree> {
        Ok(Tree { root: Root::open(path)?, hidden: Patterns::default(), owned: false, stats: None })
    }

    pub(super) fn digest(&self, span: &std::ops::Range<usize>) -> Result<Digest, Failed> {
        match self {
            Self::File { name, digest, .. } => Ok(key(&[name.as_bytes(), digest.as_bytes()])),
            Self::Directory(path) => {
                let help = "check the repository";
                let tree = Self::tree(path).map_err(|error| say(span, &error, help))?;
                let files = tree.select("", &Patterns::default());
                files.and_then(|files| tree.digest(&files)).map_err(|error| say(span, &error, help))
            }
        }
    }
}

/// The files that the sources mean.
pub(super) fn select(
    tree: &Tree,
    sources: &[CopySource],
    flags: &CopyFlags,
) -> Result<Vec<Source>, Failed> {
    let mut all = Vec::new();
    for source in sources {
        if let CopySource::Files(text, word) = source {
            // What stands before `/./` is no part of the path that is kept.
            let (pivot, rest) = match text.split_once("/./").filter(|_| flags.parents) {
                Some((pivot, _)) => (below(pivot), text.as_str()),
                None => (PathBuf::new(), text.as_str()),
            };
            let found = tree.select(rest, &flags.exclude).map_err(|error| {
                say(
                    &word.place,
                    &error,
                    "paths are relative to the root of the context, stage or image",
                )
            })?;
            all.extend(found.into_iter().map(|source| {
                let path =
                    source.path.strip_prefix(&pivot).map_or(source.path.clone(), Path::to_owned);
                Source { path, ..source }
            }));
        }
    }
    Ok(all)
}

/// Fetches what is elsewhere.
pub(super) fn fetch(
    builder: &Builder<'_>,
    sources: &[CopySource],
    flags: &CopyFlags,
    span: &std::ops::Range<usize>,
) -> Result<Vec<Fetched>, Failed> {
    let mut all = Vec::new();
    for source in sources {
        let path = builder.workspace.path().join(format!("fetched-{}", builder.next_step()));
        match source {
            CopySource::Url(url) => {
                let help = "check the address";
                builder
                    .surroundings
                    .download(url, &path)
                    .map_err(|error| say(span, &*error, help))?;
                let read = || -> io::Result<Digest> {
                    let mut hasher = Hasher::default();
                    io::copy(&mut File::open(&path)?, &mut hasher)?;
                    Ok(hasher.finish().0)
                };
                let digest = read().map_err(StoreError::access("read", &path))?;
                if let Some(wanted) = flags.checksum.filter(|wanted| *wanted != digest) {
                    let message = format!("{url} has the digest {digest}, and not {wanted}");
                    return Err(Problem::new(
                        span.clone(),
                        message,
                        "check the file before you change the digest",
                    )
                    .into());
                }
                let tail = url.split(['?', '#']).next().unwrap_or_default();
                let name =
                    tail.trim_end_matches('/').rsplit('/').next().unwrap_or_default().to_owned();
                all.push(Fetched::File { path, name, digest });
            }
            CopySource::Git(git) => {
                let keep = if flags.keep_git { KeepGit::Yes } else { KeepGit::No };
                let found = git
                    .fetch(&path, keep)
                    .map_err(|error| say(span, &error, "check the repository"))?;
                all.push(Fetched::Directory(found));
            }
            CopySource::Files(..) | CopySource::Text(..) => {}
        }
    }
    Ok(all)
}
