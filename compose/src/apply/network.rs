//! Making and removing networks.

use std::collections::BTreeMap;
use std::str::FromStr;

use network::{Family, NetworkName, SubnetWish, Wanted};

use super::driver::{self, DriverError, Made};
use super::run::Walk;
use crate::model::{IpamPool, Network, NetworkKey};
use crate::record::labels;

/// A network could not be made or removed.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// A name that no network can have.
    #[error(transparent)]
    Name(#[from] network::NameError),
    /// Something in `ipam` that is no address.
    #[error("`{value}` is not {wanted}")]
    Address {
        /// What was written.
        value: String,
        /// What it should be.
        wanted: &'static str,
    },
    /// The driver, or an option of it.
    #[error(transparent)]
    Driver(#[from] DriverError),
    /// An option of the address management, which has none.
    #[error("`ipam.options` has `{option}`, and the management of addresses has no options")]
    AddressOption {
        /// The option.
        option: String,
    },
    /// Addresses that somebody else would give out.
    #[error("addresses are not given out by `{driver}`")]
    AddressDriver {
        /// What was written.
        driver: String,
    },
    /// The network itself.
    #[error(transparent)]
    Store(#[from] network::StoreError),
}

/// Makes the network of the project under `key`.
pub fn create(walk: &Walk, key: &NetworkKey) -> Result<(), NetworkError> {
    let Some(project) = &walk.job.project else { return Ok(()) };
    let Some(wanted) = project.networks.get(key) else { return Ok(()) };
    let mut wish = wish(wanted)?;
    wish.labels.insert(labels::PROJECT.to_owned(), project.name.to_string());
    wish.labels.insert(labels::NETWORK.to_owned(), key.to_string());
    wish.labels.insert(labels::CONFIG_HASH.to_owned(), crate::hash::network(wanted).hash());
    let network = walk.supervisor.networks.create(&wish)?;
    for family in Family::ALL {
        if network.record().leads_out(family) {
            warn_of_obstacles(walk, &wanted.name, family);
        }
    }
    Ok(())
}

/// Firewall rules of others may drop what a network sends out, and ours cannot let it pass.
fn warn_of_obstacles(walk: &Walk, name: &str, family: Family) {
    let chains = network::obstacles(family).unwrap_or_default();
    if !chains.is_empty() {
        let program = match family {
            Family::V4 => "iptables",
            Family::V6 => "ip6tables",
        };
        walk.warn(format!(
            "network {name} may not reach the outside: the firewall drops what is forwarded ({}); \
             let it pass with `{program} -I FORWARD -i cu-+ -j ACCEPT`",
            chains.join(", ")
        ));
    }
}

/// Removes the network called `name`.
pub fn remove(walk: &Walk, name: &str) -> Result<(), NetworkError> {
    walk.supervisor.names.forget(name);
    walk.supervisor.networks.remove(&name.parse::<NetworkName>()?)?;
    Ok(())
}

/// The network of the file in the words of the store.
pub fn wish(wanted: &Network) -> Result<Wanted, NetworkError> {
    let Made { driver, mtu } = driver::driver(wanted.driver.as_deref(), &wanted.driver_opts)?;
    if let Some(option) = wanted.ipam.options.keys().next() {
        return Err(NetworkError::AddressOption { option: option.clone() });
    }
    if let Some(driver) = wanted.ipam.driver.as_ref().filter(|driver| *driver != "default") {
        return Err(NetworkError::AddressDriver { driver: driver.clone() });
    }
    let mut wish = Wanted::new(wanted.name.parse()?);
    wish.labels = wanted.labels.clone();
    wish.internal = wanted.internal;
    wish.ipv4 = wanted.enable_ipv4.unwrap_or(true);
    wish.ipv6 = wanted.enable_ipv6.unwrap_or(false);
    (wish.driver, wish.mtu) = (driver, mtu);
    wish.options = wanted.driver_opts.clone();
    for pool in &wanted.ipam.pools {
        wish.subnets.extend(subnet(pool)?);
    }
    Ok(wish)
}

fn subnet(pool: &IpamPool) -> Result<Option<SubnetWish>, NetworkError> {
    let Some(subnet) = &pool.subnet else { return Ok(None) };
    let mut aux_addresses = BTreeMap::new();
    for (host, address) in &pool.aux_addresses {
        aux_addresses.insert(host.clone(), parse(address, "an IP address")?);
    }
    Ok(Some(SubnetWish {
        subnet: parse(subnet, "a subnet like 10.1.2.0/24")?,
        gateway: optional(pool.gateway.as_ref(), "an IP address")?,
        ip_range: optional(pool.ip_range.as_ref(), "a subnet like 10.1.2.128/25")?,
        aux_addresses,
    }))
}

fn optional<T: FromStr>(
    value: Option<&String>,
    wanted: &'static str,
) -> Result<Option<T>, NetworkError> {
    value.map(|value| parse(value, wanted)).transpose()
}

fn parse<T: FromStr>(value: &str, wanted: &'static str) -> Result<T, NetworkError> {
    value.parse().map_err(|_| NetworkError::Address { value: value.to_owned(), wanted })
}
