//! What a container may look up: the members of its networks, and nothing of any other.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use crate::endpoint::Member;

/// The names on one network, shared by the zones of all its members.
#[derive(Debug, Clone, Default)]
pub struct Names {
    network: String,
    addresses: HashMap<String, Vec<IpAddr>>,
    names: HashMap<IpAddr, String>,
}

/// What one container sees: the names on each of its networks, and its own links.
#[derive(Debug, Clone, Default)]
pub struct Zone {
    networks: Vec<Arc<Names>>,
    links: BTreeMap<String, String>,
    outside: Outside,
}

/// Whether unknown names may be asked of the host's servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Outside {
    /// They are forwarded.
    #[default]
    Asked,
    /// They do not exist: all networks of the container are internal.
    Unknown,
}

/// What a zone knows of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Known {
    /// The name is here, with these addresses, in the order in which the members joined.
    Here(Vec<IpAddr>),
    /// The name is not of this zone; ask the host's servers.
    Elsewhere,
    /// The name is not of this zone, and nobody else may be asked.
    Nowhere,
}

impl Names {
    /// The names of `members` on the network called `network`.
    pub fn new<'a>(network: &str, members: impl IntoIterator<Item = &'a Member>) -> Self {
        let mut all = Self { network: network.to_ascii_lowercase(), ..Self::default() };
        for member in members {
            all.add(member);
        }
        all
    }

    fn add(&mut self, member: &Member) {
        for address in member.endpoint.addresses() {
            for name in &member.names {
                let known = self.addresses.entry(name.to_ascii_lowercase()).or_default();
                if !known.contains(&address) {
                    known.push(address);
                }
            }
            if let Some(name) = member.names.first() {
                self.names.insert(address, name.clone());
            }
        }
    }

    fn find(&self, name: &str) -> Option<&[IpAddr]> {
        let whole = self.addresses.get(name);
        let short = || name.strip_suffix(&self.network)?.strip_suffix('.');
        whole.or_else(|| self.addresses.get(short()?)).map(Vec::as_slice)
    }
}

impl Zone {
    /// The view of a container on `networks`; `links` are names that only it has for the names of others.
    pub fn new(
        networks: Vec<Arc<Names>>,
        links: BTreeMap<String, String>,
        outside: Outside,
    ) -> Self {
        let links = links
            .into_iter()
            .map(|(name, of)| (name.to_ascii_lowercase(), of.to_ascii_lowercase()));
        Self { networks, links: links.collect(), outside }
    }

    /// Looks a name up: whole, and as `name.network`; upper and lower case are the same, as is a final dot.
    ///
    /// On several networks it is found in the first that has it, so an answer never mixes ways.
    pub fn find(&self, name: &str) -> Known {
        let lower = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        let wanted = self.links.get(&lower).unwrap_or(&lower);
        match self.networks.iter().find_map(|names| names.find(wanted)) {
            Some(addresses) => Known::Here(addresses.to_vec()),
            None => self.unknown(),
        }
    }

    /// Looks an address up: the name of the member that has it, with the network behind it.
    pub fn find_address(&self, address: IpAddr) -> Option<String> {
        self.networks.iter().find_map(|names| {
            let name = names.names.get(&address)?;
            Some(format!("{name}.{}", names.network))
        })
    }

    /// What to say of a name that is not here.
    pub(crate) fn unknown(&self) -> Known {
        match self.outside {
            Outside::Asked => Known::Elsewhere,
            Outside::Unknown => Known::Nowhere,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoint::{Endpoint, Mac};

    fn member(address: &str, names: &[&str]) -> Member {
        let address: crate::Ipv4Net = format!("{address}/24").parse().unwrap();
        let endpoint = Endpoint {
            network: "shop_default".parse().unwrap(),
            container: names[0].to_owned(),
            lease_key: names[0].to_owned(),
            interface: "eth0".parse().unwrap(),
            near: "ve0".parse().ok(),
            peer: None,
            address: Some(address),
            gateway: None,
            ipv6: None,
            ipv6_gateway: None,
            mac: Mac::of(address.address().into()),
        };
        Member { endpoint, names: names.iter().map(|name| (*name).to_owned()).collect() }
    }

    fn zone(outside: Outside) -> Zone {
        let members = [
            member("10.0.0.2", &["shop-web-1", "Web"]),
            member("10.0.0.3", &["shop-web-2", "web"]),
        ];
        let front = Names::new("shop_default", &members);
        let back = Names::new("back", &[member("10.0.1.2", &["db"]), member("10.0.1.3", &["web"])]);
        let links = BTreeMap::from([("Database".to_owned(), "db".to_owned())]);
        Zone::new(vec![Arc::new(front), Arc::new(back)], links, outside)
    }

    fn here(addresses: &[&str]) -> Known {
        Known::Here(addresses.iter().map(|address| address.parse().unwrap()).collect())
    }

    #[test]
    fn names_are_found_as_docker_finds_them() {
        let table = [
            ("web", here(&["10.0.0.2", "10.0.0.3"])),
            ("WEB.", here(&["10.0.0.2", "10.0.0.3"])),
            ("shop-web-2", here(&["10.0.0.3"])),
            ("web.shop_default", here(&["10.0.0.2", "10.0.0.3"])),
            ("web.back", here(&["10.0.1.3"])),
            ("db.shop_default", Known::Elsewhere),
            ("database", here(&["10.0.1.2"])),
            ("example.org", Known::Elsewhere),
            ("", Known::Elsewhere),
        ];
        for (name, known) in table {
            assert_eq!(zone(Outside::Asked).find(name), known, "{name}");
        }
        assert_eq!(zone(Outside::Unknown).find("example.org"), Known::Nowhere);
    }

    #[test]
    fn addresses_have_the_name_of_the_container() {
        let zone = zone(Outside::Asked);
        let name = |address: &str| zone.find_address(address.parse().unwrap());
        assert_eq!(name("10.0.0.3").as_deref(), Some("shop-web-2.shop_default"));
        assert_eq!(name("10.9.9.9"), None);
    }
}
