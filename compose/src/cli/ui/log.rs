//! The log pane: lines in bounded memory, which of them are shown, and where one looks. Pure.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use ratatui::style::Style;
use runtime::log::Stream;

use super::message::Step;
use super::text;

/// Bytes that are kept of the lines of one selection.
const KEPT: usize = 4 << 20;
/// What a line costs beside its text.
const OVERHEAD: usize = 64;
/// A pane that has less room for text shows no names.
const NARROW: usize = 16;

/// A line of a container, made harmless.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Which container, without the name of the project.
    pub name: Arc<str>,
    /// Where it was written to.
    pub stream: Stream,
    /// What was said.
    pub text: String,
    /// Where in the text another style begins, and which.
    pub paints: Vec<(usize, Style)>,
}

impl Line {
    /// What it costs, in bytes.
    fn cost(&self) -> usize {
        self.text.len() + self.paints.len() * size_of::<(usize, Style)>() + OVERHEAD
    }
}

/// A row of the pane: a line, or a piece of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row<'a> {
    /// The line.
    pub line: &'a Line,
    /// Its number since the pane was made.
    pub number: u64,
    /// The bytes of its text that are shown.
    pub piece: Range<usize>,
    /// Whether the name stands before it.
    pub first: bool,
}

/// Lines and where one looks at them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    kept: VecDeque<Line>,
    /// The number of the first line that is kept.
    first: u64,
    bytes: usize,
    /// The numbers of the lines that the filter lets through.
    shown: VecDeque<u64>,
    /// The names so far, in the order of their colours.
    names: Vec<Arc<str>>,
    filter: String,
    search: String,
    /// The line at which the search stands.
    found: Option<u64>,
    /// The last line that is shown; none: the newest, whatever comes.
    bottom: Option<u64>,
    /// Rows and columns of the pane.
    page: (usize, usize),
    /// Whether long lines go on in the next row.
    wraps: bool,
    /// Columns at the left that are passed over, without wrapping.
    shift: usize,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            kept: VecDeque::new(),
            first: 0,
            bytes: 0,
            shown: VecDeque::new(),
            names: Vec::new(),
            filter: String::new(),
            search: String::new(),
            found: None,
            bottom: None,
            page: (1, 80),
            wraps: true,
            shift: 0,
        }
    }
}

impl Log {
    /// Adds a line; the oldest ones go if there are too many.
    pub fn push(&mut self, line: Line) {
        let number = self.first + self.kept.len() as u64;
        if !self.names.contains(&line.name) {
            self.names.push(Arc::clone(&line.name));
        }
        if self.lets_through(&line) {
            self.shown.push_back(number);
        }
        self.bytes += line.cost();
        self.kept.push_back(line);
        while self.bytes > KEPT
            && let Some(oldest) = self.kept.pop_front()
        {
            self.bytes -= oldest.cost();
            self.first += 1;
        }
        while self.shown.front().is_some_and(|number| *number < self.first) {
            self.shown.pop_front();
        }
    }

    /// Forgets all lines; filter and search stay.
    pub fn clear(&mut self) {
        let Self { filter, search, page, wraps, .. } = std::mem::take(self);
        *self = Self { filter, search, page, wraps, ..Self::default() };
    }

    /// How many lines there are, and how many of them are shown.
    #[must_use]
    pub fn count(&self) -> (usize, usize) {
        (self.kept.len(), self.shown.len())
    }

    /// What lines must have in them to be shown, or, behind a `!`, must not.
    #[must_use]
    pub fn filter(&self) -> &str {
        &self.filter
    }

    /// What is looked for.
    #[must_use]
    pub fn search(&self) -> &str {
        &self.search
    }

    /// Whether the newest line is always shown.
    #[must_use]
    pub const fn follows(&self) -> bool {
        self.bottom.is_none()
    }

    /// The place of a name among all, by which it has its colour.
    #[must_use]
    pub fn place_of(&self, name: &str) -> usize {
        self.names.iter().position(|known| &**known == name).unwrap_or(0)
    }

    /// The room that there is.
    pub fn fit(&mut self, rows: usize, columns: usize) {
        self.page = (rows, columns);
    }

    /// Wraps long lines, or does so no more.
    pub fn toggle_wrap(&mut self) {
        self.wraps = !self.wraps;
        self.shift = 0;
    }

    /// Shows only lines that `filter` lets through.
    pub fn set_filter(&mut self, filter: &str) {
        filter.clone_into(&mut self.filter);
        let numbers = self.first..;
        let fits = numbers.zip(&self.kept).filter(|(_, line)| self.lets_through(line));
        self.shown = fits.map(|(number, _)| number).collect();
    }

    fn lets_through(&self, line: &Line) -> bool {
        match self.filter.strip_prefix('!') {
            Some("") => true,
            Some(unwanted) => text::find(&line.text, unwanted, 0).is_none(),
            None if self.filter.is_empty() => true,
            None => text::find(&line.text, &self.filter, 0).is_some(),
        }
    }

    /// Looks for `search`, from the last line shown upwards. Returns whether it is there.
    pub fn look_for(&mut self, search: &str) -> bool {
        search.clone_into(&mut self.search);
        self.found = None;
        search.is_empty() || self.next_match(Step::Up)
    }

    /// Goes to the next line with what is looked for: an older one with [`Step::Up`], else a newer one; beyond the end it
    /// goes on at the other end. Returns whether there is one.
    pub fn next_match(&mut self, step: Step) -> bool {
        let count = self.shown.len();
        let hit = |index: &usize| text::find(&self.line(*index).text, &self.search, 0).is_some();
        let at = match self.found {
            Some(found) => self.shown.partition_point(|number| *number < found),
            None => self.end(),
        };
        let upwards = step == Step::Up;
        let next = if upwards {
            let around = (at..count).rev();
            (0..at).rev().chain(around).find(hit)
        } else {
            let after = (at + 1).min(count);
            (after..count).chain(0..after).find(hit)
        };
        let Some(index) = next else { return false };
        self.found = Some(self.shown[index]);
        self.reveal(index);
        true
    }

    /// Moves so that the line at `index` of the shown ones is seen.
    fn reveal(&mut self, index: usize) {
        let number = self.shown[index];
        if self.rows().iter().any(|row| row.number == number) {
            return;
        }
        let below = if self.wraps { 0 } else { self.page.0 / 2 };
        let bottom = (index + below).min(self.shown.len() - 1);
        self.bottom = Some(self.shown[bottom]);
    }

    /// Moves by lines, pages, columns, or to an end.
    pub fn scroll(&mut self, step: Step) {
        let (page, count, end) = (self.page.0.max(1), self.shown.len(), self.end());
        let new = match step {
            Step::Up => end.saturating_sub(1),
            Step::Down => end + 1,
            Step::PageUp => end.saturating_sub(page),
            Step::PageDown => end + page,
            Step::First => 0,
            Step::Last => count,
            Step::Left => {
                self.shift = self.shift.saturating_sub(8);
                return;
            }
            Step::Right => {
                if !self.wraps {
                    self.shift = (self.shift + 8).min(text::LONGEST);
                }
                return;
            }
        };
        let new = new.max(page.min(count));
        self.bottom = if new >= count { None } else { Some(self.shown[new - 1]) };
    }

    /// How many of the shown lines are above the end of the page.
    fn end(&self) -> usize {
        let count = self.shown.len();
        match self.bottom {
            None => count,
            Some(bottom) => self
                .shown
                .partition_point(|number| *number <= bottom)
                .max(self.page.0.max(1).min(count)),
        }
    }

    fn line(&self, index: usize) -> &Line {
        let place = usize::try_from(self.shown[index] - self.first);
        &self.kept[place.expect("only what is kept is shown")]
    }

    /// Columns that the names take; none if there is only one, or no room.
    #[must_use]
    pub fn margin(&self) -> usize {
        let longest = self.names.iter().map(|name| text::width(name)).max().unwrap_or(0);
        let margin = longest + 3;
        if self.names.len() < 2 || self.page.1 < margin + NARROW { 0 } else { margin }
    }

    /// What the pane shows, from top to bottom: as many rows as there is room for at most.
    #[must_use]
    pub fn rows(&self) -> Vec<Row<'_>> {
        let (height, width) = self.page;
        let columns = width.saturating_sub(self.margin());
        let mut rows: VecDeque<Row<'_>> = VecDeque::new();
        let mut index = self.end();
        while rows.len() < height && index > 0 {
            index -= 1;
            let (line, number) = (self.line(index), self.shown[index]);
            for piece in self.pieces(&line.text, columns, height).into_iter().rev() {
                if rows.len() < height {
                    rows.push_front(Row { line, number, first: piece.start == 0, piece });
                }
            }
        }
        rows.into()
    }

    /// The bytes of `line` that each of its rows shows.
    fn pieces(&self, line: &str, columns: usize, most: usize) -> Vec<Range<usize>> {
        if !self.wraps {
            let (passed_over, rest) = text::split(line, self.shift);
            let (shown, _) = text::split(rest, columns);
            let piece = passed_over.len()..passed_over.len() + shown.len();
            return vec![piece];
        }
        let mut at = 0;
        let pieces = text::wrap(line, columns, most);
        let ranges = pieces.into_iter().map(|piece| {
            let from = at;
            at += piece.len();
            from..at
        });
        ranges.collect()
    }

    /// Whether `number` is the line at which the search stands.
    #[must_use]
    pub fn is_found(&self, number: u64) -> bool {
        self.found == Some(number)
    }

    /// Forgets what was looked for.
    pub fn forget_search(&mut self) {
        self.search.clear();
        self.found = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(name: &str, text: &str) -> Line {
        Line {
            name: name.into(),
            stream: Stream::Stdout,
            text: text.to_owned(),
            paints: Vec::new(),
        }
    }

    fn log(texts: &[&str], rows: usize, columns: usize) -> Log {
        let mut log = Log::default();
        log.fit(rows, columns);
        for text in texts {
            log.push(line("web-1", text));
        }
        log
    }

    fn seen(log: &Log) -> Vec<&str> {
        log.rows().into_iter().map(|row| &row.line.text[row.piece]).collect()
    }

    #[test]
    fn the_newest_lines_are_shown_until_one_looks_up() {
        let mut log = log(&["1", "2", "3", "4", "5"], 2, 10);
        assert_eq!(seen(&log), ["4", "5"]);
        log.scroll(Step::Up);
        assert_eq!(seen(&log), ["3", "4"]);
        log.push(line("web-1", "6"));
        assert_eq!(seen(&log), ["3", "4"]);
        log.scroll(Step::PageUp);
        assert_eq!(seen(&log), ["1", "2"]);
        log.scroll(Step::PageUp);
        assert_eq!(seen(&log), ["1", "2"]);
        log.scroll(Step::PageDown);
        assert_eq!(seen(&log), ["3", "4"]);
        log.scroll(Step::Last);
        assert!(log.follows());
        log.push(line("web-1", "7"));
        assert_eq!(seen(&log), ["6", "7"]);
        log.scroll(Step::First);
        assert_eq!(seen(&log), ["1", "2"]);
    }

    #[test]
    fn long_lines_go_on_in_the_next_row_or_are_cut() {
        let mut log = log(&["short", "abcdefghijkl"], 3, 5);
        assert_eq!(seen(&log), ["abcde", "fghij", "kl"]);
        log.scroll(Step::Up);
        log.fit(4, 5);
        assert_eq!(seen(&log), ["short", "abcde", "fghij", "kl"]);
        log.toggle_wrap();
        assert_eq!(seen(&log), ["short", "abcde"]);
        log.scroll(Step::Right);
        assert_eq!(seen(&log), ["", "ijkl"]);
        log.scroll(Step::Left);
        assert_eq!(seen(&log), ["short", "abcde"]);
    }

    #[test]
    fn a_filter_hides_lines_that_come_later_too() {
        let mut log = log(&["GET /", "error 1", "GET /x"], 5, 20);
        log.set_filter("Get");
        assert_eq!(seen(&log), [""; 0]);
        log.set_filter("get");
        assert_eq!(seen(&log), ["GET /", "GET /x"]);
        log.push(line("web-1", "error 2"));
        assert_eq!(log.count(), (4, 2));
        log.set_filter("!get");
        assert_eq!(seen(&log), ["error 1", "error 2"]);
        log.push(line("web-1", "get"));
        assert_eq!(log.count(), (5, 2));
        log.clear();
        log.push(line("web-1", "get"));
        assert_eq!(log.count(), (1, 0), "the filter stays");
        log.set_filter("");
        assert_eq!(log.count(), (1, 1));
    }

    #[test]
    fn a_search_goes_up_and_down_and_around() {
        let texts: Vec<String> =
            (0..20).map(|at| format!("{at} {}", if at % 5 == 0 { "Hit" } else { "-" })).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let mut log = log(&texts, 4, 20);
        let at = |log: &Log| {
            let row = log.rows().into_iter().find(|row| log.is_found(row.number));
            row.map(|row| row.line.text.clone())
        };
        assert!(log.look_for("hit"));
        assert_eq!(at(&log).as_deref(), Some("15 Hit"));
        for expected in ["10 Hit", "5 Hit", "0 Hit", "15 Hit"] {
            assert!(log.next_match(Step::Up));
            assert_eq!(at(&log).as_deref(), Some(expected));
        }
        for expected in ["0 Hit", "5 Hit"] {
            assert!(log.next_match(Step::Down));
            assert_eq!(at(&log).as_deref(), Some(expected));
        }
        assert!(!log.look_for("nowhere"));
        assert!(log.look_for(""));
    }

    #[test]
    fn memory_is_bounded_by_bytes() {
        let mut log = Log::default();
        log.fit(3, 20);
        let long = "x".repeat(10_000);
        for _ in 0..1000 {
            log.push(line("web-1", &long));
            log.push(line("web-1", ""));
        }
        assert!(log.bytes <= KEPT);
        assert_eq!(log.kept.len(), log.shown.len());
        log.scroll(Step::First);
        let first = log.bottom;
        for _ in 0..3000 {
            log.push(line("web-1", &long));
        }
        assert!(log.bottom == first && log.first > first.unwrap(), "what one looked at is gone");
        assert_eq!(log.rows().len(), 3);
        log.scroll(Step::Up);
        assert_eq!(log.rows().len(), 3);
    }

    #[test]
    fn names_stand_before_lines_of_several_containers() {
        let mut log = log(&["a"], 3, 40);
        assert_eq!(log.margin(), 0);
        log.push(line("worker-1", "b"));
        assert_eq!(log.margin(), 11);
        assert_eq!((log.place_of("web-1"), log.place_of("worker-1")), (0, 1));
        log.fit(3, 20);
        assert_eq!(log.margin(), 0, "there is no room");
    }
}
