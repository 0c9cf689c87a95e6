//! `compose doctor`: what this machine lacks, each with the command that mends it.

mod checks;

use serde::Serialize;

use super::context::Context;
use super::error::{CommandError, FAILED};
use super::format::{Column, Format, Json, List, Row, column};
use super::terminal::Terminal;

/// Look whether this machine has what containers need
#[derive(Debug, clap::Args)]
pub struct DoctorArgs {
    /// How to show it: `table`, `table TEMPLATE`, `json` or a Go template (default: words)
    #[arg(long, value_name = "FORMAT")]
    format: Option<Format>,
}

/// How well something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Good,
    /// Some projects will not work, or not as they could.
    Poor,
    /// Nothing works.
    Bad,
}

/// What was found about one thing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Finding {
    /// The thing.
    pub what: &'static str,
    /// How well it is.
    pub verdict: Verdict,
    /// What was seen.
    pub seen: String,
    /// The command that mends it; empty if nothing has to be.
    pub mend: String,
}

const COLUMNS: [Column; 4] = [
    column("WHAT", "What"),
    column("VERDICT", "Verdict"),
    column("SEEN", "Seen"),
    column("MEND", "Mend"),
];

/// Prints the findings; ends with 1 if containers cannot run here.
///
/// # Errors
///
/// When standard output does not take them.
pub fn run(
    args: DoctorArgs,
    context: &Context,
    terminal: &mut Terminal,
) -> Result<u8, CommandError> {
    let findings = checks::all(context.roots());
    match &args.format {
        None => terminal.print(words(&findings))?,
        Some(format) => {
            let rows = findings.iter().map(Row::of).collect::<Result<_, _>>()?;
            let list = List { columns: &COLUMNS, titles: &[], json: Json::Lines, rows };
            terminal.print(list.render(format)?)?;
        }
    }
    let bad = findings.iter().any(|finding| finding.verdict == Verdict::Bad);
    Ok(if bad { FAILED } else { 0 })
}

fn words(findings: &[Finding]) -> String {
    let width = findings.iter().map(|finding| finding.what.len()).max().unwrap_or(0);
    findings
        .iter()
        .map(|finding| {
            let mark = match finding.verdict {
                Verdict::Good => "✔",
                Verdict::Poor => "!",
                Verdict::Bad => "✘",
            };
            let mend = match finding.mend.as_str() {
                "" => String::new(),
                mend => format!("  {:width$}  mend: {mend}\n", ""),
            };
            format!("{mark} {:width$}  {}\n{mend}", finding.what, finding.seen)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_bad_has_its_mend_below_it() {
        let finding = |what, verdict, mend: &str| Finding {
            what,
            verdict,
            seen: "as seen".to_owned(),
            mend: mend.to_owned(),
        };
        let text = words(&[
            finding("kernel", Verdict::Good, ""),
            finding("watches", Verdict::Poor, "sysctl -w a=1"),
        ]);
        assert_eq!(
            text,
            "✔ kernel   as seen\n! watches  as seen\n           mend: sysctl -w a=1\n"
        );
    }
}
