//! Signals by name or number.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A signal of Linux; signal(7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Signal {
    number: u8,
}

/// Text that names no signal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a signal: write a name like SIGTERM or a number from 1 to 64")]
pub struct SignalError(String);

/// The first real-time signal that programs get (glibc keeps 32 and 33).
const RTMIN: u8 = 34;
const RTMAX: u8 = 64;
const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
    "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
    "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];
const ALIASES: [(&str, u8); 4] = [("IOT", 6), ("CLD", 17), ("POLL", 29), ("UNUSED", 31)];

impl Signal {
    /// Terminate, politely.
    pub const TERM: Self = Self { number: 15 };
    /// End at once.
    pub const KILL: Self = Self { number: 9 };
    /// Interrupt from the keyboard.
    pub const INT: Self = Self { number: 2 };

    /// The number of the signal, 1 to 64.
    pub const fn number(self) -> i32 {
        self.number as i32
    }
}

impl FromStr for Signal {
    type Err = SignalError;

    fn from_str(text: &str) -> Result<Self, SignalError> {
        number_of(text).map(|number| Self { number }).ok_or_else(|| SignalError(text.to_owned()))
    }
}

fn number_of(text: &str) -> Option<u8> {
    if let Ok(number) = text.parse::<u8>() {
        return (1..=RTMAX).contains(&number).then_some(number);
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some(index) = NAMES.iter().position(|known| *known == name) {
        return u8::try_from(index + 1).ok();
    }
    if let Some((_, number)) = ALIASES.iter().find(|(alias, _)| *alias == name) {
        return Some(*number);
    }
    let number = if let Some(offset) = name.strip_prefix("RTMIN") {
        RTMIN.checked_add(offset_of(offset, '+')?)?
    } else {
        RTMAX.checked_sub(offset_of(name.strip_prefix("RTMAX")?, '-')?)?
    };
    (RTMIN..=RTMAX).contains(&number).then_some(number)
}

fn offset_of(text: &str, sign: char) -> Option<u8> {
    if text.is_empty() { Some(0) } else { text.strip_prefix(sign)?.parse().ok() }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMES.get(usize::from(self.number).wrapping_sub(1)) {
            Some(name) => write!(f, "SIG{name}"),
            None if self.number >= RTMIN => write!(f, "SIGRTMIN+{}", self.number - RTMIN),
            None => write!(f, "{}", self.number),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers() {
        let table = [
            ("SIGTERM", 15, "SIGTERM"),
            ("term", 15, "SIGTERM"),
            ("9", 9, "SIGKILL"),
            ("SIGRTMIN+3", 37, "SIGRTMIN+3"),
            ("RTMAX", 64, "SIGRTMIN+30"),
            ("SIGRTMAX-1", 63, "SIGRTMIN+29"),
            ("SIGPOLL", 29, "SIGIO"),
        ];
        for (text, number, shown) in table {
            let signal: Signal = text.parse().unwrap();
            assert_eq!((signal.number(), signal.to_string().as_str()), (number, shown), "{text}");
        }
        for bad in ["", "0", "65", "SIGFOO", "RTMIN+99", "RTMAX+1", "-1"] {
            assert!(bad.parse::<Signal>().is_err(), "{bad}");
        }
    }
}
