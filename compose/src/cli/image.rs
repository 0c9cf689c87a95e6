//! `compose image`: the commands for images, one file each.
//!
//! They read and write the store directly; no supervisor is asked.

mod error;
mod history;
mod import;
mod inspect;
mod load;
mod ls;
mod meter;
pub mod prune;
mod pull;
mod push;
mod rm;
mod save;
mod search;
mod tag;
mod verify;

use clap::Subcommand;
use images::Store;

use super::context::Context;
use super::error::CommandError;
use super::terminal::Terminal;

/// Manage images
#[derive(Debug, clap::Args)]
pub struct ImageArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    History(history::HistoryArgs),
    Import(import::ImportArgs),
    Inspect(inspect::InspectArgs),
    Load(load::LoadArgs),
    #[command(visible_alias = "list")]
    Ls(ls::LsArgs),
    Prune(prune::PruneArgs),
    Pull(pull::PullArgs),
    Push(push::PushArgs),
    #[command(visible_alias = "remove")]
    Rm(rm::RmArgs),
    Save(save::SaveArgs),
    Search(search::SearchArgs),
    Tag(tag::TagArgs),
    Verify(verify::VerifyArgs),
}

/// Carries out one of the commands for images.
///
/// # Errors
///
/// When the words are wrong, an archive is, or the store resists.
pub fn run(
    args: ImageArgs,
    context: &Context,
    terminal: &mut Terminal,
) -> Result<u8, CommandError> {
    context.require_root()?;
    if context.global().dry_run && !matches!(args.command, Command::Inspect(_) | Command::Ls(_)) {
        return Err(CommandError::usage("--dry-run is for projects, not for images")
            .help("leave the flag out"));
    }
    let store = Store::open(&context.roots().images())?;
    match args.command {
        Command::History(args) => history::run(&args, &store, terminal),
        Command::Import(args) => import::run(args, &store, terminal),
        Command::Inspect(args) => inspect::run(&args, &store, terminal),
        Command::Load(args) => load::run(&args, &store, terminal),
        Command::Ls(args) => ls::run(&args, &store, terminal),
        Command::Prune(args) => prune::run(&args, context, &store, terminal),
        Command::Pull(args) => pull::run(args, context, &store, terminal),
        Command::Push(args) => push::run(args, context, &store, terminal),
        Command::Rm(args) => rm::run(&args, context, &store, terminal),
        Command::Save(args) => save::run(&args, &store),
        Command::Search(args) => search::run(&args, terminal),
        Command::Tag(args) => tag::run(&args, &store),
        Command::Verify(args) => verify::run(&args, &store, terminal),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::path::Path;

    use super::*;
    use crate::cli::testing::{args, refusal};

    /// A store with an image that is called `app`, `app:v1` and `localhost:5000/app`.
    pub(crate) fn store() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        store.import(&archive()[..], &images::Import::default()).unwrap();
        let id = store.list().unwrap().images[0].id.to_string();
        for name in ["app", "app:v1", "localhost:5000/app"] {
            store.tag(&id, &name.parse().unwrap()).unwrap();
        }
        (dir, store)
    }

    /// A tar archive with one file, without a library: a header, a block of data, two blocks of zeros.
    fn archive() -> Vec<u8> {
        let mut header = vec![0u8; 512];
        let fields: [(usize, &[u8]); 6] = [
            (0, b"file"),
            (100, b"0000644"),
            (108, b"0000000"),
            (116, b"0000000"),
            (124, b"00000000005"),
            (148, b"        "),
        ];
        for (at, field) in fields {
            header[at..at + field.len()].copy_from_slice(field);
        }
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        header.extend_from_slice(b"hello");
        header.resize(512 * 4, 0);
        header
    }

    #[test]
    fn words_are_those_of_docker() {
        let import: import::ImportArgs = args(&[
            "root.tar.zst",
            "mysql:8",
            "--change",
            "CMD [\"mysqld\"]",
            "-c",
            "EXPOSE 3306",
            "--base",
            "debian",
        ]);
        assert!(format!("{import:?}").contains("8"));
        assert!(refusal::<import::ImportArgs>(&["-", "MySQL"]).unwrap().contains("lower case"));
        assert!(
            refusal::<import::ImportArgs>(&["-", "x", "-c", "RUN x"])
                .unwrap()
                .contains("`RUN` is not one of")
        );
        args::<load::LoadArgs>(&["-i", "images.tar", "--platform", "linux/arm64"]);
        args::<load::LoadArgs>(&[]);
        assert!(refusal::<load::LoadArgs>(&["--platform", "x"]).is_some());
        assert!(refusal::<rm::RmArgs>(&[]).is_some());
        args::<tag::TagArgs>(&["mysql", "mysql:mine"]);
    }

    #[test]
    fn every_error_has_advice() {
        let (dir, store) = store();
        let id = store.list().unwrap().images[0].id.hex();
        let errors: Vec<CommandError> = vec![
            store.import(&b"x"[..], &images::Import::default()).unwrap_err().into(),
            store
                .import(&b""[..], &images::Import { base: Some("none"), ..Default::default() })
                .unwrap_err()
                .into(),
            store.load(&archive()[..], &images::Platform::host()).unwrap_err().into(),
            store.find("Bad").unwrap_err().into(),
            store.find("rootfs:/none").unwrap_err().into(),
            store.tag("none", &"x".parse().unwrap()).unwrap_err().into(),
            store.remove(&id, images::Force::No, |_| None).unwrap_err().into(),
            error::not_found("none"),
            error::unreadable(Path::new("/none"), &std::io::ErrorKind::NotFound.into()),
            Store::open(&dir.path().join("oci-layout")).unwrap_err().into(),
        ];
        for error in errors {
            assert!(error.failures.iter().all(|failure| failure.help.is_some()), "{error:?}");
        }
    }
}
