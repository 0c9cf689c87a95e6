//! The one table of the host: it lets networks out, and keeps them apart.
//!
//! ```text
//! table ip compose {
//!     set uplinks { type ifname }
//!     map published { type inet_proto . inet_service : ipv4_addr . inet_service }
//!     chain prerouting { … }
//!     chain forward { … }
//!     chain postrouting { … }
//! }
//! ```
//!
//! The table is there as long as an uplink is: the first brings it, the last takes it along. A verdict of
//! `accept` ends this table's chain only; what another table of the host drops stays dropped.

use std::net::SocketAddrV4;

use super::nft::{Holds, Hook, NftSocket, Port, Side, Table, Term};
use crate::name::InterfaceName;
use crate::netlink::{Message, NetlinkError};
use crate::subnet::UPLINKS;

const TABLE: Table = Table("compose");
const SET: &str = "uplinks";
const MAP: &str = "published";

/// The host's table, by a socket in the host's namespace.
#[derive(Debug)]
pub(crate) struct HostTable(NftSocket);

/// All of the table but its elements.
fn skeleton() -> Vec<Message> {
    use Term::{
        Accept, Drop, Established, From, In, IsNot, Masquerade, NotIn, ToThisHost, TranslateBy,
        Translated,
    };
    let forward = |terms: &[Term]| TABLE.rule("forward", terms);
    vec![
        TABLE.add(),
        TABLE.set(SET, Holds::Interfaces, 1),
        TABLE.set(MAP, Holds::Ports, 2),
        TABLE.chain("prerouting", Hook::NatPrerouting),
        // From other machines only: the host itself and containers are served by the listeners.
        TABLE.rule(
            "prerouting",
            &[IsNot(Side::In, "lo"), NotIn(Side::In, SET), ToThisHost, TranslateBy(MAP)],
        ),
        TABLE.chain("forward", Hook::Forward),
        forward(&[In(Side::In, SET), In(Side::Out, SET), Drop]),
        forward(&[In(Side::In, SET), Accept]),
        forward(&[In(Side::Out, SET), Established, Accept]),
        forward(&[In(Side::Out, SET), Translated, Accept]),
        forward(&[In(Side::Out, SET), Drop]),
        TABLE.chain("postrouting", Hook::NatPostrouting),
        TABLE.rule("postrouting", &[From(UPLINKS.range), NotIn(Side::Out, SET), Masquerade]),
    ]
}

impl HostTable {
    /// Opens the table of the namespace in which the calling thread is.
    pub(crate) fn open() -> Result<Self, NetlinkError> {
        NftSocket::open().map(Self)
    }

    /// Lets `uplink` out. The table is made when it is the first.
    pub(crate) fn add_uplink(&mut self, uplink: &InterfaceName) -> Result<(), NetlinkError> {
        let mut messages = if self.0.has(TABLE)? { Vec::new() } else { skeleton() };
        messages.push(TABLE.add_interface(SET, uplink));
        self.0.transaction(&messages)
    }

    /// Forgets `uplink`. The table goes when it was the last. One that is not known is no error.
    pub(crate) fn delete_uplink(&mut self, uplink: &InterfaceName) -> Result<(), NetlinkError> {
        if !self.0.has(TABLE)? {
            return Ok(());
        }
        match self.0.transaction(&[TABLE.delete_interface(SET, uplink)]) {
            Err(error) if !error.is_missing() => return Err(error),
            _ => {}
        }
        if self.0.keys(TABLE, SET)?.is_empty() {
            self.0.transaction(&[TABLE.delete()])
        } else {
            Ok(())
        }
    }

    /// The uplinks that are let out.
    pub(crate) fn uplinks(&mut self) -> Result<Vec<String>, NetlinkError> {
        if !self.0.has(TABLE)? {
            return Ok(Vec::new());
        }
        let keys = self.0.keys(TABLE, SET)?;
        let text = |key: Vec<u8>| String::from_utf8_lossy(&key).trim_end_matches('\0').to_owned();
        Ok(keys.into_iter().map(text).collect())
    }

    /// Leads `port` of the host to `to` for traffic from other machines.
    pub(crate) fn publish(&mut self, port: Port, to: SocketAddrV4) -> Result<(), NetlinkError> {
        self.0.transaction(&[TABLE.add_port(MAP, port, to)])
    }

    /// Takes the way back. One that is not known is no error.
    pub(crate) fn withdraw(&mut self, port: Port) -> Result<(), NetlinkError> {
        match self.0.transaction(&[TABLE.delete_port(MAP, port)]) {
            Err(error) if error.is_missing() => Ok(()),
            outcome => outcome,
        }
    }
}
