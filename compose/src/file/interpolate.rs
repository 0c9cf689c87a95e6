//! Fills the variables of a document in.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::node::{Map, Node, Value};
use super::report::Report;
use super::source::Span;
use super::template::{self, Mention, TemplateError, Variables};

/// Fills in all values below `node`; keys are never templates.
pub(crate) fn interpolate(
    report: &mut Report,
    environment: &BTreeMap<String, String>,
    node: &mut Node,
) {
    match &mut node.value {
        Value::Text(text) if text.contains('$') => {
            let text = text.clone();
            node.value = Value::Text(filled(report, environment, &text, node.span));
        }
        Value::List(items) => {
            for item in items {
                interpolate(report, environment, item);
            }
        }
        Value::Map(map) => interpolate_map(report, environment, map),
        _ => {}
    }
}

fn interpolate_map(report: &mut Report, environment: &BTreeMap<String, String>, map: &mut Map) {
    for (_, entry) in map.iter_mut() {
        interpolate(report, environment, &mut entry.node);
    }
}

fn filled(
    report: &mut Report,
    environment: &BTreeMap<String, String>,
    text: &str,
    span: Span,
) -> Rc<str> {
    let mut lookup = Lookup { report, environment, span };
    match template::fill(text, &mut lookup) {
        Ok(filled) => filled.into(),
        Err(error) => {
            template_error(report, &error, span);
            "".into()
        }
    }
}

/// Notes a template that could not be filled in.
pub(crate) fn template_error(report: &mut Report, error: &TemplateError, span: Span) {
    match error {
        TemplateError::Invalid(written) => {
            let at = part_of(report, span, written);
            report.error(at, error.to_string()).help(
                "a variable is `$NAME` or `${NAME}`, with `:-default`, `:?message` or `:+other` \
                 after the name; a `$` that is none is written `$$`",
            );
        }
        TemplateError::TooLong | TemplateError::TooDeep => {
            report.error(span, error.to_string()).help("write the value itself");
        }
        TemplateError::Required { name, .. } => {
            let at = variable_in(report, span, name);
            report
                .error(at, error.to_string())
                .help(format!("set it in the environment or in `.env`: `{name}=…`"));
        }
    }
}

struct Lookup<'r> {
    report: &'r mut Report,
    environment: &'r BTreeMap<String, String>,
    span: Span,
}

impl Variables for Lookup<'_> {
    fn value(&mut self, name: &str) -> Option<String> {
        self.environment.get(name).cloned()
    }

    fn missing(&mut self, name: &str) {
        let span = variable_in(self.report, self.span, name);
        self.report.unset_variable(name, span);
    }
}

/// The part of the scalar at `span` that names the variable, or all of it.
fn variable_in(report: &Report, span: Span, name: &str) -> Span {
    let written = report.sources.slice(span);
    let found = written.match_indices(name).find(|(at, _)| {
        let before = &written[..*at];
        let after = &written[at + name.len()..];
        (before.ends_with('$') || before.ends_with("${"))
            && !after.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
    });
    match found {
        Some((at, _)) => sub_span(span, at, name.len()),
        None => span,
    }
}

fn part_of(report: &Report, span: Span, part: &str) -> Span {
    match report.sources.slice(span).find(part) {
        Some(at) => sub_span(span, at, part.len()),
        None => span,
    }
}

fn sub_span(span: Span, at: usize, length: usize) -> Span {
    let start = span.start + u32::try_from(at).unwrap_or(0);
    Span { start, end: start + u32::try_from(length).unwrap_or(0), ..span }
}

/// All variables that the values below `node` mention.
pub(crate) fn mentioned(node: &Node, found: &mut BTreeMap<String, Mention>) {
    match &node.value {
        Value::Text(text) => template::mentions(text, found),
        Value::List(items) => items.iter().for_each(|item| mentioned(item, found)),
        Value::Map(map) => map.iter().for_each(|(_, entry)| mentioned(&entry.node, found)),
        _ => {}
    }
}
