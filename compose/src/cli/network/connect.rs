//! `compose network connect` and `compose network disconnect`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use network::Store;

use super::create::pair;
use super::error::missing;
use super::find;
use crate::api::{ConnectRequest, DisconnectRequest, path};
use crate::cli::context::Context;
use crate::cli::error::CommandError;
use crate::cli::session::Session;
use crate::cli::terminal::Terminal;
use crate::record::Container;
use crate::record::list::{self, FindError};

/// Put a container on a network
#[derive(Debug, clap::Args)]
pub struct ConnectArgs {
    /// The network, by name or id
    #[arg(value_name = "NETWORK")]
    network: String,
    /// The container, by name or id
    #[arg(value_name = "CONTAINER")]
    container: String,
    /// A further name by which others on the network find it
    #[arg(long, value_name = "NAME")]
    alias: Vec<String>,
    /// Its address
    #[arg(long, value_name = "ADDRESS")]
    ip: Option<Ipv4Addr>,
    /// Its IPv6 address
    #[arg(long, value_name = "ADDRESS")]
    ip6: Option<Ipv6Addr>,
    /// The default routes of the container go out by the network for which this is highest
    #[arg(long, value_name = "NUMBER", default_value_t = 0, allow_negative_numbers = true)]
    gw_priority: i64,
    /// A further address for the link only, of 169.254.0.0/16 or fe80::/10
    #[arg(long, value_name = "ADDRESS")]
    link_local_ip: Vec<IpAddr>,
    /// Another container on the network, by a name that only this one has for it
    #[arg(long, value_name = "CONTAINER[:NAME]", value_parser = link)]
    link: Vec<(String, String)>,
    /// An option of its interface
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    driver_opt: Vec<(String, String)>,
}

/// The name, and whom it stands for.
#[expect(clippy::unnecessary_wraps, reason = "the shape of a value parser")]
fn link(text: &str) -> Result<(String, String), String> {
    let (container, name) = text.split_once(':').unwrap_or((text, text));
    Ok((name.to_owned(), container.to_owned()))
}

/// Take a container off a network
#[derive(Debug, clap::Args)]
pub struct DisconnectArgs {
    /// The network, by name or id
    #[arg(value_name = "NETWORK")]
    network: String,
    /// The container, by name or id
    #[arg(value_name = "CONTAINER")]
    container: String,
    /// Do not complain if it is not on the network
    #[arg(long, short)]
    force: bool,
}

/// Asks the supervisor of the container's project.
///
/// # Errors
///
/// When there is no such network or container, or the kernel refuses.
pub fn run(
    args: ConnectArgs,
    context: &Context,
    store: &Store,
    terminal: &mut Terminal,
) -> Result<u8, CommandError> {
    let network = network(store, &args.network)?;
    let container = container(context, &args.container)?;
    if context.global().dry_run {
        let name = &container.record.name;
        terminal.print(format!("DRY-RUN MODE - connect {name} to network {network}\n"))?;
        return Ok(0);
    }
    let request = ConnectRequest {
        container: container.record.id.clone(),
        network,
        aliases: args.alias,
        ipv4: args.ip,
        ipv6: args.ip6,
        gateway_priority: args.gw_priority,
        link_local: args.link_local_ip,
        driver_opts: args.driver_opt.into_iter().collect(),
        links: args.link.into_iter().collect(),
    };
    let session = Session::new(context, &container.record.project);
    Ok(session.carry_out_now(path::CONNECT, &request, terminal)?.code)
}

/// Asks the supervisor of the container's project.
///
/// # Errors
///
/// As [`run`].
pub fn run_disconnect(
    args: DisconnectArgs,
    context: &Context,
    store: &Store,
    terminal: &mut Terminal,
) -> Result<u8, CommandError> {
    let network = network(store, &args.network)?;
    let container = container(context, &args.container)?;
    let name = &container.record.name;
    if context.global().dry_run {
        terminal.print(format!("DRY-RUN MODE - disconnect {name} from network {network}\n"))?;
        return Ok(0);
    }
    if args.force && container.record.networks.iter().all(|one| one.network != network) {
        return Ok(0);
    }
    let request = DisconnectRequest { container: container.record.id.clone(), network };
    let session = Session::new(context, &container.record.project);
    Ok(session.carry_out_now(path::DISCONNECT, &request, terminal)?.code)
}

fn network(store: &Store, wanted: &str) -> Result<String, CommandError> {
    Ok(find(store, wanted)?.ok_or_else(|| missing(wanted))?.name().to_string())
}

fn container(context: &Context, wanted: &str) -> Result<Container, CommandError> {
    list::find(context.roots(), wanted).map_err(|error| match error {
        FindError::Record(error) => error.into(),
        other => {
            CommandError::new(&other).help("`compose ls` and `compose ps -a` list what there is")
        }
    })
}
