//! Networks for containers: a namespace with a bridge, an uplink, addresses, published ports and names.
//!
//! ```no_run
//! use network::Sandbox;
//!
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Invariants
//!
//! - A network is one network namespace. Its bridge, rules and the inner end of its uplink live in it and die
//!   with it; the host has one link and one set element per network, and no route to a container.
//! - The live part exists whole or not at all: it is built behind a descriptor, and mounting the namespace at
//!   `RUN/NAME.ns` is the last step.
//! - The host's own firewall tables are never read or written; ours is called `compose`.
//! - No helper program is run, no thread is started. Only `dns` and `publish` wait for anything.
//! - Nothing here knows what a service, an image or a compose file is.

pub mod dns;
mod endpoint;
mod name;
mod netlink;
pub mod publish;
mod random;
mod record;
mod sandbox;
mod subnet;
mod sysctl;

pub use endpoint::{Endpoint, EndpointWish, Mac, MacError, Member};
pub use name::{InterfaceName, InterfaceNameError, NameError, NetworkName};
pub use netlink::NetlinkError;
pub use record::{Record, SubnetWish, Wanted};
pub use sandbox::{Sandbox, SandboxError};
pub use subnet::{IpNet, Ipv4Net, Ipv6Net, SubnetError};
pub use sysctl::SettingError;
