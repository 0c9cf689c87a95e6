//! `/etc/resolv.conf`: what that of the host says, and what that of a container says.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// What a file in the format of resolv.conf(5) says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolver {
    /// At most three; that of this machine where none is named.
    pub servers: Vec<SocketAddr>,
    /// Domains that are tried behind a name.
    pub search: Vec<String>,
    /// Options as they stand.
    pub options: Vec<String>,
}

/// `MAXNS` of resolv.h.
const MOST_SERVERS: usize = 3;
const PORT: u16 = 53;

impl Resolver {
    /// Reads a file; what it does not understand it passes over, as all resolvers do.
    pub fn parse(text: &str) -> Self {
        let mut all = Self { servers: Vec::new(), search: Vec::new(), options: Vec::new() };
        for line in text.lines() {
            let mut words = line.split(['#', ';']).next().unwrap_or_default().split_whitespace();
            let keyword = words.next();
            let mut texts = words.map(str::to_owned);
            match keyword {
                Some("nameserver") => {
                    all.servers.extend(texts.next().and_then(|word| server(&word)))
                }
                // The last of the two counts.
                Some("search") => all.search = texts.collect(),
                Some("domain") => all.search = texts.take(1).collect(),
                Some("options") => all.options.extend(texts),
                _ => {}
            }
        }
        all.servers.truncate(MOST_SERVERS);
        if all.servers.is_empty() {
            all.servers.push(SocketAddr::from((Ipv4Addr::LOCALHOST, PORT)));
        }
        all
    }

    /// What a container gets: our `server`, and the domains and options of this.
    ///
    /// `ndots:0` as Docker sets it: the name of a service is tried as it is, before any domain.
    pub fn for_container(mut self, server: Ipv4Addr) -> Self {
        self.servers = vec![SocketAddr::from((server, PORT))];
        if !self.options.iter().any(|option| option.starts_with("ndots:")) {
            self.options.push("ndots:0".to_owned());
        }
        self
    }
}

fn server(word: &str) -> Option<SocketAddr> {
    // An address with a zone (`fe80::1%eth0`) means nothing outside of its link.
    word.parse().ok().map(|address: IpAddr| SocketAddr::new(address, PORT))
}

impl fmt::Display for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for server in &self.servers {
            writeln!(f, "nameserver {}", server.ip())?;
        }
        for (keyword, words) in [("search", &self.search), ("options", &self.options)] {
            if !words.is_empty() {
                writeln!(f, "{keyword} {}", words.join(" "))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::server::SERVER;
    use super::*;

    #[test]
    fn a_container_keeps_the_domains_of_the_host() {
        let table = [
            (
                "# made by hand\nnameserver 192.0.2.53\nsearch example.org corp\noptions edns0 trust-ad\n",
                "nameserver 127.0.0.11\nsearch example.org corp\noptions edns0 trust-ad ndots:0\n",
            ),
            (
                "domain example.org ; old\noptions ndots:2",
                "nameserver 127.0.0.11\nsearch example.org\noptions ndots:2\n",
            ),
            ("", "nameserver 127.0.0.11\noptions ndots:0\n"),
        ];
        for (host, container) in table {
            assert_eq!(
                Resolver::parse(host).for_container(SERVER).to_string(),
                container,
                "{host}"
            );
        }
    }

    #[test]
    fn servers_are_at_most_three_and_at_least_one() {
        let text = "nameserver 10.0.0.1\nnameserver fe80::1%eth0\nnameserver fd00::1\nnameserver\n\
                    nameserver 10.0.0.2\nnameserver 10.0.0.3\n";
        let servers = Resolver::parse(text).servers;
        let texts: Vec<_> = servers.iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["10.0.0.1:53", "[fd00::1]:53", "10.0.0.2:53"]);
        assert_eq!(Resolver::parse("\n").servers, ["127.0.0.1:53".parse().unwrap()]);
    }
}
