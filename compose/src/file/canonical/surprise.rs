//! Warnings about values that mean something else than they seem to.

use std::collections::HashMap;

use crate::file::node::{Node, Value};
use crate::file::source::Span;

use super::Checker;
use super::scalar::text_of;

impl Checker<'_> {
    /// A single value as text; says so if that is not what is written.
    pub(super) fn text(&mut self, node: &Node) -> Option<String> {
        let text = text_of(&node.value)?;
        if let Value::Int(_) | Value::Float(_) = node.value {
            let written = self.report.sources.slice(node.span).trim().to_owned();
            if written != text {
                let kind = if is_octal(&written) { "an octal number" } else { "a number" };
                self.report
                    .warning(node.span, format!("`{written}` is {kind} and becomes `{text}`"))
                    .help(format!("put it in quotes: \"{written}\""));
            }
        }
        Some(text)
    }

    /// Says so if the integer at `node` is not the decimal number that it seems to be.
    pub(super) fn octal(&mut self, node: &Node) {
        let Some(number) = node.as_int() else { return };
        let written = self.report.sources.slice(node.span).trim().to_owned();
        if is_octal(&written) {
            self.report
                .warning(node.span, format!("`{written}` is an octal number: {number}"))
                .help(format!("write `{number}`, or `{}`", written.trim_start_matches('0')));
        }
    }

    /// Says so if the text at `node` is a boolean for others.
    pub(super) fn old_boolean(&mut self, node: &Node) {
        let Some(text) = node.as_str() else { return };
        let boolean = match text {
            "yes" | "Yes" | "YES" | "on" | "On" | "ON" => true,
            "no" | "No" | "NO" | "off" | "Off" | "OFF" => false,
            _ => return,
        };
        if self.report.sources.slice(node.span) == text {
            let message = format!("`{text}` is text here, and `{boolean}` for readers of YAML 1.1");
            self.report.warning(node.span, message).help(format!("put it in quotes: \"{text}\""));
        }
    }

    /// Says so if the port `text` is a number for others.
    pub(super) fn base_60(&mut self, text: &str, span: Span) {
        let Some((first, second)) = text.split_once(':') else { return };
        let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        let (Ok(sixties), Ok(rest)) = (first.parse::<u32>(), second.parse::<u32>()) else { return };
        let is_number = digits(first) && digits(second) && second.len() <= 2 && rest < 60;
        if is_number && sixties < 65_536 && self.report.sources.slice(span) == text {
            let number = sixties * 60 + rest;
            self.report
                .warning(span, format!("`{text}` is the number {number} for readers of YAML 1.1"))
                .help(format!("put it in quotes: \"{text}\""));
        }
    }

    /// Says so if the quotes in `KEY="VALUE"` are part of the value.
    pub(super) fn quotes_within(&mut self, key: &str, value: &str, span: Span) {
        let bytes = value.as_bytes();
        let quoted = matches!(bytes, [first @ (b'"' | b'\''), .., last] if first == last);
        let written = self.report.sources.slice(span);
        if quoted && !written.starts_with(['"', '\'']) {
            let place = self.report.part(span, value);
            let bare = &value[1..value.len() - 1];
            self.report
                .warning(place, format!("the quotes are part of the value of `{key}`"))
                .help(format!(
                    "write `{key}={bare}`, or put all of it in quotes: \"{key}={bare}\""
                ));
        }
    }

    /// Says so if a port of one list is there twice.
    pub(super) fn repeated_ports(&mut self, ports: &[Node]) {
        let mut seen: HashMap<String, Span> = HashMap::new();
        for port in ports {
            let Some(first) = seen.insert(super::port_key(port), port.span) else { continue };
            self.report
                .warning(port.span, "this port is published twice")
                .also(first, "first here")
                .help("remove one of them");
        }
    }
}

/// `0644`: eight for ten.
fn is_octal(written: &str) -> bool {
    let digits = written.strip_prefix(['+', '-']).unwrap_or(written);
    digits.len() > 1 && digits.starts_with('0') && digits.bytes().all(|byte| byte.is_ascii_digit())
}
