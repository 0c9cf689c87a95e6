//! Reads `.env` files, `env_file` and `label_file`.

use std::path::{Path, PathBuf};

use super::dotenv::{self, DotenvError, DotenvErrorKind, Parsed};
use super::environment::Environment;
use super::node::{Entry, Map, Node, Value};
use super::report::Report;
use super::source::{Sources, Span};
use super::template::TemplateError;
use super::text;
use super::trace::{Cause, Filled};

type Grammar = fn(&str, &dyn Fn(&str) -> Option<String>) -> Result<Parsed, DotenvError>;

/// Adds the entries of `path` to `found`; its values see `environment` and then `found`. `from` is
/// what names the file.
pub(super) fn read_into(
    report: &mut Report,
    path: &Path,
    grammar: Grammar,
    environment: &Environment,
    found: &mut Environment,
    from: Option<Span>,
) {
    let text = match text::read(path) {
        Ok(text) => text,
        Err(error) => {
            text::refuse(report, error, from, from.map(Cause::EnvFile));
            return;
        }
    };
    // Windows ends its lines with two characters.
    let text = text.replace("\r\n", "\n");
    let parsed = {
        let lookup = |name: &str| environment.get(name).or_else(|| found.get(name)).cloned();
        grammar(&text, &lookup)
    };
    let mut start = report.sources.add_shared(path, text).start();
    if let Some(from) = from {
        start = report.sources.traced(start, Cause::EnvFile(from));
    }
    match parsed {
        Ok(Parsed { entries, ranges, missing }) => {
            for (name, range) in missing {
                report.unset_variable(&name, span(start, range));
            }
            for ((name, value), range) in entries.into_iter().zip(ranges) {
                found.insert(name, value, span(start, range));
            }
        }
        Err(error) => explain(report, span(start, error.range), &error.kind),
    }
}

fn span(start: Span, (from, to): (usize, usize)) -> Span {
    let offset = |byte: usize| u32::try_from(byte).unwrap_or(u32::MAX);
    Span { start: offset(from), end: offset(to), ..start }
}

fn explain(report: &mut Report, span: Span, kind: &DotenvErrorKind) {
    let finding = report.error(span, format!("this line cannot be read: {kind}"));
    match kind {
        DotenvErrorKind::Space(_) => finding.help("write `NAME=VALUE`"),
        DotenvErrorKind::Character(_) => {
            finding.help("names are made of letters, digits and `_`; the rest follows a `=`")
        }
        DotenvErrorKind::NoName => finding.help("write `NAME=VALUE`"),
        DotenvErrorKind::Unterminated => {
            finding.help("close the quote, or write the value in the other kind of quotes")
        }
        DotenvErrorKind::Template(TemplateError::Invalid(_)) => {
            finding.help("a `$` that is no variable is written `$$`, or stands in single quotes")
        }
        DotenvErrorKind::Template(TemplateError::TooLong | TemplateError::TooDeep) => {
            finding.help("write the value itself")
        }
        DotenvErrorKind::Template(TemplateError::Required { .. }) => {
            finding.help("set it in the environment")
        }
    };
}

/// Whether an `env_file` that is required has to be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Required {
    /// As it says.
    Honoured,
    /// No: `--no-env-resolution`.
    Waived,
}

/// Lays the `env_file`s of a service under its `environment`.
pub(super) fn apply_to_service(
    report: &mut Report,
    service: &mut Node,
    environment: &Environment,
    honoured: Required,
) {
    let span = service.span;
    let Some(service) = service.as_map_mut() else { return };
    let Some(files) = service.remove("env_file") else { return };
    let mut found = Environment::default();
    for file in files.node.items() {
        let Some(path) = file.get("path").and_then(Node::as_str) else { continue };
        let required = file.get("required").and_then(Node::as_bool).unwrap_or(true)
            && honoured == Required::Honoured;
        let place = file.get("path").map_or(file.span, |path| path.span);
        if present(report, path, required, "env file", place) {
            let Some(grammar) = grammar(report, file.get("format")) else { continue };
            read_into(report, Path::new(path), grammar, environment, &mut found, Some(place));
        }
    }
    lay_under(report, service, "environment", found, files.node.span, span);
}

/// How an environment file of this `format` is read; nothing, with an error, if there is no such format.
fn grammar(report: &mut Report, format: Option<&Node>) -> Option<Grammar> {
    let named = format.and_then(|node| Some((node.span, node.as_str()?)));
    match named {
        None | Some((_, "")) => Some(dotenv::parse),
        Some((_, "raw")) => Some(dotenv::parse_raw),
        Some((span, other)) => {
            report
                .error(span, format!("there is no format `{other}` of environment files"))
                .did_you_mean(other, ["raw"])
                .help("write `raw` for values as they stand, or leave `format` out");
            None
        }
    }
}

/// Lays the `label_file`s of a service under its `labels`.
pub(super) fn apply_labels(report: &mut Report, service: &mut Node, environment: &Environment) {
    let span = service.span;
    let Some(service) = service.as_map_mut() else { return };
    let Some(files) = service.remove("label_file") else { return };
    let mut found = Environment::default();
    for file in files.node.items() {
        let Some(path) = file.as_str() else { continue };
        if present(report, path, true, "label file", file.span) {
            let grammar = dotenv::parse;
            read_into(report, Path::new(path), grammar, environment, &mut found, Some(file.span));
        }
    }
    lay_under(report, service, "labels", found, files.node.span, span);
}

/// True if the file is there; else it is an error if the file is required.
fn present(report: &mut Report, path: &str, required: bool, what: &str, place: Span) -> bool {
    let there = PathBuf::from(path);
    if there.exists() {
        return true;
    }
    if required {
        let finding = report.error(place, format!("the {what} {path} does not exist"));
        if what == "env file" {
            finding.help("make it, or write `{path: …, required: false}`");
        }
    }
    false
}

fn lay_under(
    report: &mut Report,
    service: &mut Map,
    attribute: &str,
    found: Environment,
    place: Span,
    service_span: Span,
) {
    let mut merged = Map::default();
    for (name, value, written) in found.into_placed() {
        let span = written.unwrap_or(place);
        merged.insert(name, span, Node::text(value, span));
    }
    let own = service.remove(attribute);
    let (key, span) = own.as_ref().map_or((place, service_span), |own| (own.key, own.node.span));
    if let Some(Value::Map(own)) = own.map(|own| own.node.value) {
        for (name, Entry { key, mut node }) in own {
            if let Some(below) = merged.get(&name) {
                node.span = report.sources.traced(node.span, Cause::Replaces(below.span));
            }
            merged.insert(name, key, node);
        }
    }
    if !merged.is_empty() {
        service.insert(attribute, key, Node::map(merged, span));
    }
}

/// Gives the keys without value that of the environment, where it has one.
pub(super) fn fill_bare(sources: &mut Sources, variables: &mut Node, environment: &Environment) {
    let Some(variables) = variables.as_map_mut() else { return };
    for (name, entry) in variables.iter_mut() {
        if let (Value::Null, Some(value)) = (&entry.node.value, environment.get(&**name)) {
            entry.node.value = Value::Text(value.as_str().into());
            let origin = environment.origin(name);
            let value = Some(value.as_str().into());
            let filled = Cause::Variable(Filled { name: name.clone(), value, origin });
            entry.node.span = sources.traced(entry.node.span, filled);
        }
    }
}
