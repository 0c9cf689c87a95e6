//! The texts that were read, and places in them.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::OnceLock;

use crate::diagnostic::Label;
use crate::model::Place;

use super::trace::{Cause, Trace};

/// Which text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct FileId(u32);

/// A range of bytes in a text, and how what stands there came to where it is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Span {
    pub(crate) file: FileId,
    pub(crate) start: u32,
    pub(crate) end: u32,
    pub(crate) trace: Trace,
}

impl Span {
    /// The same place for something that is not written there, but follows from it.
    pub(crate) const fn implied(self) -> Self {
        Self { trace: Trace::IMPLIED, ..self }
    }

    /// `length` bytes of it, from the one at `start` on.
    pub(crate) fn part(self, start: usize, length: usize) -> Self {
        let offset = |bytes: usize| u32::try_from(bytes).unwrap_or(0);
        let start = self.start + offset(start);
        Self { start, end: start + offset(length), ..self }
    }

    /// The bytes alone.
    pub(crate) const fn bytes(self) -> (FileId, u32, u32) {
        (self.file, self.start, self.end)
    }
}

/// A text that was read.
#[derive(Debug, Clone)]
struct Source {
    path: Arc<Path>,
    text: Arc<str>,
    /// The byte at which each line begins.
    lines: OnceLock<Vec<u32>>,
    /// What asked for the file; nothing for those that the user names.
    from: Option<Cause>,
}

/// All texts of one run, in the order in which they were read.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sources {
    sources: Vec<Source>,
    /// How values came to where they are used; [`Trace`] counts from 1.
    causes: Vec<(Cause, Trace)>,
    /// Environment files: many services read the same one.
    shared: HashMap<Arc<Path>, FileId>,
}

impl Sources {
    /// Takes in a text. Texts over 4 GiB were refused before.
    pub(crate) fn add(
        &mut self,
        path: &Path,
        text: impl Into<Arc<str>>,
        from: Option<Cause>,
    ) -> FileId {
        let id = FileId(u32::try_from(self.sources.len()).unwrap_or(u32::MAX));
        let (path, text) = (path.into(), text.into());
        self.sources.push(Source { path, text, lines: OnceLock::new(), from });
        id
    }

    /// Takes in the text of an environment file, once however often it is read.
    pub(crate) fn add_shared(&mut self, path: &Path, text: String) -> FileId {
        match self.shared.get(path) {
            Some(file) if **self.text(*file) == *text => *file,
            _ => {
                let file = self.add(path, text, None);
                self.shared.insert(path.into(), file);
                file
            }
        }
    }

    /// How many bytes all texts have.
    pub(crate) fn size(&self) -> usize {
        self.sources.iter().map(|source| source.text.len()).sum()
    }

    /// The paths of all texts.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &Path> {
        self.sources.iter().map(|source| &*source.path)
    }

    /// `span` with one more reason why it is where it is.
    pub(crate) fn traced(&mut self, span: Span, cause: Cause) -> Span {
        self.causes.push((cause, span.trace));
        let trace = u32::try_from(self.causes.len()).map_or(span.trace, Trace::nth);
        Span { trace, ..span }
    }

    /// How what stands at `span` came to where it is used, the nearest step first.
    pub(crate) fn causes(&self, span: Span) -> Vec<&Cause> {
        let mut found = Vec::new();
        let mut open = vec![span];
        while let Some(span) = open.pop() {
            let known = found.len();
            let mut trace = span.trace;
            while let Some((cause, next)) = trace.index().and_then(|index| self.causes.get(index)) {
                found.push(cause);
                trace = *next;
            }
            let from = self.sources[span.file.0 as usize].from.as_ref();
            let is_extended = |cause: &&Cause| matches!(cause, Cause::Extends(_));
            let named = found[known..].iter().any(is_extended);
            found.extend(from.filter(|cause| !(named && is_extended(cause))));
            // What led to the steps themselves.
            open.extend(found[known..].iter().rev().filter_map(|cause| cause.leads_on()));
            if found.len() > Self::MAX_CAUSES {
                break;
            }
        }
        found.truncate(Self::MAX_CAUSES);
        found
    }

    /// Longer stories are not told.
    const MAX_CAUSES: usize = 64;

    pub(crate) fn text(&self, file: FileId) -> &Arc<str> {
        &self.sources[file.0 as usize].text
    }

    /// The text that `span` covers.
    pub(crate) fn slice(&self, span: Span) -> &str {
        self.text(span.file).get(span.start as usize..span.end as usize).unwrap_or_default()
    }

    /// The text before `span`.
    pub(crate) fn before(&self, span: Span) -> &str {
        self.text(span.file).get(..span.start as usize).unwrap_or_default()
    }

    /// The text from the beginning of `span` on.
    pub(crate) fn after(&self, span: Span) -> &str {
        self.text(span.file).get(span.start as usize..).unwrap_or_default()
    }

    /// Where `span` begins.
    pub(crate) fn place(&self, span: Span) -> Place {
        let source = &self.sources[span.file.0 as usize];
        let lines = source.lines.get_or_init(|| line_starts(&source.text));
        let line = lines.partition_point(|start| *start <= span.start).max(1);
        let before = source.text.get(lines[line - 1] as usize..span.start as usize);
        let column = before.map_or(0, |before| before.chars().count()) + 1;
        Place {
            file: source.path.clone(),
            line: u32::try_from(line).unwrap_or(u32::MAX),
            column: u32::try_from(column).unwrap_or(u32::MAX),
        }
    }

    /// `span` as something to draw.
    pub(crate) fn label(&self, span: Span, text: impl Into<String>) -> Label {
        let meant = self.slice(span);
        let first_line = meant.split('\n').next().unwrap_or_default().trim_end();
        Label {
            place: self.place(span),
            width: first_line.chars().count().max(1),
            text: text.into(),
            source: Some(self.text(span.file).clone()),
        }
    }
}

fn line_starts(text: &str) -> Vec<u32> {
    let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
    let starts = ends.filter_map(|(end, _)| u32::try_from(end + 1).ok());
    std::iter::once(0).chain(starts).collect()
}

impl FileId {
    /// The place of the first byte.
    pub(crate) fn start(self) -> Span {
        Span { file: self, start: 0, end: 0, trace: Trace::default() }
    }
}
