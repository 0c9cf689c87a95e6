//! Fills the variables of a document in.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::environment::Environment;
use super::node::{Map, Node, Value};
use super::report::Report;
use super::source::Span;
use super::template::{self, Mention, TemplateError, Variables};
use super::trace::{Cause, Filled, Origin};

/// Fills in all values below `node`; keys are never templates.
pub(crate) fn interpolate(report: &mut Report, environment: &Environment, node: &mut Node) {
    match &mut node.value {
        Value::Text(text) if text.contains('$') => {
            let text = text.clone();
            fill(report, environment, &text, node);
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

fn interpolate_map(report: &mut Report, environment: &Environment, map: &mut Map) {
    for (_, entry) in map.iter_mut() {
        interpolate(report, environment, &mut entry.node);
    }
}

fn fill(report: &mut Report, environment: &Environment, text: &str, node: &mut Node) {
    let span = node.span;
    let mut lookup = Lookup { report, environment, span, used: Vec::new() };
    let filled = template::fill(text, &mut lookup);
    let used = lookup.used;
    for filled in used.into_iter().rev() {
        node.span = report.sources.traced(node.span, Cause::Variable(filled));
    }
    match filled {
        Ok(filled) => node.value = Value::Text(filled.into()),
        Err(error) => {
            template_error(report, &error, span);
            node.value = Value::Text("".into());
        }
    }
}

/// Notes a template that could not be filled in.
pub(crate) fn template_error(report: &mut Report, error: &TemplateError, span: Span) {
    match error {
        TemplateError::Invalid(written) => {
            let at = report.part(span, written);
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
    environment: &'r Environment,
    span: Span,
    /// The variables that were asked for.
    used: Vec<Filled>,
}

impl Variables for Lookup<'_> {
    fn value(&mut self, name: &str) -> Option<String> {
        let value = self.environment.get(name).cloned();
        if self.used.iter().all(|filled| &*filled.name != name) {
            let origin = match value {
                Some(_) => self.environment.origin(name),
                None => Origin::Default,
            };
            let value = value.as_deref().map(Arc::from);
            self.used.push(Filled { name: name.into(), value, origin });
        }
        value
    }

    fn missing(&mut self, name: &str) {
        if let Some(filled) = self.used.iter_mut().find(|filled| &*filled.name == name) {
            filled.origin = Origin::Unset;
        }
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
        Some((at, _)) => span.part(at, name.len()),
        None => span,
    }
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
