//! What is known about one container, in sentences.

use std::fmt;
use std::path::Path;

use jiff::Timestamp;
use runtime::exit::ExitStatus;
use runtime::log::Reader;

use super::access::is_missing;
use crate::cli::error::CommandError;
use crate::cli::terminal::table::since;
use crate::record::{Container, HealthStatus, MountSource, Phase, Roots};

/// One answer: a sentence, what speaks for it, what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The sentence.
    pub what: String,
    /// Whether all is well.
    pub ready: bool,
    /// What speaks for it.
    pub lines: Vec<String>,
    /// What to do; empty if nothing.
    pub mend: String,
}

impl Answer {
    /// That something is not well.
    pub fn new(what: String) -> Self {
        Self { what, ready: false, lines: Vec::new(), mend: String::new() }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.what)?;
        for line in &self.lines {
            writeln!(f, "  {line}")?;
        }
        if self.mend.is_empty() { Ok(()) } else { writeln!(f, "  try: {}", self.mend) }
    }
}

/// What the records and the kernel say about `container`.
pub fn of(container: &Container, now: Timestamp) -> Answer {
    let Container { record, state } = container;
    let (name, service) = (&record.name, &record.service);
    let ago = |at: Option<Timestamp>| at.map(|at| format!(" {} ago", since(at, now)));
    let finished = ago(state.finished).unwrap_or_default();
    let mut answer = Answer::new(String::new());
    match state.phase {
        Phase::Running => running(container, now, &mut answer),
        Phase::Paused => {
            answer.what = format!("{name} is paused");
            answer.mend = format!("`compose unpause {service}`");
        }
        Phase::Created => {
            answer.what = format!("{name} was created and never started");
            answer.mend = format!("`compose start {service}`");
        }
        Phase::Restarting => {
            answer.what = format!(
                "{name} ended{finished} and is about to be started again, for the {}. time",
                state.restarts.saturating_add(1)
            );
            answer.lines.extend(ending(container));
            answer.mend = format!("`compose logs {service}` shows all that it said");
        }
        Phase::Exited | Phase::Dead if state.stop_requested => {
            answer.what = format!("{name} was stopped{finished} by a command");
            answer.lines.extend(ending(container));
            answer.mend = format!("`compose start {service}`");
        }
        Phase::Exited | Phase::Dead => {
            answer.what = format!("{name} ended{finished}");
            answer.lines.extend(ending(container));
            answer.mend = format!("`compose logs {service}` shows all that it said");
        }
    }
    if !answer.ready {
        if let Some(error) = &state.error {
            answer.lines.push(format!("its last start failed: {error}"));
        }
        answer.lines.extend(missing_sources(container));
    }
    answer
}

fn running(container: &Container, now: Timestamp, answer: &mut Answer) {
    let Container { record, state } = container;
    let name = &record.name;
    let up = state.started.map(|at| format!(" for {}", since(at, now))).unwrap_or_default();
    let Some(health) = &state.health else {
        answer.what = format!("{name} has been running{up}");
        answer.ready = true;
        return;
    };
    match health.status {
        HealthStatus::Healthy => {
            answer.what = format!("{name} has been running{up} and is healthy");
            answer.ready = true;
        }
        HealthStatus::Starting => {
            answer.what =
                format!("{name} has been running{up}; its health check has not succeeded yet");
        }
        HealthStatus::Unhealthy => {
            let streak = health.failing_streak;
            answer.what = format!("{name} is unhealthy: {streak} probes in a row failed");
        }
    }
    if let (false, Some(probe)) = (answer.ready, health.log.last()) {
        let code = match probe.code {
            Some(code) => format!("exit code {code}"),
            None => "no answer in time".to_owned(),
        };
        answer.lines.push(format!("the last probe, {} ago: {code}", since(probe.end, now)));
        answer.lines.extend(probe.output.lines().take(5).map(|line| format!("| {line}")));
        answer.mend =
            format!("`compose exec {} …` with the command of the health check", record.service);
    }
}

/// How the last run ended, and what such an end mostly means.
fn ending(container: &Container) -> Vec<String> {
    let state = &container.state;
    if state.oom {
        let limit = "it needed more memory than its limit, and the kernel ended it";
        return vec![format!("{limit}: raise `mem_limit`")];
    }
    let Some(exit) = state.exit else {
        return vec!["nobody saw how it ended: the machine went down while it ran".to_owned()];
    };
    vec![format!("{}{}", said(exit), meaning(exit, state.stop_requested))]
}

fn said(exit: ExitStatus) -> String {
    match (exit.code, exit.signal) {
        (Some(code), _) => format!("its exit code was {code}"),
        (None, Some(signal)) => format!("signal {signal} ended it"),
        (None, None) => "how it ended is not known".to_owned(),
    }
}

fn meaning(exit: ExitStatus, requested: bool) -> &'static str {
    match (exit.shell_code(), requested) {
        (0, _) => ": its command was done",
        (125, _) => ": it could not be set up",
        (126, _) => {
            ": its command is there, but may not be executed (permission, or not a program)"
        }
        (127, _) => ": its command was not found in the image",
        (137, true) => ": it did not obey the stop signal in time",
        (137, false) => ": it was killed from outside",
        (139, _) => ": it crashed (segmentation fault)",
        (134, _) => ": it aborted itself",
        (143, _) => ": it obeyed SIGTERM",
        _ => "",
    }
}

/// Sources of bind mounts that are not there.
fn missing_sources(container: &Container) -> Vec<String> {
    let mounts = container.record.mounts.iter().filter_map(|mount| match &mount.source {
        MountSource::Bind { path } if !Path::new(path).exists() => Some((path, &mount.target)),
        _ => None,
    });
    mounts.map(|(path, target)| is_missing(path, target)).collect()
}

/// The last lines that it said.
///
/// # Errors
///
/// When its log cannot be read.
pub fn last_words(
    container: &Container,
    roots: &Roots,
    count: usize,
) -> Result<Vec<String>, CommandError> {
    let failed = |error: std::io::Error| {
        CommandError::failed(format!("cannot read the log of {}: {error}", container.record.name))
    };
    let folder = container.record.paths(roots).log();
    if count == 0 || !folder.exists() {
        return Ok(Vec::new());
    }
    let mut reader = Reader::open(&folder).map_err(failed)?;
    reader.tail(count).map_err(failed)?;
    let mut lines = Vec::new();
    while let Some(line) = reader.next_line().map_err(failed)? {
        lines.push(format!("| {}", String::from_utf8_lossy(&line.bytes).trim_end()));
    }
    if lines.is_empty() {
        return Ok(lines);
    }
    lines.insert(0, "the last it said:".to_owned());
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::ps::tests::container;
    use crate::record::{Health, ProbeRecord};

    fn told(change: impl FnOnce(&mut Container)) -> String {
        let mut container = container("web", 1, Phase::Exited);
        container.state.finished = Some("2026-11-20T10:01:00Z".parse().unwrap());
        change(&mut container);
        of(&container, "2026-11-20T10:05:00Z".parse().unwrap()).to_string()
    }

    #[test]
    fn each_end_has_its_reason() {
        let exit =
            |code| move |one: &mut Container| one.state.exit = Some(ExitStatus::exited(code));
        assert_eq!(
            told(exit(127)),
            "shop-web-1 ended 4 minutes ago\n  its exit code was 127: its command was not found in the image\n  try: `compose logs web` shows all that it said\n"
        );
        assert!(told(exit(0)).contains("its command was done"));
        let oom = told(|one| {
            one.state.oom = true;
            one.state.exit = Some(ExitStatus::signaled(9));
        });
        assert!(oom.contains("more memory than its limit"), "{oom}");
        let stopped = told(|one| {
            one.state.stop_requested = true;
            one.state.exit = Some(ExitStatus::signaled(9));
        });
        assert!(stopped.contains("was stopped 4 minutes ago by a command"), "{stopped}");
        assert!(stopped.contains("did not obey the stop signal"), "{stopped}");
        let failed = told(|one| one.state.error = Some("port 80 is in use by nginx".to_owned()));
        assert!(failed.contains("its last start failed: port 80 is in use by nginx"), "{failed}");
        let bind = told(|one| {
            let source = MountSource::Bind { path: "/nonexistent/x".into() };
            one.record.mounts[0].source = source;
        });
        assert!(
            bind.contains("/nonexistent/x is not there; it is to be mounted at /data"),
            "{bind}"
        );
    }

    #[test]
    fn an_unhealthy_container_shows_its_last_probe() {
        let mut sick = container("web", 1, Phase::Running);
        let at = "2026-11-20T10:04:00Z".parse().unwrap();
        sick.state.health = Some(Health {
            status: HealthStatus::Unhealthy,
            failing_streak: 3,
            log: vec![ProbeRecord {
                start: at,
                end: at,
                code: Some(7),
                output: "refused\n".to_owned(),
            }],
        });
        let answer = of(&sick, "2026-11-20T10:05:00Z".parse().unwrap());
        assert!(!answer.ready);
        assert_eq!(answer.what, "shop-web-1 is unhealthy: 3 probes in a row failed");
        assert_eq!(answer.lines, ["the last probe, About a minute ago: exit code 7", "| refused"]);
        sick.state.health = None;
        assert!(of(&sick, "2026-11-20T10:05:00Z".parse().unwrap()).ready);
    }
}
