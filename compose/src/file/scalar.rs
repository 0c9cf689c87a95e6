//! What plain scalars are, and how numbers are written, as docker compose's YAML library has it:
//! YAML 1.2 with some leftovers of YAML 1.1 (`0644` is octal, `1_000` is a number, dates exist).

use super::node::Value;

/// True if `text` without quotes is a string.
pub(crate) fn is_plain_string(text: &str) -> bool {
    special(text).is_none()
}

/// What the plain (unquoted) scalar `text` is, if it is anything but a string.
pub(crate) fn special(text: &str) -> Option<Value> {
    let first = *text.as_bytes().first().unwrap_or(&b'~');
    match first {
        b'~' | b'n' | b'N' | b't' | b'T' | b'f' | b'F' => match text {
            "" | "~" | "null" | "Null" | "NULL" => Some(Value::Null),
            "true" | "True" | "TRUE" => Some(Value::Bool(true)),
            "false" | "False" | "FALSE" => Some(Value::Bool(false)),
            _ => None,
        },
        b'0'..=b'9' | b'+' | b'-' | b'.' => match text {
            ".nan" | ".NaN" | ".NAN" => Some(Value::Float(f64::NAN)),
            ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => {
                Some(Value::Float(f64::INFINITY))
            }
            "-.inf" | "-.Inf" | "-.INF" => Some(Value::Float(f64::NEG_INFINITY)),
            _ if is_timestamp(text) => Some(Value::Time(text.into())),
            _ => {
                let digits = text.replace('_', "");
                integer(&digits).map(Value::int).or_else(|| float(&digits).map(Value::Float))
            }
        },
        _ => None,
    }
}

/// An integer with an optional sign and an optional base prefix; a leading 0 means octal.
fn integer(text: &str) -> Option<i128> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let (digits, base) = match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => (&digits[2..], 16),
        [b'0', b'o' | b'O', ..] => (&digits[2..], 8),
        [b'0', b'b' | b'B', ..] => (&digits[2..], 2),
        [b'0', _, ..] => (&digits[1..], 8),
        _ => (digits, 10),
    };
    if !digits.as_bytes().first()?.is_ascii_alphanumeric() {
        return None;
    }
    let number = i128::from_str_radix(digits, base).ok()?;
    let number = if negative { -number } else { number };
    (i128::from(i64::MIN)..=i128::from(u64::MAX)).contains(&number).then_some(number)
}

/// A decimal number; those that do not fit are no numbers.
fn float(text: &str) -> Option<f64> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (mantissa, exponent) = match unsigned.find(['e', 'E']) {
        Some(at) => (&unsigned[..at], Some(&unsigned[at + 1..])),
        None => (unsigned, None),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let exponent_fits = exponent.is_none_or(|exponent| {
        let digits = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        !digits.is_empty() && all_digits(digits)
    });
    if !all_digits(whole) || !all_digits(fraction) || !exponent_fits {
        return None;
    }
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    text.parse().ok().filter(|number: &f64| number.is_finite())
}

/// `YYYY-M-D`, alone or with a time of day.
fn is_timestamp(text: &str) -> bool {
    let bytes = text.as_bytes();
    if bytes.len() < 8 || !bytes[..4].iter().all(u8::is_ascii_digit) || bytes[4] != b'-' {
        return false;
    }
    let day_end = text[5..].find(['T', 't', ' ']).map_or(text.len(), |at| at + 5);
    let in_range = |part: &str, last: u32| {
        (1..=2).contains(&part.len()) && part.parse().is_ok_and(|number: u32| number <= last)
    };
    let Some((month, day)) = text[5..day_end].split_once('-') else { return false };
    if !in_range(month, 12) || !in_range(day, 31) {
        return false;
    }
    if day_end == text.len() {
        return true;
    }
    let (separator, time) = text[day_end..].split_at(1);
    let (clock, zone) = match time.find(['Z', '+', '-']) {
        Some(at) => (&time[..at], &time[at..]),
        None => (time, ""),
    };
    // With `T` a zone is needed, with a space there must be none.
    if (separator == " ") != zone.is_empty() {
        return false;
    }
    let seconds_of = |part: &str| part.split('.').next().unwrap_or_default().to_owned();
    let parts: Vec<&str> = clock.split(':').collect();
    matches!(parts[..], [hour, minute, second]
        if in_range(hour, 23) && in_range(minute, 59) && in_range(&seconds_of(second), 59))
}

/// A number as Go prints it: shortest form, exponent below 1e-4 and from 1e21.
pub(crate) fn go_float(number: f64) -> String {
    if number.is_nan() {
        return "NaN".into();
    }
    if number.is_infinite() {
        return if number > 0.0 { "+Inf" } else { "-Inf" }.into();
    }
    let scientific = format!("{number:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let power: i32 = exponent.parse().unwrap_or(0);
    if number != 0.0 && !(-4..21).contains(&power) {
        let sign = if power < 0 { '-' } else { '+' };
        return format!("{mantissa}e{sign}{:02}", power.abs());
    }
    format!("{number}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        let Some(value) = special(text) else { return format!("text {text}") };
        match value {
            Value::Null => "null".into(),
            Value::Bool(flag) => format!("bool {flag}"),
            Value::Int(number) => format!("int {}", number.get()),
            Value::Float(number) => format!("float {}", go_float(number)),
            Value::Time(text) => format!("time {text}"),
            Value::Text(_) | Value::List(_) | Value::Map(_) => "none of its values".into(),
        }
    }

    #[test]
    fn plain_scalars_as_go_reads_them() {
        #[rustfmt::skip]
        let table = [
            ("", "null"), ("~", "null"), ("NULL", "null"), ("nUll", "text nUll"),
            ("true", "bool true"), ("FALSE", "bool false"), ("yes", "text yes"), ("on", "text on"),
            ("0644", "int 420"), ("0o644", "int 420"), ("0x1F", "int 31"), ("0b101", "int 5"),
            ("08", "float 8"), ("1_000", "int 1000"), ("+1", "int 1"), ("-0", "int 0"),
            ("12345678901234567890", "int 12345678901234567890"),
            ("123456789012345678901", "float 123456789012345680000"),
            ("1.10", "float 1.1"), (".5", "float 0.5"), ("1.", "float 1"), ("1e3", "float 1000"),
            ("1e21", "float 1e+21"), ("0.00001", "float 1e-05"), ("1e400", "text 1e400"),
            (".inf", "float +Inf"), (".NaN", "float NaN"), ("22:22", "text 22:22"),
            ("1:30:00", "text 1:30:00"), ("2024-01-01", "time 2024-01-01"),
            ("2001-12-14t21:59:43.10-05:00", "time 2001-12-14t21:59:43.10-05:00"),
            ("2024-13-01", "text 2024-13-01"), ("1.2.3", "text 1.2.3"), (".", "text ."),
            ("-", "text -"), ("+", "text +"), ("0x", "text 0x"), ("5s", "text 5s"),
            ("--flag", "text --flag"), ("0-3", "text 0-3"),
        ];
        for (text, value) in table {
            assert_eq!(shown(text), value, "{text}");
        }
    }
}
