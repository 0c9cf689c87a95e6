//! Words as a Dockerfile has them: quotes, backslashes and variables.
//!
//! Source: buildkit `frontend/dockerfile/shell/lex.go`.

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
    /// Something in braces that is not `NAME`, `NAME:-WORD` or `NAME:+WORD`.
    #[error("`${{{0}}}` is not supported: use ${{NAME}}, ${{NAME:-WORD}} or ${{NAME:+WORD}}")]
    Modifier(String),
}

/// Cuts `text` at its blanks, outside of quotes, with quotes taken away and variables replaced.
pub(crate) fn words(
    text: &str,
    variables: &HashMap<String, String>,
) -> Result<Vec<String>, WordError> {
    Lexer { rest: text.chars().peekable(), variables }.words()
}

/// As [`words`], for a text that is one word whatever blanks it has.
pub(crate) fn expand(text: &str, variables: &HashMap<String, String>) -> Result<String, WordError> {
    let mut lexer = Lexer { rest: text.chars().peekable(), variables };
    let mut out = String::new();
    while lexer.rest.peek().is_some() {
        lexer.take(&mut out)?;
    }
    Ok(out)
}

struct Lexer<'a> {
    rest: Peekable<Chars<'a>>,
    variables: &'a HashMap<String, String>,
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

    /// Returns whether anything is left.
    fn skip_blanks(&mut self) -> bool {
        while self.rest.next_if(|next| next.is_whitespace()).is_some() {}
        self.rest.peek().is_some()
    }

    /// Takes the next character, quoted part or variable.
    fn take(&mut self, out: &mut String) -> Result<(), WordError> {
        match self.rest.next() {
            Some('\'') => self.single_quoted(out),
            Some('"') => self.double_quoted(out),
            Some('\\') => {
                out.extend(self.rest.next());
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
        loop {
            match self.rest.next() {
                Some('"') => return Ok(()),
                Some('$') => self.variable(out)?,
                Some('\\') => match self.rest.next() {
                    Some(escaped @ ('"' | '$' | '\\')) => out.push(escaped),
                    Some(other) => out.extend(['\\', other]),
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
        out.push_str(self.variables.get(&name).map_or("", String::as_str));
        Ok(())
    }

    fn braced(&mut self, out: &mut String) -> Result<(), WordError> {
        let mut inner = String::new();
        let mut depth = 1;
        while depth > 0 {
            let next = self.rest.next().ok_or(WordError::Brace)?;
            match next {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            if depth > 0 {
                inner.push(next);
            }
        }
        let mut lexer = Lexer { rest: inner.chars().peekable(), variables: self.variables };
        let name = lexer.name();
        let rest: String = lexer.rest.collect();
        let value = self.variables.get(&name).filter(|value| !value.is_empty());
        match (rest.get(..2), value) {
            (None, _) if rest.is_empty() && !name.is_empty() => {
                out.push_str(value.map_or("", String::as_str))
            }
            (Some(":-"), Some(value)) => out.push_str(value),
            (Some(":-"), None) | (Some(":+"), Some(_)) => {
                out.push_str(&expand(&rest[2..], self.variables)?)
            }
            (Some(":+"), None) => {}
            _ => return Err(WordError::Modifier(inner)),
        }
        Ok(())
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
        assert_eq!(cut("${A%x}"), Err(WordError::Modifier("A%x".to_owned())));
        assert_eq!(cut("${}"), Err(WordError::Modifier(String::new())));
    }
}
