//! `compose network`: the commands for networks, one file each.
//!
//! They read and write the store directly; no supervisor is asked.

mod connect;
mod create;
mod error;
mod filter;
mod inspect;
mod ls;
pub mod prune;
mod rm;
mod view;

use clap::Subcommand;
use network::{NetworkName, Record, Store};

use super::context::Context;
use super::error::CommandError;
use super::terminal::Terminal;
use super::users::Users;
use crate::record::ContainerRecord;

/// Manage networks
#[derive(Debug, clap::Args)]
pub struct NetworkArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Connect(connect::ConnectArgs),
    Disconnect(connect::DisconnectArgs),
    Create(create::CreateArgs),
    Inspect(inspect::InspectArgs),
    #[command(visible_alias = "list")]
    Ls(ls::LsArgs),
    Prune(prune::PruneArgs),
    #[command(visible_alias = "remove")]
    Rm(rm::RmArgs),
}

/// Carries out one of the commands for networks.
///
/// # Errors
///
/// When the words are wrong, a network is in use, or the store resists.
pub fn run(
    args: NetworkArgs,
    context: &Context,
    terminal: &mut Terminal,
) -> Result<u8, CommandError> {
    context.require_root()?;
    let roots = context.roots();
    let store = Store::open(&roots.networks(), &roots.network_namespaces())?;
    match args.command {
        Command::Connect(args) => connect::run(args, context, &store, terminal),
        Command::Disconnect(args) => connect::run_disconnect(args, context, &store, terminal),
        Command::Create(args) => create::run(args, context, &store, terminal),
        Command::Inspect(args) => inspect::run(&args, &store, terminal),
        Command::Ls(args) => ls::run(&args, &users(context)?, &store, terminal),
        Command::Prune(args) => prune::run(&args, &users(context)?, context, &store, terminal),
        Command::Rm(args) => rm::run(&args, context, &store, terminal),
    }
}

/// The containers that are to be on each network.
///
/// # Errors
///
/// When a record cannot be read.
pub fn users(context: &Context) -> Result<Users, CommandError> {
    Users::read(context, networks_of)
}

/// The networks of a container.
fn networks_of(record: &ContainerRecord) -> Vec<&str> {
    record.networks.iter().map(|endpoint| endpoint.network.as_str()).collect()
}

/// The network with this name, or whose id begins so.
fn find(store: &Store, wanted: &str) -> Result<Option<Record>, CommandError> {
    if let Ok(name) = wanted.parse::<NetworkName>()
        && let Some(record) = store.record(&name)?
    {
        return Ok(Some(record));
    }
    let mut found = store.list()?;
    found.retain(|record| wanted.len() >= 4 && view::id(record).starts_with(wanted));
    Ok(if found.len() == 1 { found.pop() } else { None })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::ps::tests::container;
    use crate::record::Phase;

    #[test]
    fn stopped_containers_are_users_and_ids_are_names() {
        let all = [container("db", 1, Phase::Exited), container("web", 1, Phase::Running)];
        let users = Users::among(&all, networks_of);
        assert_eq!(users.of("shop_default"), ["shop-db-1", "shop-web-1"]);
        assert!(users.of("other").is_empty());
    }
}
