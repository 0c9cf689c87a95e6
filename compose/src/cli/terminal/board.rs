//! Progress as it stands: a line for each thing, without a clock or a terminal of its own.

use std::time::Duration;

use anstyle::{AnsiColor, Style};
use indexmap::IndexMap;

use super::paint;
use crate::cli::size::size;
use crate::event::{Amount, Progress, Status, Step, Subject};

const DONE: Style = AnsiColor::Green.on_default();
const WORKING: Style = AnsiColor::Cyan.on_default();
const FAILED: Style = AnsiColor::Red.on_default().bold();
const TIME: Style = Style::new().dimmed();
const SPINNER: [&str; 10] = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"];

/// What is known of each thing, in the order of first mention.
#[derive(Debug)]
pub struct Board {
    title: String,
    rows: IndexMap<Subject, Row>,
}

#[derive(Debug)]
struct Row {
    status: Status,
    details: Option<String>,
    amount: Option<Amount>,
    since: Duration,
    until: Option<Duration>,
}

impl Board {
    /// An empty board for the command `title`.
    #[must_use]
    pub fn new(title: &str) -> Self {
        Self { title: title.to_owned(), rows: IndexMap::new() }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.rows.clear();
    }

    /// Takes down a step at the time `now`.
    pub fn step(&mut self, step: &Step, now: Duration) {
        let row = self.rows.entry(step.subject.clone()).or_insert_with(|| Row {
            status: step.status,
            details: None,
            amount: None,
            since: now,
            until: None,
        });
        row.status = step.status;
        row.details.clone_from(&step.details);
        row.amount = step.amount;
        row.until = (step.status.progress() != Progress::Working).then_some(now);
    }

    /// The board in at most `height` lines of at most `width` characters. When not all fit, those
    /// that are done are left out first.
    #[must_use]
    pub fn render(&self, now: Duration, height: usize, width: usize, colour: bool) -> String {
        if self.rows.is_empty() {
            return String::new();
        }
        let done = self.rows.values().filter(|row| row.until.is_some()).count();
        let mut text = format!("[+] {} {done}/{}\n", self.title, self.rows.len());
        let room = height.saturating_sub(2).max(1);
        let all = self.rows.len() <= room;
        let shown: Vec<_> =
            self.rows.iter().filter(|(_, row)| all || row.until.is_none()).take(room).collect();
        let names = shown.iter().map(|(subject, _)| subject.to_string().chars().count()).max();
        for (subject, row) in shown {
            text.push_str(&row.render(
                &subject.to_string(),
                names.unwrap_or(0),
                now,
                width,
                colour,
            ));
        }
        text
    }
}

impl Row {
    fn render(
        &self,
        name: &str,
        names: usize,
        now: Duration,
        width: usize,
        colour: bool,
    ) -> String {
        let (mark, style) = match self.status.progress() {
            Progress::Done => ("✔", DONE),
            Progress::Failed => ("✘", FAILED),
            Progress::Working => {
                let turn = now.saturating_sub(self.since).as_millis() / 100;
                (SPINNER[usize::try_from(turn % 10).unwrap_or(0)], WORKING)
            }
        };
        let time = self.until.unwrap_or(now).saturating_sub(self.since);
        let time = format!("{:.1}s", time.as_secs_f64());
        // Mark, blanks, status, time: what is not the name.
        const REST: usize = 3 + 2 + 10 + 1 + 8;
        let names = names.min(width.saturating_sub(REST));
        let name: String = name.chars().take(names).collect();
        let status = self.status.to_string();
        let room = width.saturating_sub(REST + names + 2);
        let details = match (self.amount, &self.details) {
            (Some(amount), _) if self.until.is_none() => bar(amount),
            (_, details) => details.clone().unwrap_or_default(),
        };
        let details: String = details.chars().take(room).collect();
        let gap = if details.is_empty() { "" } else { "  " };
        format!(
            " {} {name:names$}  {} {}{gap}{details}\n",
            paint(style, mark, colour),
            paint(style, &format!("{status:10}"), colour),
            paint(TIME, &format!("{time:>7}"), colour),
        )
    }
}

/// How far it is, as a bar and in bytes.
fn bar(Amount { done, total }: Amount) -> String {
    const WIDTH: usize = 20;
    let share = u128::from(done.min(total)) * WIDTH as u128 / u128::from(total.max(1));
    let full = usize::try_from(share).unwrap_or(WIDTH);
    format!("[{}{}] {} of {}", "#".repeat(full), ".".repeat(WIDTH - full), size(done), size(total))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Kind;

    fn board(steps: &[(&str, Status, u64)]) -> Board {
        let mut board = Board::new("up");
        for (name, status, at) in steps {
            let subject = Subject { kind: Kind::Container, name: (*name).to_owned() };
            let step = Step { subject, status: *status, details: None, amount: None };
            board.step(&step, Duration::from_millis(*at));
        }
        board
    }

    #[test]
    fn shows_each_thing_with_its_own_time() {
        let board = board(&[
            ("p-db-1", Status::Starting, 100),
            ("p-db-1", Status::Started, 350),
            ("p-web-10", Status::Waiting, 400),
        ]);
        insta::assert_snapshot!(board.render(Duration::from_millis(2400), 24, 80, false), @r"
        [+] up 1/2
         ✔ Container p-db-1    Started       0.2s
         ⠋ Container p-web-10  Waiting       2.0s
        ");
    }

    #[test]
    fn what_can_be_counted_has_a_bar() {
        let mut board = Board::new("pull");
        let subject = Subject { kind: Kind::Layer, name: "0123456789ab".to_owned() };
        let amount = Some(Amount { done: 25_000_000, total: 100_000_000 });
        let mut step = Step { subject, status: Status::Pulling, details: None, amount };
        board.step(&step, Duration::ZERO);
        insta::assert_snapshot!(board.render(Duration::ZERO, 24, 100, false), @r"
        [+] pull 0/1
         ⠋ Layer 0123456789ab  Pulling       0.0s  [#####...............] 25.0MB of 100MB
        ");
        (step.status, step.amount) = (Status::Pulled, None);
        board.step(&step, Duration::from_secs(1));
        assert!(!board.render(Duration::ZERO, 24, 100, false).contains('#'));
    }

    #[test]
    fn keeps_what_still_works_when_there_is_little_room() {
        let steps: Vec<_> = (0..30)
            .map(|n| (format!("p-s-{n}"), if n < 27 { Status::Started } else { Status::Starting }))
            .collect();
        let steps: Vec<_> =
            steps.iter().map(|(name, status)| (name.as_str(), *status, 0)).collect();
        let text = board(&steps).render(Duration::ZERO, 10, 80, false);
        insta::assert_snapshot!(text, @r"
        [+] up 27/30
         ⠋ Container p-s-27  Starting      0.0s
         ⠋ Container p-s-28  Starting      0.0s
         ⠋ Container p-s-29  Starting      0.0s
        ");
        assert_eq!(board(&steps).render(Duration::ZERO, usize::MAX, 80, false).lines().count(), 31);
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        let name = "a-very-long-project-name-that-does-not-fit-anywhere-web-1";
        let text = board(&[(name, Status::Started, 0)]).render(Duration::ZERO, 24, 40, false);
        assert!(text.lines().all(|line| line.chars().count() <= 40), "{text}");
    }
}
