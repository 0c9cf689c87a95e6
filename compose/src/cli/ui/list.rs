//! The list of services and replicas.

use std::collections::BTreeSet;

use jiff::Timestamp;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};

use super::message::Tone;
use super::palette::Palette;
use super::state::{Pane, Row, State};
use super::text;
use super::usage::{cpu, history, memory, used};
use super::view::{cut, put};
use crate::cli::stats::history::History;
use crate::model::Protocol;
use crate::record::{Container, HealthStatus, Phase, PublishedPort};

/// Fewer bars than these say nothing, and more are not looked at.
const BARS: std::ops::RangeInclusive<usize> = 8..=20;

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

/// Draws the list of services and replicas.
pub fn draw_list(buffer: &mut Buffer, area: Rect, state: &State, palette: Palette) {
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
