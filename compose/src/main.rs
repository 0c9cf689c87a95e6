//! The `compose` binary: the command line, and the two processes behind a project; see [`compose::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut words = std::env::args_os().skip(1);
    match words.next().as_deref().and_then(std::ffi::OsStr::to_str) {
        // These are started by the other commands only and are in no help.
        Some("keeper") => end(runtime::keeper::main(words)),
        Some("once") => end(runtime::once::main()),
        Some("supervisor") => end(compose::supervisor::main(words)),
        _ => compose::cli::main(),
    }
}

/// Both log to the file that is their standard error.
fn end<E: std::error::Error + 'static>(result: Result<(), E>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The supervisor has set up the log already, unless that is what it could not do.
            let _has_one = tracing_subscriber::fmt().with_writer(std::io::stderr).try_init();
            tracing::error!("{}", compose::event::Failure::new(&error).message);
            ExitCode::FAILURE
        }
    }
}
