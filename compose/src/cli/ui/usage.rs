//! What containers use of the machine, as it is shown.

use ratatui::text::Line;

use super::message::Usage;
use super::state::{Selection, State};
use crate::cli::stats::history::History;
use crate::cli::terminal::sizes::{binary, decimal};

/// The use of processors, in words.
pub fn cpu(cpu: Option<f64>) -> String {
    cpu.map_or_else(|| "–".to_owned(), |cpu| format!("{cpu:.1}%"))
}

/// The use of memory, in words.
pub fn memory(memory: Option<u64>) -> String {
    memory.map_or_else(|| "–".to_owned(), binary)
}

/// What all containers of `selection` use together.
pub fn used(state: &State, selection: &Selection) -> Usage {
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

/// What the containers of `selection` have used lately.
pub fn history(state: &State, selection: &Selection) -> History {
    let ids = state.containers_of(selection).map(|one| &one.record.id);
    History::sum(ids.filter_map(|id| state.histories.get(id)))
}

/// The lines of the place beside the events, `width` columns wide.
pub fn stats_lines(state: &State, width: usize) -> Vec<Line<'static>> {
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
