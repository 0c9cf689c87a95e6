//! What a container has said, made harmless: text without a character that a terminal would obey.
//!
//! Log lines are hostile. Sequences that colour or move are left out, as far as they are whole, and what they say about colours
//! is kept beside the text; every other control character is shown as a sign for it, and so is what would turn the direction of
//! writing. What remains has a width that can be told, and a bounded length.

use ratatui::style::Style;
use unicode_width::UnicodeWidthChar;

use super::paint;

/// More bytes of a line than these are not kept.
pub const LONGEST: usize = 16 << 10;

/// Marks over one character that are kept: scripts that are written have fewer.
const MARKS: usize = 8;

/// Changes of style that are kept of a line.
const PAINTS: usize = 200;

/// Where a tab goes on.
const TAB: usize = 8;

/// The text of a line, without its end.
#[must_use]
pub fn clean(line: &[u8]) -> String {
    read(line).0
}

/// The text of a line, and where in it another style begins. Each line begins without one.
#[must_use]
pub fn read(line: &[u8]) -> (String, Vec<(usize, Style)>) {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let (kept, left_out) = line.split_at(line.len().min(LONGEST));
    let raw = String::from_utf8_lossy(kept);
    let mut text = String::with_capacity(raw.len());
    let (mut column, mut marks) = (0, 0);
    let (mut style, mut paints) = (Style::new(), Vec::new());
    let mut rest = raw.chars();
    while let Some(character) = rest.next() {
        if character == '\x1b' {
            match sequence(rest.as_str()) {
                Some(length) => {
                    let next = paint::after(style, &rest.as_str()[..length]);
                    if next != style && paints.len() < PAINTS {
                        style = next;
                        paints.push((text.len(), style));
                    }
                    rest = rest.as_str()[length..].chars();
                    continue;
                }
                None => text.push('␛'),
            }
            column += 1;
            continue;
        }
        if character == '\t' {
            let blanks = TAB - column % TAB;
            text.extend(std::iter::repeat_n(' ', blanks));
            column += blanks;
            continue;
        }
        let shown = sign(character);
        match shown.width().unwrap_or(0) {
            0 if marks == MARKS || text.is_empty() => {}
            0 => {
                marks += 1;
                text.push(shown);
            }
            width => {
                marks = 0;
                column += width;
                text.push(shown);
            }
        }
    }
    if !left_out.is_empty() {
        text.push_str(&format!("… and {} bytes more", left_out.len()));
    }
    (text, paints)
}

/// What is shown of a character: itself, if a terminal does nothing about it.
fn sign(character: char) -> char {
    match character {
        '\0'..='\x1f' => char::from_u32(0x2400 + character as u32).unwrap_or('�'),
        '\x7f' => '␡',
        // Further control characters, and those that turn the direction of writing or separate lines.
        '\u{80}'..='\u{9f}'
        | '\u{61c}'
        | '\u{200e}'
        | '\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2066}'..='\u{2069}' => '�',
        other => other,
    }
}

/// The length of the sequence that follows an escape character; none if it is not whole, or is none (ECMA-48).
fn sequence(rest: &str) -> Option<usize> {
    let bytes = rest.as_bytes();
    match bytes.first()? {
        // Colours and movements.
        b'[' => {
            let of = |range: std::ops::RangeInclusive<u8>, from: usize| {
                bytes[from..].iter().take_while(|byte| range.contains(byte)).count()
            };
            let parameters = 1 + of(b'0'..=b'?', 1);
            let last = parameters + of(b' '..=b'/', parameters);
            matches!(bytes.get(last), Some(b'@'..=b'~')).then_some(last + 1)
        }
        // Titles, links and other words for the terminal, up to their end.
        b']' | b'P' | b'X' | b'^' | b'_' => {
            let bell = rest.find('\x07').map(|at| at + 1);
            let string = rest.find("\x1b\\").map(|at| at + 2);
            [bell, string].into_iter().flatten().min()
        }
        // Character sets and the rest.
        _ => {
            let last = bytes.iter().take_while(|byte| matches!(byte, b' '..=b'/')).count();
            matches!(bytes.get(last), Some(b'0'..=b'~')).then_some(last + 1)
        }
    }
}

/// How many columns `text` takes.
#[must_use]
pub fn width(text: &str) -> usize {
    text.chars().filter_map(UnicodeWidthChar::width).sum()
}

/// The beginning of `text` that takes `columns` at most, and what follows.
#[must_use]
pub fn split(text: &str, columns: usize) -> (&str, &str) {
    let mut taken = 0;
    for (at, character) in text.char_indices() {
        taken += character.width().unwrap_or(0);
        if taken > columns {
            return text.split_at(at);
        }
    }
    (text, "")
}

/// The pieces of `text` that take `columns` each at most, and `most` of them at most.
#[must_use]
pub fn wrap(text: &str, columns: usize, most: usize) -> Vec<&str> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while pieces.len() < most {
        let (piece, after) = split(rest, columns);
        // A character that is wider than all there is goes nowhere.
        if piece.is_empty() {
            break;
        }
        pieces.push(piece);
        rest = after;
        if rest.is_empty() {
            break;
        }
    }
    if pieces.is_empty() {
        pieces.push("");
    }
    pieces
}

/// Where `needle` is found in `text` from the byte `from` on; capitals matter if `needle` has one.
#[must_use]
pub fn find(text: &str, needle: &str, from: usize) -> Option<std::ops::Range<usize>> {
    let (bytes, wanted) = (text.as_bytes().get(from..)?, needle.as_bytes());
    if wanted.is_empty() {
        return None;
    }
    let exact = needle.chars().any(char::is_uppercase);
    let same = |window: &[u8]| match exact {
        true => window == wanted,
        false => window.eq_ignore_ascii_case(wanted),
    };
    let at = from + bytes.windows(wanted.len()).position(same)?;
    Some(at..at + wanted.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nothing_is_left_for_the_terminal_to_obey() {
        for (line, text) in [
            ("plain\n", "plain"),
            ("windows\r\n", "windows"),
            ("\x1b[1;31mred\x1b[0m and \x1b[2Jnot cleared", "red and not cleared"),
            ("\x1b]0;title\x07a\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "alink"),
            ("\x1bPq#0\x1b\\sixel \x1b(Bset \x1b7\x1bcreset", "sixel set reset"),
            ("\x1b]0;never closed", "␛]0;never closed"),
            ("\x1b[12", "␛[12"),
            ("\x1b", "␛"),
            ("10%\r20%\x07\x08\0\x7f", "10%␍20%␇␈␀␡"),
            ("a\tb", "a       b"),
            ("ab\u{9b}2Jc", "ab�2Jc"),
            ("evil\u{202e}txt.exe", "evil�txt.exe"),
            ("漢字 e\u{301}", "漢字 e\u{301}"),
            ("\u{301}first", "first"),
        ] {
            assert_eq!(clean(line.as_bytes()), text, "{line:?}");
        }
        assert_eq!(clean(b"\xff\xfe"), "��");
        let heap = format!("a{}", "\u{300}".repeat(1000));
        assert_eq!(clean(heap.as_bytes()).chars().count(), 1 + MARKS);
        let long = clean(&vec![b'x'; 1 << 20]);
        assert!(long.len() < LONGEST + 50, "{}", long.len());
        assert!(long.ends_with("x… and 1032192 bytes more"), "{}", &long[LONGEST - 5..]);
    }

    #[test]
    fn wide_characters_are_not_cut_in_two() {
        assert_eq!(wrap("漢字漢字", 3, 9), ["漢", "字", "漢", "字"]);
        assert_eq!(wrap("abcdef", 4, 9), ["abcd", "ef"]);
        assert_eq!(wrap("abcdef", 2, 2), ["ab", "cd"]);
        assert_eq!(wrap("e\u{301}e\u{301}", 1, 9), ["e\u{301}", "e\u{301}"]);
        assert_eq!(wrap("", 4, 9), [""]);
        assert_eq!(wrap("漢", 1, 9), [""]);
        assert_eq!(width("漢e\u{301}"), 3);
    }

    #[test]
    fn capitals_matter_if_there_is_one() {
        assert_eq!(find("An Error", "error", 0), Some(3..8));
        assert_eq!(find("An error", "Error", 0), None);
        assert_eq!(find("aXaxa", "x", 2), Some(3..4));
        assert_eq!(find("größe", "ö", 0), Some(2..4));
        assert_eq!(find("a", "", 0), None);
        assert_eq!(find("a", "b", 7), None);
    }

    proptest! {
        #[test]
        fn whatever_is_said_is_harmless(line in prop::collection::vec(any::<u8>(), 0..300)) {
            let (text, paints) = read(&line);
            prop_assert!(paints.iter().all(|(at, _)| text.is_char_boundary(*at)));
            prop_assert!(!text.chars().any(char::is_control), "{text:?}");
            for piece in wrap(&text, 7, usize::MAX) {
                prop_assert!(width(piece) <= 7);
            }
        }
    }
}
