//! The table of a network's namespace: the way out, and the ways in for published ports.

use std::net::SocketAddr;

use super::nft::{Holds, Hook, NftSocket, Port, Table};
use super::term::{Side, Term};
use super::{PORTS, table};
use crate::netlink::NetlinkError;
use crate::subnet::Family;

/// The table of a network for one family, by a socket in its namespace.
#[derive(Debug)]
pub(crate) struct InsideTable {
    socket: NftSocket,
    table: Table,
}

impl InsideTable {
    /// Opens the table of the namespace in which the calling thread is.
    pub(crate) fn open(family: Family) -> Result<Self, NetlinkError> {
        Ok(Self { socket: NftSocket::open()?, table: table(family) })
    }

    /// Makes the table: what leaves by `uplink` has its address, unless members are `exposed`; what comes from there
    /// goes where `publish` says.
    ///
    /// Nothing is dropped between members.
    pub(crate) fn create(
        &mut self,
        uplink: &'static str,
        exposed: bool,
    ) -> Result<(), NetlinkError> {
        let table = self.table;
        let mut changes = vec![
            table.add(),
            table.set(PORTS, Holds::Ports, 1),
            table.chain("prerouting", Hook::NatPrerouting),
            table.rule(
                "prerouting",
                &[Term::Is(Side::In, uplink), Term::ToThisHost, Term::TranslateBy(PORTS)],
            ),
            table.chain("postrouting", Hook::NatPostrouting),
        ];
        if !exposed {
            let masquerade = [Term::Is(Side::Out, uplink), Term::Masquerade];
            changes.push(table.rule("postrouting", &masquerade));
        }
        self.socket.transaction(&changes)
    }

    /// Leads `port` of the uplink to a member, and to nothing else.
    pub(crate) fn publish(&mut self, port: Port, to: SocketAddr) -> Result<(), NetlinkError> {
        super::publish(&mut self.socket, self.table, port, to)
    }

    /// Takes the way back. One that is not known is no error.
    pub(crate) fn withdraw(&mut self, port: Port) -> Result<(), NetlinkError> {
        super::withdraw(&mut self.socket, self.table, port)
    }
}
