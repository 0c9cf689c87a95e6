//! Durations and amounts of bytes.

use std::time::Duration;

/// Text that is not a duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DurationError {
    /// Nothing there.
    #[error("a duration may not be empty")]
    Empty,
    /// A number without unit.
    #[error("`{0}` has no unit")]
    NoUnit(String),
    /// A unit that does not exist.
    #[error("`{0}` is not a unit of time")]
    Unit(String),
    /// No number where one should be.
    #[error("`{0}` is not a duration")]
    Number(String),
}

/// A duration in nanoseconds; a file may write a negative one, which means nothing to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Nanoseconds(pub(crate) i64);

const UNITS: [(&str, f64); 9] = [
    ("ns", 1.0),
    ("us", 1e3),
    ("µs", 1e3),
    ("ms", 1e6),
    ("s", 1e9),
    ("m", 60e9),
    ("h", 3600e9),
    ("d", 86_400e9),
    ("w", 604_800e9),
];

impl Nanoseconds {
    /// Reads `1h5m30s20ms`; the units are ns, us, ms, s, m, h, d and w.
    pub(crate) fn parse(text: &str) -> Result<Self, DurationError> {
        let (sign, unsigned) = match text.strip_prefix('-') {
            Some(rest) => (-1.0, rest),
            None => (1.0, text.strip_prefix('+').unwrap_or(text)),
        };
        if unsigned.is_empty() {
            return Err(DurationError::Empty);
        }
        if unsigned == "0" {
            return Ok(Self(0));
        }
        let mut total = 0.0;
        let mut rest = unsigned;
        while !rest.is_empty() {
            let number_end =
                rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
            let (number, after) = rest.split_at(number_end);
            let number: f64 = number.parse().map_err(|_| DurationError::Number(text.to_owned()))?;
            let unit_end =
                after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
            let (unit, after) = after.split_at(unit_end);
            if unit.is_empty() {
                return Err(DurationError::NoUnit(text.to_owned()));
            }
            let (_, factor) = UNITS
                .iter()
                .find(|(name, _)| *name == unit)
                .ok_or_else(|| DurationError::Unit(unit.to_owned()))?;
            total += number * factor;
            rest = after;
        }
        if total >= 9_223_372_036_854_775_807.0 {
            return Err(DurationError::Number(text.to_owned()));
        }
        #[expect(clippy::cast_possible_truncation, reason = "checked above")]
        let total = (sign * total).round() as i64;
        Ok(Self(total))
    }

    /// As a standard duration; negative ones are zero.
    pub(crate) fn duration(self) -> Duration {
        Duration::from_nanos(u64::try_from(self.0).unwrap_or(0))
    }
}

/// As Go prints it: `1m30s`, `1.5s`, `100ms`, `0s`.
impl std::fmt::Display for Nanoseconds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0 < 0 {
            f.write_str("-")?;
        }
        let total = self.0.unsigned_abs();
        if total == 0 {
            return f.write_str("0s");
        }
        if total < 1_000_000_000 {
            let (unit, size) = match total {
                0..1_000 => ("ns", 1),
                1_000..1_000_000 => ("µs", 1_000),
                _ => ("ms", 1_000_000),
            };
            return write!(f, "{}{}{unit}", total / size, fraction(total % size, size));
        }
        let (seconds, nanos) = (total / 1_000_000_000, total % 1_000_000_000);
        let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
        if hours > 0 {
            write!(f, "{hours}h")?;
        }
        if hours > 0 || minutes > 0 {
            write!(f, "{minutes}m")?;
        }
        write!(f, "{}{}s", seconds % 60, fraction(nanos, 1_000_000_000))
    }
}

/// `.25`, or nothing.
fn fraction(part: u64, whole: u64) -> String {
    if part == 0 {
        return String::new();
    }
    let width = whole.ilog10() as usize;
    format!(".{part:0width$}").trim_end_matches('0').to_owned()
}

/// An amount of bytes: a number with an optional unit of 1024 (`1.5g`, `64m`, `10kb`, `2 GiB`, `.5g`).
pub(crate) fn bytes(text: &str) -> Option<i64> {
    let end = text.rfind(|c: char| c.is_ascii_digit() || c == '.').map_or(0, |at| at + 1);
    let (number, unit) = text.split_at(end);
    let number = number.strip_prefix('+').unwrap_or(number);
    if !number.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return None;
    }
    let number: f64 = number.parse().ok()?;
    let unit = unit.strip_prefix(' ').unwrap_or(unit).to_ascii_lowercase();
    // The `i` of `KiB` needs the `B`.
    let letter = match (unit.strip_suffix("ib"), unit.strip_suffix('b')) {
        (Some(""), _) => return None,
        (Some(letter), _) | (None, Some(letter)) => letter,
        (None, None) => &unit,
    };
    let power = match letter {
        "" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        "p" => 5,
        _ => return None,
    };
    let total = number * 1024_f64.powi(power);
    #[expect(clippy::cast_possible_truncation, reason = "checked in the same expression")]
    (total < 9_223_372_036_854_775_807.0).then_some(total as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_how_they_are_printed() {
        #[rustfmt::skip]
        let table = [
            ("10s", "10s"), ("90s", "1m30s"), ("1h", "1h0m0s"), ("1h5m30s20ms", "1h5m30.02s"),
            ("1.5h", "1h30m0s"), ("250us", "250µs"), ("1500ns", "1.5µs"), ("0", "0s"), ("0s", "0s"),
            ("1d", "24h0m0s"), ("1w2d", "216h0m0s"), ("-5s", "-5s"), ("500ms", "500ms"), (".5s", "500ms"),
        ];
        for (text, printed) in table {
            assert_eq!(
                Nanoseconds::parse(text).map(|n| n.to_string()).as_deref(),
                Ok(printed),
                "{text}"
            );
        }
        for bad in ["", "10", "1y", "1 s", "s", "1e3s", "1..2s", "99999999999h"] {
            assert!(Nanoseconds::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn amounts_of_bytes() {
        #[rustfmt::skip]
        let table = [
            ("0", Some(0)), ("64m", Some(67_108_864)), ("1.5g", Some(1_610_612_736)), ("1kb", Some(1024)),
            ("2 GiB", Some(2_147_483_648)), (".5k", Some(512)), ("+1k", Some(1024)), (".", None), ("+", None), ("+-1", None), ("10b", Some(10)), ("1K", Some(1024)), ("1x", None),
            ("", None), ("m", None), ("-1", None), ("1 000", None), ("1i", None), ("1ki", None), ("1ib", None), ("9999999p", None),
        ];
        for (text, amount) in table {
            assert_eq!(bytes(text), amount, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn never_panic(text in "[0-9.smhkgiB +-]{0,12}") {
            let _ = bytes(&text);
            let _ = Nanoseconds::parse(&text);
        }

        #[test]
        fn printed_durations_read_back(nanos in 0_i64..1 << 52) {
            let printed = Nanoseconds(nanos).to_string();
            let back = Nanoseconds::parse(&printed).unwrap().0;
            proptest::prop_assert!((back - nanos).abs() <= 1, "{printed}");
        }
    }
}
