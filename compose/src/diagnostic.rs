//! Messages about files: what, where, and what to write instead.
//!
//! A [`Diagnostic`] names places by file, line and column, so it can be made while a file is read
//! as well as long after, from a [`Place`] that the model has kept. It is drawn by rustc's own
//! renderer, or written as JSON for machines:
//!
//! ```json
//! {"severity":"error","message":"…","file":"/p/compose.yaml","line":3,"column":5,
//!  "end":{"line":3,"column":9},"text":"…",
//!  "labels":[{"text":"first defined here","file":"…","line":1,"column":1,"end":{…}}],
//!  "notes":["…"],"help":["…"]}
//! ```
//!
//! Lines and columns count from 1, columns in characters; `end` is the first character that is no
//! longer meant. A message about no place has neither `file` nor `line`, `column`, `end` and `text`.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use annotate_snippets::{AnnotationKind, Element, Group, Level, Origin, Renderer, Snippet};
use serde::Serialize;
use serde_json::{Value as Json, json};

use crate::model::Place;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// It cannot go on.
    Error,
    /// It goes on, but probably not as meant.
    Warning,
}

/// A message with the places that it is about.
#[derive(Debug, Clone, PartialEq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong: a lower-case fragment.
    pub message: String,
    /// The places; the first is where to look.
    pub labels: Vec<Label>,
    /// What is good to know.
    pub notes: Vec<String>,
    /// What to do about it.
    pub help: Vec<String>,
}

/// A place and what is to be said there.
#[derive(Debug, Clone, PartialEq)]
pub struct Label {
    /// Where.
    pub place: Place,
    /// How many characters are meant; 0 for the word that begins there.
    pub width: usize,
    /// What is to be said there; may be empty.
    pub text: String,
    /// The text of the file, if it is at hand.
    pub source: Option<Arc<str>>,
}

/// How to draw.
#[derive(Debug, Clone, Default)]
pub struct Style {
    /// With the colours of a terminal.
    pub color: bool,
    /// Paths below this directory are shown relative to it.
    pub base: Option<PathBuf>,
}

impl Diagnostic {
    /// An error without a place so far.
    pub fn error(message: impl Into<String>) -> Self {
        Self::new(Severity::Error, message)
    }

    /// A warning without a place so far.
    pub fn warning(message: impl Into<String>) -> Self {
        Self::new(Severity::Warning, message)
    }

    fn new(severity: Severity, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { severity, message, labels: Vec::new(), notes: Vec::new(), help: Vec::new() }
    }

    /// Adds a place that is known by its line and column only.
    #[must_use]
    pub fn at(mut self, place: &Place, text: impl Into<String>) -> Self {
        self.labels.push(Label { place: place.clone(), width: 0, text: text.into(), source: None });
        self
    }

    /// Adds a place.
    #[must_use]
    pub fn label(mut self, label: Label) -> Self {
        self.labels.push(label);
        self
    }

    /// Adds advice.
    #[must_use]
    pub fn help(mut self, text: impl Into<String>) -> Self {
        self.help.push(text.into());
        self
    }

    /// Draws the message over the lines that it is about.
    pub fn render(&self, style: &Style) -> String {
        let windows: Vec<Window> = self.windows(style);
        let level = match self.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let elements = windows.iter().map(Window::element);
        let notes = self.notes.iter().map(|text| Level::NOTE.message(text.as_str()));
        let help = self.help.iter().map(|text| Level::HELP.message(text.as_str()));
        let group = level.primary_title(self.message.as_str()).elements(elements);
        let group = group.elements(notes).elements(help);
        let renderer = if style.color { Renderer::styled() } else { Renderer::plain() };
        renderer.render(&[group as Group<'_>])
    }

    /// The message as a JSON object, in the shape that the module describes.
    pub fn to_json(&self) -> Json {
        let mut object = serde_json::Map::new();
        object.insert("severity".into(), json!(self.severity));
        object.insert("message".into(), json!(self.message));
        let mut labels = self.labels.iter().map(Label::to_json);
        if let Some(Json::Object(first)) = labels.next() {
            object.extend(first);
        }
        object.insert("labels".into(), labels.collect());
        object.insert("notes".into(), json!(self.notes));
        object.insert("help".into(), json!(self.help));
        Json::Object(object)
    }

    /// One window per file, in the order in which the labels name them.
    fn windows(&self, style: &Style) -> Vec<Window> {
        let mut windows: Vec<Window> = Vec::new();
        for (index, label) in self.labels.iter().enumerate() {
            match windows.iter_mut().find(|window| window.file == label.place.file) {
                Some(window) => window.labels.push((index, label.clone())),
                None => windows.push(Window::new(index, label, style)),
            }
        }
        for window in &mut windows {
            window.cut();
        }
        windows
    }
}

impl Label {
    fn to_json(&self) -> Json {
        let Place { file, line, column } = &self.place;
        let width = match self.width {
            0 => self.word_width(),
            width => width,
        };
        json!({
            "file": file.to_string_lossy(),
            "line": line,
            "column": column,
            "end": { "line": line, "column": *column as usize + width },
            "text": self.text,
        })
    }

    /// The characters of the word that begins at the place, as far as the file can be read.
    fn word_width(&self) -> usize {
        let at_hand = self.source.clone();
        let text = at_hand.or_else(|| fs::read_to_string(&*self.place.file).ok().map(Arc::from));
        let text = text.unwrap_or_default();
        let line = text.lines().nth(self.place.line.saturating_sub(1) as usize).unwrap_or_default();
        let start = line.char_indices().nth(self.place.column.saturating_sub(1) as usize);
        start.map_or(1, |(at, _)| word(&line[at..]).max(1))
    }
}

/// The lines of one file from the first to the last label.
#[derive(Debug)]
struct Window {
    file: Arc<Path>,
    shown: String,
    first_line: u32,
    text: Option<String>,
    labels: Vec<(usize, Label)>,
    spans: Vec<(bool, Range<usize>, String)>,
}

impl Window {
    fn new(index: usize, label: &Label, style: &Style) -> Self {
        let file = label.place.file.clone();
        let shown = style.base.as_deref().and_then(|base| file.strip_prefix(base).ok());
        Self {
            shown: shown.unwrap_or(&file).display().to_string(),
            file,
            first_line: 1,
            text: None,
            labels: vec![(index, label.clone())],
            spans: Vec::new(),
        }
    }

    /// Takes the lines that are needed out of the text, and turns columns into byte ranges.
    fn cut(&mut self) {
        let at_hand = self.labels.iter().find_map(|(_, label)| label.source.clone());
        let Some(text) = at_hand.or_else(|| fs::read_to_string(&*self.file).ok().map(Arc::from))
        else {
            return;
        };
        let lines = self.labels.iter().map(|(_, label)| label.place.line);
        let (first, last) =
            (lines.clone().min().unwrap_or(1).max(1), lines.max().unwrap_or(1).max(1));
        let wanted = text
            .split_inclusive('\n')
            .skip(first as usize - 1)
            .take((last - first) as usize + 1)
            .collect::<String>();
        for (index, label) in &self.labels {
            let span = byte_range(&wanted, label.place.line.saturating_sub(first), label);
            self.spans.push((*index == 0, span, label.text.clone()));
        }
        self.first_line = first;
        self.text = Some(wanted);
    }

    fn element(&self) -> Element<'_> {
        let Some(text) = &self.text else {
            let (line, column) = self
                .labels
                .first()
                .map_or((1, 1), |(_, label)| (label.place.line, label.place.column));
            return Origin::path(self.shown.as_str())
                .line(line as usize)
                .char_column(column as usize)
                .into();
        };
        let annotations = self.spans.iter().map(|(primary, span, label)| {
            let kind = if *primary { AnnotationKind::Primary } else { AnnotationKind::Context };
            let annotation = kind.span(span.clone());
            if label.is_empty() { annotation } else { annotation.label(label.as_str()) }
        });
        Snippet::source(text.as_str())
            .line_start(self.first_line as usize)
            .path(self.shown.as_str())
            .annotations(annotations)
            .into()
    }
}

fn byte_range(text: &str, line: u32, label: &Label) -> Range<usize> {
    let start_of_line = text.split_inclusive('\n').take(line as usize).map(str::len).sum::<usize>();
    let rest = text[start_of_line..].split('\n').next().unwrap_or_default();
    let at = |chars: usize| {
        start_of_line + rest.char_indices().nth(chars).map_or(rest.len(), |(byte, _)| byte)
    };
    let column = label.place.column.saturating_sub(1) as usize;
    let width =
        if label.width == 0 { word(&rest[at(column) - start_of_line..]) } else { label.width };
    at(column)..at(column + width.max(1)).max(at(column))
}

/// How many characters the key or the scalar at the beginning of `text` has.
fn word(text: &str) -> usize {
    if let Some(quote) = text.chars().next().filter(|first| matches!(first, '"' | '\'')) {
        let inside = text.chars().skip(1).take_while(|c| *c != quote).count();
        return (inside + 2).min(text.chars().count());
    }
    let ends = |c: char| c.is_whitespace() || matches!(c, ',' | '[' | ']' | '{' | '}' | '"' | '\'');
    let word = text.split(ends).next().unwrap_or_default();
    word.strip_suffix(':').unwrap_or(word).chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label(line: u32, column: u32, width: usize, text: &str) -> Label {
        Label {
            place: Place { file: Path::new("/p/compose.yaml").into(), line, column },
            width,
            text: text.into(),
            source: Some("services:\n  web:\n    image: x\n  web:\n    image: y\n".into()),
        }
    }

    #[test]
    fn draws_both_places_and_the_advice() {
        let drawn = Diagnostic::error("duplicate key `web`")
            .label(label(4, 3, 3, ""))
            .label(label(2, 3, 3, "first defined here"))
            .help("remove one of them")
            .render(&Style { color: false, base: Some("/p".into()) });
        insta::assert_snapshot!(drawn, @r"
        error: duplicate key `web`
         --> compose.yaml:4:3
          |
        2 |   web:
          |   --- first defined here
        3 |     image: x
        4 |   web:
          |   ^^^
          |
          = help: remove one of them
        ");
    }

    #[test]
    fn a_file_that_is_gone_still_has_a_place() {
        let place = Place { file: Path::new("/nowhere/c.yaml").into(), line: 7, column: 9 };
        let drawn = Diagnostic::warning("odd").at(&place, "here").render(&Style::default());
        assert!(drawn.contains("/nowhere/c.yaml:7:9"), "{drawn}");
    }
}
