//! The table of `compose stats` on a terminal: as wide and as high as that, with the last samples as bars.

use super::COLUMNS;
use super::history::Histories;
use crate::cli::format::{Column, Format, Json, List, Row, column};
use crate::cli::terminal::table::shortened;

/// The two columns of bars. Their titles are docker's for no field.
const CPU_BARS: Column = column("HISTORY", "CPUHistory");
const MEMORY_BARS: Column = column("HISTORY", "MemHistory");

/// What is left out, one column after the other, on a terminal that is too narrow even without bars.
const LEFT_OUT: [&str; 5] = ["BlockIO", "NetIO", "ID", "PIDs", "MemPerc"];

/// Blanks between two columns.
const GAP: usize = 3;
/// Fewer bars than these say nothing.
const FEWEST: usize = 8;
/// More bars than these are not looked at.
const MOST: usize = 30;

/// The table of `rows`, which are about the containers `ids`, for a terminal of `height` and `width`.
pub(super) fn table(
    rows: &[Row],
    ids: &[&str],
    histories: &Histories,
    (height, width): (usize, usize),
) -> String {
    let mut columns = COLUMNS.to_vec();
    let mut left_out = LEFT_OUT.iter();
    let mut needed = width_of(&render(&columns, rows.to_vec()));
    while needed > width
        && let Some(field) = left_out.next()
    {
        columns.retain(|column| column.field != *field);
        needed = width_of(&render(&columns, rows.to_vec()));
    }
    // Where something is left out, there is no room for bars.
    let whole = columns.len() == COLUMNS.len();
    let spare = if whole { width.saturating_sub(needed) } else { 0 };
    let both = (spare / 2).saturating_sub(GAP).min(MOST);
    let (cpu, memory) =
        if both >= FEWEST { (both, both) } else { (spare.saturating_sub(GAP).min(MOST), 0) };
    add(&mut columns, CPU_BARS, &["CPUPerc"], cpu);
    add(&mut columns, MEMORY_BARS, &["MemPerc", "MemUsage"], memory);
    let bars = |(row, id): (&Row, &&str)| {
        let history = histories.of(id).cloned().unwrap_or_default();
        let row = row.clone().with(CPU_BARS.field, history.cpu_line(cpu));
        row.with(MEMORY_BARS.field, history.memory_line(memory))
    };
    let text = render(&columns, rows.iter().zip(ids).map(bars).collect());
    cut(&text, height, width)
}

/// Puts a column of `length` bars behind the first of `behind` that is there; too few are left out.
fn add(columns: &mut Vec<Column>, bars: Column, behind: &[&str], length: usize) {
    let place = behind.iter().find_map(|field| columns.iter().position(|one| one.field == *field));
    if let Some(place) = place.filter(|_| length >= FEWEST) {
        columns.insert(place + 1, bars);
    }
}

fn render(columns: &[Column], rows: Vec<Row>) -> String {
    let list = List { columns, titles: &[], json: Json::Lines, rows };
    list.render(&Format::Usual).expect("only a template asks for what there is not")
}

fn width_of(text: &str) -> usize {
    text.lines().map(|line| line.chars().count()).max().unwrap_or(0)
}

/// The lines of `text` that fit; the last line of the terminal is the cursor's.
fn cut(text: &str, height: usize, width: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    let room = height.saturating_sub(1).max(1);
    let mut lines: Vec<String> = all.iter().take(room).map(|line| shortened(line, width)).collect();
    if all.len() > room && room > 1 {
        let more = all.len() - room + 1;
        lines[room - 1] = shortened(&format!("… and {more} more"), width);
    }
    lines.iter().map(|line| format!("{line}\n")).collect()
}
