//! A log line as it is shown: `web-1  | text`.

use anstyle::{AnsiColor, Style};
use jiff::Timestamp;

/// The colours of prefixes, one container after the other, as docker compose goes round.
const COLOURS: [AnsiColor; 10] = [
    AnsiColor::Cyan,
    AnsiColor::Yellow,
    AnsiColor::Green,
    AnsiColor::Magenta,
    AnsiColor::Blue,
    AnsiColor::BrightCyan,
    AnsiColor::BrightYellow,
    AnsiColor::BrightGreen,
    AnsiColor::BrightMagenta,
    AnsiColor::BrightBlue,
];

/// What stands around the text of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// The name of the container, padded to the longest one.
    pub prefix: bool,
    /// The prefix in colour.
    pub colour: bool,
    /// The time before the text.
    pub timestamps: bool,
}

/// Puts names before lines.
#[derive(Debug)]
pub struct Painter {
    look: Look,
    /// The names in the order of their colours.
    known: Vec<String>,
    names: Vec<String>,
    prefixes: Vec<Vec<u8>>,
}

impl Painter {
    /// A painter that knows no container yet.
    #[must_use]
    pub const fn new(look: Look) -> Self {
        Self { look, known: Vec::new(), names: Vec::new(), prefixes: Vec::new() }
    }

    /// Keeps width and colour for `name`, before its container is added.
    pub fn expect(&mut self, name: &str) {
        if !self.known.iter().any(|known| known == name) {
            self.known.push(name.to_owned());
        }
    }

    /// Adds a container. Names that are longer than those before widen all prefixes from now on.
    pub fn add(&mut self, name: &str) {
        self.names.push(name.to_owned());
        self.expect(name);
        self.prefixes = if self.look.prefix {
            self.names.iter().map(|name| self.prefix(name)).collect()
        } else {
            vec![Vec::new(); self.names.len()]
        };
    }

    fn prefix(&self, name: &str) -> Vec<u8> {
        let width = self.known.iter().map(|name| name.chars().count()).max().unwrap_or(0);
        if self.look.colour {
            let index = self.known.iter().position(|known| known == name).unwrap_or(0);
            let style = Style::new().fg_color(Some(COLOURS[index % COLOURS.len()].into()));
            format!("{style}{name:width$}  |{style:#} ").into_bytes()
        } else {
            format!("{name:width$}  | ").into_bytes()
        }
    }

    /// Appends the line of the container with this index, with one line feed, to `out`.
    pub fn paint(&self, index: usize, at: Timestamp, text: &[u8], out: &mut Vec<u8>) {
        if let Some(prefix) = self.prefixes.get(index) {
            out.extend_from_slice(prefix);
        }
        if self.look.timestamps {
            out.extend_from_slice(format!("{at:.9} ").as_bytes());
        }
        out.extend_from_slice(text.strip_suffix(b"\n").unwrap_or(text));
        out.push(b'\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn painted(look: Look) -> String {
        let mut painter = Painter::new(look);
        painter.add("db-1");
        painter.add("frontend-1");
        let at = "2026-11-20T10:00:00.5Z".parse().unwrap();
        let mut out = Vec::new();
        painter.paint(0, at, b"ready\n", &mut out);
        painter.paint(1, at, b"no line feed", &mut out);
        painter.paint(1, at, b"\n", &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn names_are_padded_to_the_longest() {
        let look = Look { prefix: true, colour: false, timestamps: false };
        assert_eq!(
            painted(look),
            "db-1        | ready\nfrontend-1  | no line feed\nfrontend-1  | \n"
        );
    }

    #[test]
    fn what_is_expected_has_its_width_and_colour() {
        let mut painter = Painter::new(Look { prefix: true, colour: true, timestamps: false });
        painter.expect("a-1");
        painter.expect("bbbb-1");
        painter.add("bbbb-1");
        painter.add("a-1");
        let mut out = Vec::new();
        painter.paint(1, Timestamp::UNIX_EPOCH, b"x", &mut out);
        assert_eq!(out, b"\x1b[36ma-1     |\x1b[0m x\n");
    }

    #[test]
    fn each_part_can_be_left_out() {
        let plain = Look { prefix: false, colour: true, timestamps: false };
        assert_eq!(painted(plain), "ready\nno line feed\n\n");
        let timed = Look { prefix: false, colour: false, timestamps: true };
        assert!(painted(timed).starts_with("2026-11-20T10:00:00.500000000Z ready\n"));
        let colour = Look { prefix: true, colour: true, timestamps: false };
        assert!(painted(colour).starts_with("\u{1b}[36mdb-1        |\u{1b}[0m ready\n"));
    }
}
