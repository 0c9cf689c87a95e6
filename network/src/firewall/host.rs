//! The table of the host, one for each family in use: it lets networks out, and keeps them apart.
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

use std::net::{IpAddr, SocketAddr};

use super::nft::{Holds, Hook, NftSocket, Port, Table};
use super::term::{Side, Term};
use super::{PORTS, table};
use crate::name::InterfaceName;
use crate::netlink::{Message, NetlinkError, octets};
use crate::subnet::{Family, IpNet, UPLINKS, UPLINKS_IPV6};

const SET: &str = "uplinks";

/// The host's table for one family, by a socket in the host's namespace.
#[derive(Debug)]
pub(crate) struct HostTable {
    socket: NftSocket,
    table: Table,
}

/// All of the table but its elements.
fn skeleton(table: Table) -> Vec<Message> {
    use Term::{
        Accept, Drop, Established, From, In, IsNot, Masquerade, NotIn, ToThisHost, TranslateBy,
        Translated,
    };
    let uplinks = match table.family {
        Family::V4 => IpNet::V4(UPLINKS.range),
        Family::V6 => IpNet::V6(UPLINKS_IPV6),
    };
    let forward = |terms: &[Term]| table.rule("forward", terms);
    vec![
        table.add(),
        table.set(SET, Holds::Interfaces, 1),
        table.set(PORTS, Holds::Ports, 2),
        table.chain("prerouting", Hook::NatPrerouting),
        // From other machines only: the host itself and containers are served by the listeners.
        table.rule(
            "prerouting",
            &[IsNot(Side::In, "lo"), NotIn(Side::In, SET), ToThisHost, TranslateBy(PORTS)],
        ),
        table.chain("forward", Hook::Forward),
        forward(&[In(Side::In, SET), In(Side::Out, SET), Drop]),
        forward(&[In(Side::In, SET), Accept]),
        forward(&[In(Side::Out, SET), Established, Accept]),
        forward(&[In(Side::Out, SET), Translated, Accept]),
        forward(&[In(Side::Out, SET), Drop]),
        table.chain("postrouting", Hook::NatPostrouting),
        table.rule("postrouting", &[From(uplinks), NotIn(Side::Out, SET), Masquerade]),
    ]
}

impl HostTable {
    /// Opens the table of the namespace in which the calling thread is.
    pub(crate) fn open(family: Family) -> Result<Self, NetlinkError> {
        Ok(Self { socket: NftSocket::open()?, table: table(family) })
    }

    /// Lets `uplink` out. The table is made when it is the first.
    pub(crate) fn add_uplink(&mut self, uplink: &InterfaceName) -> Result<(), NetlinkError> {
        let mut messages =
            if self.socket.has(self.table)? { Vec::new() } else { skeleton(self.table) };
        messages.push(self.table.add_interface(SET, uplink));
        self.socket.transaction(&messages)
    }

    /// Forgets `uplink` and the ways to `inner`, its address inside. The table goes when it was the last.
    ///
    /// What is not known is no error.
    pub(crate) fn delete_uplink(
        &mut self,
        uplink: &InterfaceName,
        inner: IpAddr,
    ) -> Result<(), NetlinkError> {
        if !self.socket.has(self.table)? {
            return Ok(());
        }
        let mut changes = Vec::new();
        for element in self.socket.elements(self.table, PORTS)? {
            if element.data.starts_with(&octets(inner)) {
                changes.extend(
                    Port::of_key(&element.key).map(|port| self.table.delete_port(PORTS, port)),
                );
            }
        }
        let uplinks = self.socket.elements(self.table, SET)?;
        let others = uplinks.iter().filter(|element| !element.is_interface(uplink)).count();
        if others == 0 {
            return self.socket.transaction(&[self.table.delete()]);
        }
        if others < uplinks.len() {
            changes.push(self.table.delete_interface(SET, uplink));
        }
        self.socket.transaction(&changes)
    }

    /// Leads `port` of the host to `to` for traffic from other machines, and to nothing else.
    pub(crate) fn publish(&mut self, port: Port, to: SocketAddr) -> Result<(), NetlinkError> {
        super::publish(&mut self.socket, self.table, port, to)
    }

    /// Takes the way back. One that is not known is no error.
    pub(crate) fn withdraw(&mut self, port: Port) -> Result<(), NetlinkError> {
        super::withdraw(&mut self.socket, self.table, port)
    }

    /// Names of uplinks, and ports of the host that lead to one.
    #[cfg(test)]
    pub(crate) fn contents(&mut self) -> Result<(Vec<String>, Vec<u16>), NetlinkError> {
        if !self.socket.has(self.table)? {
            return Ok((Vec::new(), Vec::new()));
        }
        let text = |key: &[u8]| String::from_utf8_lossy(key).trim_end_matches('\0').to_owned();
        let uplinks = self
            .socket
            .elements(self.table, SET)?
            .iter()
            .map(|element| text(&element.key))
            .collect();
        let ports = self.socket.elements(self.table, PORTS)?;
        let ports =
            ports.iter().filter_map(|element| Port::of_key(&element.key)).map(|port| port.port);
        Ok((uplinks, ports.collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A table as Docker leaves it: forwarded packets that no rule names are dropped.
    fn foreign_table() -> Vec<Message> {
        let foreign = Table { family: Family::V4, name: "filter" };
        let mut chain = foreign.chain("FORWARD", Hook::Forward);
        // The last of an attribute counts.
        chain.be32(5, libc::NF_DROP.cast_unsigned());
        vec![foreign.add(), chain]
    }

    #[test]
    fn chains_of_others_that_drop_are_told() {
        crate::live::on_a_host(|host| {
            host.network("shop_default");
            assert!(crate::obstacles(Family::V4).unwrap().is_empty());
            NftSocket::open().unwrap().transaction(&foreign_table()).unwrap();
            assert_eq!(crate::obstacles(Family::V4).unwrap(), ["ip filter FORWARD"]);
        });
    }

    #[test]
    fn the_table_reads_as_nft_would_write_it() {
        let text: Vec<_> = skeleton(table(Family::V4))
            .iter()
            .map(|message| message.request().to_owned())
            .collect();
        let expected = [
            "nft add table ip compose",
            "nft add set ip compose uplinks { type ifname; }",
            "nft add map ip compose published { type inet_proto . inet_service : ipv4_addr . inet_service; }",
            "nft add chain ip compose prerouting { type nat hook prerouting priority dstnat; policy accept; }",
            "nft add rule ip compose prerouting iifname != \"lo\" iifname != @uplinks fib daddr type local dnat to meta l4proto . th dport map @published",
            "nft add chain ip compose forward { type filter hook forward priority filter; policy accept; }",
            "nft add rule ip compose forward iifname @uplinks oifname @uplinks drop",
            "nft add rule ip compose forward iifname @uplinks accept",
            "nft add rule ip compose forward oifname @uplinks ct state established,related accept",
            "nft add rule ip compose forward oifname @uplinks ct status dnat accept",
            "nft add rule ip compose forward oifname @uplinks drop",
            "nft add chain ip compose postrouting { type nat hook postrouting priority srcnat; policy accept; }",
            "nft add rule ip compose postrouting ip saddr 198.18.0.0/15 oifname != @uplinks masquerade",
        ];
        assert_eq!(text, expected);
        let text = |message: &Message| message.request().to_owned();
        let six: Vec<_> = skeleton(table(Family::V6)).iter().map(text).collect();
        assert_eq!(
            six[2],
            "nft add map ip6 compose published { type inet_proto . inet_service : ipv6_addr . inet_service; }"
        );
        assert_eq!(
            six.last().unwrap(),
            "nft add rule ip6 compose postrouting ip6 saddr fd63:6f6d:706f:7365::/64 oifname != @uplinks masquerade"
        );
        assert_eq!(six.len(), expected.len());
    }
}
