//! The texts that were read, and places in them.

use std::cell::OnceCell;
use std::path::Path;
use std::sync::Arc;

use crate::diagnostic::Label;
use crate::model::Place;

/// Which text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct FileId(u32);

/// A range of bytes in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Span {
    pub(crate) file: FileId,
    pub(crate) start: u32,
    pub(crate) end: u32,
}

/// A text that was read.
#[derive(Debug, Clone)]
struct Source {
    path: Arc<Path>,
    text: Arc<str>,
    /// The byte at which each line begins.
    lines: OnceCell<Vec<u32>>,
}

/// All texts of one run, in the order in which they were read.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sources {
    sources: Vec<Source>,
}

impl Sources {
    /// Takes in a text. Texts over 4 GiB were refused before.
    pub(crate) fn add(&mut self, path: &Path, text: impl Into<Arc<str>>) -> FileId {
        let id = FileId(u32::try_from(self.sources.len()).unwrap_or(u32::MAX));
        self.sources.push(Source { path: path.into(), text: text.into(), lines: OnceCell::new() });
        id
    }

    pub(crate) fn text(&self, file: FileId) -> &Arc<str> {
        &self.sources[file.0 as usize].text
    }

    /// The text that `span` covers.
    pub(crate) fn slice(&self, span: Span) -> &str {
        self.text(span.file).get(span.start as usize..span.end as usize).unwrap_or_default()
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
        Span { file: self, start: 0, end: 0 }
    }
}
