//! Amounts of bytes in the words of docker (go-units).

/// Decimal units with `digits` digits at most: `1.23MB`.
#[must_use]
pub fn decimal(bytes: u64, digits: usize) -> String {
    in_units(bytes, 1000.0, ["B", "kB", "MB", "GB", "TB", "PB"], digits)
}

/// Binary units with four digits at most: `1.5GiB`.
#[must_use]
pub fn binary(bytes: u64) -> String {
    in_units(bytes, 1024.0, ["B", "KiB", "MiB", "GiB", "TiB", "PiB"], 4)
}

fn in_units(bytes: u64, base: f64, units: [&str; 6], digits: usize) -> String {
    let mut units = units.into_iter().peekable();
    #[expect(clippy::cast_precision_loss, reason = "a few digits are shown")]
    let mut value = bytes as f64;
    let mut unit = units.next().unwrap_or_default();
    while value >= base && units.peek().is_some() {
        value /= base;
        unit = units.next().unwrap_or(unit);
    }
    let before = [1000.0, 100.0, 10.0].iter().filter(|bound| value >= **bound).count() + 1;
    let decimals = digits.saturating_sub(before);
    let text = format!("{value:.decimals$}");
    let text =
        if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_of_docker() {
        for (bytes, text) in [
            (0, "0B"),
            (999, "999B"),
            (1000, "1kB"),
            (1234, "1.23kB"),
            (12_340_000, "12.3MB"),
            (126_000_000, "126MB"),
        ] {
            assert_eq!(decimal(bytes, 3), text);
        }
        for (bytes, text) in [
            (0, "0B"),
            (1 << 20, "1MiB"),
            (3 << 29, "1.5GiB"),
            (1_234_567, "1.177MiB"),
            (1023, "1023B"),
        ] {
            assert_eq!(binary(bytes), text);
        }
    }
}
