//! Times as `--since` and `--until` take them.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// Text that is no time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no time: write one like 2026-11-20T10:00:00Z, seconds since 1970, or how long ago, like 90s or 1h30m"
)]
pub struct WhenError(String);

/// Reads a time: RFC 3339, a date with or without time in the local zone, seconds since 1970 with
/// an optional fraction, or how long before `now` (Go's durations: `1h30m`, `1.5h`, `200ms`).
///
/// # Errors
///
/// [`WhenError`] for anything else.
pub fn parse(text: &str, now: Timestamp) -> Result<Timestamp, WhenError> {
    absolute(text)
        .or_else(|| now.checked_sub(duration(text)?).ok())
        .ok_or_else(|| WhenError(text.to_owned()))
}

fn absolute(text: &str) -> Option<Timestamp> {
    if let Ok(at) = text.parse::<Timestamp>() {
        return Some(at);
    }
    if let Ok(at) = text.parse::<DateTime>() {
        return Some(at.to_zoned(TimeZone::system()).ok()?.timestamp());
    }
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    if fraction.len() > 9 || !fraction.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let nanoseconds = format!("{fraction:0<9}").parse().ok()?;
    Timestamp::new(seconds.parse().ok()?, nanoseconds).ok()
}

fn duration(text: &str) -> Option<SignedDuration> {
    let mut rest = text;
    let mut sum = SignedDuration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let letters = rest[digits..].find(|c: char| c.is_ascii_digit() || c == '.');
        let (number, behind) = rest.split_at(digits);
        let (unit, left) = behind.split_at(letters.unwrap_or(behind.len()));
        let seconds = match unit {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        let part = SignedDuration::try_from_secs_f64(number.parse::<f64>().ok()? * seconds).ok()?;
        sum = sum.checked_add(part)?;
        rest = left;
    }
    (!text.is_empty()).then_some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_the_ways_to_say_when() {
        let now: Timestamp = "2026-11-20T12:00:00Z".parse().unwrap();
        #[rustfmt::skip]
        let table = [
            ("2026-11-20T10:00:00Z", "2026-11-20T10:00:00Z"),
            ("2026-11-20T10:00:00+02:00", "2026-11-20T08:00:00Z"),
            ("1000000000", "2001-09-09T01:46:40Z"),
            ("1000000000.25", "2001-09-09T01:46:40.25Z"),
            ("90s", "2026-11-20T11:58:30Z"),
            ("1h30m", "2026-11-20T10:30:00Z"),
            ("1.5h", "2026-11-20T10:30:00Z"),
            ("500ms", "2026-11-20T11:59:59.5Z"),
        ];
        for (text, expected) in table {
            assert_eq!(parse(text, now).unwrap(), expected.parse().unwrap(), "{text}");
        }
        for bad in ["", "yesterday", "10", "5x", "m", "1h30", "-5m"] {
            // Bare numbers are seconds since 1970.
            assert_eq!(parse(bad, now).is_ok(), bad == "10", "{bad}");
        }
    }
}
