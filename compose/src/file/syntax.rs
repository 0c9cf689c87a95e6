//! What is to be said about text that is not YAML.
//!
//! The parser says where it could not go on and which rule of the grammar it was in; what somebody
//! has to change is often on the line before.

use super::report::Report;
use super::source::Span;

/// Notes that the text cannot be read from `at` on. `bracket` is the innermost one that is open.
pub(super) fn explain(
    report: &mut Report,
    at: Span,
    message: &str,
    bracket: Option<Span>,
    deepest: usize,
) {
    let has = |words: &str| message.contains(words);
    if has("limit") || has("nesting") {
        let finding = report.error(at, format!("this is not YAML: {message}"));
        finding.help(format!("at most {deepest} levels can be nested"));
    } else if has("unexpected character") {
        let found = character(report, at);
        report
            .error(found, "this is not YAML: a value cannot begin with this character")
            .help("put the value in quotes");
    } else if has("escape") {
        report
            .error(at, "this is not YAML: there is no such escape in double quotes")
            .help("write `\\\\` for a backslash, or put the value in single quotes");
    } else if has("unclosed quote") {
        report
            .error(at.part(0, 1), "this is not YAML: the quote is not closed")
            .help("close the quote");
    } else if has("quoted scalar")
        && let Some(quote) = open_quote(report, at)
    {
        report
            .error(quote, "this is not YAML: the quote is not closed")
            .also(at, "it cannot go on here")
            .help("close the quote");
    } else if has("trailing content") {
        report
            .error(at, "this is not YAML: a value in quotes ends with its quote")
            .help("put all of it in quotes");
    } else if has("tab") {
        let place = report.sources.after(at).find('\t').map_or(at, |tab| at.part(tab, 1));
        report
            .error(place, "this is not YAML: there is a tab where lines are indented")
            .help("indent with spaces");
    } else if let Some(bracket) = bracket {
        report
            .error(at, format!("this is not YAML: {message}"))
            .also(bracket, "this is not closed")
            .help("close the bracket");
    } else if has("mapping values are not allowed") {
        colon(report, at);
    } else if has("simple key expected") || has("could not find expected ':'") {
        no_colon(report, at);
    } else if has("'-' indicator") {
        report
            .error(at, "this is not YAML: the items of a list and keys cannot be mixed")
            .help("begin each item with `-`, or none");
    } else if has("did not find expected") {
        report
            .error(at, "this is not YAML: this line belongs to nothing above it")
            .help("begin it in the column of the lines that it belongs to");
    } else {
        let finding = report.error(at, format!("this is not YAML: {message}"));
        finding.help("does a value need quotes?");
    }
}

/// A colon where none may be: within a value, or because the line before has none.
fn colon(report: &mut Report, at: Span) {
    const MESSAGE: &str = "this is not YAML: a `: ` cannot stand here";
    let before = report.sources.before(at);
    let line = before.rsplit('\n').next().unwrap_or_default();
    if let Some((key, value)) = line.split_once(": ")
        && !value.trim().is_empty()
    {
        let help = format!("put the value of `{}` in quotes", key.trim().trim_start_matches("- "));
        report.error(at, MESSAGE).help(help);
        return;
    }
    match previous_line(report, at) {
        Some((place, text)) if !text.contains(':') => {
            report
                .error(at, MESSAGE)
                .also(place, "is a `:` missing behind this?")
                .help(format!("write `{}:`", text.trim_end()));
        }
        _ => {
            report
                .error(at, MESSAGE)
                .help("is a line above indented wrongly, or does a value with `: ` need quotes?");
        }
    }
}

/// A line that should have a colon, or be part of the text above.
fn no_colon(report: &mut Report, at: Span) {
    const MESSAGE: &str = "this is not YAML: a key needs a `:`";
    match previous_line(report, at) {
        Some((place, text)) if text.trim_end().ends_with(['|', '>', '-', '+']) => {
            report
                .error(at, MESSAGE)
                .also(place, "the text of this begins in the next line")
                .help("indent the text by more than its key");
        }
        _ => {
            report.error(at, MESSAGE).help("write `KEY: VALUE`, or put the text in quotes");
        }
    }
}

/// The last line before that of `at` on which something stands, and its text.
fn previous_line(report: &Report, at: Span) -> Option<(Span, String)> {
    let before = report.sources.before(at);
    let mut end = before.rfind('\n')?;
    loop {
        let start = before[..end].rfind('\n').map_or(0, |feed| feed + 1);
        let line = &before[start..end];
        let text = line.trim();
        if !text.is_empty() && !text.starts_with('#') {
            let place = Span { start: 0, end: 0, ..at };
            let at_text = start + line.len() - line.trim_start().len();
            return Some((place.part(at_text, text.len()), text.to_owned()));
        }
        end = start.checked_sub(1)?;
    }
}

/// The character at `at`.
fn character(report: &Report, at: Span) -> Span {
    let length = report.sources.after(at).chars().next().map_or(0, char::len_utf8);
    at.part(0, length)
}

/// The quote that was opened last before `at` and has no partner in its line.
fn open_quote(report: &Report, at: Span) -> Option<Span> {
    let before = report.sources.before(at);
    // A quote right before it closes what began lines above, even if it was meant to open something itself.
    let closed = before.strip_suffix(['"', '\'']).and_then(last_unpaired);
    let above = closed.filter(|quote| before[*quote..].contains('\n'));
    let quote = above.or_else(|| last_unpaired(before))?;
    Some(Span { start: 0, end: 0, ..at }.part(quote, 1))
}

/// The byte of the last quote in `text` that has no partner in its line.
fn last_unpaired(text: &str) -> Option<usize> {
    let mut end = text.len();
    for line in text.split('\n').rev() {
        let start = end - line.len();
        if let Some(quote) = unpaired_quote(line) {
            return Some(start + quote);
        }
        end = start.saturating_sub(1);
    }
    None
}

/// The byte of `line` at which a quote begins that does not end in it.
fn unpaired_quote(line: &str) -> Option<usize> {
    let mut open: Option<(usize, u8)> = None;
    let mut escaped = false;
    for (at, byte) in line.bytes().enumerate() {
        match open {
            Some((_, b'"')) if byte == b'\\' && !escaped => {
                escaped = true;
                continue;
            }
            Some((_, quote)) if byte == quote && !escaped => open = None,
            None if matches!(byte, b'"' | b'\'') => open = Some((at, byte)),
            _ => {}
        }
        escaped = false;
    }
    open.map(|(at, _)| at)
}
