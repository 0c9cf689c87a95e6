//! Finds the name somebody probably meant.

/// The candidate closest to what was written, if one is close.
pub(super) fn closest<'a>(
    written: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<String> {
    let tolerance = (written.len() / 3).max(1);
    let distances = candidates.into_iter().map(|name| (distance(written, name), name));
    distances.filter(|(distance, _)| *distance <= tolerance).min().map(|(_, name)| name.to_owned())
}

/// How many letters must be added, taken away or changed (Levenshtein).
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (index, letter) in left.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], index + 1);
        for (column, other) in right.iter().enumerate() {
            let changed = diagonal + usize::from(letter != *other);
            diagonal = row[column + 1];
            row[column + 1] = changed.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_close_names_are_suggested() {
        let names = ["NET_ADMIN", "NET_RAW", "SYS_ADMIN"];
        let table = [
            ("NET_ADMN", Some("NET_ADMIN")),
            ("NETRAW", Some("NET_RAW")),
            ("SYSADMIN", Some("SYS_ADMIN")),
            ("CHEESE", None),
        ];
        for (written, expected) in table {
            assert_eq!(closest(written, names).as_deref(), expected, "{written}");
        }
    }
}
