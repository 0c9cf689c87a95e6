//! The styles that programs write in: "select graphic rendition" (ECMA-48, 8.3.117; colours by number as xterm has them). Pure.

use ratatui::style::{Color, Modifier, Style};

/// The sixteen colours that have a name.
const NAMED: [Color; 16] = [
    Color::Black,
    Color::Red,
    Color::Green,
    Color::Yellow,
    Color::Blue,
    Color::Magenta,
    Color::Cyan,
    Color::Gray,
    Color::DarkGray,
    Color::LightRed,
    Color::LightGreen,
    Color::LightYellow,
    Color::LightBlue,
    Color::LightMagenta,
    Color::LightCyan,
    Color::White,
];

/// The style after `sequence`, which follows an escape character. One that does something else changes nothing.
///
/// Blinking and hiding are not done: nothing may be on the screen and not be seen.
#[must_use]
pub fn after(style: Style, sequence: &str) -> Style {
    let parameters = sequence.strip_prefix('[').and_then(|rest| rest.strip_suffix('m'));
    let Some(parameters) = parameters else { return style };
    if !parameters.bytes().all(|byte| byte.is_ascii_digit() || b";:".contains(&byte)) {
        return style;
    }
    let numbers: Vec<u16> = parameters
        .split([';', ':'])
        .map(|digits| if digits.is_empty() { 0 } else { digits.parse().unwrap_or(u16::MAX) })
        .collect();
    let mut style = style;
    let mut rest = numbers.as_slice();
    while let Some((number, more)) = rest.split_first() {
        rest = more;
        style = match number {
            0 => Style::new(),
            1 => style.add_modifier(Modifier::BOLD),
            2 => style.add_modifier(Modifier::DIM),
            3 => style.add_modifier(Modifier::ITALIC),
            4 => style.add_modifier(Modifier::UNDERLINED),
            7 => style.add_modifier(Modifier::REVERSED),
            9 => style.add_modifier(Modifier::CROSSED_OUT),
            22 => without(style, Modifier::BOLD | Modifier::DIM),
            23 => without(style, Modifier::ITALIC),
            24 => without(style, Modifier::UNDERLINED),
            27 => without(style, Modifier::REVERSED),
            29 => without(style, Modifier::CROSSED_OUT),
            30..=37 => style.fg(NAMED[usize::from(number - 30)]),
            40..=47 => style.bg(NAMED[usize::from(number - 40)]),
            90..=97 => style.fg(NAMED[usize::from(number - 90 + 8)]),
            100..=107 => style.bg(NAMED[usize::from(number - 100 + 8)]),
            39 => Style { fg: None, ..style },
            49 => Style { bg: None, ..style },
            38 | 48 => {
                let (colour, length) = by_number(rest);
                rest = &rest[length..];
                match colour {
                    Some(colour) if *number == 38 => style.fg(colour),
                    Some(colour) => style.bg(colour),
                    None => style,
                }
            }
            _ => style,
        };
    }
    style
}

/// What was never asked for is as if it were taken away.
fn without(style: Style, modifier: Modifier) -> Style {
    Style { add_modifier: style.add_modifier - modifier, ..style }
}

/// A colour of 256, or of red, green and blue, and how many numbers it takes.
fn by_number(numbers: &[u16]) -> (Option<Color>, usize) {
    let byte = |at: usize| numbers.get(at).and_then(|number| u8::try_from(*number).ok());
    match numbers.first() {
        Some(5) => (byte(1).map(Color::Indexed), numbers.len().min(2)),
        Some(2) => {
            let colour = match (byte(1), byte(2), byte(3)) {
                (Some(red), Some(green), Some(blue)) => Some(Color::Rgb(red, green, blue)),
                _ => None,
            };
            (colour, numbers.len().min(4))
        }
        _ => (None, 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_say_how_what_follows_looks() {
        let red = Style::new().fg(Color::Red);
        #[rustfmt::skip]
        let table = [
            (Style::new(), "[31m", red),
            (red, "[m", Style::new()),
            (red, "[0;1m", Style::new().add_modifier(Modifier::BOLD)),
            (red, "[1;4;92;101m", red.fg(Color::LightGreen).bg(Color::LightRed).add_modifier(Modifier::BOLD | Modifier::UNDERLINED)),
            (red.add_modifier(Modifier::BOLD), "[22;39m", Style::new()),
            (red, "[38;5;208m", red.fg(Color::Indexed(208))),
            (red, "[48;2;1;2;3;4m", red.bg(Color::Rgb(1, 2, 3)).add_modifier(Modifier::UNDERLINED)),
            (red, "[38:5:9m", red.fg(Color::Indexed(9))),
            (red, "[38;5m", red),
            (red, "[38;5;999m", red),
            (red, "[8;5m", red),
            (red, "[99999999m", red),
            (red, "[?1m", red),
            (red, "[2J", red),
            (red, "]0;title\x07", red),
        ];
        for (before, sequence, expected) in table {
            assert_eq!(after(before, sequence), expected, "{sequence}");
        }
    }
}
