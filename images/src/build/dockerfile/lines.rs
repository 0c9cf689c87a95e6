//! From text to logical lines: directives, continuations, comments and heredocs.
//!
//! Source: Dockerfile reference, "Format", "Parser directives", "Here-Documents".

use std::ops::Range;

use super::Problem;

/// One instruction as it is written, put together from its lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    /// Where it is in the file, without its heredocs.
    pub(super) span: Range<usize>,
    /// Its text without comments and continuations.
    pub(super) text: String,
    /// Where parts of the text come from: offset in `text`, offset in the file.
    origins: Vec<(usize, usize)>,
    /// What follows it as heredocs.
    pub(super) heredocs: Vec<Heredoc>,
}

/// Lines of text that an instruction brings with it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Heredoc {
    /// The word that ends it.
    pub(crate) name: String,
    /// The lines.
    pub(crate) content: String,
    /// Whether variables in it are replaced: the word was not quoted.
    pub(crate) expand: bool,
}

/// What comments at the beginning of the file say to the parser.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Directives {
    /// The character that continues lines.
    pub(super) escape: char,
}

/// The front ends of which ours is one.
const FRONT_ENDS: [&str; 4] = [
    "docker/dockerfile",
    "docker.io/docker/dockerfile",
    "docker/dockerfile-upstream",
    "dockerfile",
];

impl Line {
    /// Where in the file the character at `offset` of the text is.
    pub(super) fn origin(&self, offset: usize) -> usize {
        let part = self.origins.partition_point(|(of, _)| *of <= offset).saturating_sub(1);
        self.origins.get(part).map_or(self.span.start, |(of, at)| at + (offset - of))
    }

    /// Where in the file a part of the text is.
    pub(super) fn place(&self, part: Range<usize>) -> Range<usize> {
        let start = self.origin(part.start);
        // Of nothing there is no last byte, and the next one may be a part of a character.
        let end = if part.is_empty() { start } else { self.origin(part.end - 1) + 1 };
        start..end.max(start)
    }
}

/// Cuts `text` into instructions.
pub(super) fn lines(text: &str) -> (Directives, Vec<Line>, Vec<Problem>) {
    let mut reader = Reader { text, at: 0, problems: Vec::new() };
    if text.starts_with('\u{feff}') {
        reader.at = '\u{feff}'.len_utf8();
    }
    let directives = reader.directives();
    let mut lines = Vec::new();
    while let Some(line) = reader.line(directives.escape) {
        lines.push(line);
    }
    (directives, lines, reader.problems)
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    problems: Vec<Problem>,
}

impl<'a> Reader<'a> {
    /// The next physical line without its end, and where it is.
    fn physical(&mut self) -> Option<(&'a str, usize)> {
        if self.at >= self.text.len() {
            return None;
        }
        let start = self.at;
        let rest = &self.text[start..];
        let (line, length) = match rest.find('\n') {
            Some(end) => (&rest[..end], end + 1),
            None => (rest, rest.len()),
        };
        self.at += length;
        Some((line.strip_suffix('\r').unwrap_or(line), start))
    }

    fn directives(&mut self) -> Directives {
        let mut found = Directives { escape: '\\' };
        let mut seen: Vec<String> = Vec::new();
        loop {
            let before = self.at;
            let Some((line, start)) = self.physical() else { return found };
            let Some((name, value)) = directive(line) else {
                self.at = before;
                return found;
            };
            let span = start..start + line.len();
            if seen.contains(&name) {
                let message = format!("the directive `{name}` is given twice");
                self.problems.push(Problem::new(span, message, "remove one of the two"));
                continue;
            }
            match name.as_str() {
                "escape" => match value {
                    "\\" | "`" => found.escape = value.chars().next().unwrap_or('\\'),
                    _ => self.problems.push(Problem::new(
                        span,
                        format!("`{value}` cannot be the escape character"),
                        "use \\ or `",
                    )),
                },
                "syntax" => {
                    let name = value.split_once('@').map_or(value, |(name, _)| name);
                    let tail = name.rfind('/').map_or(0, |slash| slash + 1);
                    let name = name[tail..].find(':').map_or(name, |colon| &name[..tail + colon]);
                    if !FRONT_ENDS.contains(&name) {
                        self.problems.push(Problem::new(
                            span,
                            format!("the front end `{value}` cannot be run"),
                            "only files in the language of docker/dockerfile are read",
                        ));
                    }
                }
                _ => {}
            }
            seen.push(name);
        }
    }

    /// The next instruction.
    fn line(&mut self, escape: char) -> Option<Line> {
        let mut line =
            Line { span: 0..0, text: String::new(), origins: Vec::new(), heredocs: Vec::new() };
        let mut continued = false;
        while let Some((physical, start)) = self.physical() {
            let trimmed = physical.trim_start();
            if trimmed.is_empty() || trimmed.starts_with('#') {
                continue;
            }
            let (part, at) = if continued {
                (physical, start)
            } else {
                line.span = start + (physical.len() - trimmed.len())..start;
                (trimmed, start + (physical.len() - trimmed.len()))
            };
            let (part, more) = match continuation(part, escape) {
                Some(part) => (part, true),
                None => (part, false),
            };
            line.origins.push((line.text.len(), at));
            line.text.push_str(part);
            line.span.end = at + part.trim_end().len();
            continued = true;
            if !more {
                break;
            }
        }
        if !continued {
            return None;
        }
        line.text.truncate(line.text.trim_end().len());
        if has_heredocs(&line.text) {
            for (name, expand, chomp, offset) in heredoc_words(&line.text, escape) {
                let place = line.place(offset..offset + 2);
                match self.heredoc(&name, expand, chomp) {
                    Some(heredoc) => line.heredocs.push(heredoc),
                    None => {
                        self.problems.push(Problem::new(
                            place,
                            format!("the heredoc `{name}` does not end"),
                            format!("write {name} alone on a line after its text"),
                        ));
                        break;
                    }
                }
            }
        }
        Some(line)
    }

    fn heredoc(&mut self, name: &str, expand: bool, chomp: bool) -> Option<Heredoc> {
        let mut content = String::new();
        while let Some((line, _)) = self.physical() {
            let line = if chomp { line.trim_start_matches('\t') } else { line };
            if line == name {
                return Some(Heredoc { name: name.to_owned(), content, expand });
            }
            content.push_str(line);
            content.push('\n');
        }
        None
    }
}

/// `# name=value`.
fn directive(line: &str) -> Option<(String, &str)> {
    let (name, value) = line.trim_start().strip_prefix('#')?.split_once('=')?;
    let name = name.trim();
    let is_name = !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric())
        && name.starts_with(|first: char| first.is_ascii_alphabetic());
    let value = value.trim();
    (is_name && !value.is_empty()).then(|| (name.to_ascii_lowercase(), value))
}

/// The line without the escape at its end, if that continues it. Two in a row are one as text.
fn continuation(line: &str, escape: char) -> Option<&str> {
    let part = line.trim_end_matches([' ', '\t']).strip_suffix(escape)?;
    (!part.ends_with(escape)).then_some(part)
}

/// Whether the instruction may have heredocs: only these take files or scripts.
fn has_heredocs(text: &str) -> bool {
    let mut words = text.split_whitespace();
    let takes = |word: Option<&str>| {
        word.is_some_and(|word| {
            ["ADD", "COPY", "RUN"].iter().any(|known| word.eq_ignore_ascii_case(known))
        })
    };
    let first = words.next();
    takes(first)
        || first.is_some_and(|first| first.eq_ignore_ascii_case("ONBUILD")) && takes(words.next())
}

/// The words of the form `<<NAME`, `<<-NAME`, `<<"NAME"`, outside of quotes: name, whether its text is expanded, whether
/// tabs at the beginning of lines are taken away, where.
fn heredoc_words(text: &str, escape: char) -> Vec<(String, bool, bool, usize)> {
    shell_words(text, escape)
        .into_iter()
        .filter_map(|(word, at)| {
            heredoc_word(word).map(|(name, expand, chomp)| (name, expand, chomp, at))
        })
        .collect()
}

/// What the word `<<NAME` says.
pub(super) fn heredoc_word(word: &str) -> Option<(String, bool, bool)> {
    let rest = word.trim_start_matches(|digit: char| digit.is_ascii_digit()).strip_prefix("<<")?;
    let (chomp, name) = match rest.strip_prefix('-') {
        Some(name) => (true, name),
        None => (false, rest),
    };
    if name.is_empty() || name.contains('<') {
        return None;
    }
    let plain: String = name.chars().filter(|next| !matches!(next, '"' | '\'')).collect();
    let balanced = ['"', '\''].iter().all(|quote| name.matches(*quote).count() % 2 == 0);
    (balanced && !plain.is_empty()).then(|| (plain.clone(), plain == name, chomp))
}

/// The words of a text as a shell sees them, with their quotes, and where they are.
pub(super) fn shell_words(text: &str, escape: char) -> Vec<(&str, usize)> {
    let mut words = Vec::new();
    let mut start = None;
    let mut quote = None;
    let mut escaped = false;
    for (at, next) in text.char_indices() {
        if quote.is_none() && !escaped && next.is_whitespace() {
            words.extend(start.take().map(|from| (&text[from..at], from)));
            continue;
        }
        start.get_or_insert(at);
        match quote {
            _ if escaped => escaped = false,
            Some('\'') if next == '\'' => quote = None,
            Some('\'') => {}
            _ if next == escape => escaped = true,
            Some(open) if open == next => quote = None,
            None if matches!(next, '"' | '\'') => quote = Some(next),
            _ => {}
        }
    }
    words.extend(start.map(|from| (&text[from..], from)));
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str) -> Vec<String> {
        lines(text).1.into_iter().map(|line| line.text).collect()
    }

    #[test]
    fn lines_are_put_together() {
        let text =
            "# a comment\n\n  RUN a \\\n  # in between\n\n    b \\\\\n\tCOPY x y\\\t \nz\nRUN c \\";
        assert_eq!(texts(text), ["RUN a     b \\\\", "COPY x yz", "RUN c"]);
        assert_eq!(texts("RUN a\r\nRUN b \\\r\n c\r\n"), ["RUN a", "RUN b  c"]);
        assert_eq!(texts("# escape=`\nRUN a `\n b\\\nRUN c"), ["RUN a  b\\", "RUN c"]);
        assert_eq!(texts(""), Vec::<String>::new());
    }

    #[test]
    fn places_lead_back_to_the_file() {
        let text = "RUN a \\\n# c\n  word \\\n  last";
        let line = lines(text).1.remove(0);
        let at = line.text.find("last").unwrap();
        assert_eq!(&text[line.place(at..at + 4)], "last");
        let at = line.text.find("word").unwrap();
        assert_eq!(&text[line.place(at..at + 4)], "word");
        assert_eq!(line.span, 0..text.len());
    }

    #[test]
    fn heredocs_follow_their_instruction() {
        let text = "RUN <<EOF cat <<-'TWO' | grep '<<NO' <<<here\n $A\nEOF\n\tb\n\tTWO\nRUN last";
        let (_, found, problems) = lines(text);
        assert_eq!(problems, []);
        let heredoc = |name: &str, content: &str, expand| Heredoc {
            name: name.to_owned(),
            content: content.to_owned(),
            expand,
        };
        assert_eq!(
            found[0].heredocs,
            [heredoc("EOF", " $A\n", true), heredoc("TWO", "b\n", false)]
        );
        assert_eq!(found[1].text, "RUN last");
        assert_eq!(lines("ENV A=<<EOF\nRUN a").1.len(), 2);
        let problems = lines("RUN <<EOF\nnever").2;
        assert_eq!(problems[0].message, "the heredoc `EOF` does not end");
    }

    #[test]
    fn directives_are_checked() {
        let says = |text: &str| {
            lines(text).2.into_iter().map(|problem| problem.message).collect::<Vec<_>>()
        };
        for fine in [
            "# syntax=docker/dockerfile:1.7\nFROM a",
            "#syntax = docker.io/docker/dockerfile:1@sha256:0\n# check=skip=all",
            "# just words\n# escape=x",
            "# unknown=value\n# escape=`",
        ] {
            assert_eq!(says(fine), Vec::<String>::new(), "{fine}");
        }
        assert_eq!(says("# escape=x"), ["`x` cannot be the escape character"]);
        assert_eq!(says("# escape=`\n# Escape=`"), ["the directive `escape` is given twice"]);
        assert_eq!(
            says("# syntax=localhost:5000/mine:2"),
            ["the front end `localhost:5000/mine:2` cannot be run"]
        );
    }
}
