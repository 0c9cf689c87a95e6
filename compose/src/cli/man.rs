//! `compose man`: the manual pages, from the words of the help texts.

use std::path::{Path, PathBuf};

use super::context::Context;
use super::error::CommandError;
use super::terminal::Terminal;

/// Write the manual pages, one for each command, into a folder
#[derive(Debug, clap::Args)]
pub struct ManArgs {
    /// The folder, such as /usr/local/share/man/man1
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
}

/// Writes `compose.1`, `compose-up.1` and so on.
///
/// # Errors
///
/// When a page cannot be written.
pub fn run(args: ManArgs, _: &Context, terminal: &mut Terminal) -> Result<u8, CommandError> {
    write(&args.folder).map_err(|error| {
        CommandError::failed(format!("cannot write to {}: {error}", args.folder.display()))
            .help("make the folder first, or choose one that you may write to")
    })?;
    terminal.note(&format!("Manual pages are in {}", args.folder.display()));
    Ok(0)
}

fn write(folder: &Path) -> std::io::Result<()> {
    clap_mangen::generate_to(super::command(), folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_command_has_a_page() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path()).unwrap();
        let page = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
        assert!(page("compose.1").contains("compose"));
        assert!(page("compose-up.1").contains("force\\-recreate"));
        assert!(page("compose-network-create.1").contains("subnet"));
    }
}
