//! The grammar of `.env`, `env_file` and `label_file`.

use std::collections::BTreeMap;

use super::template::{self, TemplateError, Variables};

/// One line after the other, with all that a shell user would expect and a few things more.
///
/// `lookup` is asked first for the variables that values mention, then the entries before. A bare
/// `NAME` takes its value from `lookup`, or is left out.
///
/// # Errors
///
/// The first line that is no entry, with its byte range.
pub(crate) fn parse(
    text: &str,
    lookup: &dyn Fn(&str) -> Option<String>,
) -> Result<Parsed, DotenvError> {
    let mut parser =
        Parser { text, at: 0, parsed: Parsed::default(), latest: BTreeMap::new(), lookup };
    if text.starts_with('\u{feff}') {
        parser.at = '\u{feff}'.len_utf8();
    }
    while parser.find_statement() {
        parser.statement()?;
    }
    Ok(parser.parsed)
}

/// What a file says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Parsed {
    /// The entries in the order of the file; a later one with the same name wins.
    pub(crate) entries: Vec<(String, String)>,
    /// The byte range of each entry.
    pub(crate) ranges: Vec<(usize, usize)>,
    /// Variables that values mention and nobody has set, with byte ranges.
    pub(crate) missing: Vec<(String, (usize, usize))>,
}

/// A line that is no entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DotenvError {
    /// The bytes.
    pub(crate) range: (usize, usize),
    /// What is wrong.
    pub(crate) kind: DotenvErrorKind,
}

/// What is wrong with a line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DotenvErrorKind {
    /// A space in a name.
    #[error("the name `{0}` contains a space")]
    Space(String),
    /// Another character that names may not have.
    #[error("the character `{0}` cannot be part of a name")]
    Character(char),
    /// There is a value but no name.
    #[error("there is no name before the `=`")]
    NoName,
    /// A quote without its partner.
    #[error("the quote is not closed")]
    Unterminated,
    /// A value that is no template.
    #[error(transparent)]
    Template(#[from] TemplateError),
}

struct Parser<'t> {
    text: &'t str,
    at: usize,
    parsed: Parsed,
    /// The entries so far, for the values that mention them.
    latest: BTreeMap<String, String>,
    lookup: &'t dyn Fn(&str) -> Option<String>,
}

impl Parser<'_> {
    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    /// Skips empty lines and comments; false at the end.
    fn find_statement(&mut self) -> bool {
        loop {
            let rest = self.rest();
            let trimmed = rest.trim_start();
            self.at += rest.len() - trimmed.len();
            match self.rest().as_bytes().first() {
                None => return false,
                Some(b'#') => self.at = self.end_of_line(),
                Some(_) => return true,
            }
        }
    }

    fn end_of_line(&self) -> usize {
        self.rest().find('\n').map_or(self.text.len(), |length| self.at + length)
    }

    fn skip_blanks(&mut self) {
        let blanks = self.rest().chars().take_while(|c| c.is_whitespace() && *c != '\n');
        self.at += blanks.map(char::len_utf8).sum::<usize>();
    }

    fn statement(&mut self) -> Result<(), DotenvError> {
        if self.rest().strip_prefix("export").is_some_and(|rest| rest.starts_with([' ', '\t'])) {
            self.at += "export".len();
            self.skip_blanks();
        }
        let start = self.at;
        let line_end = self.end_of_line();
        let name_end = self.name_end(start, line_end)?;
        let name = self.text[start..name_end].trim_end().to_owned();
        let range = (start, start + name.len());
        if name.contains(' ') {
            return Err(DotenvError { range, kind: DotenvErrorKind::Space(name) });
        }
        if name_end == line_end {
            self.at = line_end;
            if let Some(value) = (self.lookup)(&name) {
                self.enter(name, value, start);
            }
            return Ok(());
        }
        if name.is_empty() {
            let range = (start, name_end + 1);
            return Err(DotenvError { range, kind: DotenvErrorKind::NoName });
        }
        self.at = name_end + 1;
        self.skip_blanks();
        let value = self.value()?;
        self.enter(name, value, start);
        Ok(())
    }

    /// Takes up the entry that began at `start` and ends here.
    fn enter(&mut self, name: String, value: String, start: usize) {
        self.latest.insert(name.clone(), value.clone());
        self.parsed.entries.push((name, value));
        self.parsed.ranges.push((start, self.at));
    }

    /// Where the name that begins at `start` ends: at `=`, `:` or the end of the line.
    fn name_end(&self, start: usize, line_end: usize) -> Result<usize, DotenvError> {
        for (offset, c) in self.text[start..line_end].char_indices() {
            match c {
                '=' | ':' => return Ok(start + offset),
                '_' | '.' | '-' | '[' | ']' => {}
                c if c.is_alphanumeric() || c.is_whitespace() => {}
                c => {
                    let at = start + offset;
                    let range = (at, at + c.len_utf8());
                    return Err(DotenvError { range, kind: DotenvErrorKind::Character(c) });
                }
            }
        }
        Ok(line_end)
    }

    fn value(&mut self) -> Result<String, DotenvError> {
        match self.rest().as_bytes().first() {
            Some(quote @ (b'"' | b'\'')) => self.quoted(char::from(*quote)),
            _ => {
                let (start, end) = (self.at, self.end_of_line());
                self.at = end;
                let line = &self.text[start..end];
                let value = line.split(" #").next().unwrap_or(line).trim_end().to_owned();
                self.expand(&value, (start, start + value.len()))
            }
        }
    }

    fn quoted(&mut self, quote: char) -> Result<String, DotenvError> {
        let start = self.at;
        let mut value = String::new();
        let mut escaped = false;
        for (offset, c) in self.text[start + 1..].char_indices() {
            match c {
                c if c == quote && !escaped => {
                    self.at = start + 1 + offset + 1;
                    if quote == '\'' {
                        return Ok(value);
                    }
                    return self.expand(&unescape(&value), (start, self.at));
                }
                '\\' if !escaped => {
                    escaped = true;
                    continue;
                }
                c => {
                    if escaped && c != quote {
                        value.push('\\');
                    }
                    value.push(c);
                }
            }
            escaped = false;
        }
        let range = (start, self.end_of_line());
        Err(DotenvError { range, kind: DotenvErrorKind::Unterminated })
    }

    fn expand(&mut self, value: &str, range: (usize, usize)) -> Result<String, DotenvError> {
        if !value.contains('$') {
            return Ok(value.to_owned());
        }
        let mut scope = Scope { lookup: self.lookup, earlier: &self.latest, missing: Vec::new() };
        let filled = template::fill(value, &mut scope);
        let missing = scope.missing;
        self.parsed.missing.extend(missing.into_iter().map(|name| (name, range)));
        filled.map_err(|error| DotenvError { range, kind: error.into() })
    }
}

struct Scope<'p> {
    lookup: &'p dyn Fn(&str) -> Option<String>,
    earlier: &'p BTreeMap<String, String>,
    missing: Vec<String>,
}

impl Variables for Scope<'_> {
    fn value(&mut self, name: &str) -> Option<String> {
        (self.lookup)(name).or_else(|| self.earlier.get(name).cloned())
    }

    fn missing(&mut self, name: &str) {
        self.missing.push(name.to_owned());
    }
}

/// The escapes of a double-quoted value.
fn unescape(value: &str) -> String {
    let mut plain = String::with_capacity(value.len());
    let mut rest = value;
    while let Some(at) = rest.find('\\') {
        plain.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        let (replacement, used) = escape(after);
        match replacement {
            Some(text) => plain.push_str(&text),
            None => plain.push_str(&rest[at..=at + used]),
        }
        rest = &after[used..];
    }
    plain.push_str(rest);
    plain
}

/// What the escape before `after` stands for, and how many bytes of `after` belong to it.
fn escape(after: &str) -> (Option<String>, usize) {
    let simple = |text: &str| (Some(text.to_owned()), 1);
    match after.as_bytes().first() {
        Some(b'n') => simple("\n"),
        Some(b'r') => simple("\r"),
        Some(b't') => simple("\t"),
        Some(b'v') => simple("\u{b}"),
        Some(b'a') => simple("\u{7}"),
        Some(b'b') => simple("\u{8}"),
        Some(b'f') => simple("\u{c}"),
        Some(b'\\') => simple("\\"),
        Some(b'"') => simple("\""),
        Some(b'$') => simple("$$"),
        Some(b'0') => {
            let digits =
                after[1..].bytes().take(3).take_while(|b| matches!(b, b'0'..=b'7')).count();
            let code = u8::from_str_radix(&after[1..=digits], 8).ok();
            let text = code.filter(|_| digits == 3).map(|code| char::from(code).to_string());
            (text, 1 + digits)
        }
        _ => (None, 0),
    }
}

/// The grammar of `format: raw`: everything after the `=` is the value.
///
/// # Errors
///
/// The first line that is no entry.
pub(crate) fn parse_raw(
    text: &str,
    lookup: &dyn Fn(&str) -> Option<String>,
) -> Result<Parsed, DotenvError> {
    let mut parsed = Parsed::default();
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let range = (start, start + line.trim_end().len());
        start += line.len();
        let line = line.trim_end_matches(['\n', '\r']).trim_start_matches('\u{feff}').trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, value) = match line.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (line, lookup(line)),
        };
        if name.contains(char::is_whitespace) {
            return Err(DotenvError { range, kind: DotenvErrorKind::Space(name.to_owned()) });
        }
        if name.is_empty() {
            return Err(DotenvError { range, kind: DotenvErrorKind::NoName });
        }
        if let Some(value) = value {
            parsed.entries.push((name.to_owned(), value));
            parsed.ranges.push(range);
        }
    }
    Ok(parsed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(text: &str) -> Vec<(String, String)> {
        let lookup = |name: &str| (name == "OS").then(|| "linux".to_owned());
        parse(text, &lookup).unwrap().entries
    }

    #[test]
    fn one_entry() {
        #[rustfmt::skip]
        let table = [
            ("A=b", "A", "b"), ("  A = b  ", "A", "b"), ("A: b", "A", "b"), ("export A=b", "A", "b"),
            ("A=", "A", ""), ("A=b # c", "A", "b"), ("A=b#c", "A", "b#c"), ("A=\"b # c\"", "A", "b # c"),
            ("A='$b\\n'", "A", "$b\\n"), ("A=\"x\\ny\"", "A", "x\ny"), ("A=\"x\ny\"", "A", "x\ny"),
            ("A=x\\ny", "A", "x\\ny"), ("A=\"a\\\"b\"", "A", "a\"b"), ("A='a\\'b'", "A", "a'b"),
            ("A=${OS}", "A", "linux"), ("A=${NO:-x}", "A", "x"), ("A=\"\\$OS\"", "A", "$OS"),
            ("OS", "OS", "linux"), ("\u{feff}A=b", "A", "b"), ("1X=y", "1X", "y"),
            ("A.b-c[0]=y", "A.b-c[0]", "y"), ("A=a=b", "A", "a=b"), ("# c\n\nA=b", "A", "b"),
            ("A=\"\\0101\"", "A", "A"), ("exported=1", "exported", "1"), ("A=\r\n", "A", ""),
        ];
        for (text, name, value) in table {
            assert_eq!(entries(text), [(name.to_owned(), value.to_owned())], "{text:?}");
        }
    }

    #[test]
    fn earlier_entries_are_seen_and_unset_names_left_out() {
        let found = entries("A=1\nB=$A$OS\nUNSET\nC='x' # c\n");
        let shown: Vec<String> =
            found.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(shown, ["A=1", "B=1linux", "C=x"]);
    }

    #[test]
    fn what_is_refused() {
        #[rustfmt::skip]
        let table = [
            ("A B=c", "the name `A B` contains a space", 0), ("A@B=1", "the character `@` cannot be part of a name", 1),
            ("x=1\nA=\"b", "the quote is not closed", 6), ("=1", "there is no name before the `=`", 0),
            ("A=${", "`${` is not a variable", 2),
            ("A=${X:?n}", "the required variable `X` is not set: n", 2),
        ];
        for (text, message, start) in table {
            let error = parse(text, &|_| None).unwrap_err();
            assert_eq!(
                (error.kind.to_string().as_str(), error.range.0),
                (message, start),
                "{text:?}"
            );
        }
    }

    #[test]
    fn raw_takes_everything_as_it_is() {
        let parsed = parse_raw("A='x' # y\n# c\nB=\"$Z\"\nOS\n", &|_| None).unwrap();
        assert_eq!(parsed.entries, [("A".into(), "'x' # y".into()), ("B".into(), "\"$Z\"".into())]);
        assert!(parse_raw("export A=1", &|_| None).is_err());
    }

    proptest::proptest! {
        #[test]
        fn never_panics(text in "[A=\"'\\\\$#{}: \n\r0é]{0,32}") {
            let _ = parse(&text, &|_| None);
            let _ = parse_raw(&text, &|_| None);
        }
    }
}
