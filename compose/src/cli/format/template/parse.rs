//! Reading a template: text, actions, pipelines.

use serde_json::Value;

use super::function::Function;
use super::{Base, Command, Head, Node, Operand, Pipeline, Range, TemplateError};

/// Reads a whole template.
pub(super) fn parse(source: &str) -> Result<Vec<Node>, TemplateError> {
    let mut parser = Parser { source, rest: source, trim: false };
    let (nodes, end) = parser.block()?;
    match end {
        None => Ok(nodes),
        Some(Stop { at, word: Word::End }) => {
            Err(parser.mistake(at, "`end` without anything to end"))
        }
        Some(Stop { at, word: Word::Else }) => Err(parser.mistake(at, "`else` without `if`")),
    }
}

struct Parser<'a> {
    source: &'a str,
    rest: &'a str,
    /// The blanks at the beginning of the next text go.
    trim: bool,
}

/// The word that ends a block, and where it stands.
struct Stop {
    at: usize,
    word: Word,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Word {
    Else,
    End,
}

impl<'a> Parser<'a> {
    fn offset(&self) -> usize {
        self.source.len() - self.rest.len()
    }

    fn mistake(&self, at: usize, message: impl Into<String>) -> TemplateError {
        TemplateError::at(self.source, at, message)
    }

    /// Reads nodes up to the word that ends the block, or to the end.
    fn block(&mut self) -> Result<(Vec<Node>, Option<Stop>), TemplateError> {
        let mut nodes = Vec::new();
        loop {
            let Some(open) = self.rest.find("{{") else {
                self.text(self.rest, false, &mut nodes);
                self.rest = "";
                return Ok((nodes, None));
            };
            let (text, rest) = (&self.rest[..open], &self.rest[open + 2..]);
            let trims =
                rest.starts_with("- ") || rest.starts_with("-\n") || rest.starts_with("-\t");
            self.text(text, trims, &mut nodes);
            self.rest = if trims { &rest[1..] } else { rest };
            self.blanks();
            let at = self.offset();
            if self.comment(at)? {
                continue;
            }
            let stop = match self.keyword() {
                Some("end") => Some(Word::End),
                Some("else") => {
                    self.rest = &self.rest["else".len()..];
                    return Ok((nodes, Some(Stop { at, word: Word::Else })));
                }
                Some(word @ ("if" | "with")) => {
                    let node = self.branch(at, word)?;
                    nodes.push(node);
                    None
                }
                Some("range") => {
                    let node = self.range(at)?;
                    nodes.push(node);
                    None
                }
                _ => {
                    let node = self.print(at)?;
                    nodes.push(node);
                    None
                }
            };
            if let Some(word) = stop {
                self.rest = &self.rest["end".len()..];
                self.close(at)?;
                return Ok((nodes, Some(Stop { at, word })));
            }
        }
    }

    fn text(&mut self, text: &str, trims_end: bool, nodes: &mut Vec<Node>) {
        let text = if std::mem::take(&mut self.trim) { text.trim_start() } else { text };
        let text = if trims_end { text.trim_end() } else { text };
        if !text.is_empty() {
            nodes.push(Node::Text(text.to_owned()));
        }
    }

    fn comment(&mut self, at: usize) -> Result<bool, TemplateError> {
        let Some(rest) = self.rest.strip_prefix("/*") else { return Ok(false) };
        let end = rest.find("*/").ok_or_else(|| self.mistake(at, "the comment is not closed"))?;
        self.rest = &rest[end + 2..];
        self.close(at)?;
        Ok(true)
    }

    fn keyword(&self) -> Option<&'a str> {
        let end = self.rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(self.rest.len());
        let word = &self.rest[..end];
        ["if", "else", "end", "range", "with"].contains(&word).then_some(word)
    }

    fn blanks(&mut self) {
        self.rest = self.rest.trim_start();
    }

    /// Requires the end of the action that begins at `at`.
    fn close(&mut self, at: usize) -> Result<(), TemplateError> {
        self.blanks();
        let trims = self.rest.starts_with("-}}");
        let rest = if trims { &self.rest[1..] } else { self.rest };
        match rest.strip_prefix("}}") {
            Some(rest) => {
                self.rest = rest;
                self.trim = trims;
                Ok(())
            }
            None if !self.rest.contains("}}") => {
                Err(self.mistake(at, "the action is not closed with `}}`"))
            }
            None => {
                let word: String = self.rest.chars().take_while(|c| !c.is_whitespace()).collect();
                Err(self.mistake(self.offset(), format!("`{word}` is not expected here")))
            }
        }
    }

    fn at_close(&self) -> bool {
        self.rest.starts_with("}}") || self.rest.starts_with("-}}")
    }

    fn print(&mut self, at: usize) -> Result<Node, TemplateError> {
        if self.at_close() {
            return Err(self.mistake(at, "an action without anything in it"));
        }
        let node = match self.declaration() {
            Some(name) => Node::Set { name, value: self.pipeline(at)? },
            None => Node::Print(self.pipeline(at)?),
        };
        self.close(at)?;
        Ok(node)
    }

    /// `$name :=`, if that is here.
    fn declaration(&mut self) -> Option<String> {
        let name = variable(self.rest)?;
        let rest = self.rest[name.len() + 1..].trim_start().strip_prefix(":=")?;
        self.rest = rest;
        self.blanks();
        Some(name.to_owned())
    }

    fn branch(&mut self, at: usize, word: &str) -> Result<Node, TemplateError> {
        self.rest = &self.rest[word.len()..];
        let condition = self.value(at, word)?;
        self.close(at)?;
        let (then, otherwise) = self.branches(at, word)?;
        Ok(match word {
            "if" => Node::If { condition, then, otherwise },
            _ => Node::With { value: condition, then, otherwise },
        })
    }

    fn value(&mut self, at: usize, word: &str) -> Result<Pipeline, TemplateError> {
        self.blanks();
        if self.at_close() {
            return Err(self.mistake(self.offset(), format!("`{word}` without a value")));
        }
        self.pipeline(at)
    }

    /// The block after the head of `word`, and the one after its `else`.
    fn branches(&mut self, at: usize, word: &str) -> Result<(Vec<Node>, Vec<Node>), TemplateError> {
        let unended = |parser: &Self| parser.mistake(at, format!("`{word}` without `{{{{end}}}}`"));
        let (then, stop) = self.block()?;
        let Some(stop) = stop else { return Err(unended(self)) };
        if stop.word == Word::End {
            return Ok((then, Vec::new()));
        }
        self.blanks();
        if self.keyword() == Some("if") {
            // Ended by the same `end`.
            let at = self.offset();
            return Ok((then, vec![self.branch(at, "if")?]));
        }
        self.close(stop.at)?;
        match self.block()? {
            (otherwise, Some(Stop { word: Word::End, .. })) => Ok((then, otherwise)),
            (_, Some(Stop { at, word: Word::Else })) => Err(self.mistake(at, "a second `else`")),
            (_, None) => Err(unended(self)),
        }
    }

    fn range(&mut self, at: usize) -> Result<Node, TemplateError> {
        self.rest = &self.rest["range".len()..];
        self.blanks();
        let (index, element) = self.range_variables();
        let over = self.value(at, "range")?;
        self.close(at)?;
        let (body, otherwise) = self.branches(at, "range")?;
        Ok(Node::Range(Range { index, element, over, body, otherwise }))
    }

    /// `$index, $element :=` or `$element :=`.
    fn range_variables(&mut self) -> (Option<String>, Option<String>) {
        let Some(first) = variable(self.rest) else { return (None, None) };
        let behind = self.rest[first.len() + 1..].trim_start();
        if let Some(second) = behind.strip_prefix(',').map(str::trim_start)
            && let Some(name) = variable(second)
            && let Some(rest) = second[name.len() + 1..].trim_start().strip_prefix(":=")
        {
            self.rest = rest;
            return (Some(first.to_owned()), Some(name.to_owned()));
        }
        (None, self.declaration())
    }

    fn pipeline(&mut self, at: usize) -> Result<Pipeline, TemplateError> {
        let mut commands = vec![self.command(at)?];
        loop {
            self.blanks();
            match self.rest.strip_prefix('|') {
                Some(rest) => {
                    self.rest = rest;
                    commands.push(self.command(at)?);
                }
                None => return Ok(Pipeline { commands }),
            }
        }
    }

    fn command(&mut self, action: usize) -> Result<Command, TemplateError> {
        self.blanks();
        let at = self.offset();
        let head = self.operand(action)?;
        let mut arguments = Vec::new();
        loop {
            self.blanks();
            let ends = self.rest.is_empty()
                || self.rest.starts_with(['|', ')', '}'])
                || self.rest.starts_with("-}}");
            if ends {
                break;
            }
            arguments.push(self.operand(action)?);
        }
        let head = match head {
            Operand { base: Base::Call(function), fields, .. } if fields.is_empty() => {
                Head::Function(function)
            }
            operand => Head::Operand(operand),
        };
        Ok(Command { at, head, arguments })
    }

    fn operand(&mut self, action: usize) -> Result<Operand, TemplateError> {
        let at = self.offset();
        let mut fields = Vec::new();
        let base = match self.rest.chars().next() {
            Some('.') => {
                // A field is read below, with its point.
                if name(&self.rest[1..]).is_empty() {
                    self.rest = &self.rest[1..];
                }
                Base::Dot
            }
            Some('$') => {
                let name = variable(self.rest).unwrap_or_default();
                self.rest = &self.rest[1 + name.len()..];
                Base::Variable(name.to_owned())
            }
            Some('"') => Base::Literal(self.quoted(at)?.into()),
            Some('`') => {
                let text = &self.rest[1..];
                let end =
                    text.find('`').ok_or_else(|| self.mistake(at, "the string is not closed"))?;
                self.rest = &text[end + 1..];
                Base::Literal(text[..end].into())
            }
            Some('(') => {
                self.rest = &self.rest[1..];
                let inside = self.pipeline(action)?;
                self.blanks();
                let rest = self.rest.strip_prefix(')');
                self.rest =
                    rest.ok_or_else(|| self.mistake(at, "the parenthesis is not closed"))?;
                Base::Pipeline(Box::new(inside))
            }
            Some(c) if c.is_ascii_digit() || c == '-' || c == '+' => {
                Base::Literal(self.number(at)?)
            }
            Some(c) if c.is_ascii_alphabetic() || c == '_' => self.word(at)?,
            Some(c) => return Err(self.mistake(at, format!("`{c}` is not expected here"))),
            None => return Err(self.mistake(action, "the action is not closed with `}}`")),
        };
        while let Some(rest) = self.rest.strip_prefix('.') {
            let field = name(rest);
            if field.is_empty() {
                break;
            }
            fields.push(field.to_owned());
            self.rest = &rest[field.len()..];
        }
        Ok(Operand { at, base, fields })
    }

    fn word(&mut self, at: usize) -> Result<Base, TemplateError> {
        let word = name(self.rest);
        self.rest = &self.rest[word.len()..];
        Ok(match word {
            "true" => Base::Literal(true.into()),
            "false" => Base::Literal(false.into()),
            "nil" => Base::Literal(Value::Null),
            word => match Function::named(word) {
                Some(function) => Base::Call(function),
                None => return Err(self.mistake(at, format!("there is no function `{word}`"))),
            },
        })
    }

    fn number(&mut self, at: usize) -> Result<Value, TemplateError> {
        let part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '+' | '_');
        let end = self.rest.find(|c: char| !part(c)).unwrap_or(self.rest.len());
        let word = &self.rest[..end];
        self.rest = &self.rest[end..];
        let number = word.parse::<i64>().map(Value::from).or_else(|error| {
            let float = word.parse::<f64>().ok().and_then(serde_json::Number::from_f64);
            float.map(Value::Number).ok_or(error)
        });
        number.map_err(|_| self.mistake(at, format!("`{word}` is no number")))
    }

    /// A string in double quotes, with the escapes of Go that one meets.
    fn quoted(&mut self, at: usize) -> Result<String, TemplateError> {
        let mut text = String::new();
        let mut characters = self.rest.char_indices().skip(1);
        while let Some((index, character)) = characters.next() {
            match character {
                '"' => {
                    self.rest = &self.rest[index + 1..];
                    return Ok(text);
                }
                '\\' => match characters.next() {
                    Some((_, 'n')) => text.push('\n'),
                    Some((_, 't')) => text.push('\t'),
                    Some((_, 'r')) => text.push('\r'),
                    Some((_, other @ ('"' | '\\' | '\''))) => text.push(other),
                    Some((_, other)) => {
                        let message = format!("`\\{other}` is not known in a string");
                        return Err(self.mistake(at + index, message));
                    }
                    None => break,
                },
                other => text.push(other),
            }
        }
        Err(self.mistake(at, "the string is not closed"))
    }
}

/// The name at the beginning of `text`; empty if there is none.
fn name(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    &text[..end]
}

/// The name of the variable at the beginning of `text`, without the `$`.
fn variable(text: &str) -> Option<&str> {
    text.strip_prefix('$').map(name)
}
