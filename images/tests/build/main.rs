//! Images built from Dockerfiles, with real containers: needs root, and a static busybox for the base image.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "all of this is tests, which clippy knows of functions marked as such alone"
)]

mod bases;
mod cache;
mod copying;
mod crash;
mod full;
mod halting;
mod hostile;
mod language;
mod running;
mod shared;
mod world;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Completion, Failed, Trial};

fn main() -> ExitCode {
    let mut words = std::env::args_os().skip(1);
    match words.next().as_deref().and_then(|word| word.to_str()) {
        // This program attends its own containers.
        Some("once") => {
            return match runtime::once::main() {
                Ok(()) => ExitCode::SUCCESS,
                Err(_) => ExitCode::FAILURE,
            };
        }
        Some("build") => return crash::command(words),
        Some("full") => return full::command(words),
        _ => {}
    }
    let missing = probe().err();
    let cases = [
        language::CASES,
        copying::CASES,
        running::CASES,
        cache::CASES,
        shared::CASES,
        bases::CASES,
        hostile::CASES,
        halting::CASES,
        crash::CASES,
        full::CASES,
    ]
    .concat();
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

/// Whether images can be built here; a machine on which they have to can say so with `TEST_REQUIRE=root`.
fn probe() -> Result<(), String> {
    let required = std::env::var("TEST_REQUIRE")
        .is_ok_and(|words| words.split(',').any(|word| word == "root"));
    let reason = if !rustix::process::geteuid().is_root() {
        "needs root"
    } else if world::busybox().is_none() {
        "needs busybox-static"
    } else {
        return Ok(());
    };
    if required { Ok(()) } else { Err(reason.to_owned()) }
}
