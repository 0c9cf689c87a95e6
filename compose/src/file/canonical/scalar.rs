//! Single values.

use crate::file::node::{Node, Value};
use crate::file::scalar::go_float;
use crate::file::schema::{Pattern, Shape};
use crate::file::source::Span;
use crate::file::units::{self, Nanoseconds};
use crate::file::words;

use super::Checker;

impl Checker<'_> {
    pub(super) fn scalar(&mut self, node: Node, shape: &Shape) -> Option<Node> {
        let value = match (shape, &node.value) {
            (Shape::Text | Shape::TextOrNull, Value::Text(_))
            | (Shape::TextOrNull, Value::Null) => {
                return Some(node);
            }
            (Shape::TextLike, Value::Text(_) | Value::Int(_) | Value::Float(_))
            | (Shape::Scalar, Value::Text(_) | Value::Int(_) | Value::Float(_) | Value::Bool(_)) => {
                Value::Text(self.text(&node)?.into())
            }
            (Shape::TextOrInteger, Value::Text(_) | Value::Int(_))
            | (Shape::TextOrFlag, Value::Text(_) | Value::Bool(_)) => {
                Value::Text(self.text(&node)?.into())
            }
            (Shape::Pattern(pattern), Value::Text(text)) => {
                return self.matches(&node, text, pattern).then_some(node);
            }
            (Shape::Bounded(least, most), value) => {
                let number = self.integer(&node, value, shape)?;
                self.bounds(&node, number, (*least, *most));
                Value::int(number)
            }
            (Shape::Flag | Shape::BareFlag | Shape::External, Value::Bool(_)) => return Some(node),
            (Shape::Flag | Shape::External, Value::Text(text)) => {
                Value::Bool(self.flag(&node, text)?)
            }
            (Shape::BareInteger, Value::Int(_) | Value::Float(_))
            | (Shape::Integer | Shape::Ulimit, _) => {
                let value = &node.value;
                Value::int(self.integer(&node, value, shape)?)
            }
            (Shape::Number, Value::Int(_) | Value::Float(_)) => return Some(node),
            (Shape::Number, Value::Text(text)) => self.number(&node, text)?,
            (Shape::Bytes, Value::Int(_)) => return Some(node),
            (Shape::Bytes, Value::Float(number)) if number.fract() == 0.0 =>
            {
                #[expect(clippy::cast_possible_truncation, reason = "the fraction is zero")]
                Value::int(*number as i128)
            }
            (Shape::Bytes | Shape::BytesText, Value::Text(text)) => {
                Value::int(self.bytes(&node, text)?)
            }
            (Shape::Duration, Value::Text(text)) => self.duration(&node, text)?,
            (Shape::Mode | Shape::ModeNumber, Value::Int(_)) => return Some(node),
            (Shape::Mode | Shape::ModeNumber, Value::Text(text)) => {
                Value::int(self.mode(&node, text)?)
            }
            (Shape::Choice(words), Value::Text(text)) if words.contains(&&**text) => {
                return Some(node);
            }
            (Shape::Choice(words), _) => {
                self.not_a_choice(&node, words);
                return None;
            }
            (Shape::Count, Value::Int(_)) => return Some(node),
            (Shape::Count, Value::Text(text)) if &**text == "all" => Value::int(-1),
            (Shape::Count, value @ Value::Text(_)) => {
                Value::int(self.integer(&node, value, shape)?)
            }
            _ => {
                self.wrong_type(&node, shape.expected());
                return None;
            }
        };
        Some(Node { value, ..node })
    }

    fn flag(&mut self, node: &Node, text: &str) -> Option<bool> {
        let attribute = self.attribute();
        let (flag, plain) = match text.to_ascii_lowercase().as_str() {
            "true" => (true, true),
            "false" => (false, true),
            "y" | "yes" | "on" => (true, false),
            "n" | "no" | "off" => (false, false),
            _ => {
                self.report
                    .error(
                        node.span,
                        format!("`{attribute}` must be `true` or `false`, not `{text}`"),
                    )
                    .help(format!("write `{attribute}: true` or `{attribute}: false`"));
                return None;
            }
        };
        if !plain {
            self.report
                .warning(node.span, format!("`{text}` for a boolean is not supported by YAML 1.2"))
                .help(format!("write `{attribute}: {flag}`"));
        }
        Some(flag)
    }

    fn integer(&mut self, node: &Node, value: &Value, shape: &Shape) -> Option<i128> {
        let number = match value {
            Value::Int(number) => {
                self.octal(node);
                Some(number.get())
            }
            #[expect(clippy::cast_possible_truncation, reason = "the fraction is zero")]
            Value::Float(number) if number.fract() == 0.0 && number.abs() < 1e18 => {
                Some(*number as i128)
            }
            Value::Text(text) => text.parse::<i64>().ok().map(i128::from),
            _ => None,
        };
        if number.is_none() {
            self.not_a_number(node, shape.expected());
        }
        number
    }

    fn bounds(&mut self, node: &Node, number: i128, (least, most): (i128, i128)) {
        if number < least || number > most {
            let attribute = self.attribute();
            let message = match most {
                most if most > i128::from(u32::MAX) => {
                    format!("`{attribute}` must be at least {least}, not {number}")
                }
                _ => format!("`{attribute}` must be from {least} to {most}, not {number}"),
            };
            self.report.error(node.span, message).help("write a number within these bounds");
        }
    }

    fn matches(&mut self, node: &Node, text: &str, pattern: &Pattern) -> bool {
        let found = (pattern.found_in)(text);
        if !found {
            let attribute = self.attribute();
            self.report
                .error(node.span, format!("`{attribute}` cannot be `{text}`"))
                .did_you_mean(text, pattern.words.iter().copied())
                .help(format!("write {}", pattern.forms));
        }
        found
    }

    fn not_a_number(&mut self, node: &Node, expected: &str) {
        match node.as_str() {
            Some(text) => {
                let attribute = self.attribute();
                let message = format!("`{attribute}` must be {expected}, not `{text}`");
                self.report.error(node.span, message).help(format!("write {expected}"));
            }
            None => self.wrong_type(node, expected),
        }
    }

    fn number(&mut self, node: &Node, text: &str) -> Option<Value> {
        match text.parse::<f64>() {
            Ok(number) => Some(Value::Float(number)),
            Err(_) => {
                self.not_a_number(node, Shape::Number.expected());
                None
            }
        }
    }

    fn bytes(&mut self, node: &Node, text: &str) -> Option<i128> {
        // What `config` prints for "no limit".
        let amount = if text == "-1" { Some(-1) } else { units::bytes(text) };
        if amount.is_none() {
            let attribute = self.attribute();
            self.report
                .error(node.span, format!("`{text}` is not an amount of bytes for `{attribute}`"))
                .help("write a number with an optional unit: b, k, m, g, t or p, as in `512m` or `1.5g`");
        }
        amount.map(i128::from)
    }

    fn duration(&mut self, node: &Node, text: &str) -> Option<Value> {
        match Nanoseconds::parse(text) {
            Ok(duration) => Some(Value::Text(duration.to_string().into())),
            Err(error) => {
                let attribute = self.attribute();
                let finding = self
                    .report
                    .error(node.span, format!("`{attribute}` is not a duration: {error}"));
                if text.parse::<f64>().is_ok() {
                    finding.help(format!("write `{text}s` for seconds"));
                } else {
                    finding.help("write numbers with the units us, ms, s, m, h, d and w: `1h30m`");
                }
                None
            }
        }
    }

    fn mode(&mut self, node: &Node, text: &str) -> Option<i128> {
        let mode = i128::from_str_radix(text, 8).ok().filter(|mode| (0..=0o7777).contains(mode));
        if mode.is_none() {
            self.report
                .error(node.span, format!("`{text}` is not a file mode"))
                .help("write octal digits in quotes: \"0440\"");
        }
        mode
    }

    fn not_a_choice(&mut self, node: &Node, words: &[&str]) {
        let Some(text) = node.as_str() else {
            return self.wrong_type(node, "a string");
        };
        let attribute = self.attribute();
        let quoted: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
        let list = match quoted.split_last() {
            Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
            _ => quoted.concat(),
        };
        self.report
            .error(node.span, format!("`{attribute}` cannot be `{text}`"))
            .did_you_mean(text, words.iter().copied())
            .help(format!("it is {list}"));
    }

    pub(super) fn command(&mut self, node: Node) -> Option<Node> {
        let span = node.span;
        match &node.value {
            Value::Null => Some(node),
            Value::List(_) => {
                let Value::List(items) = node.value else { return None };
                Some(Node::list(self.items(items, &Shape::Text), span))
            }
            Value::Text(text) => {
                let attribute = self.attribute();
                let split = match words::split(text) {
                    Ok(split) => split,
                    Err(error) => {
                        self.report
                            .error(
                                span,
                                format!("`{attribute}` cannot be split into words: {error}"),
                            )
                            .help("write the words as a list");
                        return None;
                    }
                };
                if let Some((at, operator)) = split.stopped_at {
                    let place = self.dropped(span, text, at, operator);
                    self.report
                        .warning(place, format!("everything from the `{operator}` on is dropped"))
                        .says("there is no shell that could understand it")
                        .help(format!(
                            "put it in quotes, or ask for a shell: `{attribute}: [sh, -c, \"…\"]`"
                        ));
                }
                let items = split.words.into_iter().map(|word| Node::text(word, span)).collect();
                Some(Node::list(items, span))
            }
            _ => {
                self.wrong_type(&node, Shape::Command.expected());
                None
            }
        }
    }

    /// What of the command `text` at `span` is dropped if reading stops at the operator at byte
    /// `at` of it: from there on, in what is written.
    fn dropped(&self, span: Span, text: &str, at: usize, operator: char) -> Span {
        let written = self.report.sources.slice(span);
        let before = text[..at].matches(operator).count();
        // The text of a folded or escaped scalar is not what is written, but its operators are.
        let Some((start, _)) = written.match_indices(operator).nth(before) else { return span };
        let rest = written[start..].trim_end_matches(['"', '\'', '\n', ' ']);
        span.part(start, rest.len().max(1))
    }

    pub(super) fn health_test(&mut self, node: Node) -> Option<Node> {
        let span = node.span;
        match node.value {
            Value::Text(_) => {
                let items = vec![Node::text("CMD-SHELL", span), node];
                Some(Node::list(items, span))
            }
            Value::List(items) => Some(Node::list(self.items(items, &Shape::Text), span)),
            value => {
                self.wrong_type(&Node::new(value, span), Shape::HealthTest.expected());
                None
            }
        }
    }
}

/// A single value as text; nothing for null and collections.
pub(crate) fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::Text(text) => Some((**text).to_owned()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Int(number) => Some(number.get().to_string()),
        Value::Float(number) => Some(go_float(*number)),
        _ => None,
    }
}
