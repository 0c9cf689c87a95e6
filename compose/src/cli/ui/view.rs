//! What the screen looks like. Pure: a state to a frame.

use std::collections::BTreeSet;
use std::ops::Range;

use jiff::Timestamp;
use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Clear, Widget};
use runtime::log::Stream;

use super::log::{Line as LogLine, Row as LogRow};
use super::state::{Meant, Mode, Pane, Row, Selection, State, Tone, Usage, Verb, Wanted};
use super::text;
use crate::cli::stats::history::History;
use crate::cli::terminal::sizes::{binary, decimal};
use crate::model::Protocol;
use crate::record::{Container, HealthStatus, Phase, PublishedPort};

/// Below so many rows only one pane is shown.
const ONE_PANE: u16 = 9;
/// From so many rows on events have a place of their own.
const WITH_EVENTS: u16 = 18;
/// Rows of that place, its border among them.
const EVENTS: u16 = 6;
/// From so many columns on the use of the machine is beside them.
const WITH_STATS: u16 = 90;
/// Fewer bars than these say nothing, and more are not looked at.
const BARS: std::ops::RangeInclusive<usize> = 8..=20;

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

/// Styles, with colours or without.
#[derive(Debug, Clone, Copy)]
struct Palette {
    colours: bool,
}

/// The colours of names, one after the other, as those of `logs`.
const NAMES: [Color; 6] =
    [Color::Cyan, Color::Yellow, Color::Green, Color::Magenta, Color::Blue, Color::LightRed];

impl Palette {
    fn colour(self, colour: Color) -> Style {
        if self.colours { Style::new().fg(colour) } else { Style::new() }
    }

    fn tone(self, tone: Tone) -> Style {
        match tone {
            Tone::Working => self.colour(Color::Yellow),
            Tone::Good => self.colour(Color::Green),
            Tone::Bad => self.colour(Color::Red).add_modifier(Modifier::BOLD),
            Tone::Plain => Style::new(),
        }
    }

    fn name(self, place: usize) -> Style {
        self.colour(NAMES[place % NAMES.len()])
    }

    /// What a program has chosen itself.
    fn written(self, style: Style) -> Style {
        match self.colours {
            true => style,
            false => Style { fg: None, bg: None, ..style },
        }
    }

    fn dim(self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }
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
fn put(buffer: &mut Buffer, area: Rect, at: usize, line: &Line<'_>) {
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

/// The cells of a row of the list.
#[derive(Debug, Default)]
struct Cells {
    label: String,
    state: (String, Option<Tone>),
    health: (String, Option<Tone>),
    cpu: String,
    memory: String,
    age: String,
    ports: String,
}

/// A column of the list: title, width, and what of a row it shows.
struct Column {
    title: &'static str,
    width: usize,
    cell: fn(&Cells) -> (&str, Option<Tone>),
    bars: Option<fn(&History, usize) -> String>,
}

fn draw_list(buffer: &mut Buffer, area: Rect, state: &State, palette: Palette) {
    if area.is_empty() {
        return;
    }
    let cells: Vec<Cells> = state.rows.iter().map(|row| cells_of(state, row)).collect();
    let columns = columns(&cells, area.width.into());
    let titled = usize::from(area.height >= 3);
    if titled == 1 {
        let mut line = String::new();
        for Column { title, width, .. } in &columns {
            line.push_str(&format!("{title:width$}  "));
        }
        put(buffer, area, 0, &Line::styled(line, palette.dim()));
    }
    let room = usize::from(area.height) - titled;
    let first = (state.selected + 1).saturating_sub(room);
    for (at, index) in (first..state.rows.len()).take(room).enumerate() {
        let (row, cells) = (&state.rows[index], &cells[index]);
        let mut spans = Vec::new();
        for Column { width, cell, bars, .. } in &columns {
            let (words, tone) = match bars {
                Some(bars) => (bars(&history(state, &row.selection), *width), None),
                None => {
                    let (words, tone) = cell(cells);
                    (cut(words, *width), tone)
                }
            };
            let blanks = " ".repeat((width + 2).saturating_sub(text::width(&words)));
            let style = tone.map_or_else(Style::new, |tone| palette.tone(tone));
            spans.push(Span::styled(words, style));
            spans.push(Span::raw(blanks));
        }
        let mut line = Line::from(spans);
        if index == state.selected {
            // The row as a whole.
            line.push_span(Span::raw(" ".repeat(area.width.into())));
            let focus = state.focus == Pane::Services;
            let more = if focus { Modifier::BOLD } else { Modifier::DIM };
            line = line.patch_style(Style::new().add_modifier(Modifier::REVERSED | more));
        }
        put(buffer, area, at + titled, &line);
    }
}

/// The columns for which there is room, the more important ones first; bars take what is left.
fn columns(cells: &[Cells], room: usize) -> Vec<Column> {
    fn longest(cells: &[Cells], of: fn(&Cells) -> (&str, Option<Tone>)) -> usize {
        cells.iter().map(|cells| text::width(of(cells).0)).max().unwrap_or(0)
    }
    let column = |title: &'static str, most: usize, cell: fn(&Cells) -> (&str, Option<Tone>)| {
        let longest = longest(cells, cell);
        // A column without a word is none.
        let width = if longest == 0 { 0 } else { longest.max(title.len()).min(most) };
        Column { title, width, cell, bars: None }
    };
    let bars = |of: fn(&History, usize) -> String| Column {
        title: "",
        width: 0,
        cell: |_| ("", None),
        bars: Some(of),
    };
    let mut all = [
        column("SERVICE", 30, |cells| (&cells.label, None)),
        column("STATE", 16, |cells| (&cells.state.0, cells.state.1)),
        column("HEALTH", 9, |cells| (&cells.health.0, cells.health.1)),
        column("CPU", 8, |cells| (&cells.cpu, None)),
        bars(History::cpu_line),
        column("MEMORY", 9, |cells| (&cells.memory, None)),
        bars(History::memory_line),
        column("SINCE", 8, |cells| (&cells.age, None)),
        column("PORTS", 40, |cells| (&cells.ports, None)),
    ];
    let mut left = room;
    let mut taken = [false; 9];
    for at in [0, 1, 3, 5, 2, 7, 8] {
        let width = all[at].width;
        taken[at] = width > 0 && width <= left;
        if taken[at] {
            left = left.saturating_sub(width + 2);
        } else if at == 8 && width > 0 && left >= 10 {
            all[at].width = left;
            taken[at] = true;
            left = 0;
        }
    }
    let both = (left / 2).saturating_sub(2).min(*BARS.end());
    let lone = left.saturating_sub(2).min(*BARS.end());
    for at in [4, 6] {
        all[at].width = if both >= *BARS.start() { both } else { lone };
        taken[at] = all[at].width >= *BARS.start() && (at == 4 || both >= *BARS.start());
    }
    // Bars of what nobody uses are none.
    taken[4] &= taken[3];
    taken[6] &= taken[5];
    all.into_iter().zip(taken).filter(|(_, taken)| *taken).map(|(column, _)| column).collect()
}

fn cells_of(state: &State, row: &Row) -> Cells {
    let containers: Vec<&Container> = state.containers_of(&row.selection).collect();
    let used = used(state, &row.selection);
    let up = containers.iter().any(|one| one.state.phase.is_up());
    Cells {
        label: row.label.clone(),
        state: phase(&containers),
        health: health(&containers),
        cpu: if up { cpu(used.cpu) } else { String::new() },
        memory: if up { memory(used.memory) } else { String::new() },
        age: age(&containers, state.now),
        ports: ports(&containers),
    }
}

fn phase(containers: &[&Container]) -> (String, Option<Tone>) {
    match containers {
        [] => ("not created".to_owned(), None),
        [one] => {
            let (state, word) = (&one.state, one.state.phase.as_str());
            match (state.phase, state.exit) {
                (Phase::Running, _) => (word.to_owned(), Some(Tone::Good)),
                (Phase::Exited, Some(exit)) => {
                    let tone =
                        if exit.success() || state.stop_requested { None } else { Some(Tone::Bad) };
                    let oom = if state.oom { " oom" } else { "" };
                    (format!("{word} ({}){oom}", exit.shell_code()), tone)
                }
                (Phase::Restarting, _) => (word.to_owned(), Some(Tone::Working)),
                (Phase::Dead, _) => (word.to_owned(), Some(Tone::Bad)),
                _ => (word.to_owned(), None),
            }
        }
        several => {
            let running = several.iter().filter(|one| one.state.phase == Phase::Running).count();
            let tone = match running {
                0 => None,
                all if all == several.len() => Some(Tone::Good),
                _ => Some(Tone::Working),
            };
            (format!("{running}/{} running", several.len()), tone)
        }
    }
}

/// The worst verdict of those that have one.
fn health(containers: &[&Container]) -> (String, Option<Tone>) {
    let verdicts = containers.iter().filter_map(|one| Some(one.state.health.as_ref()?.status));
    let worst = verdicts.map(|verdict| match verdict {
        HealthStatus::Healthy => (0, "healthy", Tone::Good),
        HealthStatus::Starting => (1, "starting", Tone::Working),
        HealthStatus::Unhealthy => (2, "unhealthy", Tone::Bad),
    });
    match worst.max_by_key(|(rank, ..)| *rank) {
        Some((_, word, tone)) => (word.to_owned(), Some(tone)),
        None => (String::new(), None),
    }
}

fn age(containers: &[&Container], now: Timestamp) -> String {
    let [one] = containers else { return String::new() };
    let short = |then: Timestamp| {
        let seconds = now.duration_since(then).as_secs().max(0);
        match seconds {
            0..60 => format!("{seconds}s"),
            60..3600 => format!("{}m", seconds / 60),
            3600..172_800 => format!("{}h", seconds / 3600),
            _ => format!("{}d", seconds / 86400),
        }
    };
    match (one.state.phase.is_up(), one.state.started, one.state.finished) {
        (true, Some(started), _) => short(started),
        (false, _, Some(finished)) => format!("{} ago", short(finished)),
        _ => String::new(),
    }
}

/// `8080→80`, with the address if it is a particular one.
fn ports(containers: &[&Container]) -> String {
    let word = |port: &PublishedPort| {
        let ip = match port.host.ip() {
            ip if ip.is_unspecified() => String::new(),
            std::net::IpAddr::V4(ip) => format!("{ip}:"),
            std::net::IpAddr::V6(ip) => format!("[{ip}]:"),
        };
        let protocol = if port.protocol == Protocol::Tcp {
            String::new()
        } else {
            format!("/{}", port.protocol)
        };
        (port.host.port(), format!("{ip}{}→{}{protocol}", port.host.port(), port.target))
    };
    let words: BTreeSet<(u16, String)> =
        containers.iter().flat_map(|one| one.state.published.iter().map(word)).collect();
    let words: Vec<String> = words.into_iter().map(|(_, word)| word).collect();
    words.join(" ")
}

fn cpu(cpu: Option<f64>) -> String {
    cpu.map_or_else(|| "–".to_owned(), |cpu| format!("{cpu:.1}%"))
}

fn memory(memory: Option<u64>) -> String {
    memory.map_or_else(|| "–".to_owned(), binary)
}

/// What all containers of `selection` use together.
fn used(state: &State, selection: &Selection) -> Usage {
    let mut all = Usage::default();
    let add = |one: Option<u64>, other: Option<u64>| match (one, other) {
        (None, None) => None,
        (one, other) => Some(one.unwrap_or(0) + other.unwrap_or(0)),
    };
    for container in state.containers_of(selection) {
        let Some(used) = state.usage.get(&container.record.id) else { continue };
        all.cpu = match (all.cpu, used.cpu) {
            (None, None) => None,
            (one, other) => Some(one.unwrap_or(0.0) + other.unwrap_or(0.0)),
        };
        all.memory = add(all.memory, used.memory);
        // One limit stands for many if it is the machine's.
        all.limit = all.limit.max(used.limit);
        all.received += used.received;
        all.sent += used.sent;
        all.read += used.read;
        all.written += used.written;
        all.pids += used.pids;
    }
    all
}

fn history(state: &State, selection: &Selection) -> History {
    let ids = state.containers_of(selection).map(|one| &one.record.id);
    History::sum(ids.filter_map(|id| state.histories.get(id)))
}

fn stats_lines(state: &State, width: usize) -> Vec<Line<'static>> {
    let selection = state.selection();
    let (used, history) = (used(state, selection), history(state, selection));
    let heads = [
        format!("CPU  {:>19} ", cpu(used.cpu)),
        format!(
            "MEM  {:>19} ",
            match (used.limit, state.containers_of(selection).count()) {
                (Some(limit), 1) => format!("{} / {}", memory(used.memory), binary(limit)),
                _ => memory(used.memory),
            }
        ),
    ];
    let room =
        width.saturating_sub(heads.iter().map(|head| head.chars().count()).max().unwrap_or(0));
    let [cpu, memory] = heads;
    vec![
        Line::raw(format!("{cpu}{}", history.cpu_line(room))),
        Line::raw(format!("{memory}{}", history.memory_line(room))),
        Line::raw(format!("NET  {} in, {} out", decimal(used.received, 3), decimal(used.sent, 3))),
        Line::raw(format!(
            "DISK {} read, {} written   PIDS {}",
            decimal(used.read, 3),
            decimal(used.written, 3),
            used.pids
        )),
    ]
}

/// `words` as far as they fit, with a sign that there is more.
fn cut(words: &str, width: usize) -> String {
    if text::width(words) <= width {
        return words.to_owned();
    }
    let (kept, _) = text::split(words, width.saturating_sub(1));
    format!("{kept}…")
}
