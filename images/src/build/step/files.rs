//! `ADD` and `COPY`.

use std::collections::HashMap;

use rustix::fs::{Mode, OFlags, Timespec};

use super::super::copy::{CopyError, Ground, Wishes, Writer, Written};
use super::super::dockerfile::{Copy, Heredoc, Instruction, Problem, Word, heredoc_name};
use super::super::error::Failed;
use super::super::mode::owner;
use super::super::tree::{Source, Tree, below, kind};
use super::flags::CopyFlags;
use super::layer::Linked;
use super::source::{CopySource, Fetched, fetch, select};
use super::{Stage, key, say};
use crate::build::GitSource;
use crate::digest::Digest;
use crate::layer::unpack_below;
use crate::words::Expansion;

impl Stage<'_, '_> {
    pub(super) fn copy(
        &mut self,
        instruction: &Instruction,
        copy: &Copy,
        variables: &HashMap<String, String>,
        is_add: bool,
    ) -> Result<(), Failed> {
        let span = instruction.span.clone();
        let flags = CopyFlags::read(self, &copy.flags, variables)?;
        let target = self.state.absolute(&self.word(&copy.target, variables)?);
        let from = copy.flags.iter().find(|flag| flag.name == "from").map(|flag| &flag.value);
        let origin =
            self.origin(from.map(|word| word.text.as_str()), from.unwrap_or(&copy.target))?;
        let mut texts: Vec<Vec<u8>> = vec![target.clone().into_bytes(), flags.text(), self.epoch()];
        let mut sources = Vec::new();
        for word in &copy.sources {
            let text = self.word(word, variables)?;
            texts.push(text.clone().into_bytes());
            sources.push(self.copy_source(word, &word.text, text, copy, variables, is_add)?);
        }
        if flags.checksum.is_some() && !matches!(sources[..], [CopySource::Url(_)]) {
            let message = "`--checksum` is for one file that is fetched by its address";
            return Err(Problem::new(span, message, "remove the flag").into());
        }
        let linked = if flags.link && flags.owner.as_ref().is_none_or(|owner| is_numeric(owner)) {
            Linked::Yes
        } else {
            Linked::No
        };
        let chain = match linked {
            Linked::Yes => Digest::of(b"nothing below"),
            Linked::No => self.state.chain(),
        };
        let verb: &[u8] = if is_add { b"add 1" } else { b"copy 1" };
        let mut parts: Vec<&[u8]> = vec![verb, chain.as_bytes()];
        parts.extend(texts.iter().map(Vec::as_slice));
        let base = key(&parts);
        let quick = origin.identity().map(|identity| key(&[base.as_bytes(), identity.as_bytes()]));
        let builder = self.builder;
        let fetched = std::cell::OnceCell::new();
        let selected = std::cell::OnceCell::new();
        let exact = || {
            let mut files = select(origin.tree(), &sources, &flags)?;
            let digest = origin
                .tree()
                .digest(&mut files)
                .map_err(|error| say(&span, &error, "check what is copied"))?;
            let mut parts: Vec<Vec<u8>> =
                vec![base.as_bytes().to_vec(), digest.as_bytes().to_vec()];
            // What has to have a known digest is fetched only if the layer is to be made.
            if flags.checksum.is_none() {
                let mut others = fetch(builder, &sources, &flags, &span)?;
                for other in &mut others {
                    parts.push(other.digest(&span)?.as_bytes().to_vec());
                }
                let _ = fetched.set(others);
            }
            for source in &sources {
                if let CopySource::Text(name, content) = source {
                    parts.extend([name.clone().into_bytes(), content.clone().into_bytes()]);
                }
            }
            let _ = selected.set(files);
            Ok(key(&parts.iter().map(Vec::as_slice).collect::<Vec<_>>()))
        };
        self.layer(instruction, quick, exact, |stage, fresh, _| {
            let files = selected.get().expect("the key was made of them");
            if fetched.get().is_none() {
                let _ = fetched.set(fetch(builder, &sources, &flags, &span)?);
            }
            let others = fetched.get().expect("they were fetched just now");
            let ground = fresh.ground(&span, linked)?;
            let owner = match &flags.owner {
                Some(text) if is_numeric(text) => owner(text, &ground.root).ok(),
                Some(text) => {
                    let view = stage.view(&span)?;
                    let help = "name a user of the stage, or a number";
                    Some(owner(text, &view).map_err(|error| say(&span, &error, help))?)
                }
                None => None,
            };
            let wishes = Wishes {
                owner,
                mode: flags.mode.clone(),
                latest: stage.builder.latest,
                parents: flags.parents,
            };
            let put = Put { ground: &ground, target: &target, wishes: &wishes, span: &span };
            let unpack = if is_add { flags.unpack } else { Some(false) };
            put.all(origin.tree(), files, others, &sources, unpack)
        })
    }

    fn copy_source(
        &self,
        word: &Word,
        raw: &str,
        text: String,
        copy: &Copy,
        variables: &HashMap<String, String>,
        is_add: bool,
    ) -> Result<CopySource, Failed> {
        if let Some(name) = heredoc_name(raw)
            && let Some(heredoc) = copy.heredocs.iter().find(|heredoc| heredoc.name == name)
        {
            let Heredoc { content, expand, .. } = heredoc;
            let content = if *expand {
                let expansion = Expansion { variables, escape: self.builder.outline.file.escape };
                expansion.body(content).map_err(|error| {
                    Problem::new(
                        word.place.clone(),
                        error.to_string(),
                        "quote the name of the heredoc to keep its text as it is",
                    )
                })?
            } else {
                content.clone()
            };
            return Ok(CopySource::Text(name, content));
        }
        if is_add {
            if let Some(git) = GitSource::parse(&text) {
                return Ok(CopySource::Git(git));
            }
            if text.starts_with("http://") || text.starts_with("https://") {
                return Ok(CopySource::Url(text));
            }
        }
        Ok(CopySource::Files(text, word.clone()))
    }
}

fn is_numeric(owner: &str) -> bool {
    owner.bytes().all(|byte| byte.is_ascii_digit() || byte == b':')
}

/// What is put where.
struct Put<'a> {
    ground: &'a Ground,
    target: &'a str,
    wishes: &'a Wishes,
    span: &'a std::ops::Range<usize>,
}

impl Put<'_> {
    fn all(
        &self,
        tree: &Tree,
        files: &[Source],
        others: &[Fetched],
        sources: &[CopySource],
        unpack: Option<bool>,
    ) -> Result<Written, Failed> {
        let help = "end a target that is a directory with `/`";
        let fail = |error: CopyError| say(self.span, &error, help);
        let mut writer = Writer::on(self.ground, self.wishes);
        let texts = sources.iter().filter(|source| matches!(source, CopySource::Text(..))).count();
        let count = files.len() + others.len() + texts;
        let into = writer.goes_into(self.target, count);
        let mut plain = Vec::new();
        for source in files {
            if unpack == Some(false) || !self.unpack(tree, source)? {
                plain.push(source);
            }
        }
        writer.copy(tree, &plain, self.target, into).map_err(fail)?;
        for source in sources {
            if let CopySource::Text(name, content) = source {
                let target = below(self.target);
                let place = if into { target.join(name) } else { target };
                writer.write(&place, content.as_bytes()).map_err(fail)?;
            }
        }
        for Fetched { tree, sources, is_file } in others {
            for source in sources {
                if *is_file && unpack == Some(true) && self.unpack(tree, source)? {
                    continue;
                }
                if into && *is_file && source.name.is_empty() {
                    let message = "the address has no name for the file";
                    let help = "write the name in the target";
                    return Err(Problem::new(self.span.clone(), message, help).into());
                }
                writer.copy(tree, &[source], self.target, into).map_err(fail)?;
            }
        }
        writer.finish().map_err(fail)
    }

    /// Unpacks an archive into the target; false for what is none.
    fn unpack(&self, tree: &Tree, source: &Source) -> Result<bool, Failed> {
        let Some(item) = source.items.first() else { return Ok(false) };
        if kind(&item.stat) != rustix::fs::FileType::RegularFile {
            return Ok(false);
        }
        let help = "decompress it before, or write ADD --unpack=false";
        let open = || tree.root.open_file(&item.from);
        let is_archive = open().and_then(crate::layer::is_archive);
        match is_archive {
            Ok(false) => return Ok(false),
            Ok(true) => {}
            Err(error) => return Err(say(self.span, &error, help)),
        }
        let root = &self.ground.root;
        let mut writer = Writer::new(root, self.wishes);
        let time = Timespec { tv_sec: item.stat.st_mtime, tv_nsec: 0 };
        let target = below(self.target);
        writer
            .directory(&target, time)
            .map_err(|error| say(self.span, &error, "choose another target"))?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let directory = root
            .resolve(&target, flags, Mode::empty())
            .map_err(|error| say(self.span, &error, help))?;
        let file = open().map_err(|error| say(self.span, &error, help))?;
        unpack_below(file, directory, self.wishes.owner)
            .map_err(|error| say(self.span, &error, "check the archive"))?;
        Ok(true)
    }
}
