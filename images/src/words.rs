//! Words as a Dockerfile has them: quotes, escapes and variables.
//!
//! Source: Dockerfile reference, "Environment replacement"; buildkit `frontend/dockerfile/shell/lex.go`.

use std::collections::HashMap;
use std::iter::Peekable;
use std::str::Chars;

/// A text that cannot be cut into words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WordError {
    /// A quote without its partner.
    #[error("a {0} quote is not closed")]
    Quote(&'static str),
    /// A `${` without its brace.
    #[error("a ${{ is not closed")]
    Brace,
    /// Something in braces that is no form of a variable.
    #[error(
        "`${{{0}}}` is no form of a variable: there are ${{NAME}}, with :- :+ :? - + ? and a word, with # ## % %% and a \
         pattern, and with / or // and a pattern, / and its replacement"
    )]
    Modifier(String),
    /// `${NAME:?WORD}` of a variable that is not set, or empty.
    #[error("variable {name}: {reason}")]
    Required {
        /// The variable.
        name: String,
        /// The word, or what stands for a missing one.
        reason: String,
    },
}

/// Cuts `text` at its blanks, outside of quotes, with quotes taken away and variables replaced.
pub(crate) fn words(
    text: &str,
    variables: &HashMap<String, String>,
) -> Result<Vec<String>, WordError> {
    Expansion { variables, escape: '\\' }.words(text)
}

/// As [`words`], for a text that is one word whatever blanks it has.
pub(crate) fn expand(text: &str, variables: &HashMap<String, String>) -> Result<String, WordError> {
    Expansion { variables, escape: '\\' }.word(text)
}

/// The values of variables, and the character that takes the meaning of the next one away.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Expansion<'a> {
    pub(crate) variables: &'a HashMap<String, String>,
    pub(crate) escape: char,
}

/// What is done to quotes and escapes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Quotes {
    /// They have their meaning, and are taken away.
    Read,
    /// They are text: the body of a heredoc.
    Kept,
}

impl Expansion<'_> {
    /// Cuts `text` at its blanks, outside of quotes, with quotes taken away and variables replaced.
    pub(crate) fn words(self, text: &str) -> Result<Vec<String>, WordError> {
        self.lexer(text, Quotes::Read).words()
    }

    /// As [`Expansion::words`], for a text that is one word whatever blanks it has.
    pub(crate) fn word(self, text: &str) -> Result<String, WordError> {
        self.lexer(text, Quotes::Read).rest()
    }

    /// Replaces variables alone; an escape before a `$` is taken away.
    pub(crate) fn body(self, text: &str) -> Result<String, WordError> {
        self.lexer(text, Quotes::Kept).rest()
    }

    fn lexer<'a>(&'a self, text: &'a str, quotes: Quotes) -> Lexer<'a> {
        Lexer { rest: text.chars().peekable(), expansion: *self, quotes }
    }
}

struct Lexer<'a> {
    rest: Peekable<Chars<'a>>,
    expansion: Expansion<'a>,
    quotes: Quotes,
}

impl Lexer<'_> {
    fn words(mut self) -> Result<Vec<String>, WordError> {
        let mut words = Vec::new();
        while self.skip_blanks() {
            let mut word = String::new();
            while self.rest.peek().is_some_and(|next| !next.is_whitespace()) {
                self.take(&mut word)?;
            }
            words.push(word);
        }
        Ok(words)
    }

    fn rest(mut self) -> Result<String, WordError> {
        let mut out = String::new();
        while self.rest.peek().is_some() {
            self.take(&mut out)?;
        }
        Ok(out)
    }

    /// Returns whether anything is left.
    fn skip_blanks(&mut self) -> bool {
        while self.rest.next_if(|next| next.is_whitespace()).is_some() {}
        self.rest.peek().is_some()
    }

    /// Takes the next character, quoted part or variable.
    fn take(&mut self, out: &mut String) -> Result<(), WordError> {
        let read = self.quotes == Quotes::Read;
        match self.rest.next() {
            Some('\'') if read => self.single_quoted(out),
            Some('"') if read => self.double_quoted(out),
            Some(escape) if escape == self.expansion.escape => {
                match self.rest.next_if(|next| read || *next == '$' || *next == escape) {
                    Some(next) => out.push(next),
                    None if read => {}
                    None => out.push(escape),
                }
                Ok(())
            }
            Some('$') => self.variable(out),
            Some(plain) => {
                out.push(plain);
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn single_quoted(&mut self, out: &mut String) -> Result<(), WordError> {
        loop {
            match self.rest.next() {
                Some('\'') => return Ok(()),
                Some(plain) => out.push(plain),
                None => return Err(WordError::Quote("single")),
            }
        }
    }

    fn double_quoted(&mut self, out: &mut String) -> Result<(), WordError> {
        let escape = self.expansion.escape;
        loop {
            match self.rest.next() {
                Some('"') => return Ok(()),
                Some('$') => self.variable(out)?,
                Some(found) if found == escape => match self.rest.next() {
                    Some(escaped) if escaped == escape || matches!(escaped, '"' | '$') => {
                        out.push(escaped);
                    }
                    Some(other) => out.extend([escape, other]),
                    None => return Err(WordError::Quote("double")),
                },
                Some(plain) => out.push(plain),
                None => return Err(WordError::Quote("double")),
            }
        }
    }

    /// What follows a `$`.
    fn variable(&mut self, out: &mut String) -> Result<(), WordError> {
        if self.rest.next_if_eq(&'{').is_some() {
            return self.braced(out);
        }
        let name = self.name();
        if name.is_empty() {
            out.push('$');
        }
        out.push_str(self.value(&name).unwrap_or_default());
        Ok(())
    }

    fn value(&self, name: &str) -> Option<&str> {
        self.expansion.variables.get(name).map(String::as_str)
    }

    fn braced(&mut self, out: &mut String) -> Result<(), WordError> {
        let inner = self.until_brace()?;
        let mut lexer = self.expansion.lexer(&inner, Quotes::Read);
        let name = lexer.name();
        let rest: String = lexer.rest.collect();
        let wrong = || WordError::Modifier(inner.clone());
        if name.is_empty() {
            return Err(wrong());
        }
        let value = self.value(&name);
        let mut form = rest.chars();
        let replaced = match form.next() {
            None => value.unwrap_or_default().to_owned(),
            Some(':') => match form.next() {
                Some(sign @ ('-' | '+' | '?')) => self.choose(
                    &name,
                    value.filter(|value| !value.is_empty()),
                    sign,
                    form.as_str(),
                )?,
                _ => return Err(wrong()),
            },
            Some(sign @ ('-' | '+' | '?')) => self.choose(&name, value, sign, form.as_str())?,
            Some(sign @ ('#' | '%')) => {
                let (longest, pattern) = match form.as_str().strip_prefix(sign) {
                    Some(rest) => (true, rest),
                    None => (false, form.as_str()),
                };
                let pattern = self.expand_pattern(pattern)?;
                trim(value.unwrap_or_default(), &pattern, sign == '#', longest)
            }
            Some('/') => {
                let (all, rest) = match form.as_str().strip_prefix('/') {
                    Some(rest) => (true, rest),
                    None => (false, form.as_str()),
                };
                let (pattern, replacement) = cut_at_slash(rest, self.expansion.escape);
                let pattern = self.expand_pattern(pattern)?;
                let replacement = self.expansion.word(replacement)?;
                replace(value.unwrap_or_default(), &pattern, &replacement, all)
            }
            Some(_) => return Err(wrong()),
        };
        out.push_str(&replaced);
        Ok(())
    }

    /// The text up to the brace that closes the one that was read.
    fn until_brace(&mut self) -> Result<String, WordError> {
        let escape = self.expansion.escape;
        let mut inner = String::new();
        let mut depth = 1;
        loop {
            let next = self.rest.next().ok_or(WordError::Brace)?;
            match next {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                return Ok(inner);
            }
            inner.push(next);
            if next == escape {
                inner.extend(self.rest.next());
            }
        }
    }

    /// `-`, `+` and `?`, for a value that counts as set.
    fn choose(
        &self,
        name: &str,
        value: Option<&str>,
        sign: char,
        word: &str,
    ) -> Result<String, WordError> {
        match (sign, value) {
            ('-' | '?', Some(value)) => Ok(value.to_owned()),
            ('-', None) | ('+', Some(_)) => self.expansion.word(word),
            ('+', None) => Ok(String::new()),
            _ => {
                let reason = self.expansion.word(word)?;
                let reason = if reason.is_empty() { "is not set".to_owned() } else { reason };
                Err(WordError::Required { name: name.to_owned(), reason })
            }
        }
    }

    /// Variables in a pattern are replaced; its escapes stay for the pattern.
    fn expand_pattern(&self, pattern: &str) -> Result<Vec<Glob>, WordError> {
        let expanded = self.expansion.lexer(pattern, Quotes::Kept).rest()?;
        Ok(globs(&expanded, self.expansion.escape))
    }

    fn name(&mut self) -> String {
        let mut name = String::new();
        while let Some(next) =
            self.rest.next_if(|next| next.is_ascii_alphanumeric() || *next == '_')
        {
            name.push(next);
        }
        name
    }
}

/// A part of a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Glob {
    /// `*`
    Any,
    /// `?`
    One,
    /// Itself.
    Char(char),
}

fn globs(pattern: &str, escape: char) -> Vec<Glob> {
    let mut out = Vec::new();
    let mut rest = pattern.chars();
    while let Some(next) = rest.next() {
        out.push(match next {
            '*' => Glob::Any,
            '?' => Glob::One,
            found if found == escape => Glob::Char(rest.next().unwrap_or(escape)),
            plain => Glob::Char(plain),
        });
    }
    out
}

/// Whether the whole of `text` fits, with one place to come back to as for any pattern of this kind.
fn fits(text: &[char], pattern: &[Glob]) -> bool {
    let (mut at, mut of) = (0, 0);
    let mut retry = None;
    while at < text.len() {
        match pattern.get(of) {
            Some(Glob::Any) => {
                retry = Some((of + 1, at));
                of += 1;
                continue;
            }
            Some(Glob::One) => {}
            Some(Glob::Char(wanted)) if *wanted == text[at] => {}
            _ => {
                let Some((after, from)) = retry else { return false };
                retry = Some((after, from + 1));
                (of, at) = (after, from + 1);
                continue;
            }
        }
        at += 1;
        of += 1;
    }
    pattern[of..].iter().all(|rest| *rest == Glob::Any)
}

/// Takes the shortest or longest beginning or end that fits away.
fn trim(value: &str, pattern: &[Glob], beginning: bool, longest: bool) -> String {
    let chars: Vec<char> = value.chars().collect();
    let mut lengths: Vec<usize> = (0..=chars.len()).collect();
    if longest {
        lengths.reverse();
    }
    for length in lengths {
        let (part, rest) = if beginning {
            chars.split_at(length)
        } else {
            let (rest, part) = chars.split_at(chars.len() - length);
            (part, rest)
        };
        if fits(part, pattern) {
            return rest.iter().collect();
        }
    }
    value.to_owned()
}

/// Replaces the first or every longest part that fits.
fn replace(value: &str, pattern: &[Glob], replacement: &str, all: bool) -> String {
    let chars: Vec<char> = value.chars().collect();
    let mut out = String::new();
    let mut at = 0;
    while at < chars.len() {
        let end = (at + 1..=chars.len()).rev().find(|end| fits(&chars[at..*end], pattern));
        match end {
            Some(end) => {
                out.push_str(replacement);
                at = end;
                if !all {
                    break;
                }
            }
            None => {
                out.push(chars[at]);
                at += 1;
            }
        }
    }
    out.extend(&chars[at..]);
    out
}

/// Cuts at the first slash that is not escaped.
fn cut_at_slash(text: &str, escape: char) -> (&str, &str) {
    let mut escaped = false;
    for (at, next) in text.char_indices() {
        if next == '/' && !escaped {
            return (&text[..at], &text[at + 1..]);
        }
        escaped = next == escape && !escaped;
    }
    (text, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(text: &str) -> Result<Vec<String>, WordError> {
        words(
            text,
            &HashMap::from([
                ("A".to_owned(), "x y".to_owned()),
                ("EMPTY".to_owned(), String::new()),
            ]),
        )
    }

    #[test]
    fn cuts_and_replaces() {
        #[rustfmt::skip]
        let table: [(&str, &[&str]); 10] = [
            ("a  b\tc", &["a", "b", "c"]),
            (r#"a="b c" d='e "f"'"#, &["a=b c", r#"d=e "f""#]),
            (r"a\ b \$A", &["a b", "$A"]),
            ("$A/${A}", &["x y/x y"]),
            (r#""$A" '$A'"#, &["x y", "$A"]),
            ("${NO:-d} ${EMPTY:-d} ${A:-d} ${A:+alt} ${NO:+alt}", &["d", "d", "x y", "alt", ""]),
            ("${NO:-${A}}", &["x y"]),
            ("$ 5$", &["$", "5$"]),
            (r#""a\"b\n""#, &[r#"a"b\n"#]),
            ("", &[]),
        ];
        for (text, expected) in table {
            assert_eq!(cut(text).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn refuses_what_is_open() {
        assert_eq!(cut("'a"), Err(WordError::Quote("single")));
        assert_eq!(cut("\"a\\"), Err(WordError::Quote("double")));
        assert_eq!(cut("${A"), Err(WordError::Brace));
        assert_eq!(cut("${A^x}"), Err(WordError::Modifier("A^x".to_owned())));
        assert_eq!(cut("${A:x}"), Err(WordError::Modifier("A:x".to_owned())));
        assert_eq!(cut("${}"), Err(WordError::Modifier(String::new())));
    }

    #[test]
    fn knows_all_forms_of_a_variable() {
        let variables = HashMap::from([
            ("V".to_owned(), "a/b/c.tar.gz".to_owned()),
            ("E".to_owned(), String::new()),
            ("P".to_owned(), "*.".to_owned()),
        ]);
        #[rustfmt::skip]
        let table = [
            ("${E-d}", ""), ("${N-d}", "d"), ("${E+d}", "d"), ("${N+d}", ""), ("${V?no}", "a/b/c.tar.gz"),
            ("${V#*/}", "b/c.tar.gz"), ("${V##*/}", "c.tar.gz"), ("${V%.*}", "a/b/c.tar"), ("${V%%.*}", "a/b/c"),
            ("${V#x}", "a/b/c.tar.gz"), ("${V#?}", "/b/c.tar.gz"), ("${V/\\//-}", "a-b/c.tar.gz"),
            ("${V//\\//-}", "a-b-c.tar.gz"), ("${V//[x]/-}", "a/b/c.tar.gz"), ("${V/b*/}", "a/"), ("${V##$P}", "gz"),
            ("${N:-${E:-x}}", "x"), ("${N:-a b}", "a b"), ("\\${V}", "${V}"), ("${V/a/\"q\"}", "q/b/c.tar.gz"),
        ];
        for (text, expected) in table {
            assert_eq!(expand(text, &variables).unwrap(), expected, "{text}");
        }
        let required = |text: &str| expand(text, &variables).unwrap_err().to_string();
        assert_eq!(required("${N:?must be set}"), "variable N: must be set");
        assert_eq!(required("${E:?}"), "variable E: is not set");
    }

    #[test]
    fn a_body_keeps_its_quotes_and_another_escape_is_used() {
        let variables = HashMap::from([("A".to_owned(), "v".to_owned())]);
        let body = Expansion { variables: &variables, escape: '\\' };
        assert_eq!(body.body(r#"'$A' "${A}" \$A \n"#).unwrap(), r#"'v' "v" $A \n"#);
        let windows = Expansion { variables: &variables, escape: '`' };
        assert_eq!(windows.word(r"C:\$A`$A").unwrap(), r"C:\v$A");
    }
}
