//! What the screen looks like. Pure: a state to a frame.

use std::ops::Range;

use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Clear, Widget};
use runtime::log::Stream;

use super::list::draw_list;
use super::log::{Line as LogLine, Row as LogRow};
use super::message::{Meant, Tone, Verb};
use super::palette::Palette;
use super::state::{Mode, Pane, Selection, State, Wanted};
use super::text;
use super::usage::{cpu, memory, stats_lines, used};

/// Below so many rows only one pane is shown.
const ONE_PANE: u16 = 9;
/// From so many rows on events have a place of their own.
const WITH_EVENTS: u16 = 18;
/// Rows of that place, its border among them.
const EVENTS: u16 = 6;
/// From so many columns on the use of the machine is beside them.
const WITH_STATS: u16 = 90;

/// The keys, as the help shows them.
const KEYS: [(&str, &str); 19] = [
    ("↑ ↓  k j", "select, or move in the pane that has the focus"),
    ("PgUp PgDn", "move by pages"),
    ("Home End  g G", "to the ends; the end of the log follows it"),
    ("Tab", "the next pane: services, log, events"),
    ("l  Enter", "the log on the whole screen; Esc comes back"),
    ("w  ← →", "wrap long lines or not; move sideways"),
    ("/", "search in the log, upwards from its end"),
    ("n N", "the next older, the next newer match"),
    ("f", "show only lines that contain a text; with ! those that do not"),
    ("", "small letters in a text stand for capitals too"),
    ("r", "restart the service or the container; on `all`: everything"),
    ("s", "stop the service or the container, or start it"),
    ("u", "bring the service up, or everything, by `compose up --detach`"),
    ("e", "a shell in the container; leaving it comes back"),
    ("Esc", "away with search, filter, and whole screen"),
    ("Ctrl-L", "draw the screen anew"),
    ("Ctrl-Z", "suspend; `fg` comes back"),
    ("?", "this help"),
    ("q  Ctrl-C", "leave; everything runs on"),
];

/// The hints in the last row.
const HINTS: &str =
    " r restart  s stop/start  u up  e shell  l log  / search  f filter  Tab pane  ? help  q quit";

/// A place on the screen and the room within its border.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Room {
    /// With the border.
    pub frame: Rect,
    /// Without it.
    pub inner: Rect,
}

impl Room {
    fn of(frame: Rect) -> Self {
        let bordered = frame.width >= 3 && frame.height >= 3;
        let inner = if bordered { Block::bordered().inner(frame) } else { frame };
        Self { frame, inner }
    }

    fn within(self, screen: Rect) -> Self {
        Self { frame: self.frame.intersection(screen), inner: self.inner.intersection(screen) }
    }
}

/// What is where; what has no place is empty.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "each word is its own meaning")]
pub struct Areas {
    pub header: Rect,
    pub list: Room,
    pub log: Room,
    pub events: Room,
    pub stats: Room,
    pub footer: Rect,
}

/// What has which place, as the terminal's size and the focus are.
#[must_use]
pub fn areas(state: &State) -> Areas {
    let (rows, columns) = state.size;
    let part = |from: u16, height: u16| Rect::new(0, from, columns, height);
    let mut areas = Areas::default();
    let (mut top, mut bottom) = (0, rows);
    if rows >= 2 {
        bottom -= 1;
        areas.footer = part(bottom, 1);
    }
    if rows > ONE_PANE {
        areas.header = part(0, 1);
        top = 1;
    }
    let height = bottom - top;
    if state.zoomed || height < ONE_PANE {
        let whole = Room::of(part(top, height));
        match state.focus {
            Pane::Services => areas.list = whole,
            Pane::Log => areas.log = whole,
            Pane::Events => areas.events = whole,
        }
        return areas;
    }
    let below = if height >= WITH_EVENTS { EVENTS } else { 0 };
    let wanted = u16::try_from(state.rows.len()).unwrap_or(u16::MAX).saturating_add(3);
    let list = wanted.min((height - below) / 2);
    areas.list = Room::of(part(top, list));
    let middle = part(top + list, height - below - list);
    if below == 0 && state.focus == Pane::Events {
        areas.events = Room::of(middle);
        return areas;
    }
    areas.log = Room::of(middle);
    let last = part(bottom - below, below);
    if below > 0 && columns >= WITH_STATS {
        let half = columns / 2;
        areas.events = Room::of(Rect { width: half, ..last });
        areas.stats = Room::of(Rect { x: half, width: columns - half, ..last });
    } else if below > 0 {
        areas.events = Room::of(last);
    }
    areas
}

/// Draws everything.
pub fn draw(frame: &mut Frame<'_>, state: &State, colours: bool) {
    let palette = Palette { colours };
    let screen = frame.area();
    // The terminal may have become smaller since the state was told its size.
    let Areas { header, list, log, events, stats, footer } = areas(state);
    let [list, log, events, stats] = [list, log, events, stats].map(|room| room.within(screen));
    let buffer = frame.buffer_mut();
    put(buffer, header.intersection(screen), 0, &header_line(state, palette));
    let focus = |pane| state.focus == pane;
    pane(buffer, list, " services ".to_owned(), focus(Pane::Services), palette);
    draw_list(buffer, list.inner, state, palette);
    pane(buffer, log, log_title(state), focus(Pane::Log), palette);
    for (at, row) in state.log.rows().iter().enumerate() {
        put(buffer, log.inner, at, &log_line(state, row, palette));
    }
    pane(buffer, events, " events ".to_owned(), focus(Pane::Events), palette);
    draw_events(buffer, events.inner, state, palette);
    pane(buffer, stats, format!(" {} ", title_of(state)), false, palette);
    for (at, line) in stats_lines(state, stats.inner.width.into()).iter().enumerate() {
        put(buffer, stats.inner, at, line);
    }
    let footer = footer.intersection(screen);
    let (line, cursor) = footer_line(state, footer.width.into(), palette);
    put(buffer, footer, 0, &line);
    if state.mode == Mode::Help {
        draw_help(buffer, screen, palette);
    }
    if let Some(column) = cursor.filter(|_| !footer.is_empty()) {
        let column = u16::try_from(column).unwrap_or(u16::MAX).min(footer.width - 1);
        frame.set_cursor_position(Position::new(footer.x + column, footer.y));
    }
}

/// Writes a line into the row `at` of `area`, as far as there is room.
pub fn put(buffer: &mut Buffer, area: Rect, at: usize, line: &Line<'_>) {
    let at = u16::try_from(at).unwrap_or(u16::MAX);
    if at < area.height {
        buffer.set_line(area.x, area.y + at, line, area.width);
    }
}

fn pane(buffer: &mut Buffer, room: Room, title: String, focus: bool, palette: Palette) {
    if room.frame.is_empty() || room.frame == room.inner {
        return;
    }
    let style = match focus {
        true => palette.colour(Color::Cyan).add_modifier(Modifier::BOLD),
        false => palette.dim(),
    };
    Block::bordered()
        .border_style(style)
        .title(Span::styled(title, style))
        .render(room.frame, buffer);
}

fn header_line(state: &State, palette: Palette) -> Line<'static> {
    let up = state.containers.iter().filter(|one| one.state.phase.is_up()).count();
    let all = state.containers.len();
    let used = used(state, &Selection::All);
    let mut spans = vec![
        Span::styled(" compose ui  ", palette.dim()),
        Span::styled(state.project.clone(), Style::new().add_modifier(Modifier::BOLD)),
        Span::raw(format!("  {up}/{all} running")),
    ];
    if up > 0 {
        spans.push(Span::raw(format!("  CPU {}  MEM {}", cpu(used.cpu), memory(used.memory))));
    }
    Line::from(spans)
}

fn title_of(state: &State) -> String {
    state.rows.get(state.selected).map_or("all", |row| row.label.trim()).to_owned()
}

fn log_title(state: &State) -> String {
    let mut title = format!(" log: {} ", title_of(state));
    let (all, shown) = state.log.count();
    if !state.log.filter().is_empty() {
        title.push_str(&format!("· {shown} of {all} lines: {} ", state.log.filter()));
    }
    if !state.log.follows() {
        title.push_str("· End follows ");
    }
    title
}

fn log_line<'a>(state: &'a State, row: &LogRow<'a>, palette: Palette) -> Line<'a> {
    let mut spans = Vec::new();
    let margin = state.log.margin();
    if margin > 0 {
        let name = if row.first { &*row.line.name } else { "" };
        let blanks = " ".repeat((margin - 3).saturating_sub(text::width(name)));
        let style = palette.name(state.log.place_of(&row.line.name));
        let bar = match row.line.stream {
            Stream::Stdout => style,
            Stream::Stderr => palette.colour(Color::Red),
        };
        spans.push(Span::styled(format!("{name}{blanks}"), style));
        spans.push(Span::styled(" │ ", bar));
    }
    let hit = match state.log.is_found(row.number) {
        true => Style::new().add_modifier(Modifier::REVERSED | Modifier::BOLD),
        false => Style::new().add_modifier(Modifier::REVERSED),
    };
    let (line, end) = (&row.line.text, row.piece.end);
    let mut at = row.piece.start;
    let mut from = 0;
    while let Some(found) = text::find(line, state.log.search(), from) {
        from = found.end;
        let (start, stop) = (found.start.clamp(at, end), found.end.clamp(at, end));
        if start < stop {
            painted(row.line, at..start, palette, &mut spans);
            spans.push(Span::styled(&line[start..stop], hit));
            at = stop;
        }
    }
    painted(row.line, at..end, palette, &mut spans);
    Line::from(spans)
}

/// A part of a line in the styles that it was written in.
fn painted<'a>(line: &'a LogLine, part: Range<usize>, palette: Palette, spans: &mut Vec<Span<'a>>) {
    let mut at = part.start;
    let mut style = Style::new();
    for (from, next) in &line.paints {
        let until = (*from).clamp(at, part.end);
        if at < until {
            spans.push(Span::styled(&line.text[at..until], style));
        }
        at = until;
        style = palette.written(*next);
    }
    if at < part.end {
        spans.push(Span::styled(&line.text[at..part.end], style));
    }
}

fn draw_events(buffer: &mut Buffer, area: Rect, state: &State, palette: Palette) {
    let end = state.events.len().saturating_sub(state.events_below);
    let start = end.saturating_sub(area.height.into());
    for (at, event) in state.events.range(start..end).enumerate() {
        let line = Line::from(vec![
            Span::styled(format!("{} ", event.time), palette.dim()),
            Span::raw(format!("{} ", event.name)),
            Span::styled(event.words.as_str(), palette.tone(event.tone)),
        ]);
        put(buffer, area, at, &line);
    }
}

fn draw_help(buffer: &mut Buffer, screen: Rect, palette: Palette) {
    let (height, width) = (u16::try_from(KEYS.len()).unwrap_or(0) + 2, 82);
    let frame = Rect {
        x: screen.width.saturating_sub(width) / 2,
        y: screen.height.saturating_sub(height) / 2,
        width: width.min(screen.width),
        height: height.min(screen.height),
    };
    let room = Room::of(frame).within(screen);
    Clear.render(room.frame, buffer);
    pane(buffer, room, " keys ".to_owned(), true, palette);
    for (at, (keys, words)) in KEYS.iter().enumerate() {
        let line = Line::from(vec![
            Span::styled(format!(" {keys:14} "), palette.colour(Color::Cyan)),
            Span::raw(*words),
        ]);
        put(buffer, room.inner, at, &line);
    }
}

/// The last row, and where the cursor is in it.
fn footer_line(state: &State, width: usize, palette: Palette) -> (Line<'_>, Option<usize>) {
    match &state.mode {
        Mode::Typing { what, text } => {
            let head = match what {
                Wanted::Search => " search: ",
                Wanted::Filter => " filter: ",
            };
            // What was typed last is seen.
            let room = width.saturating_sub(head.len() + 1);
            let mut rest = text.as_str();
            while text::width(rest) > room {
                rest = rest.char_indices().nth(1).map_or("", |(at, _)| &rest[at..]);
            }
            let line = Line::from(vec![Span::styled(head, palette.dim()), Span::raw(rest)]);
            (line, Some(head.len() + text::width(rest)))
        }
        Mode::Asking { what, services } => {
            let meant = Meant { services: services.clone(), only: None };
            let verb = match state.verb(*what, &meant) {
                Verb::Restart => "restart",
                Verb::Stop => "stop",
                Verb::Start => "start",
            };
            let question = match services.as_slice() {
                [service] => format!(" {verb} {service}? y/n"),
                services => format!(" {verb} all {} services? y/n", services.len()),
            };
            (Line::styled(question, palette.tone(Tone::Working)), None)
        }
        Mode::Usual | Mode::Help => match &state.note {
            Some((tone, note)) => (Line::styled(format!(" {note}"), palette.tone(*tone)), None),
            None => (Line::styled(HINTS, palette.dim()), None),
        },
    }
}

/// `words` as far as they fit, with a sign that there is more.
pub fn cut(words: &str, width: usize) -> String {
    if text::width(words) <= width {
        return words.to_owned();
    }
    let (kept, _) = text::split(words, width.saturating_sub(1));
    format!("{kept}…")
}
