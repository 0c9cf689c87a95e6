//! Patterns as `.dockerignore` and `COPY --exclude` have them.
//!
//! Rules: those of Go's `filepath.Match`, with `**` for any number of directories; anchored at the root; the last pattern
//! that fits decides, and `!` turns it round; what lies in a directory that fits, fits.
//!
//! Source: Dockerfile reference, ".dockerignore file"; moby `patternmatcher`.

use std::path::{Component, Path};

/// A list of patterns, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Patterns {
    rules: Vec<Rule>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule {
    /// One for each part of the path.
    parts: Vec<Part>,
    /// `!`: what fits is not meant after all.
    exception: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    /// `**`: any number of directories.
    Deep,
    /// A pattern for one name.
    Name(Vec<Piece>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    /// `*`
    Any,
    /// `?`
    One,
    /// `[a-z]`, or `[^a-z]`.
    Class { negated: bool, ranges: Vec<(char, char)> },
    /// Itself.
    Char(char),
}

/// A pattern that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no pattern: a [ is not closed, or a \\ ends it")]
pub struct PatternError(pub(crate) String);

impl Patterns {
    /// Reads a `.dockerignore`: one pattern a line, `#` begins a comment.
    ///
    /// # Errors
    ///
    /// The first pattern that cannot be read.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        Self::of(lines.map(str::trim).filter(|line| !line.is_empty()))
    }

    /// Reads a list of patterns.
    ///
    /// # Errors
    ///
    /// The first that cannot be read.
    pub fn of<'a>(patterns: impl IntoIterator<Item = &'a str>) -> Result<Self, PatternError> {
        let rules = patterns.into_iter().filter_map(|pattern| Rule::parse(pattern).transpose());
        Ok(Self { rules: rules.collect::<Result<_, _>>()? })
    }

    /// Whether nothing fits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Whether `path`, relative to the root, is meant.
    #[must_use]
    pub fn matches(&self, path: &Path) -> bool {
        let names = names(path);
        self.rules.iter().fold(false, |meant, rule| {
            if meant == rule.exception && rule.matches_or_above(&names) {
                !rule.exception
            } else {
                meant
            }
        })
    }

    /// Whether anything below the directory `path`, which is meant itself, may be an exception.
    #[must_use]
    pub fn has_exception_below(&self, path: &Path) -> bool {
        let names = names(path);
        self.rules.iter().any(|rule| rule.exception && reaches_below(&rule.parts, &names))
    }
}

/// The letters of each name of a path.
fn names(path: &Path) -> Vec<Vec<char>> {
    let normal = path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_string_lossy().chars().collect()),
        _ => None,
    });
    normal.collect()
}

impl Rule {
    /// `None` for a pattern that says nothing.
    fn parse(pattern: &str) -> Result<Option<Self>, PatternError> {
        let wrong = || PatternError(pattern.to_owned());
        let (exception, rest) = match pattern.strip_prefix('!') {
            Some(rest) => (true, rest.trim()),
            None => (false, pattern),
        };
        let mut parts = Vec::new();
        for name in rest.split('/') {
            match name {
                "" | "." => {}
                ".." => {
                    parts.pop();
                }
                "**" => parts.push(Part::Deep),
                name => parts.push(Part::Name(pieces(name).ok_or_else(wrong)?)),
            }
        }
        Ok((!parts.is_empty()).then_some(Self { parts, exception }))
    }

    fn matches_or_above(&self, names: &[Vec<char>]) -> bool {
        (1..=names.len()).any(|length| fits(&self.parts, &names[..length]))
    }
}

/// Reads the pattern of one name.
fn pieces(name: &str) -> Option<Vec<Piece>> {
    let mut out = Vec::new();
    let mut rest = name.chars().peekable();
    while let Some(next) = rest.next() {
        out.push(match next {
            '*' => Piece::Any,
            '?' => Piece::One,
            '\\' => Piece::Char(rest.next()?),
            '[' => {
                let negated = rest.next_if_eq(&'^').is_some();
                let mut ranges = Vec::new();
                loop {
                    let low = match rest.next()? {
                        ']' if !ranges.is_empty() => break,
                        '\\' => rest.next()?,
                        plain => plain,
                    };
                    let high = match rest.next_if_eq(&'-') {
                        Some(_) => match rest.next()? {
                            '\\' => rest.next()?,
                            plain => plain,
                        },
                        None => low,
                    };
                    ranges.push((low, high));
                }
                Piece::Class { negated, ranges }
            }
            plain => Piece::Char(plain),
        });
    }
    Some(out)
}

fn fits(parts: &[Part], names: &[Vec<char>]) -> bool {
    let names = match (parts, names) {
        // At the end it stands for everything below, and not for the directory itself.
        ([.., Part::Deep], [above @ .., _]) => above,
        ([.., Part::Deep], []) => return false,
        _ => names,
    };
    let fits_one = |part: &Part, name: &Vec<char>| match part {
        Part::Deep => false,
        Part::Name(pattern) => fits_name(pattern, name),
    };
    follows(parts, names, |part| *part == Part::Deep, fits_one)
}

/// Whether a path below `names` could fit.
fn reaches_below(parts: &[Part], names: &[Vec<char>]) -> bool {
    match (parts, names) {
        ([], _) => true,
        (_, []) | ([Part::Deep, ..], _) => true,
        ([Part::Name(pattern), rest @ ..], [name, more @ ..]) => {
            fits_name(pattern, name) && reaches_below(rest, more)
        }
    }
}

fn fits_name(pattern: &[Piece], name: &[char]) -> bool {
    let fits_one = |piece: &Piece, letter: &char| match piece {
        Piece::Any => false,
        Piece::One => true,
        Piece::Char(wanted) => wanted == letter,
        Piece::Class { negated, ranges } => {
            ranges.iter().any(|(low, high)| (low..=high).contains(&letter)) != *negated
        }
    };
    follows(pattern, name, |piece| *piece == Piece::Any, fits_one)
}

/// Whether `text` is as `pattern` says, one of its parts for each item, and those that are `any` for any number of them.
///
/// Only the last of those that were met has to be tried again with more: what an earlier one could take, it can take as well.
fn follows<P, T>(
    pattern: &[P],
    text: &[T],
    any: impl Fn(&P) -> bool,
    fits: impl Fn(&P, &T) -> bool,
) -> bool {
    let (mut at, mut of) = (0, 0);
    let mut retry = None;
    while let Some(item) = text.get(at) {
        match pattern.get(of) {
            Some(part) if any(part) => {
                retry = Some((of + 1, at));
                of += 1;
            }
            Some(part) if fits(part, item) => (at, of) = (at + 1, of + 1),
            _ => {
                let Some((after, from)) = retry else { return false };
                retry = Some((after, from + 1));
                (of, at) = (after, from + 1);
            }
        }
    }
    pattern[of..].iter().all(any)
}

/// A pattern for whole paths, as sources of `COPY` may be: without the rules about what lies in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PathPattern(Vec<Part>);

impl PathPattern {
    /// Reads a pattern; `None` for a path without special characters.
    pub(crate) fn parse(path: &str) -> Result<Option<Self>, PatternError> {
        if !path.contains(['*', '?', '[', '\\']) {
            return Ok(None);
        }
        let wrong = || PatternError(path.to_owned());
        let names = path.split('/').filter(|name| !matches!(*name, "" | "."));
        let part = |name: &str| match name {
            "**" => Ok(Part::Deep),
            name => Ok(Part::Name(pieces(name).ok_or_else(wrong)?)),
        };
        Ok(Some(Self(names.map(part).collect::<Result<_, _>>()?)))
    }

    /// Whether the whole path fits.
    pub(crate) fn matches(&self, path: &Path) -> bool {
        fits(&self.0, &names(path))
    }

    /// Whether something below the directory `path` could fit.
    pub(crate) fn reaches_below(&self, path: &Path) -> bool {
        let names = names(path);
        let deep = self.0.contains(&Part::Deep);
        (deep || names.len() < self.0.len()) && reaches_below(&self.0, &names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_wildcards_are_no_trap() {
        let deep = "**/a/".repeat(40);
        let path = "a/".repeat(100);
        let patterns =
            Patterns::of([&*format!("{deep}b"), &*format!("{}b", "*a".repeat(40))]).unwrap();
        assert!(!patterns.matches(Path::new(&path)));
        assert!(!patterns.matches(Path::new(&"a".repeat(200))));
        assert!(patterns.matches(Path::new(&format!("{path}b"))));
        let below = Patterns::of(["**/**/a/**/**"]).unwrap();
        let cases =
            [("a", false), ("a/b", true), ("b/a", false), ("b/a/c/d", true), ("b/c", false)];
        for (path, expected) in cases {
            assert_eq!(below.matches(Path::new(path)), expected, "{path}");
        }
    }

    #[test]
    fn the_last_pattern_that_fits_decides() {
        #[rustfmt::skip]
        let table: &[(&str, &[&str], &[&str])] = &[
            ("*.log", &["a.log"], &["dir/a.log", "a.logs"]),
            ("**/*.log", &["a.log", "dir/a.log", "a/b/c.log"], &["a.txt"]),
            ("node_modules", &["node_modules", "node_modules/a/b"], &["x/node_modules"]),
            ("/build/", &["build", "build/x"], &["a/build"]),
            ("a/**/z", &["a/z", "a/b/z", "a/b/c/z/below"], &["z", "b/z"]),
            ("a/**", &["a/b", "a/b/c"], &["a", "b"]),
            ("**", &["a", "a/b"], &[]),
            ("*\n!keep\n!dir/keep", &["a", "dir", "dir/x"], &["keep", "dir/keep", "keep/below"]),
            ("dir\n!dir/*.md\ndir/secret.md", &["dir/x", "dir/secret.md"], &["dir/a.md"]),
            ("# comment\n\n  ./x/../y  ", &["y"], &["x", "# comment"]),
            ("file?.[a-c]x\nq[^0-9]", &["file1.bx", "qa"], &["file1.dx", "q1", "file.bx"]),
            (r"\#x", &["#x"], &["x"]),
            ("*/temp*", &["a/temporary", "a/temp/x"], &["temp", "a/b/temp"]),
        ];
        for (text, meant, others) in table {
            let patterns = Patterns::parse(text).unwrap();
            for path in *meant {
                assert!(patterns.matches(Path::new(path)), "{text}: {path}");
            }
            for path in *others {
                assert!(!patterns.matches(Path::new(path)), "{text}: {path}");
            }
        }
        assert!(Patterns::parse("a[b").is_err() && Patterns::parse("a\\").is_err());
    }

    #[test]
    fn directories_with_exceptions_are_looked_into() {
        let patterns = Patterns::parse("*\n!src/*/keep\n!**/x").unwrap();
        assert!(patterns.has_exception_below(Path::new("src/a")));
        let patterns = Patterns::parse("*\n!src/*/keep").unwrap();
        assert!(patterns.has_exception_below(Path::new("src")));
        assert!(!patterns.has_exception_below(Path::new("other")));
    }

    #[test]
    fn sources_may_be_patterns() {
        let pattern = PathPattern::parse("src/*.c").unwrap().unwrap();
        assert!(pattern.matches(Path::new("src/a.c")) && !pattern.matches(Path::new("src/b/a.c")));
        assert!(
            pattern.reaches_below(Path::new("src")) && !pattern.reaches_below(Path::new("lib"))
        );
        assert_eq!(PathPattern::parse("plain/path").unwrap(), None);
    }
}
