//! Tables as docker prints them, and the words in their cells.

use std::time::Duration;

use jiff::Timestamp;

/// Rows below a line of titles; columns as wide as their widest cell.
#[derive(Debug)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these titles and no row.
    pub fn new(titles: &[&str]) -> Self {
        Self { rows: vec![titles.iter().map(|title| (*title).to_owned()).collect()] }
    }

    /// Adds a row with a cell for each title.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// The table as text. No column is narrower than ten characters, and three blanks are between
    /// two of them (docker's tabwriter).
    #[must_use]
    pub fn render(&self) -> String {
        let columns = self.rows.first().map_or(0, Vec::len);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count() + 3).max().unwrap_or(0).max(10)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut text = String::new();
        for row in &self.rows {
            let last = row.len().saturating_sub(1);
            for (column, cell) in row.iter().enumerate() {
                if column == last {
                    text.push_str(cell);
                } else {
                    text.push_str(&format!("{cell:width$}", width = widths[column]));
                }
            }
            text.truncate(text.trim_end_matches(' ').len());
            text.push('\n');
        }
        text
    }
}

/// A duration in the words of docker: `2 minutes`, `About an hour` (go-units, `HumanDuration`).
#[must_use]
pub fn in_words(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (minutes, hours) = (seconds / 60, (seconds + 1800) / 3600);
    match seconds {
        0 => "Less than a second".to_owned(),
        1 => "1 second".to_owned(),
        _ if seconds < 60 => format!("{seconds} seconds"),
        _ if minutes == 1 => "About a minute".to_owned(),
        _ if minutes < 60 => format!("{minutes} minutes"),
        _ if hours == 1 => "About an hour".to_owned(),
        _ if hours < 48 => format!("{hours} hours"),
        _ if hours < 24 * 14 => format!("{} days", hours / 24),
        _ if hours < 24 * 60 => format!("{} weeks", hours / 24 / 7),
        _ if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        _ => format!("{} years", hours / 24 / 365),
    }
}

/// How long ago `then` was, in the same words. A time in the future counts as just now.
#[must_use]
pub fn since(then: Timestamp, now: Timestamp) -> String {
    in_words(Duration::try_from(now.duration_since(then)).unwrap_or_default())
}

/// How long ago `then` was, as a cell that says so.
#[must_use]
pub fn ago(then: Option<Timestamp>, now: Timestamp) -> String {
    then.map_or_else(|| "N/A".to_owned(), |then| format!("{} ago", since(then, now)))
}

/// The first `length` characters of `text`; an ellipsis takes the place of the last of them if
/// something is cut off.
#[must_use]
pub fn shortened(text: &str, length: usize) -> String {
    if text.chars().count() <= length {
        return text.to_owned();
    }
    text.chars().take(length.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_nothing_trails() {
        let mut table = Table::new(&["NAME", "STATUS"]);
        table.row(["a-long-name-1".to_owned(), "Up".to_owned()]);
        table.row(["b".to_owned(), String::new()]);
        assert_eq!(table.render(), "NAME            STATUS\na-long-name-1   Up\nb\n");
    }

    #[test]
    fn durations_in_words() {
        #[rustfmt::skip]
        let table = [
            (0, "Less than a second"), (1, "1 second"), (59, "59 seconds"), (60, "About a minute"),
            (150, "2 minutes"), (3600, "About an hour"), (5 * 3600, "5 hours"),
            (3 * 86400, "3 days"), (21 * 86400, "3 weeks"), (100 * 86400, "3 months"),
            (1000 * 86400, "2 years"),
        ];
        for (seconds, words) in table {
            assert_eq!(in_words(Duration::from_secs(seconds)), words, "{seconds}");
        }
    }

    #[test]
    fn shortens_by_characters() {
        assert_eq!(shortened("docker-entrypoint.sh", 20), "docker-entrypoint.sh");
        assert_eq!(shortened("docker-entrypoint.sh x", 20), "docker-entrypoint.s…");
    }
}
