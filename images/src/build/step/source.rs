//! What `ADD` and `COPY` take: files of a tree, texts of the Dockerfile, and what is fetched from elsewhere.

use std::io;
use std::path::{Path, PathBuf};

use sys::root::Root;

use super::super::context::KeepGit;
use super::super::dockerfile::{Problem, Word};
use super::super::error::Failed;
use super::super::ignore::Patterns;
use super::super::solve::Builder;
use super::super::tree::{Source, Tree, TreeError, below, unreadable};
use super::flags::CopyFlags;
use super::say;
use crate::build::GitSource;
use crate::digest::Digest;

/// What a fetched file is called in its own directory.
const FETCHED: &str = "file";

/// A source of `ADD` or `COPY`.
pub(super) enum CopySource {
    Files(String, Word),
    Text(String, String),
    Url(String),
    Git(GitSource),
}

/// Something that was fetched.
pub(super) struct Fetched {
    pub(super) tree: Tree,
    pub(super) sources: Vec<Source>,
    /// Whether it is one file, which may be an archive.
    pub(super) is_file: bool,
}

impl Fetched {
    fn directory(path: &Path) -> io::Result<Tree> {
        Ok(Tree { root: Root::open(path)?, hidden: Patterns::default(), owned: false, stats: None })
    }

    /// The file alone in its directory, under the name that it is to have.
    fn file(directory: &Path, name: String) -> Result<Self, TreeError> {
        let tree = Self::directory(directory).map_err(unreadable(directory))?;
        let mut source = tree.select_directory(FETCHED)?;
        source.path = PathBuf::from(&name);
        source.name = name.into();
        Ok(Self { tree, sources: vec![source], is_file: true })
    }

    fn files(directory: &Path) -> Result<Self, TreeError> {
        let tree = Self::directory(directory).map_err(unreadable(directory))?;
        let sources = tree.select("", &Patterns::default())?;
        Ok(Self { tree, sources, is_file: false })
    }

    pub(super) fn digest(&mut self, span: &std::ops::Range<usize>) -> Result<Digest, Failed> {
        let digest = self.tree.digest(&mut self.sources);
        digest.map_err(|error| say(span, &error, "check what is fetched"))
    }
}

/// The name of a file that is fetched from `url`: the last part of its path, or nothing.
pub(super) fn name_of(url: &str) -> String {
    let path = url.split_once("://").map_or(url, |(_, rest)| rest);
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let path = path.split_once('/').map_or("", |(_, path)| path);
    let mut bytes = Vec::new();
    let mut rest = path.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let escaped = after
            .get(..2)
            .filter(|_| *first == b'%')
            .and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        bytes.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { &after[2..] } else { after };
    }
    let text = String::from_utf8_lossy(&bytes);
    let name = text.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    if matches!(name, "." | "..") || name.contains('\0') { String::new() } else { name.to_owned() }
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
        let name = format!("fetched-{}", builder.next_step());
        match source {
            CopySource::Url(url) => {
                let directory = builder.workspace.new_layer(&name)?;
                let path = directory.join(FETCHED);
                builder
                    .surroundings
                    .download(url, &path)
                    .map_err(|error| say(span, &*error, "check the address"))?;
                let mut found = Fetched::file(&directory, name_of(url))
                    .map_err(|error| say(span, &error, "check the address"))?;
                if let Some(wanted) = flags.checksum {
                    found.digest(span)?;
                    let content = found.sources[0].items[0].content.as_ref();
                    let digest = content.expect("its digest was just asked for").digest;
                    if digest != wanted {
                        let message = format!("{url} has the digest {digest}, and not {wanted}");
                        let help = "check the file before you change the digest";
                        return Err(Problem::new(span.clone(), message, help).into());
                    }
                }
                all.push(found);
            }
            CopySource::Git(git) => {
                let keep = if flags.keep_git { KeepGit::Yes } else { KeepGit::No };
                let help = "check the repository";
                let found = git
                    .fetch(&builder.workspace.path().join(name), keep, builder.surroundings)
                    .map_err(|error| say(span, &error, help))?;
                all.push(Fetched::files(&found).map_err(|error| say(span, &error, help))?);
            }
            CopySource::Files(..) | CopySource::Text(..) => {}
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fetched_file_is_called_as_its_address_ends() {
        #[rustfmt::skip]
        let table = [
            ("https://host/a/b.tar.gz?x=/y#z", "b.tar.gz"),
            ("https://host/a/b/", "b"),
            ("http://host", ""),
            ("http://host/", ""),
            ("http://host/a%20b%2Fc%zz", "c%zz"),
            ("http://host/a/..", ""),
            ("http://host/%2e%2E", ""),
        ];
        for (url, name) in table {
            assert_eq!(name_of(url), name, "{url}");
        }
    }
}
