//! The `compose` binary; see [`compose::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    compose::cli::main()
}
