//! The files by which a container finds names: `/etc/hosts` and `/etc/resolv.conf`.

use std::fmt::Write as _;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use network::Family;
use network::dns::{self, Resolver, beside};

use super::{DNS_PORT, WaysOut, network};
use crate::model::HostAddress;
use crate::record::EndpointState;
use crate::record::start::NetworkStart;
use crate::supervisor::{Live, Supervisor};

/// `/etc/hosts` of a container.
pub fn hosts(supervisor: &Supervisor, live: &Live) -> String {
    let mut text = String::from(
        "127.0.0.1\tlocalhost\n\
         ::1\tlocalhost ip6-localhost ip6-loopback\n\
         fe00::\tip6-localnet\n\
         ff00::\tip6-mcastprefix\n\
         ff02::1\tip6-allnodes\n\
         ff02::2\tip6-allrouters\n",
    );
    for extra in &live.start().extra_hosts {
        let addresses = match extra.address {
            HostAddress::Ip(address) => vec![address],
            HostAddress::HostGateway => host_gateways(supervisor, live),
        };
        for address in addresses {
            let _ = writeln!(text, "{address}\t{}", extra.host);
        }
    }
    let state = live.state();
    if state.endpoints.is_empty() {
        let _ = writeln!(text, "127.0.1.1\t{}", live.start().hostname);
    }
    for address in state.endpoints.iter().flat_map(EndpointState::addresses) {
        let _ = writeln!(text, "{address}\t{}", live.start().hostname);
    }
    text
}

/// The addresses at which a container reaches the host: the host's ends of the uplinks of its ways out.
fn host_gateways(supervisor: &Supervisor, live: &Live) -> Vec<IpAddr> {
    let start = live.network.borrow();
    let NetworkStart::Own(places) = &*start else { return vec![Ipv4Addr::LOCALHOST.into()] };
    let ways_out = WaysOut::of(supervisor, places).unwrap_or_default();
    let address = |family| {
        let place = &places[ways_out.by(family)?];
        network(supervisor, &place.network).ok()?.host_address(family).ok()?
    };
    Family::ALL.into_iter().filter_map(address).collect()
}

/// `/etc/resolv.conf` of a container.
pub fn resolv_conf(live: &Live) -> String {
    let host = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let wanted = &live.start().resolver;
    let has_server =
        matches!(&*live.network.borrow(), NetworkStart::Own(places) if !places.is_empty());
    if !has_server && *wanted == crate::record::start::Resolver::default() {
        return host;
    }
    let mut resolver = Resolver::parse(&host);
    if !wanted.search.is_empty() {
        // A single dot means none at all (resolv.conf(5)).
        resolver.search = wanted.search.iter().filter(|domain| *domain != ".").cloned().collect();
    }
    if !wanted.options.is_empty() {
        resolver.options.clone_from(&wanted.options);
    }
    if has_server {
        let server = if live.start().is_sandbox() { beside::SERVER } else { dns::SERVER };
        return resolver.for_container(server).to_string();
    }
    if !wanted.servers.is_empty() {
        resolver.servers = wanted.servers.iter().map(|ip| SocketAddr::new(*ip, DNS_PORT)).collect();
    }
    resolver.to_string()
}
