//! `compose stats`.

pub mod history;
mod live;
pub mod sample;

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
use history::Histories;
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
    /// How to show them: `table`, `table TEMPLATE`, `json` or a Go template (default: `table`, with bars for the last
    /// samples on a terminal)
    #[arg(long, value_name = "FORMAT")]
    format: Option<Format>,
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
    let mut histories = Histories::default();
    let mut drawn = 0;
    loop {
        if !before.is_empty() && pause(&signals)? {
            return Err(CommandError::silent(INTERRUPTED));
        }
        let (containers, now) = samples(&args, context, project)?;
        histories.push(containers.iter().map(|one| one.record.id.as_str()), &before, &now);
        let text = match args.screen(terminal) {
            Some(size) => args.render_live(&containers, &before, &now, &histories, size)?,
            None => args.render(&containers, &before, &now)?,
        };
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
    let samples = samples_of(&containers, context)?;
    Ok((containers, samples))
}

/// What each of `containers` that runs has used so far, by id.
///
/// # Errors
///
/// When it was not written down where its control groups are.
pub fn samples_of(
    containers: &[Container],
    context: &Context,
) -> Result<BTreeMap<String, Sample>, CommandError> {
    let mut samples = BTreeMap::new();
    for container in containers.iter().filter(|one| one.state.process.is_some()) {
        let Some(launch) = context.launch_if_there(container)? else { continue };
        if let (Some(place), Some(process)) = (launch.cgroup, &container.state.process) {
            samples.insert(container.record.id.clone(), Sample::take(&place, process.pid));
        }
    }
    Ok(samples)
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
    /// Height and width of the terminal on which the table is drawn again and again; none where it is as everywhere.
    fn screen(&self, terminal: &Terminal) -> Option<(usize, usize)> {
        (self.format.is_none() && !self.no_stream).then(|| terminal.output_size()).flatten()
    }

    /// The text that takes the place of `drawn` lines on a terminal; elsewhere it follows them.
    fn redraw(&self, drawn: usize, text: &str, terminal: &Terminal) -> String {
        let in_place = matches!(self.format, None | Some(Format::Usual | Format::Table(_)));
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
        let rows = self.rows(containers, before, now)?;
        let list = List { columns: &COLUMNS, titles: &TITLES, json: Json::Lines, rows };
        list.render(self.format.as_ref().unwrap_or(&Format::Usual))
    }

    fn render_live(
        &self,
        containers: &[Container],
        before: &BTreeMap<String, Sample>,
        now: &BTreeMap<String, Sample>,
        histories: &Histories,
        size: (usize, usize),
    ) -> Result<String, CommandError> {
        let ids: Vec<&str> = containers.iter().map(|one| one.record.id.as_str()).collect();
        Ok(live::table(&self.rows(containers, before, now)?, &ids, histories, size))
    }

    fn rows(
        &self,
        containers: &[Container],
        before: &BTreeMap<String, Sample>,
        now: &BTreeMap<String, Sample>,
    ) -> Result<Vec<Row>, CommandError> {
        let row = |Container { record, .. }: &Container| {
            let id = if self.no_trunc { &record.id } else { record.short_id() };
            let view = View::new(id, &record.name, before.get(&record.id), now.get(&record.id));
            Ok(Row::of(&view)?.labelled(&record.labels))
        };
        containers.iter().map(row).collect()
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
    use crate::record::{Phase, ProcessName, Roots};

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
    fn a_container_that_goes_meanwhile_ends_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let roots = Roots::new(folder.path(), folder.path().join("run"));
        let mut gone = container("web", 1, Phase::Running);
        gone.state.process = ProcessName::of(i32::try_from(std::process::id()).unwrap()).ok();
        let context = Context::new(crate::cli::testing::args(&[]), roots.clone());
        assert!(samples_of(std::slice::from_ref(&gone), &context).unwrap().is_empty());
        // One that is there all the same, and cannot be read, is told.
        std::fs::create_dir_all(gone.record.paths(&roots).folder()).unwrap();
        gone.record.write(&roots).unwrap();
        samples_of(&[gone], &context).unwrap_err();
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

    /// The table on a terminal of this size, after the processor was used ever more.
    fn live(height: usize, width: usize) -> String {
        let args: StatsArgs = crate::cli::testing::args(&["--all"]);
        let containers = [container("web", 1, Phase::Running), container("job", 2, Phase::Exited)];
        let id = containers[0].record.id.clone();
        let looks = [0, 100_000, 400_000, 1_200_000, 2_200_000];
        let look = |at: usize| {
            let at_ms = u64::try_from(at).unwrap() * 1000;
            BTreeMap::from([(id.clone(), sample(at_ms, looks[at]))])
        };
        let mut histories = Histories::default();
        for at in 1..looks.len() {
            let ids = containers.iter().map(|one| one.record.id.as_str());
            histories.push(ids, &look(at - 1), &look(at));
        }
        args.render_live(&containers, &look(3), &look(4), &histories, (height, width)).unwrap()
    }

    #[test]
    fn the_table_of_a_terminal_has_bars_where_it_has_room() {
        insta::assert_snapshot!("live_140", live(24, 140));
        insta::assert_snapshot!("live_112", live(24, 112));
        let usual = live(24, 105);
        assert!(!usual.contains("HISTORY"), "{usual}");
        assert!(usual.contains("CONTAINER ID"), "{usual}");
        insta::assert_snapshot!("live_80", live(24, 80));
        insta::assert_snapshot!("live_30", live(3, 30));
        for width in 1..200 {
            let text = live(24, width);
            assert!(text.lines().all(|line| line.chars().count() <= width), "{width}\n{text}");
        }
    }
}
