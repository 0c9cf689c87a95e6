//! What is typed: bytes of a terminal to keys, and keys to messages. Pure.

use super::message::{Asked, Message, Step};
use super::state::Mode;

/// A key as it was typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the words on the keys")]
pub enum Key {
    Char(char),
    /// A letter with Ctrl.
    Ctrl(char),
    Enter,
    Escape,
    Tab,
    BackTab,
    Backspace,
    Up,
    Down,
    Left,
    Right,
    PageUp,
    PageDown,
    Home,
    End,
}

/// Bytes of a terminal, as far as they do not make a key yet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Decoder {
    begun: Vec<u8>,
}

/// A sequence that goes on for longer is none.
const LONGEST: usize = 32;

impl Decoder {
    /// The keys that `bytes` complete. An escape character with nothing behind it is the key of that name.
    pub fn decode(&mut self, bytes: &[u8]) -> Vec<Key> {
        let mut input = std::mem::take(&mut self.begun);
        input.extend_from_slice(bytes);
        let mut keys = Vec::new();
        let mut rest = input.as_slice();
        while !rest.is_empty() {
            let Some((key, length)) = first(rest) else {
                if rest.len() <= LONGEST {
                    self.begun = rest.to_vec();
                }
                break;
            };
            keys.extend(key);
            rest = &rest[length..];
        }
        keys
    }
}

/// The first key in `input` and how many bytes it takes; bytes may stand for no key that is known. None if it is not whole.
fn first(input: &[u8]) -> Option<(Option<Key>, usize)> {
    let byte = *input.first()?;
    let key = match byte {
        b'\r' | b'\n' => Key::Enter,
        b'\t' => Key::Tab,
        0x7f | 0x08 => Key::Backspace,
        0x1b => return escaped(input),
        0 => return Some((None, 1)),
        0x01..=0x1a => Key::Ctrl(char::from(byte - 1 + b'a')),
        0x1c..=0x1f => return Some((None, 1)),
        _ => return character(input),
    };
    Some((Some(key), 1))
}

fn character(input: &[u8]) -> Option<(Option<Key>, usize)> {
    let length = match input[0] {
        0..=0x7f => 1,
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => return Some((None, 1)),
    };
    let whole = input.get(..length)?;
    match std::str::from_utf8(whole).ok().and_then(|text| text.chars().next()) {
        Some(found) if !found.is_control() => Some((Some(Key::Char(found)), length)),
        Some(_) => Some((None, length)),
        None => Some((None, 1)),
    }
}

/// Sequences of xterm and its kin (XTerm Control Sequences, "PC-Style Function Keys").
fn escaped(input: &[u8]) -> Option<(Option<Key>, usize)> {
    match input.get(1) {
        None => Some((Some(Key::Escape), 1)),
        Some(b'O') => {
            let last = *input.get(2)?;
            Some((named(last), 3))
        }
        Some(b'[') => {
            let parameters =
                input[2..].iter().take_while(|byte| matches!(byte, b' '..=b'?')).count();
            let last = *input.get(2 + parameters)?;
            let number = || {
                let digits = input[2..2 + parameters].split(|byte| *byte == b';').next();
                std::str::from_utf8(digits.unwrap_or_default()).unwrap_or_default()
            };
            let key = match last {
                b'~' => match number() {
                    "1" | "7" => Some(Key::Home),
                    "4" | "8" => Some(Key::End),
                    "5" => Some(Key::PageUp),
                    "6" => Some(Key::PageDown),
                    _ => None,
                },
                other => named(other),
            };
            Some((key, 3 + parameters))
        }
        // With Alt, a key means nothing here; two escape characters are the key and what follows.
        Some(0x1b) => Some((Some(Key::Escape), 1)),
        Some(_) => {
            let (_, length) = first(&input[1..])?;
            Some((None, 1 + length))
        }
    }
}

const fn named(last: u8) -> Option<Key> {
    Some(match last {
        b'A' => Key::Up,
        b'B' => Key::Down,
        b'C' => Key::Right,
        b'D' => Key::Left,
        b'H' => Key::Home,
        b'F' => Key::End,
        b'Z' => Key::BackTab,
        b'M' => Key::Enter,
        _ => return None,
    })
}

/// What a key asks for, as it is understood in `mode`.
#[must_use]
pub fn message(key: Key, mode: &Mode) -> Option<Message> {
    if key == Key::Ctrl('c') {
        return Some(Message::Interrupt);
    }
    match mode {
        Mode::Usual => usual(key),
        Mode::Typing { .. } => typing(key),
        Mode::Asking { .. } => match key {
            Key::Char('y' | 'Y') => Some(Message::Yes),
            _ => Some(Message::No),
        },
        Mode::Help => match key {
            Key::Char('q') => Some(Message::Quit),
            _ => Some(Message::Back),
        },
    }
}

fn usual(key: Key) -> Option<Message> {
    Some(match key {
        Key::Char('q') => Message::Quit,
        Key::Char('?') => Message::Help,
        Key::Up | Key::Char('k') => Message::Move(Step::Up),
        Key::Down | Key::Char('j') => Message::Move(Step::Down),
        Key::PageUp | Key::Ctrl('b' | 'u') => Message::Move(Step::PageUp),
        Key::PageDown | Key::Ctrl('f' | 'd') | Key::Char(' ') => Message::Move(Step::PageDown),
        Key::Home | Key::Char('g') => Message::Move(Step::First),
        Key::End | Key::Char('G') => Message::Move(Step::Last),
        Key::Left | Key::Char('h') => Message::Move(Step::Left),
        Key::Right => Message::Move(Step::Right),
        Key::Tab => Message::Focus(Step::Down),
        Key::BackTab => Message::Focus(Step::Up),
        Key::Char('l') | Key::Enter => Message::Zoom,
        Key::Char('w') => Message::Wrap,
        Key::Char('/') => Message::Search,
        Key::Char('f') => Message::Filter,
        Key::Char('n') => Message::Match(Step::Up),
        Key::Char('N') => Message::Match(Step::Down),
        Key::Char('r') => Message::Act(Asked::Restart),
        Key::Char('s') => Message::Act(Asked::StopOrStart),
        Key::Char('u') => Message::Act(Asked::Up),
        Key::Char('e') => Message::Act(Asked::Shell),
        Key::Ctrl('z') => Message::Suspend,
        Key::Ctrl('l') => Message::Redraw,
        Key::Escape => Message::Back,
        _ => return None,
    })
}

fn typing(key: Key) -> Option<Message> {
    Some(match key {
        Key::Char(character) => Message::Type(character),
        Key::Backspace => Message::Erase,
        Key::Ctrl('u' | 'w') => Message::EraseAll,
        Key::Enter => Message::Accept,
        Key::Escape => Message::Back,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::cli::ui::state::Wanted;

    fn decoded(bytes: &[u8]) -> Vec<Key> {
        Decoder::default().decode(bytes)
    }

    #[test]
    fn bytes_of_terminals_are_keys() {
        #[rustfmt::skip]
        let table: [(&[u8], &[Key]); 12] = [
            (b"a/?", &[Key::Char('a'), Key::Char('/'), Key::Char('?')]),
            (b"\x1b[A\x1bOB", &[Key::Up, Key::Down]),
            (b"\x1b[1;5C\x1b[D", &[Key::Right, Key::Left]),
            (b"\x1b[5~\x1b[6~", &[Key::PageUp, Key::PageDown]),
            (b"\x1b[H\x1b[4~\x1bOF\x1b[7~", &[Key::Home, Key::End, Key::End, Key::Home]),
            (b"\t\x1b[Z", &[Key::Tab, Key::BackTab]),
            (b"\r\x7f\x08", &[Key::Enter, Key::Backspace, Key::Backspace]),
            (b"\x03\x1a", &[Key::Ctrl('c'), Key::Ctrl('z')]),
            (b"\x1b", &[Key::Escape]),
            ("ö漢".as_bytes(), &[Key::Char('ö'), Key::Char('漢')]),
            (b"\x1bx\x1b[15~\xffq", &[Key::Char('q')]),
            (b"\x1b\x1b[A", &[Key::Escape, Key::Up]),
        ];
        for (bytes, keys) in table {
            assert_eq!(decoded(bytes), keys, "{bytes:?}");
        }
    }

    #[test]
    fn a_key_may_come_in_pieces() {
        let mut decoder = Decoder::default();
        assert_eq!(decoder.decode(b"\x1b["), []);
        assert_eq!(decoder.decode(b"5"), []);
        assert_eq!(decoder.decode(b"~q"), [Key::PageUp, Key::Char('q')]);
        assert_eq!(decoder.decode(&"漢".as_bytes()[..1]), []);
        assert_eq!(decoder.decode(&"漢".as_bytes()[1..]), [Key::Char('漢')]);
        // What never ends is given up.
        assert_eq!(decoder.decode(&[b"\x1b[".as_slice(), &[b'1'; 100]].concat()), []);
        assert_eq!(decoder.decode(b"q"), [Key::Char('q')]);
    }

    #[test]
    fn keys_mean_what_the_moment_makes_of_them() {
        let typing = Mode::Typing { what: Wanted::Filter, text: String::new() };
        #[rustfmt::skip]
        let table = [
            (Key::Char('q'), &Mode::Usual, Some(Message::Quit)),
            (Key::Char('q'), &typing, Some(Message::Type('q'))),
            (Key::Char('q'), &Mode::Help, Some(Message::Quit)),
            (Key::Char('r'), &Mode::Usual, Some(Message::Act(Asked::Restart))),
            (Key::Char('r'), &Mode::Help, Some(Message::Back)),
            (Key::Escape, &typing, Some(Message::Back)),
            (Key::Ctrl('c'), &typing, Some(Message::Interrupt)),
            (Key::Up, &typing, None),
            (Key::Char('x'), &Mode::Usual, None),
            (Key::Char('y'), &Mode::Asking { services: Vec::new(), what: Asked::Restart }, Some(Message::Yes)),
            (Key::Enter, &Mode::Asking { services: Vec::new(), what: Asked::Restart }, Some(Message::No)),
        ];
        for (key, mode, expected) in table {
            assert_eq!(message(key, mode), expected, "{key:?} {mode:?}");
        }
    }

    proptest! {
        #[test]
        fn no_input_is_too_strange(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 0..20)) {
            let mut decoder = Decoder::default();
            for piece in pieces {
                let _keys = decoder.decode(&piece);
                prop_assert!(decoder.begun.len() <= LONGEST);
            }
        }
    }
}
