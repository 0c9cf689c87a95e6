//! `compose volume`: the commands for volumes, one file each.
//!
//! They read and write the store directly; no supervisor is asked. Which containers have a volume is read from the
//! records of all projects.

mod create;
mod error;
mod filter;
mod inspect;
pub mod ls;
mod prune;
mod rm;

use std::collections::BTreeMap;

use clap::Subcommand;
use volumes::Store;

use super::context::Context;
use super::error::CommandError;
use super::terminal::Terminal;
use crate::record::{Container, MountSource, list};

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

/// The names of the containers that have a volume, by its name.
#[derive(Debug, Default)]
pub struct Users(BTreeMap<String, Vec<String>>);

impl Users {
    /// Those of the volume called `name`.
    fn of(&self, name: &str) -> &[String] {
        self.0.get(name).map_or(&[], Vec::as_slice)
    }
}

/// Stopped containers count as well: they want their volumes when they are started again.
fn users(context: &Context) -> Result<Users, CommandError> {
    Ok(claims(&list::all_containers(context.roots())?.containers))
}

fn claims(containers: &[Container]) -> Users {
    let mut users = Users::default();
    for Container { record, .. } in containers {
        for mount in &record.mounts {
            if let MountSource::Volume { name, .. } = &mount.source {
                let users = users.0.entry(name.clone()).or_default();
                // A container may have the same volume at several places.
                if users.last() != Some(&record.name) {
                    users.push(record.name.clone());
                }
            }
        }
    }
    users
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
        let users = claims(&[db, container("web", 1, Phase::Running)]);
        assert_eq!(users.of("kept").len(), 1);
        assert!(users.of("other").is_empty());
    }
}
