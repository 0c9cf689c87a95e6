//! Rules: the table of a network's namespace, and the one table of the host.
//!
//! Each change is one transaction, carried out whole or not at all. Base chains cost milliseconds (the kernel
//! waits for RCU), so they are made once; later changes only touch elements of sets.

mod host;
mod inside;
mod nft;
mod redirect;
mod term;

pub(crate) use host::HostTable;
pub(crate) use inside::InsideTable;
pub(crate) use nft::Port;
pub(crate) use redirect::RedirectTable;

use std::net::SocketAddr;

use nft::{Element, NftSocket, Table};

use crate::netlink::NetlinkError;
use crate::subnet::Family;

/// Our table for a family, on the host and in each network.
const fn table(family: Family) -> Table {
    Table { family, name: "compose" }
}

/// The map of published ports, in both.
const PORTS: &str = "published";

/// Leads `port` to `to`, and to nothing else.
fn publish(
    socket: &mut NftSocket,
    table: Table,
    port: Port,
    to: SocketAddr,
) -> Result<(), NetlinkError> {
    let add = table.add_port(PORTS, port, to);
    if is_published(socket, table, port)? {
        socket.transaction(&[table.delete_port(PORTS, port), add])
    } else {
        socket.transaction(&[add])
    }
}

/// Takes the way of `port` back. One that is not known is no error.
fn withdraw(socket: &mut NftSocket, table: Table, port: Port) -> Result<(), NetlinkError> {
    if is_published(socket, table, port)? {
        socket.transaction(&[table.delete_port(PORTS, port)])
    } else {
        Ok(())
    }
}

/// The chains of others that drop what passes through this host in `family`, as `ip filter FORWARD`.
///
/// Docker, ufw and firewalld make such chains. What they drop our table cannot let pass: with one of them containers
/// reach nothing outside unless its owner lets them, for instance `iptables -I DOCKER-USER -i cu-+ -j ACCEPT`.
/// Chains of the legacy iptables are not seen.
///
/// # Errors
///
/// When the kernel does not list its chains.
pub fn obstacles(family: Family) -> Result<Vec<String>, NetlinkError> {
    let chains = NftSocket::open()?.dropping_forward_chains(family)?;
    Ok(chains
        .iter()
        .map(|chain| format!("{} {} {}", chain.family, chain.table, chain.name))
        .collect())
}

/// Asked before, since a transaction that fails costs 10 ms: the kernel waits for RCU to take it back.
fn is_published(socket: &mut NftSocket, table: Table, port: Port) -> Result<bool, NetlinkError> {
    let is_it = |element: &Element| Port::of_key(&element.key) == Some(port);
    Ok(socket.has(table)? && socket.elements(table, PORTS)?.iter().any(is_it))
}
