//! Raw netlink: our own small encoder, for rtnetlink and nfnetlink.
//!
//! # Why
//!
//! The cost of a network is the number of round trips and the kernel's own locks. Messages that are built here
//! go out in one send, acknowledged once; the crates that do this with types cost 20 seconds of build and invite
//! the slow order (a veth made here and moved there waits for an RCU grace period of 30 ms; one that is born
//! there does not). The crates serve as independent readers in the tests.

mod address;
mod link;
mod message;
#[cfg(test)]
mod oracle;
mod peer;
mod route;
mod socket;

pub(crate) use address::{Address, octets};
pub(crate) use link::{Child, Link, Veth, VethEnd};
pub(crate) use message::{Message, attributes, flag};
pub(crate) use peer::Peer;
pub(crate) use route::Route;
pub use socket::NetlinkError;
pub(crate) use socket::{Frame, RouteSocket, Socket};
