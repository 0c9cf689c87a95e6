//! How things are coloured.

use ratatui::style::{Color, Modifier, Style};

use super::message::Tone;

/// Styles, with colours or without.
#[derive(Debug, Clone, Copy)]
pub struct Palette {
    /// With colours.
    pub colours: bool,
}

/// The colours of names, one after the other, as those of `logs`.
const NAMES: [Color; 6] =
    [Color::Cyan, Color::Yellow, Color::Green, Color::Magenta, Color::Blue, Color::LightRed];

impl Palette {
    /// In this colour.
    pub fn colour(self, colour: Color) -> Style {
        if self.colours { Style::new().fg(colour) } else { Style::new() }
    }

    /// How what is so is shown.
    pub fn tone(self, tone: Tone) -> Style {
        match tone {
            Tone::Working => self.colour(Color::Yellow),
            Tone::Good => self.colour(Color::Green),
            Tone::Bad => self.colour(Color::Red).add_modifier(Modifier::BOLD),
            Tone::Plain => Style::new(),
        }
    }

    /// How the name at this place is shown.
    pub fn name(self, place: usize) -> Style {
        self.colour(NAMES[place % NAMES.len()])
    }

    /// What a program has chosen itself.
    pub fn written(self, style: Style) -> Style {
        match self.colours {
            true => style,
            false => Style { fg: None, bg: None, ..style },
        }
    }

    /// What is less important.
    pub fn dim(self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }
}
