//! The table of a network's namespace: the way out, and the ways in for published ports.

use std::net::SocketAddrV4;

use super::nft::{Holds, Hook, NftSocket, Port};
use super::term::{Side, Term};
use super::{PORTS, TABLE};
use crate::netlink::NetlinkError;

/// The table of a network, by a socket in its namespace.
#[derive(Debug)]
pub(crate) struct InsideTable(NftSocket);

impl InsideTable {
    /// Opens the table of the namespace in which the calling thread is.
    pub(crate) fn open() -> Result<Self, NetlinkError> {
        NftSocket::open().map(Self)
    }

    /// Makes the table: what leaves by `uplink` has its address, what comes from there goes where `publish` says.
    ///
    /// Nothing is dropped between members.
    pub(crate) fn create(&mut self, uplink: &'static str) -> Result<(), NetlinkError> {
        self.0.transaction(&[
            TABLE.add(),
            TABLE.set(PORTS, Holds::Ports, 1),
            TABLE.chain("prerouting", Hook::NatPrerouting),
            TABLE.rule(
                "prerouting",
                &[Term::Is(Side::In, uplink), Term::ToThisHost, Term::TranslateBy(PORTS)],
            ),
            TABLE.chain("postrouting", Hook::NatPostrouting),
            TABLE.rule("postrouting", &[Term::Is(Side::Out, uplink), Term::Masquerade]),
        ])
    }

    /// Leads `port` of the uplink to a member, and to nothing else.
    pub(crate) fn publish(&mut self, port: Port, to: SocketAddrV4) -> Result<(), NetlinkError> {
        super::publish(&mut self.0, port, to)
    }

    /// Takes the way back. One that is not known is no error.
    pub(crate) fn withdraw(&mut self, port: Port) -> Result<(), NetlinkError> {
        super::withdraw(&mut self.0, port)
    }
}
