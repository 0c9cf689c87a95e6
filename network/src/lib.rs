//! Networks for containers: a namespace with a bridge, an uplink, addresses, published ports and names.
//!
//! ```no_run
//! use std::path::Path;
//! use network::{EndpointWish, Sandbox, Store, Wanted, WayOut};
//!
//! let store = Store::open(Path::new("/var/lib/compose/networks"), Path::new("/run/compose/networks"))?;
//! let network = store.create(&Wanted::new("shop_default".parse()?))?;
//! let sandbox = Sandbox::create()?;
//! let wish = EndpointWish::new("4f1c", "shop/web/1", "eth0".parse()?);
//! let endpoint = network.attach(&sandbox, &wish, WayOut::BOTH)?;
//! println!("web-1 is at {:?}", endpoint.addresses().collect::<Vec<_>>());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Invariants
//!
//! - A network is one network namespace. One on a link of the host (`macvlan`, `ipvlan`) has nothing in it. Its bridge, rules and the inner end of its uplink live in it and die
//!   with it; the host has one link and one set element per network, and no route to a container.
//! - The live part exists whole or not at all: it is built behind a descriptor, and mounting the namespace at
//!   `RUN/NAME.ns` is the last step.
//! - The host's own firewall tables are never read or written; ours is called `compose`.
//! - No helper program is run, no thread is started. Only `dns` and `publish` wait for anything.
//! - Nothing here knows what a service, an image or a compose file is.

mod bridge;
mod child;
pub mod dns;
mod driver;
mod endpoint;
mod file;
mod firewall;
mod lease;
#[cfg(test)]
mod live;
mod name;
mod netlink;
mod network;
pub mod publish;
mod random;
mod record;
mod sandbox;
mod store;
mod subnet;
mod sysctl;
mod uplink;

pub use driver::{Bridge, ChildKind, Driver, IpvlanFlag, IpvlanMode, MacvlanMode};
pub use endpoint::{Endpoint, EndpointWish, INTERFACE, Mac, MacError, Member, WayOut};
pub use file::FileError;
pub use firewall::obstacles;
pub use lease::LeaseError;
pub use name::{InterfaceName, InterfaceNameError, NameError, NetworkName};
pub use netlink::NetlinkError;
pub use network::{AttachError, MemberError, Network};
pub use record::{Record, SubnetWish, Wanted, WantedError};
pub use sandbox::{Sandbox, SandboxError};
pub use store::{LiveError, Store, StoreError};
pub use subnet::{Family, IpNet, Ipv4Net, Ipv6Net, SubnetError};
pub use sysctl::SettingError;
pub use uplink::UplinkError;
