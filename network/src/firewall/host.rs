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

use std::net::{Ipv4Addr, SocketAddrV4};

use super::nft::{Holds, Hook, NftSocket, Port};
use super::term::{Side, Term};
use super::{PORTS, TABLE};
use crate::name::InterfaceName;
use crate::netlink::{Message, NetlinkError};
use crate::subnet::UPLINKS;

const SET: &str = "uplinks";

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
        TABLE.set(PORTS, Holds::Ports, 2),
        TABLE.chain("prerouting", Hook::NatPrerouting),
        // From other machines only: the host itself and containers are served by the listeners.
        TABLE.rule(
            "prerouting",
            &[IsNot(Side::In, "lo"), NotIn(Side::In, SET), ToThisHost, TranslateBy(PORTS)],
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

    /// Forgets `uplink` and the ways to `inner`, its address inside. The table goes when it was the last.
    ///
    /// What is not known is no error.
    pub(crate) fn delete_uplink(
        &mut self,
        uplink: &InterfaceName,
        inner: Ipv4Addr,
    ) -> Result<(), NetlinkError> {
        if !self.0.has(TABLE)? {
            return Ok(());
        }
        let mut changes = Vec::new();
        for element in self.0.elements(TABLE, PORTS)? {
            if element.data.starts_with(&inner.octets()) {
                changes
                    .extend(Port::of_key(&element.key).map(|port| TABLE.delete_port(PORTS, port)));
            }
        }
        let uplinks = self.0.elements(TABLE, SET)?;
        let others = uplinks.iter().filter(|element| !element.is_interface(uplink)).count();
        if others == 0 {
            return self.0.transaction(&[TABLE.delete()]);
        }
        if others < uplinks.len() {
            changes.push(TABLE.delete_interface(SET, uplink));
        }
        self.0.transaction(&changes)
    }

    /// Leads `port` of the host to `to` for traffic from other machines, and to nothing else.
    pub(crate) fn publish(&mut self, port: Port, to: SocketAddrV4) -> Result<(), NetlinkError> {
        super::publish(&mut self.0, port, to)
    }

    /// Takes the way back. One that is not known is no error.
    pub(crate) fn withdraw(&mut self, port: Port) -> Result<(), NetlinkError> {
        super::withdraw(&mut self.0, port)
    }

    /// Names of uplinks, and ports of the host that lead to one.
    #[cfg(test)]
    pub(crate) fn contents(&mut self) -> Result<(Vec<String>, Vec<u16>), NetlinkError> {
        if !self.0.has(TABLE)? {
            return Ok((Vec::new(), Vec::new()));
        }
        let text = |key: &[u8]| String::from_utf8_lossy(key).trim_end_matches('\0').to_owned();
        let uplinks =
            self.0.elements(TABLE, SET)?.iter().map(|element| text(&element.key)).collect();
        let ports = self.0.elements(TABLE, PORTS)?;
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
        let foreign = crate::firewall::nft::Table("filter");
        let mut chain = foreign.chain("FORWARD", Hook::Forward);
        // The last of an attribute counts.
        chain.be32(5, libc::NF_DROP.cast_unsigned());
        vec![foreign.add(), chain]
    }

    #[test]
    fn chains_of_others_that_drop_are_told() {
        crate::live::on_a_host(|host| {
            host.network("shop_default");
            assert!(crate::obstacles().unwrap().is_empty());
            NftSocket::open().unwrap().transaction(&foreign_table()).unwrap();
            assert_eq!(crate::obstacles().unwrap(), ["ip filter FORWARD"]);
        });
    }

    #[test]
    fn the_table_reads_as_nft_would_write_it() {
        let text: Vec<_> = skeleton().iter().map(|message| message.request().to_owned()).collect();
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
    }
}
