//! How a service reaches the network: attachments, ports, names.

use crate::file::canonical::port_range;
use crate::file::node::Node;
use crate::model::{
    Attachment, Expose, ExtraHost, HostAddress, Networking, Port, PortMode, Protocol, Published,
    Service,
};

use super::fields::{Fields, What};

const IP: What = What { name: "an IP address", help: "write an address like `10.0.0.1`" };
const IPV4: What = What { name: "an IPv4 address", help: "write an address like `10.0.0.1`" };
const IPV6: What = What { name: "an IPv6 address", help: "write an address like `fd00::1`" };
const MAC: What = What { name: "a MAC address", help: "write an address like `02:42:ac:11:00:02`" };

pub(super) fn network(fields: &mut Fields<'_, '_>, service: &mut Service) {
    service.networking = networking(fields);
    service.mac_address = fields.parsed("mac_address", MAC);
    service.ports = fields.items("ports").iter().filter_map(|node| port(fields, node)).collect();
    service.expose =
        fields.items("expose").iter().filter_map(|node| expose(fields, node)).collect();
    service.hostname = fields.text("hostname");
    service.domainname = fields.text("domainname");
    service.dns = fields.parsed_list("dns", IP);
    service.dns_opt = fields.texts("dns_opt");
    service.dns_search = fields.texts("dns_search");
    service.extra_hosts = hosts(fields, "extra_hosts");
}

fn networking(fields: &mut Fields<'_, '_>) -> Networking {
    let Some(node) = fields.get("network_mode") else {
        let attachments = fields
            .entries("networks")
            .filter_map(|(key, entry)| Some((key.parse().ok()?, attachment(fields, &entry.node))));
        return Networking::Attached(attachments.collect());
    };
    let mode = node.as_str().unwrap_or_default();
    if let Some(service) = mode.strip_prefix("service:") {
        return match service.parse() {
            Ok(service) => Networking::Service(service),
            Err(error) => {
                let message = format!("`network_mode` names no service: {error}");
                fields.refuse(node.span, message, "write `service:NAME`");
                Networking::None
            }
        };
    }
    match (mode, mode.strip_prefix("container:")) {
        (_, Some(container)) => Networking::Container(container.to_owned()),
        ("none", _) => Networking::None,
        ("host", _) => Networking::Host,
        ("bridge" | "default" | "", _) => Networking::Bridge,
        (name, _) => Networking::Named(name.to_owned()),
    }
}

fn attachment(fields: &mut Fields<'_, '_>, node: &Node) -> Attachment {
    let mut place = Fields::new(fields.report, Some(node));
    Attachment {
        aliases: place.texts("aliases"),
        ipv4: place.parsed("ipv4_address", IPV4),
        ipv6: place.parsed("ipv6_address", IPV6),
        link_local_ips: place.parsed_list("link_local_ips", IP),
        mac: place.parsed("mac_address", MAC),
        interface_name: place.text("interface_name"),
        priority: place.integer("priority").unwrap_or(0),
        gateway_priority: place.integer("gw_priority").unwrap_or(0),
        driver_opts: place.pairs("driver_opts"),
    }
}

fn port(fields: &mut Fields<'_, '_>, node: &Node) -> Option<Port> {
    let mut port = Fields::new(fields.report, Some(node));
    let target = port.integer("target")?;
    let published = match port.get("published").and_then(|node| node.as_str().map(|t| (t, node))) {
        None | Some(("" | "0", _)) => Published::Ephemeral,
        Some((text, node)) => match port_range(text) {
            Some(range) => Published::Range(range),
            None => {
                let message = format!("`{text}` is not a host port");
                port.refuse(node.span, message, "write a number from 0 to 65535, or a range");
                return None;
            }
        },
    };
    let protocol = protocol(&mut port)?;
    let mode = match port.text("mode").as_deref() {
        Some("host") => PortMode::Host,
        _ => PortMode::Ingress,
    };
    Some(Port {
        host_ip: port.parsed("host_ip", IP),
        published,
        target,
        protocol,
        mode,
        name: port.text("name"),
        app_protocol: port.text("app_protocol"),
    })
}

fn protocol(port: &mut Fields<'_, '_>) -> Option<Protocol> {
    let node = port.get("protocol");
    let text = node.and_then(Node::as_str).unwrap_or("tcp");
    let protocol = protocol_of(text);
    if let (None, Some(node)) = (protocol, node) {
        port.report
            .error(node.span, format!("`{text}` is not a protocol of ports"))
            .help("the protocols are tcp, udp and sctp");
    }
    protocol
}

fn protocol_of(text: &str) -> Option<Protocol> {
    match text.to_ascii_lowercase().as_str() {
        "tcp" | "" => Some(Protocol::Tcp),
        "udp" => Some(Protocol::Udp),
        "sctp" => Some(Protocol::Sctp),
        _ => None,
    }
}

fn expose(fields: &mut Fields<'_, '_>, node: &Node) -> Option<Expose> {
    let text = node.as_str()?;
    let exposed = exposed(text);
    if exposed.is_none() {
        fields
            .report
            .error(node.span, format!("`{text}` is not a port"))
            .help("write `PORT[-PORT][/PROTOCOL]`");
    }
    exposed
}

/// Ports as `expose` and images name them: `PORT[-PORT][/PROTOCOL]`.
pub(crate) fn exposed(text: &str) -> Option<Expose> {
    let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    Some(Expose { ports: port_range(ports)?, protocol: protocol_of(protocol)? })
}

pub(super) fn hosts(fields: &mut Fields<'_, '_>, key: &str) -> Vec<ExtraHost> {
    let mut hosts = Vec::new();
    for node in fields.items(key) {
        let Some((host, address)) = node.as_str().and_then(|text| text.split_once('=')) else {
            continue;
        };
        let address = match address {
            "host-gateway" => HostAddress::HostGateway,
            text => match text.parse() {
                Ok(ip) => HostAddress::Ip(ip),
                Err(_) => {
                    fields
                        .report
                        .error(node.span, format!("`{text}` is not an IP address"))
                        .help("write an address, or `host-gateway`");
                    continue;
                }
            },
        };
        hosts.push(ExtraHost { host: host.to_owned(), address });
    }
    hosts
}
