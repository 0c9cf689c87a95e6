//! `compose stats`.

mod sample;

use std::collections::BTreeMap;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use serde::Serialize;

use super::context::Context;
use super::error::{CommandError, INTERRUPTED};
use super::format::{Column, Format, Json, List, Row, column};
use super::signals::Signals;
use super::terminal::Terminal;
use super::terminal::sizes::{binary, decimal};
use crate::model::ServiceName;
use crate::record::Container;
use sample::Sample;

/// Show what containers use of the machine
#[derive(Debug, clap::Args)]
pub struct StatsArgs {
    /// The service (default: all)
    #[arg(value_name = "SERVICE")]
    services: Vec<ServiceName>,
    /// Containers that do not run as well
    #[arg(long, short)]
    all: bool,
    /// How to show them: `table`, `table TEMPLATE`, `json` or a Go template
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    format: Format,
    /// Once, instead of every second
    #[arg(long)]
    no_stream: bool,
    /// Do not cut off ids
    #[arg(long)]
    no_trunc: bool,
}

/// How long the use of the processor is measured.
const PACE: Duration = Duration::from_secs(1);

const COLUMNS: [Column; 8] = [
    column("CONTAINER ID", "ID"),
    column("NAME", "Name"),
    column("CPU %", "CPUPerc"),
    column("MEM USAGE / LIMIT", "MemUsage"),
    column("MEM %", "MemPerc"),
    column("NET I/O", "NetIO"),
    column("BLOCK I/O", "BlockIO"),
    column("PIDS", "PIDs"),
];

const TITLES: [Column; 1] = [column("CONTAINER", "Container")];

/// What is shown of a container; the fields are the keys of docker's JSON, in its order.
#[derive(Debug, Serialize)]
struct View<'a> {
    #[serde(rename = "BlockIO")]
    block_io: String,
    #[serde(rename = "CPUPerc")]
    cpu: String,
    #[serde(rename = "Container")]
    container: &'a str,
    #[serde(rename = "ID")]
    id: &'a str,
    #[serde(rename = "MemPerc")]
    memory_share: String,
    #[serde(rename = "MemUsage")]
    memory: String,
    #[serde(rename = "Name")]
    name: &'a str,
    #[serde(rename = "NetIO")]
    net_io: String,
    #[serde(rename = "PIDs")]
    pids: String,
}

/// Prints the counters of the control groups, once or until Ctrl-C.
///
/// # Errors
///
/// When a service is not known, or a record cannot be read.
pub fn run(
    args: StatsArgs,
    context: &Context,
    terminal: &mut Terminal,
) -> Result<u8, CommandError> {
    context.require_root()?;
    let target = context.target(terminal)?;
    let project = target.name.as_str();
    target.check(&args.services, &context.containers(project)?)?;
    let signals = Signals::catch()?;
    let mut before = samples(&args, context, project)?.1;
    let mut drawn = 0;
    loop {
        if !before.is_empty() && pause(&signals)? {
            return Err(CommandError::silent(INTERRUPTED));
        }
        let (containers, now) = samples(&args, context, project)?;
        let text = args.render(&containers, &before, &now)?;
        if args.no_stream {
            terminal.print(text)?;
            return Ok(0);
        }
        let lines = text.lines().count();
        terminal.print(args.redraw(drawn, &text, terminal))?;
        drawn = lines;
        let idle = now.is_empty();
        before = now;
        if idle && pause(&signals)? {
            return Err(CommandError::silent(INTERRUPTED));
        }
    }
}

/// The containers that are shown, and what each has used so far, by id.
fn samples(
    args: &StatsArgs,
    context: &Context,
    project: &str,
) -> Result<(Vec<Container>, BTreeMap<String, Sample>), CommandError> {
    let mut containers = context.containers(project)?;
    containers.retain(|one| {
        (args.all || one.state.phase.is_up())
            && (args.services.is_empty() || args.services.contains(&one.record.service))
    });
    let mut samples = BTreeMap::new();
    for container in containers.iter().filter(|one| one.state.process.is_some()) {
        let place = context.launch(container)?.cgroup;
        if let (Some(place), Some(process)) = (place, &container.state.process) {
            samples.insert(container.record.id.clone(), Sample::take(&place, process.pid));
        }
    }
    Ok((containers, samples))
}

/// Waits for the next look; returns whether the user has had enough.
fn pause(signals: &Signals) -> Result<bool, CommandError> {
    let mut descriptors = [PollFd::new(signals, PollFlags::IN)];
    let pace = Timespec::try_from(PACE).ok();
    match poll(&mut descriptors, pace.as_ref()) {
        Ok(0) | Err(Errno::INTR) => Ok(false),
        Ok(_) => Ok(signals.take()?.is_some()),
        Err(error) => Err(CommandError::failed(format!("poll: {error}"))),
    }
}

impl StatsArgs {
    /// The text that takes the place of `drawn` lines on a terminal; elsewhere it follows them.
    fn redraw(&self, drawn: usize, text: &str, terminal: &Terminal) -> String {
        let in_place = matches!(self.format, Format::Usual | Format::Table(_));
        match terminal.is_terminal() && in_place && drawn > 0 {
            true => format!("\x1b[{drawn}A\x1b[J{text}"),
            false => text.to_owned(),
        }
    }

    fn render(
        &self,
        containers: &[Container],
        before: &BTreeMap<String, Sample>,
        now: &BTreeMap<String, Sample>,
    ) -> Result<String, CommandError> {
        let mut rows = Vec::new();
        for Container { record, .. } in containers {
            let id = if self.no_trunc { &record.id } else { record.short_id() };
            let view = View::new(id, &record.name, before.get(&record.id), now.get(&record.id));
            rows.push(Row::of(&view)?.labelled(&record.labels));
        }
        List { columns: &COLUMNS, titles: &TITLES, json: Json::Lines, rows }.render(&self.format)
    }
}

impl<'a> View<'a> {
    fn new(id: &'a str, name: &'a str, before: Option<&Sample>, now: Option<&Sample>) -> Self {
        let dashes = || "--".to_owned();
        let pair = |one: Option<u64>, other: Option<u64>, text: fn(u64) -> String| {
            let text = |bytes: Option<u64>| bytes.map_or_else(dashes, text);
            format!("{} / {}", text(one), text(other))
        };
        let share = |share: Option<f64>| share.map_or_else(dashes, |share| format!("{share:.2}%"));
        let stats = now.map(|now| &now.stats);
        let memory = stats.and_then(|stats| stats.memory);
        let limit = now.and_then(Sample::memory_limit);
        let cpu = now.and_then(|now| now.cpu_since(before?));
        Self {
            block_io: pair(
                stats.map(|stats| stats.block_read.unwrap_or(0)),
                stats.map(|stats| stats.block_written.unwrap_or(0)),
                |bytes| decimal(bytes, 3),
            ),
            cpu: share(cpu.or(now.map(|_| 0.0))),
            container: id,
            id,
            memory_share: share(part(memory, limit)),
            memory: pair(memory, limit, binary),
            name,
            net_io: pair(now.map(|now| now.received), now.map(|now| now.sent), |bytes| {
                decimal(bytes, 3)
            }),
            pids: stats.and_then(|stats| stats.pids).map_or_else(dashes, |pids| pids.to_string()),
        }
    }
}

/// `one` in hundredths of `all`.
#[expect(clippy::cast_precision_loss, reason = "two decimals are shown")]
fn part(one: Option<u64>, all: Option<u64>) -> Option<f64> {
    let (one, all) = (one?, all.filter(|all| *all > 0)?);
    Some(one as f64 * 100.0 / all as f64)
}

#[cfg(test)]
mod tests {
    use runtime::cgroup::Stats;

    use super::*;
    use crate::cli::ps::tests::container;
    use crate::record::Phase;

    fn sample(at_ms: u64, cpu_us: u64) -> Sample {
        let stats = Stats {
            memory: Some(3 << 20),
            memory_limit: Some(12 << 20),
            cpu_us: Some(cpu_us),
            pids: Some(7),
            ..Stats::default()
        };
        Sample { at: Duration::from_millis(at_ms), stats, received: 1234, sent: 0 }
    }

    #[test]
    fn the_table_is_that_of_docker() {
        let args: StatsArgs = crate::cli::testing::args(&["--all"]);
        let containers = [container("web", 1, Phase::Running), container("job", 2, Phase::Exited)];
        let id = containers[0].record.id.clone();
        let before = BTreeMap::from([(id.clone(), sample(1000, 500_000))]);
        let now = BTreeMap::from([(id, sample(3000, 1_500_000))]);
        let text = args.render(&containers, &before, &now).unwrap();
        insta::assert_snapshot!(text, @r"
        CONTAINER ID   NAME         CPU %     MEM USAGE / LIMIT   MEM %     NET I/O       BLOCK I/O   PIDS
        1f1f1f1f1f1f   shop-web-1   50.00%    3MiB / 12MiB        25.00%    1.23kB / 0B   0B / 0B     7
        2f2f2f2f2f2f   shop-job-2   --        -- / --             --        -- / --       -- / --     --
        ");
        let args: StatsArgs = crate::cli::testing::args(&["--format", "{{.Name}} {{.CPUPerc}}"]);
        let text = args.render(&containers[..1], &before, &now).unwrap();
        assert_eq!(text, "shop-web-1 50.00%\n");
    }
}
