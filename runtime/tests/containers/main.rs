//! Real containers through a real keeper: needs root. The layers are the machine's own root, the changes in memory.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "all of this is tests, which clippy knows of functions marked as such alone"
)]

mod bench;
mod build;
mod confinement;
mod crash;
mod exec;
mod lifecycle;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Completion, Failed, Trial};

fn main() -> ExitCode {
    let mut words = std::env::args_os().skip(1);
    // This program is its own keeper and supervisor: both are started from a sealed copy of it.
    match words.next().as_deref().and_then(|word| word.to_str()) {
        Some("keeper") => {
            return finish(runtime::keeper::main(words).map_err(|error| error.to_string()));
        }
        Some("launch") => return finish(crash::command(words)),
        Some("exec") => return exec::command(words),
        Some("supervisor") => {
            return finish(crash::supervisor().map_err(|error| error.to_string()));
        }
        _ => {}
    }
    let missing = probe().err();
    let cases =
        [lifecycle::CASES, confinement::CASES, exec::CASES, crash::CASES, bench::CASES].concat();
    let trials = cases.into_iter().map(|(name, case)| {
        let missing = missing.clone();
        Trial::ignorable_test(name, move || match missing {
            Some(reason) => Ok(Completion::ignored_with(reason)),
            None => case().map(|()| Completion::Completed),
        })
    });
    libtest_mimic::run(&Arguments::from_args(), trials.collect()).exit_code()
}

/// A name and what it runs.
type Case = (&'static str, fn() -> Result<(), Failed>);

fn finish(outcome: Result<(), String>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether containers can be started here at all; a machine on which they have to can say so with `TEST_REQUIRE=root`.
fn probe() -> Result<(), String> {
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let required = std::env::var("TEST_REQUIRE")
        .is_ok_and(|words| words.split(',').any(|word| word == "root"));
    if required { Ok(()) } else { Err("needs root".to_owned()) }
}
