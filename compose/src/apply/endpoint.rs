//! What a service asks of its interface on one network, in the words of the network.

use std::collections::BTreeMap;
use std::net::IpAddr;

use network::{INTERFACE, InterfaceName, InterfaceNameError};

use crate::model::{Attachment, network_option};

/// Something that an interface cannot have.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// A name that the kernel does not take.
    #[error(transparent)]
    Interface(#[from] InterfaceNameError),
    /// Something in the list of settings that is none.
    #[error("`{text}` is not a setting such as net.ipv4.conf.IFNAME.log_martians=1")]
    Setting {
        /// What was written.
        text: String,
    },
    /// An address that is not for the link only.
    #[error("{address} is not a link-local address: those begin with 169.254. or fe80:")]
    LinkLocal {
        /// The address.
        address: IpAddr,
    },
    /// An option that means nothing.
    #[error("`driver_opts` has `{option}`, which is not carried out for a service")]
    Option {
        /// The option.
        option: String,
    },
}

/// Below these the kernel keeps the settings of an interface.
const SETTINGS: [&str; 5] =
    ["net.ipv4.conf.", "net.ipv4.neigh.", "net.ipv6.conf.", "net.ipv6.neigh.", "net.mpls.conf."];

/// What `driver_opts` of a place say about its interface.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Options {
    /// Its name.
    pub interface: Option<InterfaceName>,
    /// Its settings.
    pub settings: Vec<(String, String)>,
}

impl Options {
    /// Reads them.
    ///
    /// # Errors
    ///
    /// [`EndpointError`] for the first that cannot be carried out.
    pub fn read(options: &BTreeMap<String, String>) -> Result<Self, EndpointError> {
        let mut all = Self::default();
        for (option, value) in options {
            match option.as_str() {
                network_option::ENDPOINT_INTERFACE => all.interface = Some(value.parse()?),
                network_option::ENDPOINT_SETTINGS => {
                    all.settings = value.split(',').map(setting).collect::<Result<_, _>>()?;
                }
                _ => return Err(EndpointError::Option { option: option.clone() }),
            }
        }
        Ok(all)
    }
}

fn setting(text: &str) -> Result<(String, String), EndpointError> {
    let wrong = || EndpointError::Setting { text: text.to_owned() };
    let (name, value) = text.trim().split_once('=').ok_or_else(wrong)?;
    let below = SETTINGS.iter().find_map(|prefix| name.strip_prefix(prefix)).ok_or_else(wrong)?;
    let (interface, rest) = below.split_once('.').ok_or_else(wrong)?;
    // The rest is one more name: nothing that would lead elsewhere.
    let plain = rest.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_') && !rest.is_empty();
    if interface == INTERFACE && plain {
        Ok((name.to_owned(), value.to_owned()))
    } else {
        Err(wrong())
    }
}

/// The addresses, if all of them are for the link only (RFC 3927, RFC 4291 section 2.5.6).
///
/// # Errors
///
/// [`EndpointError::LinkLocal`] for the first that is not.
pub fn link_local(addresses: &[IpAddr]) -> Result<Vec<IpAddr>, EndpointError> {
    let is_local = |address: &IpAddr| match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    match addresses.iter().find(|address| !is_local(address)) {
        Some(address) => Err(EndpointError::LinkLocal { address: *address }),
        None => Ok(addresses.to_vec()),
    }
}

/// Whether a place can be had as it is asked for, as far as that is known beforehand.
///
/// # Errors
///
/// [`EndpointError`] for the first thing that cannot be.
pub fn check(place: &Attachment) -> Result<(), EndpointError> {
    Options::read(&place.driver_opts)?;
    link_local(&place.link_local_ips)?;
    place.interface_name.as_deref().map(str::parse::<InterfaceName>).transpose()?;
    Ok(())
}

/// Names for the interfaces that were given none: the beginning that their network asks for, and a number.
#[derive(Debug, Default)]
pub struct Names {
    used: Vec<InterfaceName>,
}

impl Names {
    /// With names that are in use already.
    pub fn used(used: impl Iterator<Item = InterfaceName>) -> Self {
        Self { used: used.collect() }
    }

    /// The one that was asked for, else the first that is free.
    ///
    /// # Errors
    ///
    /// When a name is none that the kernel takes.
    pub fn next(
        &mut self,
        asked: Option<InterfaceName>,
        prefix: Option<&str>,
    ) -> Result<InterfaceName, InterfaceNameError> {
        if let Some(name) = asked {
            return Ok(name);
        }
        let prefix = prefix.unwrap_or("eth");
        let mut number = 0;
        loop {
            let name: InterfaceName = format!("{prefix}{number}").parse()?;
            if !self.used.contains(&name) {
                self.used.push(name.clone());
                return Ok(name);
            }
            number += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(option: &str, value: &str) -> Result<Options, String> {
        let options = BTreeMap::from([(option.to_owned(), value.to_owned())]);
        Options::read(&options).map_err(|error| error.to_string())
    }

    #[test]
    fn settings_are_of_the_interface() {
        let both = "net.ipv4.conf.IFNAME.log_martians=1,net.ipv6.conf.IFNAME.accept_ra=2";
        let read_back = read("com.docker.network.endpoint.sysctls", both).unwrap().settings;
        assert_eq!(read_back[1], ("net.ipv6.conf.IFNAME.accept_ra".to_owned(), "2".to_owned()));
        for bad in [
            "net.ipv4.ip_forward=1",
            "net.ipv4.conf.eth0.log_martians=1",
            "net.ipv4.conf.IFNAME=1",
            "net.ipv4.conf.IFNAME.a/../b=1",
            "net.ipv4.conf.IFNAME.log_martians",
        ] {
            let error = read("com.docker.network.endpoint.sysctls", bad).unwrap_err();
            assert!(error.contains("is not a setting such as"), "{error}");
        }
        let name = read("com.docker.network.endpoint.ifname", "lan0").unwrap().interface;
        assert_eq!(name, "lan0".parse().ok());
        let error = read("com.docker.network.endpoint.exposedports", "x").unwrap_err();
        assert!(error.contains("`com.docker.network.endpoint.exposedports`"), "{error}");
    }

    #[test]
    fn link_local_is_link_local() {
        let addresses = ["169.254.8.8", "fe80::8"].map(|text| text.parse().unwrap());
        assert_eq!(link_local(&addresses).unwrap(), addresses);
        for bad in ["10.0.0.1", "fd00::1"] {
            assert!(link_local(&[bad.parse().unwrap()]).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_interface_gets_the_first_free_name() {
        let used = |names: &[&str]| Names::used(names.iter().map(|name| name.parse().unwrap()));
        let next = |names: &[&str], prefix| used(names).next(None, prefix).unwrap().to_string();
        assert_eq!(next(&[], None), "eth0");
        assert_eq!(next(&["eth0", "eth2"], None), "eth1");
        assert_eq!(next(&["lan"], None), "eth0");
        assert_eq!(next(&["eth0", "lan0"], Some("lan")), "lan1");
        assert!(used(&[]).next(None, Some("much-too-long-a-name")).is_err());
    }
}
