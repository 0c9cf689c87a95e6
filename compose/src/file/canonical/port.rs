//! `ports`: `[IP:][HOST[-HOST]:]CONTAINER[-CONTAINER][/PROTOCOL]`.

use std::net::IpAddr;

use crate::file::node::{Map, Node, Tag, Value};
use crate::file::schema::{self, Empty, Field, Object, Shape, ShortError};
use crate::file::source::Span;
use crate::model::PortRange;

use super::{Checker, Step, Variables};

pub(crate) static PORT: Object = Object {
    required: &["target"],
    ..schema::object(
        "a port",
        &[
            port_field("name", Shape::Text),
            port_field("mode", Shape::Text),
            port_field("host_ip", Shape::Text),
            port_field("target", Shape::Integer),
            port_field("published", Shape::TextOrInteger),
            port_field("protocol", Shape::Text),
            port_field("app_protocol", Shape::Text),
        ],
    )
};

const fn port_field(name: &'static str, shape: Shape) -> Field {
    Field { name, shape, empty: Empty::Hidden }
}

impl Checker<'_> {
    pub(super) fn ports(&mut self, node: Node) -> Option<Node> {
        let span = node.span;
        let Value::List(items) = node.value else {
            self.wrong_type(&node, "a list");
            return None;
        };
        let templates = items.iter().any(super::is_template);
        if self.variables == Variables::Kept && templates {
            // One of them may stand for several; which is not known yet.
            return Some(Node::list(items, span));
        }
        let mut ports = Vec::with_capacity(items.len());
        for (index, item) in items.into_iter().enumerate() {
            if item.tag == Tag::Reset {
                continue;
            }
            self.path.push(Step::Item(index));
            self.port(item, &mut ports);
            self.path.pop();
        }
        self.repeated_ports(&ports);
        Some(Node::list(ports, span))
    }

    fn port(&mut self, item: Node, ports: &mut Vec<Node>) {
        let text = match &item.value {
            Value::Map(_) => {
                ports.extend(self.object(item, &PORT));
                return;
            }
            Value::Text(text) => text.to_string(),
            Value::Int(number) => number.get().to_string(),
            Value::Float(_) => self.report.sources.slice(item.span).to_owned(),
            _ => {
                self.wrong_type(&item, "a number, a string like `8080:80`, or a mapping");
                return;
            }
        };
        match parse(&text) {
            Ok(short) => {
                self.base_60(&text, item.span);
                let mut long = short.long(item.span);
                if !text.contains('/') {
                    let protocols = long.iter_mut().filter_map(Node::as_map_mut);
                    let protocols = protocols.filter_map(|port| port.get_mut("protocol"));
                    protocols.for_each(|protocol| protocol.span = protocol.span.implied());
                }
                ports.extend(long);
            }
            Err(error) => {
                let finding = self.report.error(self.fault(&item, &error.message), error.message);
                finding.help(error.help.unwrap_or_else(|| {
                    "write `[IP:][HOST:]CONTAINER[/PROTOCOL]`, as in `127.0.0.1:8080:80/tcp`".into()
                }));
            }
        }
    }
}

/// The short form of a port, in parts.
#[derive(Debug, PartialEq, Eq)]
struct ShortPort {
    host_ip: Option<String>,
    published: Option<PortRange>,
    target: PortRange,
    protocol: String,
}

/// Reads the short form.
fn parse(text: &str) -> Result<ShortPort, ShortError> {
    let (rest, protocol) = match text.rsplit_once('/') {
        Some((rest, protocol)) => (rest, protocol.to_ascii_lowercase()),
        None => (text, String::new()),
    };
    let protocol = if protocol.is_empty() { "tcp".to_owned() } else { protocol };
    if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        return Err(ShortError::new(format!("`{protocol}` is not a protocol of ports"))
            .help("the protocols are tcp, udp and sctp"));
    }
    let (host, target_text) = match rest.rsplit_once(':') {
        Some((host, target)) => (Some(host), target),
        None => (None, rest),
    };
    if target_text.is_empty() {
        return Err(ShortError::new("there is no container port"));
    }
    let (ip, published) = match host {
        None => (None, None),
        Some(host) => match host.rsplit_once(':') {
            Some((ip, published)) => (Some(ip), Some(published)),
            None => (None, Some(host)),
        },
    };
    let target = range(target_text)
        .ok_or_else(|| ShortError::new(format!("`{target_text}` is not a container port")))?;
    if target.first == 0 {
        return Err(ShortError::new("0 is not a container port"));
    }
    let published = match published.filter(|text| !text.is_empty()) {
        Some(text) => Some(
            range(text).ok_or_else(|| ShortError::new(format!("`{text}` is not a host port")))?,
        ),
        None => None,
    };
    if let Some(published) = published {
        let (inside, outside) = (target.last - target.first, published.last - published.first);
        if inside != outside && inside != 0 {
            let message = format!(
                "the ranges {published} and {target} have {} and {} ports",
                u32::from(outside) + 1,
                u32::from(inside) + 1
            );
            return Err(ShortError::new(message).help("give both ranges the same length"));
        }
    }
    let host_ip = ip.filter(|ip| !ip.is_empty()).map(address).transpose()?;
    Ok(ShortPort { host_ip, published, target, protocol })
}

/// An address; one of IPv6 stands in brackets.
fn address(text: &str) -> Result<String, ShortError> {
    let bare = match text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(bare) => bare,
        None if text.contains(':') => {
            return Err(ShortError::new(format!("`{text}` is not an address"))
                .help(format!("put an IPv6 address in brackets: `[{text}]`")));
        }
        None => text,
    };
    match bare.parse::<IpAddr>() {
        Ok(_) => Ok(bare.to_owned()),
        Err(_) => Err(ShortError::new(format!("`{text}` is not an IP address"))
            .help("names are not resolved here; write an address like `127.0.0.1`")),
    }
}

/// `N` or `N-M`, each from 0 to 65535.
pub(crate) fn range(text: &str) -> Option<PortRange> {
    let number = |text: &str| {
        text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
    };
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (number(first)?, number(last)?);
    (first <= last).then_some(PortRange { first, last })
}

impl ShortPort {
    /// One long form per container port, in the order in which docker compose lists them: by the
    /// port as text.
    fn long(&self, span: Span) -> Vec<Node> {
        let mut targets: Vec<u16> = (self.target.first..=self.target.last).collect();
        targets.sort_by_key(u16::to_string);
        targets.into_iter().map(|target| self.one(target, span)).collect()
    }

    fn one(&self, target: u16, span: Span) -> Node {
        let mut port = Map::with_capacity(4);
        port.set("mode", Node::text("ingress", span.implied()));
        if let Some(ip) = &self.host_ip {
            port.set("host_ip", Node::text(ip.as_str(), span));
        }
        port.set("target", Node::int(i128::from(target), span));
        if let Some(published) = self.published {
            let text = if self.target.first == self.target.last {
                published.to_string()
            } else {
                (published.first + (target - self.target.first)).to_string()
            };
            port.set("published", Node::text(text, span));
        }
        port.set("protocol", Node::text(self.protocol.as_str(), span));
        Node::map(port, span)
    }
}

/// What makes two ports the same: host address, host port, container port and protocol.
pub(crate) fn key(port: &Node) -> String {
    let text = |name: &str, default: &str| match port.get(name).map(|node| &node.value) {
        Some(Value::Text(text)) => text.to_string(),
        Some(Value::Int(number)) => number.get().to_string(),
        _ => default.to_owned(),
    };
    if let Some(text) = port.as_str() {
        return text.to_owned();
    }
    format!(
        "{}:{}:{}/{}",
        text("host_ip", "0.0.0.0"),
        text("published", ""),
        text("target", ""),
        text("protocol", "tcp")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        match parse(text) {
            Ok(ShortPort { host_ip, published, target, protocol }) => {
                let published = published.map_or("-".into(), |range| range.to_string());
                format!("{} {published} {target} {protocol}", host_ip.as_deref().unwrap_or("*"))
            }
            Err(error) => error.message,
        }
    }

    #[test]
    fn short_forms() {
        #[rustfmt::skip]
        let table = [
            ("80", "* - 80 tcp"), ("8080:80", "* 8080 80 tcp"), ("53:53/UDP", "* 53 53 udp"),
            ("127.0.0.1:1:2", "127.0.0.1 1 2 tcp"), ("127.0.0.1::2", "127.0.0.1 - 2 tcp"),
            ("[::1]:1:2", "::1 1 2 tcp"), ("8000-8010:80", "* 8000-8010 80 tcp"),
            ("8000-8001:80-81", "* 8000-8001 80-81 tcp"), ("80/", "* - 80 tcp"), (":80", "* - 80 tcp"),
            ("", "there is no container port"), ("80:", "there is no container port"),
            ("70000:80", "`70000` is not a host port"), ("a", "`a` is not a container port"),
            ("8010-8000:80", "`8010-8000` is not a host port"), ("80/xyz", "`xyz` is not a protocol of ports"),
            ("1-3:1-2", "the ranges 1-3 and 1-2 have 3 and 2 ports"),
            ("::1:80:80", "`::1` is not an address"), ("localhost:80:80", "`localhost` is not an IP address"),
            ("+80", "`+80` is not a container port"),
        ];
        for (text, parts) in table {
            assert_eq!(shown(text), parts, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn never_panics(text in "[0-9:./\\[\\]a-]{0,20}") {
            let _ = shown(&text);
        }
    }
}
