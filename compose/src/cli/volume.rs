//! `compose volume`: the commands for volumes, one file each.
//!
//! They read and write the store directly; no supervisor is asked. Which containers have a volume is read from the
//! records of all projects.

mod create;
mod error;
mod filter;
mod inspect;
pub mod ls;
pub mod prune;
mod rm;

use clap::Subcommand;
use volumes::Store;

use super::context::Context;
use super::error::CommandError;
use super::terminal::Terminal;
use super::users::Users;
use crate::record::{ContainerRecord, MountSource};

/// Manage volumes
#[derive(Debug, clap::Args)]
pub struct VolumeArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Create(create::CreateArgs),
    Inspect(inspect::InspectArgs),
    #[command(visible_alias = "list")]
    Ls(ls::LsArgs),
    Prune(prune::PruneArgs),
    #[command(visible_alias = "remove")]
    Rm(rm::RmArgs),
}

/// Carries out one of the commands for volumes.
///
/// # Errors
///
/// When the words are wrong, a volume is in use, or the store resists.
pub fn run(
    args: VolumeArgs,
    context: &Context,
    terminal: &mut Terminal,
) -> Result<u8, CommandError> {
    context.require_root()?;
    let store = Store::open(&context.roots().volumes())?;
    let dry = context.global().dry_run;
    match args.command {
        Command::Create(args) if dry => create::dry_run(&args, terminal),
        Command::Create(args) => create::run(args, &store, terminal),
        Command::Inspect(args) => inspect::run(&args, &store, terminal),
        Command::Ls(args) => ls::run(&args, &users(context)?, &store, terminal),
        Command::Prune(args) if dry => prune::dry_run(&args, &users(context)?, &store, terminal),
        Command::Prune(args) => prune::run(&args, &users(context)?, &store, terminal),
        Command::Rm(args) if dry => rm::dry_run(&args, &users(context)?, &store, terminal),
        Command::Rm(args) => rm::run(&args, &users(context)?, &store, terminal),
    }
}

/// The containers that have each volume.
///
/// # Errors
///
/// When a record cannot be read.
pub fn users(context: &Context) -> Result<Users, CommandError> {
    Users::read(context, volumes_of)
}

/// The volumes of a container.
fn volumes_of(record: &ContainerRecord) -> Vec<&str> {
    record
        .mounts
        .iter()
        .filter_map(|mount| match &mount.source {
            MountSource::Volume { name, .. } => Some(name.as_str()),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::cli::ps::tests::container;
    use crate::record::{MountRecord, Phase};

    #[test]
    fn stopped_containers_hold_their_volumes() {
        let mut db = container("db", 1, Phase::Exited);
        db.record.mounts.push(MountRecord {
            source: MountSource::Volume { name: "kept".into(), anonymous: false },
            target: PathBuf::from("/data"),
            read_only: false,
        });
        let users = Users::among(&[db, container("web", 1, Phase::Running)], volumes_of);
        assert_eq!(users.of("kept").len(), 1);
        assert!(users.of("other").is_empty());
    }
}
