//! Sizes in bytes, for people.

/// A size as docker shows it: three digits, powers of ten (go-units, `HumanSize`).
#[must_use]
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["B", "kB", "MB", "GB", "TB", "PB"];
    let mut unit = 0;
    let mut scale = 1u64;
    while bytes / scale >= 1000 && unit + 1 < UNITS.len() {
        scale *= 1000;
        unit += 1;
    }
    let (whole, fraction) = (bytes / scale, bytes % scale);
    let name = UNITS[unit];
    match whole {
        _ if unit == 0 => format!("{whole}{name}"),
        0..10 => format!("{whole}.{:02}{name}", fraction * 100 / scale),
        10..100 => format!("{whole}.{}{name}", fraction * 10 / scale),
        _ => format!("{whole}{name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_three_digits() {
        #[rustfmt::skip]
        let table = [
            (0, "0B"), (999, "999B"), (1000, "1.00kB"), (12_345, "12.3kB"), (123_456, "123kB"), (1_460_000, "1.46MB"),
            (2_000_000_000, "2.00GB"), (u64::MAX, "18446PB"),
        ];
        for (bytes, text) in table {
            assert_eq!(size(bytes), text);
        }
    }
}
