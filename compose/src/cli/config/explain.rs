//! `config --explain`: where each value comes from, as aligned lines or as JSON.

use std::path::Path;

use serde_json::Value as Json;

use super::super::error::CommandError;
use super::Format;
use crate::file::{Document, Explained, NoSuchPath, Printed};
use crate::model::Place;

/// Longer values are cut in the table.
const WIDEST_VALUE: usize = 40;

/// The values at `path` and below it; places below `base` are written relative to it.
///
/// # Errors
///
/// When there is no such value.
pub(super) fn explain(
    document: &Document,
    path: &str,
    format: Option<Format>,
    base: &Path,
) -> Result<String, CommandError> {
    let found = document.explain(path)?;
    Ok(match format {
        None => table(&found, base),
        Some(Format::Json) => {
            format!("{:#}\n", found.iter().map(Explained::to_json).collect::<Json>())
        }
        Some(Format::Yaml) => {
            let found = found.iter().map(Explained::to_json).collect::<Json>();
            super::yaml::text(&Printed::from(&found), 2)
        }
    })
}

impl From<NoSuchPath> for CommandError {
    fn from(error: NoSuchPath) -> Self {
        let help = error.help.clone();
        Self::new(&error).help(help)
    }
}

fn table(found: &[Explained], base: &Path) -> String {
    let rows: Vec<(&str, String, Vec<String>)> =
        found.iter().map(|one| (one.path.as_str(), value(&one.value), story(one, base))).collect();
    let widest = |cells: &mut dyn Iterator<Item = &str>| {
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0) + 2
    };
    let first = widest(&mut rows.iter().map(|(path, ..)| *path));
    let second = widest(&mut rows.iter().map(|(_, value, _)| value.as_str()));
    let mut text = String::new();
    for (path, value, story) in &rows {
        let mut cells = (*path, value.as_str());
        for line in story {
            let (path, value) = std::mem::take(&mut cells);
            text.push_str(&format!("{path:first$}{value:second$}{line}\n"));
        }
    }
    text
}

/// A value in one line.
fn value(value: &Json) -> String {
    let text = match value {
        Json::String(text) if !text.is_empty() && !text.contains(char::is_control) => text.clone(),
        other => other.to_string(),
    };
    match text.char_indices().nth(WIDEST_VALUE) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// The place, and how the value came from there to where it is.
fn story(one: &Explained, base: &Path) -> Vec<String> {
    let shown = |place: &Place| {
        let Place { file, line, column } = place;
        let file = file.strip_prefix(base).unwrap_or(file);
        format!("{}:{line}:{column}", file.display())
    };
    let place = shown(&one.place);
    let first = if one.implied { format!("implied by {place}") } else { place };
    std::iter::once(first).chain(one.steps.iter().map(|step| step.in_words(shown))).collect()
}
