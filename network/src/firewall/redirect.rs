//! The table of a sandbox whose container wants port 53 for itself: it leads names to our server elsewhere.

use std::net::SocketAddrV4;

use super::nft::{Hook, NftSocket};
use super::table;
use super::term::Term;
use crate::netlink::NetlinkError;
use crate::subnet::{Family, IpNet};

/// The table of a sandbox, by a socket in it.
#[derive(Debug)]
pub(crate) struct RedirectTable(NftSocket);

impl RedirectTable {
    /// Opens the table of the namespace in which the calling thread is.
    pub(crate) fn open() -> Result<Self, NetlinkError> {
        NftSocket::open().map(Self)
    }

    /// Leads what goes to `from` to `udp` and `tcp`, and nowhere else any more.
    pub(crate) fn replace(
        &mut self,
        from: SocketAddrV4,
        udp: SocketAddrV4,
        tcp: SocketAddrV4,
    ) -> Result<(), NetlinkError> {
        let table = table(Family::V4);
        let rule = |protocol, to| {
            let to_server = IpNet::new((*from.ip()).into(), 32).map(Term::To);
            let redirect = Term::Redirect { protocol, port: from.port(), to };
            table.rule("output", &to_server.into_iter().chain([redirect]).collect::<Vec<_>>())
        };
        let (tcp_number, udp_number) = (6, 17);
        self.0.transaction(&[
            // Added so that it can be deleted, deleted so that it is empty.
            table.add(),
            table.delete(),
            table.add(),
            table.chain("output", Hook::NatOutput),
            rule(udp_number, udp),
            rule(tcp_number, tcp),
        ])
    }
}
