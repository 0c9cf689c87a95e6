//! Values as YAML text, byte for byte as docker compose's YAML library writes them.
//!
//! Strings that YAML 1.1 or 1.2 would read as something else are quoted, so that every reader
//! gets back what was written.

use std::borrow::Cow;

use crate::file::{Piece, Printed};

/// `value` as a YAML document; mappings and lists inside of mappings are indented by `indent`.
pub(super) fn text(value: &Printed<'_>, indent: usize) -> String {
    let mut writer = Writer { text: String::new(), indent };
    writer.document(value);
    writer.text
}

/// The pieces that `each` gives as a YAML document, each after `change` has changed it. It is about as long as `room`:
/// where that is enough the text need not move as it grows.
pub(super) fn pieces<'d>(
    room: usize,
    each: impl FnOnce(&mut dyn FnMut(Piece<'d>)),
    change: impl Fn(&mut Printed<'d>),
    indent: usize,
) -> String {
    let mut writer = Writer { text: String::with_capacity(room), indent };
    each(&mut |piece| match piece {
        Piece::Open(key) => {
            writer.entry_key(&key, 0);
            writer.text.push('\n');
        }
        Piece::Entry(key, mut value) => {
            change(&mut value);
            writer.entry(&key, &value, 0);
        }
        Piece::Inner(key, mut value) => {
            change(&mut value);
            writer.pad(indent);
            writer.entry(&key, &value, indent);
        }
    });
    if writer.text.is_empty() { "{}\n".to_owned() } else { writer.text }
}

struct Writer {
    text: String,
    indent: usize,
}

impl Writer {
    fn document(&mut self, value: &Printed<'_>) {
        match value {
            Printed::Map(entries) if !entries.is_empty() => self.mapping(entries, 0, false),
            Printed::List(items) if !items.is_empty() => self.list(items, 0, false),
            scalar => {
                self.scalar(scalar, 0);
                self.text.push('\n');
            }
        }
    }

    /// Writes the entries at `depth`; the first one stands on the line that has begun if `inline`.
    fn mapping(&mut self, entries: &[(Cow<'_, str>, Printed<'_>)], depth: usize, inline: bool) {
        for (index, (key, value)) in entries.iter().enumerate() {
            if index > 0 || !inline {
                self.pad(depth);
            }
            self.entry(key, value, depth);
        }
    }

    /// Writes one entry, after its indent.
    fn entry(&mut self, key: &str, value: &Printed<'_>, depth: usize) {
        self.entry_key(key, depth);
        self.value(value, depth);
    }

    fn entry_key(&mut self, key: &str, depth: usize) {
        if key.len() > 128 || key.as_bytes().contains(&b'\n') {
            self.text.push_str("? ");
            self.string(key, depth + self.indent);
            self.text.push('\n');
            self.pad(depth);
        } else {
            self.key(key);
        }
        self.text.push(':');
    }

    fn value(&mut self, value: &Printed<'_>, depth: usize) {
        match value {
            Printed::Map(entries) if !entries.is_empty() => {
                self.text.push('\n');
                self.mapping(entries, depth + self.indent, false);
            }
            Printed::List(items) if !items.is_empty() => {
                self.text.push('\n');
                self.list(items, depth + self.indent, false);
            }
            scalar => {
                self.text.push(' ');
                self.scalar(scalar, depth + self.indent);
                self.text.push('\n');
            }
        }
    }

    fn list(&mut self, items: &[Printed<'_>], depth: usize, inline: bool) {
        for (index, item) in items.iter().enumerate() {
            if index > 0 || !inline {
                self.pad(depth);
            }
            // A dash and as many spaces as make the indent.
            self.text.push('-');
            self.pad(self.indent - 1);
            match item {
                Printed::Map(entries) if !entries.is_empty() => {
                    self.mapping(entries, depth + self.indent, true);
                }
                Printed::List(items) if !items.is_empty() => {
                    self.list(items, depth + self.indent, true);
                }
                scalar => {
                    self.scalar(scalar, depth + self.indent);
                    self.text.push('\n');
                }
            }
        }
    }

    fn pad(&mut self, depth: usize) {
        const SPACES: &str = "                                ";
        let mut left = depth;
        while left > 0 {
            let now = left.min(SPACES.len());
            self.text.push_str(&SPACES[..now]);
            left -= now;
        }
    }

    fn scalar(&mut self, value: &Printed<'_>, depth: usize) {
        match value {
            Printed::Null => self.text.push_str("null"),
            Printed::Bool(flag) => self.text.push_str(if *flag { "true" } else { "false" }),
            Printed::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
                (None, None, Some(float)) => self.text.push_str(&crate::file::go_float(float)),
                _ => self.text.push_str(&number.to_string()),
            },
            Printed::Text(text) => self.string(text, depth),
            Printed::List(_) => self.text.push_str("[]"),
            Printed::Map(_) => self.text.push_str("{}"),
        }
    }

    fn key(&mut self, key: &str) {
        match Style::of(key) {
            Style::Literal => quoted(key, &mut self.text),
            style => style.write(key, &mut self.text),
        }
    }

    fn string(&mut self, text: &str, depth: usize) {
        match Style::of(text) {
            Style::Literal => self.literal(text, depth),
            style => style.write(text, &mut self.text),
        }
    }

    fn literal(&mut self, text: &str, depth: usize) {
        self.text.push('|');
        if text.starts_with([' ', '\n']) {
            self.text.push_str(&self.indent.to_string());
        }
        let body = text.trim_end_matches('\n');
        match text.len() - body.len() {
            0 => self.text.push('-'),
            1 if !body.is_empty() => {}
            _ => self.text.push('+'),
        }
        for line in text.strip_suffix('\n').unwrap_or(text).split('\n') {
            self.text.push('\n');
            if !line.is_empty() {
                self.pad(depth);
                self.text.push_str(line);
            }
        }
    }
}

/// How a string is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    Plain,
    Single,
    Double,
    Literal,
}

impl Style {
    fn of(text: &str) -> Self {
        if is_a_word(text) {
            return if reads_as_string(text) { Self::Plain } else { Self::Double };
        }
        let traits = Traits::of(text);
        if text.as_bytes().contains(&b'\n') {
            return if traits.literal { Self::Literal } else { Self::Double };
        }
        if !reads_as_string(text) {
            return Self::Double;
        }
        match traits {
            Traits { plain: true, .. } => Self::Plain,
            Traits { single: true, .. } => Self::Single,
            _ => Self::Double,
        }
    }

    fn write(self, text: &str, out: &mut String) {
        match self {
            Self::Plain | Self::Literal => out.push_str(text),
            Self::Single => {
                out.push('\'');
                out.push_str(&text.replace('\'', "''"));
                out.push('\'');
            }
            Self::Double => quoted(text, out),
        }
    }
}

/// In which styles a text can be written; libyaml's `yaml_emitter_analyze_scalar`.
struct Traits {
    plain: bool,
    single: bool,
    literal: bool,
}

impl Traits {
    fn of(text: &str) -> Self {
        let mut indicators = text.starts_with("---") || text.starts_with("...");
        let (mut special, mut breaks, mut tabs) = (false, false, false);
        let (mut break_space, mut space_break) = (false, false);
        let mut previous = None;
        let mut rest = text.chars().peekable();
        while let Some(c) = rest.next() {
            let blank_follows =
                rest.peek().is_none_or(|next| matches!(next, ' ' | '\t' | '\n' | '\r'));
            indicators |= match (c, previous) {
                (
                    '#' | ',' | '[' | ']' | '{' | '}' | '&' | '*' | '!' | '|' | '>' | '\'' | '"'
                    | '%' | '@' | '`',
                    None,
                ) => true,
                ('?' | ':' | '-', None) | (':', Some(_)) => blank_follows,
                ('#', Some(before)) => matches!(before, ' ' | '\t' | '\n' | '\r'),
                _ => false,
            };
            special |= !is_printable(c) && c != '\n' && c != '\t';
            tabs |= c == '\t';
            breaks |= c == '\n';
            break_space |= c == ' ' && previous == Some('\n');
            space_break |= c == '\n' && previous == Some(' ');
            previous = Some(c);
        }
        let trailing_space = previous == Some(' ');
        // Where the indent is guessed from, a tab stops other readers.
        let tab_first = text.trim_start_matches('\n').starts_with('\t');
        let edges = text.starts_with([' ', '\n']) || trailing_space || previous == Some('\n');
        let odd = space_break || special || tabs;
        Self {
            plain: !(edges || break_space || odd || breaks || indicators),
            single: !(break_space || odd),
            literal: !(trailing_space || space_break || special || tab_first),
        }
    }
}

/// True for what most strings are: letters, digits and marks that mean nothing to YAML.
fn is_a_word(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|first| LETTERS[usize::from(first)] == Letter::Anywhere)
        && bytes.all(|byte| LETTERS[usize::from(byte)] != Letter::Nowhere)
}

/// Where a byte may stand in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Letter {
    Anywhere,
    /// But not at the beginning.
    Inside,
    Nowhere,
}

/// Of all bytes: every string that is printed is looked at.
#[expect(clippy::cast_possible_truncation, reason = "there are 256 bytes")]
static LETTERS: [Letter; 256] = {
    let mut letters = [Letter::Nowhere; 256];
    let mut byte = 0;
    while byte < letters.len() {
        letters[byte] = match byte as u8 {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'/' => Letter::Anywhere,
            b'-' | b'.' => Letter::Inside,
            _ => Letter::Nowhere,
        };
        byte += 1;
    }
    letters
};

fn is_printable(c: char) -> bool {
    matches!(c, '\n' | ' '..='~' | '\u{85}' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
        && !matches!(c, '\u{feff}' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

/// True if the plain text is a string for readers of YAML 1.2 and 1.1.
fn reads_as_string(text: &str) -> bool {
    const OLD_BOOLEANS: [&str; 16] = [
        "y", "Y", "yes", "Yes", "YES", "on", "On", "ON", "n", "N", "no", "No", "NO", "off", "Off",
        "OFF",
    ];
    // Nothing else begins with a letter and is as long.
    if text.len() > "false".len() && text.as_bytes()[0].is_ascii_alphabetic() {
        return true;
    }
    crate::file::is_plain_string(text)
        && !(text.len() <= 3 && OLD_BOOLEANS.contains(&text))
        && text != "<<"
        && !is_base_60(text)
}

/// `22:22` and `1:30:00.5`, which are numbers in YAML 1.1.
fn is_base_60(text: &str) -> bool {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if !unsigned.starts_with(|c: char| c.is_ascii_digit()) {
        return false;
    }
    let Some((first, rest)) = unsigned.split_once(':') else { return false };
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit() || byte == b'_');
    if !digits(first) {
        return false;
    }
    let (sixties, fraction) = rest.split_once('.').unwrap_or((rest, ""));
    digits(fraction)
        && sixties.split(':').all(|part| match part.as_bytes() {
            [digit] => digit.is_ascii_digit(),
            [ten, digit] => (b'0'..=b'5').contains(ten) && digit.is_ascii_digit(),
            _ => false,
        })
}

fn quoted(text: &str, quoted: &mut String) {
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            '\r' => quoted.push_str("\\r"),
            '\0' => quoted.push_str("\\0"),
            '\u{7}' => quoted.push_str("\\a"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{b}' => quoted.push_str("\\v"),
            '\u{c}' => quoted.push_str("\\f"),
            '\u{1b}' => quoted.push_str("\\e"),
            '\u{85}' => quoted.push_str("\\N"),
            '\u{a0}' => quoted.push_str("\\_"),
            '\u{2028}' => quoted.push_str("\\L"),
            '\u{2029}' => quoted.push_str("\\P"),
            c if is_printable(c) => quoted.push(c),
            c => match u32::from(c) {
                code @ 0..=0xff => quoted.push_str(&format!("\\x{code:02X}")),
                code @ 0x100..=0xffff => quoted.push_str(&format!("\\u{code:04X}")),
                code => quoted.push_str(&format!("\\U{code:08X}")),
            },
        }
    }
    quoted.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn strings_are_quoted_where_a_reader_needs_it() {
        #[rustfmt::skip]
        let table = [
            ("abc", "abc"), ("", r#""""#), ("yes", r#""yes""#), ("N", r#""N""#), ("true", r#""true""#),
            ("0644", r#""0644""#), ("1.0", r#""1.0""#), ("~", r#""~""#), ("22:22", r#""22:22""#),
            ("2024-01-01", r#""2024-01-01""#), ("a: b", "'a: b'"), ("#x", "'#x'"), ("\"", "'\"'"),
            (" lead", "' lead'"), ("it's", "it's"), ("'q'", "'''q'''"), ("a\tb", r#""a\tb""#),
            ("a\nb\n", "|\n  a\n  b"), ("a\nb", "|-\n  a\n  b"), ("a\n\n", "|+\n  a\n"),
            ("-", "'-'"), ("-x", "-x"), ("a #b", "'a #b'"), ("a#b", "a#b"), ("x:", "'x:'"),
            ("*a", "'*a'"), ("<<", r#""<<""#), ("=", "="), ("日本", "日本"), ("\u{1}", r#""\x01""#),
            ("8080:80", "8080:80"),
        ];
        for (text, written) in table {
            let mut writer = Writer { text: String::new(), indent: 2 };
            writer.string(text, 2);
            assert_eq!(writer.text, written, "{text:?}");
        }
    }

    #[test]
    fn nests() {
        let value = json!({"a": {"b": [1, {"c": null, "d": []}, ["x", "y"]]}, "e": {}});
        let expected =
            "a:\n  b:\n    - 1\n    - c: null\n      d: []\n    - - x\n      - \"y\"\ne: {}\n";
        assert_eq!(text(&Printed::from(&value), 2), expected);
    }

    proptest::proptest! {
        #[test]
        fn another_reader_gets_the_same(texts in proptest::collection::vec("\\PC{0,12}|[ \n\ta:#'\"0-9-]{0,10}", 0..6)) {
            let value = json!({ "list": texts });
            let read: serde_yaml::Value = serde_yaml::from_str(&text(&Printed::from(&value), 2)).unwrap();
            let back: Vec<String> = serde_yaml::from_value(read["list"].clone()).unwrap();
            proptest::prop_assert_eq!(back, texts);
        }
    }
}
