//! `config` beside docker compose: the recorded answers of `../shared/conformance`, where that folder is present.
//!
//! `conformance/differences.txt` lists the cases in which we differ on purpose, each with its reason.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::path::Path;
use std::time::Duration;

use scenarios::{Need, Stage, Verdict, need, stage};

use crate::Scenario;

/// A thousand short runs on a busy machine.
const PATIENCE: Duration = Duration::from_secs(900);

pub(super) fn all() -> Vec<Scenario> {
    vec![Scenario::needing(
        "config_answers_as_docker_compose_does",
        &[Need::Root, Need::Conformance],
        answers,
    )]
}

fn answers(on: &Stage) -> Verdict {
    let folder = need::conformance().ok_or("there is no corpus")?;
    let report = on.folder.join("report.json");
    let mut runner = on.command("python3");
    runner.arg(folder.join("run.py")).arg("--quiet");
    runner.arg("--compose").arg(stage::binary()?).arg("--report").arg(&report);
    // Its exit code says only that some case failed.
    let run = on.run_within(runner, None, PATIENCE);
    let report =
        fs::read(&report).map_err(|error| format!("no report: {error}\n{}", run.stderr))?;
    let report: serde_json::Value = serde_json::from_slice(&report)?;
    let known = differences()?;
    let mut surprises = Vec::new();
    let mut seen = 0;
    for result in report["results"].as_array().ok_or("a report without results")? {
        let [suite, case] = ["suite", "case"].map(|key| result[key].as_str().unwrap_or_default());
        let name = format!("{suite}/{case}");
        let passes = result["pass"] == true;
        seen += usize::from(known.contains_key(&name));
        match (passes, known.contains_key(&name)) {
            (false, false) => surprises.push(format!("{name} fails: {}", result["diff"])),
            (true, true) => surprises.push(format!("{name} passes and is listed as a difference")),
            _ => {}
        }
    }
    if seen != known.len() {
        surprises.push(format!("{} listed differences are no cases", known.len() - seen));
    }
    if surprises.is_empty() { Ok(()) } else { Err(surprises.join("\n").into()) }
}

/// The cases in which we differ on purpose, with their reasons.
fn differences() -> Result<BTreeMap<String, String>, Box<dyn Error>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("conformance/differences.txt");
    let text = fs::read_to_string(path)?;
    let lines = text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
    lines
        .map(|line| match line.split_once(' ') {
            Some((case, reason)) if case.contains('/') => Ok((case.to_owned(), reason.to_owned())),
            _ => Err(format!("`{line}` is no `SUITE/CASE REASON`").into()),
        })
        .collect()
}
