//! How a network is made: with a bridge of its own, or on a link of the host.

use serde::{Deserialize, Serialize};

use crate::name::InterfaceName;

/// How a network is made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Driver {
    /// A bridge in the namespace of the network, and an uplink to the host.
    Bridge(Bridge),
    /// Members are on a link of the host, or of the network where none is named; each with a hardware address of its
    /// own (`macvlan`), or all with that of the link (`ipvlan`).
    Child {
        /// The link of the host.
        parent: Option<InterfaceName>,
        /// What a member's link is.
        kind: ChildKind,
    },
}

/// What a bridge does otherwise than most.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Bridge {
    /// The name of the network's link on the host, in place of one that is made up.
    pub host_name: Option<InterfaceName>,
    /// Members do not reach each other.
    pub isolates: bool,
    /// Members are seen outside with their own addresses: nothing is masqueraded, and the host has a route to them.
    pub exposes: bool,
}

/// What a member's link is, if it is one on another link. Linux Documentation/networking/ipvlan.rst; ip-link(8).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChildKind {
    /// `type macvlan mode …`
    Macvlan(MacvlanMode),
    /// `type ipvlan mode … …`
    Ipvlan(IpvlanMode, IpvlanFlag),
}

/// How members of a macvlan reach each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MacvlanMode {
    /// Directly.
    Bridge,
    /// Not at all.
    Private,
    /// By way of a switch that sends frames back.
    Vepa,
    /// There is only one member, which has the link to itself.
    Passthru,
}

/// At which layer an ipvlan works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IpvlanMode {
    /// As a switch.
    L2,
    /// As a router.
    L3,
    /// As a router whose packets pass the firewall of the host.
    L3s,
}

/// How members of an ipvlan reach each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IpvlanFlag {
    /// Directly.
    Bridge,
    /// Not at all.
    Private,
    /// By way of a switch that sends frames back.
    Vepa,
}

impl Default for Driver {
    fn default() -> Self {
        Self::Bridge(Bridge::default())
    }
}

impl Driver {
    /// Its name.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Bridge(_) => "bridge",
            Self::Child { kind: ChildKind::Macvlan(_), .. } => "macvlan",
            Self::Child { kind: ChildKind::Ipvlan(..), .. } => "ipvlan",
        }
    }

    /// What is particular about its bridge, if it has one.
    pub(crate) const fn bridge(&self) -> Option<&Bridge> {
        match self {
            Self::Bridge(bridge) => Some(bridge),
            Self::Child { .. } => None,
        }
    }

    /// Whether its members are reached from its namespace: those on a link of the host are not.
    pub const fn reaches_members(&self) -> bool {
        matches!(self, Self::Bridge(_))
    }

    /// Whether members leave by their link, with no router that would have to be named.
    pub(crate) const fn routes_by_link(&self) -> bool {
        matches!(
            self,
            Self::Child { kind: ChildKind::Ipvlan(IpvlanMode::L3 | IpvlanMode::L3s, _), .. }
        )
    }
}
