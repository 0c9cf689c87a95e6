//! Names: of networks, and of the interfaces that this crate makes.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The name of a network, unique among the networks of one data root: `shop_default`.
///
/// Starts with an ASCII letter or digit, goes on with those and `_`, `.` and `-`, and has at most 200
/// characters: the alphabet of Docker, and safe as a file name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NetworkName(String);

/// A text that is not the name of a network.
#[derive(Debug, thiserror::Error)]
#[error(
    "{name:?} is not a network name: it has to start with a letter or digit, go on with those and `_`, `.` and `-`, and be at most 200 long"
)]
pub struct NameError {
    name: String,
}

impl NetworkName {
    const MAX: usize = 200;

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for NetworkName {
    type Err = NameError;

    fn from_str(name: &str) -> Result<Self, NameError> {
        let starts_well = name.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric());
        let goes_on_well = name.bytes().all(|c| c.is_ascii_alphanumeric() || b"_.-".contains(&c));
        if starts_well && goes_on_well && name.len() <= Self::MAX {
            Ok(Self(name.to_owned()))
        } else {
            Err(NameError { name: name.to_owned() })
        }
    }
}

impl TryFrom<String> for NetworkName {
    type Error = NameError;

    fn try_from(name: String) -> Result<Self, NameError> {
        name.parse()
    }
}

impl From<NetworkName> for String {
    fn from(name: NetworkName) -> Self {
        name.0
    }
}

impl fmt::Display for NetworkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name of a network interface: 1 to 15 bytes, no `/`, `:`, `%` or white space.
///
/// Source: `dev_valid_name` and `IFNAMSIZ` in Linux `net/core/dev.c`; `%` would be a template.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct InterfaceName(String);

/// A text that the kernel would not take as the name of an interface.
#[derive(Debug, thiserror::Error)]
#[error(
    "{name:?} is not an interface name: 1 to 15 characters, without `/`, `:`, `%` and white space"
)]
pub struct InterfaceNameError {
    name: String,
}

impl InterfaceName {
    const MAX: usize = 15;

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A name of ours, which is known to be good.
    pub(crate) fn known(name: &'static str) -> Self {
        Self(name.to_owned())
    }

    /// `prefix` and as much of a random number as there is room for.
    ///
    /// Random and not derived: the link of the same container a moment ago may still be on its way out.
    pub(crate) fn random(prefix: &str) -> Self {
        let mut name = format!("{prefix}{:016x}", crate::random::number());
        name.truncate(Self::MAX);
        Self(name)
    }
}

impl FromStr for InterfaceName {
    type Err = InterfaceNameError;

    fn from_str(name: &str) -> Result<Self, InterfaceNameError> {
        let fits = (1..=Self::MAX).contains(&name.len()) && name != "." && name != "..";
        if fits && name.bytes().all(|c| c.is_ascii_graphic() && !b"/:%".contains(&c)) {
            Ok(Self(name.to_owned()))
        } else {
            Err(InterfaceNameError { name: name.to_owned() })
        }
    }
}

impl TryFrom<String> for InterfaceName {
    type Error = InterfaceNameError;

    fn try_from(name: String) -> Result<Self, InterfaceNameError> {
        name.parse()
    }
}

impl From<InterfaceName> for String {
    fn from(name: InterfaceName) -> Self {
        name.0
    }
}

impl fmt::Display for InterfaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_name_is_a_safe_file_name() {
        for good in ["shop_default", "0", "a.b-c_d"] {
            assert!(good.parse::<NetworkName>().is_ok(), "{good}");
        }
        for bad in ["", ".lock", "../up", "a/b", "-a", "ä", &"n".repeat(201)] {
            assert!(bad.parse::<NetworkName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn an_interface_name_is_what_the_kernel_takes() {
        for good in ["eth0", "cu-0123456789", "fifteen-letters"] {
            assert!(good.parse::<InterfaceName>().is_ok(), "{good}");
        }
        for bad in ["", "..", "a b", "eth%d", "a:1", "sixteen-letters-"] {
            assert!(bad.parse::<InterfaceName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_random_name_fits() {
        let name = InterfaceName::random("cu-");
        assert_eq!(name.as_str().len(), 15);
        assert_ne!(name, InterfaceName::random("cu-"));
    }
}
