//! `driver` and `driver_opts` of a network, in the words of the store.
//!
//! Options are those of docker's drivers. One that is not carried out is refused by its name: nothing is accepted and
//! then ignored.

use std::collections::BTreeMap;
use std::str::FromStr;

use network::{Bridge, ChildKind, Driver, InterfaceName, IpvlanFlag, IpvlanMode, MacvlanMode};

use crate::model::network_option;

/// A driver or an option of it that cannot be carried out.
#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    /// A driver that does not exist here.
    #[error("networks of the driver `{driver}` cannot be made")]
    Driver {
        /// What was written.
        driver: String,
    },
    /// A driver whose only network is there already.
    #[error("there is one network of the driver `{driver}`, and it is there already")]
    Predefined {
        /// What was written.
        driver: String,
    },
    /// An option that the driver does not have, or that is not carried out.
    #[error("`driver_opts` has `{option}`, which is not carried out for the driver `{driver}`")]
    Option {
        /// The option.
        option: String,
        /// The driver.
        driver: &'static str,
    },
    /// A value that the option does not take.
    #[error("`{value}` is no value of `{option}`: it is {wanted}")]
    Value {
        /// The option.
        option: String,
        /// What was written.
        value: String,
        /// What it should be.
        wanted: &'static str,
    },
}

/// What a driver and its options come to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Made {
    /// How the network is made.
    pub driver: Driver,
    /// Bytes in a packet.
    pub mtu: Option<u32>,
}

/// Reads `driver` with its `options`.
///
/// # Errors
///
/// [`DriverError`] for the first that cannot be carried out.
pub fn driver(
    driver: Option<&str>,
    options: &BTreeMap<String, String>,
) -> Result<Made, DriverError> {
    match driver.unwrap_or("bridge") {
        "bridge" | "default" => bridge(options),
        "macvlan" => macvlan(options),
        "ipvlan" => ipvlan(options),
        driver @ ("host" | "none" | "null") => {
            Err(DriverError::Predefined { driver: driver.to_owned() })
        }
        other => Err(DriverError::Driver { driver: other.to_owned() }),
    }
}

fn bridge(options: &BTreeMap<String, String>) -> Result<Made, DriverError> {
    let mut mtu = None;
    let mut bridge = Bridge::default();
    for (option, value) in options {
        let one = One { option, value };
        match option.as_str() {
            network_option::MTU => mtu = Some(one.mtu()?),
            network_option::INTERFACE_PREFIX => one.prefix()?,
            // Carried out where ports are read.
            network_option::HOST_BINDING => {
                one.read::<std::net::Ipv4Addr>("an IPv4 address")?;
            }
            "com.docker.network.bridge.name" => {
                bridge.host_name = Some(one.read::<InterfaceName>("the name of a link")?);
            }
            "com.docker.network.bridge.enable_icc" => bridge.isolates = !one.truth()?,
            "com.docker.network.bridge.enable_ip_masquerade" => bridge.exposes = !one.truth()?,
            // The defaults of docker are what is done.
            "com.docker.network.bridge.gateway_mode_ipv4"
            | "com.docker.network.bridge.gateway_mode_ipv6"
                if value == "nat" => {}
            "com.docker.network.bridge.inhibit_ipv4"
            | "com.docker.network.bridge.default_bridge"
                if !one.truth()? => {}
            _ => return Err(one.unknown("bridge")),
        }
    }
    Ok(Made { driver: Driver::Bridge(bridge), mtu })
}

fn macvlan(options: &BTreeMap<String, String>) -> Result<Made, DriverError> {
    let (mut mtu, mut parent, mut mode) = (None, None, MacvlanMode::Bridge);
    for (option, value) in options {
        let one = One { option, value };
        match option.as_str() {
            network_option::MTU => mtu = Some(one.mtu()?),
            network_option::INTERFACE_PREFIX => one.prefix()?,
            "parent" => parent = Some(one.read::<InterfaceName>("the name of a link of the host")?),
            "macvlan_mode" => {
                mode = one.choice(
                    "bridge, private, vepa or passthru",
                    &[
                        ("bridge", MacvlanMode::Bridge),
                        ("private", MacvlanMode::Private),
                        ("vepa", MacvlanMode::Vepa),
                        ("passthru", MacvlanMode::Passthru),
                    ],
                )?;
            }
            _ => return Err(one.unknown("macvlan")),
        }
    }
    Ok(Made { driver: Driver::Child { parent, kind: ChildKind::Macvlan(mode) }, mtu })
}

fn ipvlan(options: &BTreeMap<String, String>) -> Result<Made, DriverError> {
    let (mut mtu, mut parent) = (None, None);
    let (mut mode, mut flag) = (IpvlanMode::L2, IpvlanFlag::Bridge);
    for (option, value) in options {
        let one = One { option, value };
        match option.as_str() {
            network_option::MTU => mtu = Some(one.mtu()?),
            network_option::INTERFACE_PREFIX => one.prefix()?,
            "parent" => parent = Some(one.read::<InterfaceName>("the name of a link of the host")?),
            "ipvlan_mode" => {
                mode = one.choice(
                    "l2, l3 or l3s",
                    &[("l2", IpvlanMode::L2), ("l3", IpvlanMode::L3), ("l3s", IpvlanMode::L3s)],
                )?;
            }
            "ipvlan_flag" => {
                flag = one.choice(
                    "bridge, private or vepa",
                    &[
                        ("bridge", IpvlanFlag::Bridge),
                        ("private", IpvlanFlag::Private),
                        ("vepa", IpvlanFlag::Vepa),
                    ],
                )?;
            }
            _ => return Err(one.unknown("ipvlan")),
        }
    }
    Ok(Made { driver: Driver::Child { parent, kind: ChildKind::Ipvlan(mode, flag) }, mtu })
}

/// An option with its value.
struct One<'a> {
    option: &'a str,
    value: &'a str,
}

impl One<'_> {
    fn unknown(&self, driver: &'static str) -> DriverError {
        DriverError::Option { option: self.option.to_owned(), driver }
    }

    fn wrong(&self, wanted: &'static str) -> DriverError {
        let (option, value) = (self.option.to_owned(), self.value.to_owned());
        DriverError::Value { option, value, wanted }
    }

    fn read<T: FromStr>(&self, wanted: &'static str) -> Result<T, DriverError> {
        self.value.parse().map_err(|_| self.wrong(wanted))
    }

    fn mtu(&self) -> Result<u32, DriverError> {
        self.read("a number of bytes")
    }

    fn choice<T: Copy>(
        &self,
        wanted: &'static str,
        choices: &[(&str, T)],
    ) -> Result<T, DriverError> {
        let found = choices.iter().find(|(word, _)| *word == self.value);
        found.map(|(_, choice)| *choice).ok_or_else(|| self.wrong(wanted))
    }

    /// As Go reads them, in which docker is written.
    fn truth(&self) -> Result<bool, DriverError> {
        match self.value {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
            _ => Err(self.wrong("true or false")),
        }
    }

    fn prefix(&self) -> Result<(), DriverError> {
        let name = format!("{}0", self.value).parse::<InterfaceName>();
        name.map(drop).map_err(|_| self.wrong("the beginning of a name of at most 15 characters"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(name: &str, options: &[(&str, &str)]) -> Result<Made, String> {
        let own = |(option, value): &(&str, &str)| ((*option).to_owned(), (*value).to_owned());
        driver(Some(name), &options.iter().map(own).collect()).map_err(|error| error.to_string())
    }

    #[test]
    fn options_are_carried_out() {
        assert_eq!(made("default", &[]), Ok(Made::default()));
        let bridge = made(
            "bridge",
            &[
                ("com.docker.network.bridge.name", "br-shop"),
                ("com.docker.network.bridge.enable_icc", "false"),
                ("com.docker.network.bridge.enable_ip_masquerade", "0"),
                ("com.docker.network.bridge.host_binding_ipv4", "127.0.0.1"),
                ("com.docker.network.bridge.gateway_mode_ipv4", "nat"),
                ("com.docker.network.bridge.inhibit_ipv4", "false"),
                ("com.docker.network.driver.mtu", "1400"),
                ("com.docker.network.container_iface_prefix", "lan"),
            ],
        );
        let host_name = "br-shop".parse().ok();
        let driver = Driver::Bridge(Bridge { host_name, isolates: true, exposes: true });
        assert_eq!(bridge, Ok(Made { driver, mtu: Some(1400) }));
        let kind = ChildKind::Macvlan(MacvlanMode::Private);
        let driver = Driver::Child { parent: "eth0".parse().ok(), kind };
        let macvlan = made("macvlan", &[("parent", "eth0"), ("macvlan_mode", "private")]);
        assert_eq!(macvlan, Ok(Made { driver, mtu: None }));
        let kind = ChildKind::Ipvlan(IpvlanMode::L3s, IpvlanFlag::Vepa);
        let driver = Driver::Child { parent: None, kind };
        let ipvlan = made("ipvlan", &[("ipvlan_mode", "l3s"), ("ipvlan_flag", "vepa")]);
        assert_eq!(ipvlan, Ok(Made { driver, mtu: None }));
    }

    #[test]
    fn what_is_not_carried_out_is_named() {
        type Options<'a> = &'a [(&'a str, &'a str)];
        let table: [(&str, Options<'_>, &str); 7] = [
            ("overlay", &[], "networks of the driver `overlay` cannot be made"),
            ("host", &[], "there is one network of the driver `host`, and it is there already"),
            (
                "bridge",
                &[("com.docker.network.bridge.gateway_mode_ipv4", "routed")],
                "`driver_opts` has `com.docker.network.bridge.gateway_mode_ipv4`, which is not carried out for the driver `bridge`",
            ),
            (
                "bridge",
                &[("parent", "eth0")],
                "`driver_opts` has `parent`, which is not carried out for the driver `bridge`",
            ),
            (
                "bridge",
                &[("com.docker.network.bridge.enable_icc", "maybe")],
                "`maybe` is no value of `com.docker.network.bridge.enable_icc`: it is true or false",
            ),
            (
                "macvlan",
                &[("macvlan_mode", "l2")],
                "`l2` is no value of `macvlan_mode`: it is bridge, private, vepa or passthru",
            ),
            (
                "ipvlan",
                &[("ipvlan_mode", "l4")],
                "`l4` is no value of `ipvlan_mode`: it is l2, l3 or l3s",
            ),
        ];
        for (driver, options, message) in table {
            assert_eq!(made(driver, options).unwrap_err(), message);
        }
    }
}
