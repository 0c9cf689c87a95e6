//! The numbers by which a namespace knows others.

use std::os::fd::{AsRawFd as _, BorrowedFd};

use super::message::{Message, attributes, flag, u32_at};
use super::socket::{NetlinkError, RouteSocket};

/// Attributes of linux/net_namespace.h.
const ID: u16 = 1;
const DESCRIPTOR: u16 = 3;
/// The answer for a namespace that has no number here.
const NONE: u32 = u32::MAX;

/// A namespace that is known under a number. The number goes when the namespace does.
#[derive(Debug)]
pub(crate) struct Peer;

impl Peer {
    /// The request that gives `namespace` a number; ip-netns(8), `ip netns set`.
    pub(crate) fn add(id: u32, namespace: BorrowedFd<'_>) -> Message {
        let mut message = request(libc::RTM_NEWNSID, flag::CREATE, format!("ip netns set … {id}"));
        message.u32(ID, id).u32(DESCRIPTOR, namespace.as_raw_fd().cast_unsigned());
        message
    }
}

/// `struct rtgenmsg`.
fn request(kind: u16, flags: u16, text: String) -> Message {
    let mut message = Message::new(kind, flags, text);
    message.raw(&[0]);
    message
}

impl RouteSocket {
    /// The numbers of all namespaces that are known here and alive.
    pub(crate) fn peers(&mut self) -> Result<Vec<u32>, NetlinkError> {
        let message = request(libc::RTM_GETNSID, 0, "ip netns list-id".to_owned());
        let each =
            |kind, payload: &[u8]| (kind == libc::RTM_NEWNSID).then(|| id(payload)).flatten();
        self.0.dump(&message, each)
    }

    /// The number of `namespace`, if it has one.
    pub(crate) fn peer(&mut self, namespace: BorrowedFd<'_>) -> Result<Option<u32>, NetlinkError> {
        let mut message = request(libc::RTM_GETNSID, 0, "ip netns list-id".to_owned());
        message.u32(DESCRIPTOR, namespace.as_raw_fd().cast_unsigned());
        let found = self.0.get(&message, id)?;
        Ok(Some(found).filter(|found| *found != NONE))
    }
}

fn id(payload: &[u8]) -> Option<u32> {
    let (_, value) = attributes(payload.get(4..)?).find(|(kind, _)| *kind == ID)?;
    u32_at(value, 0)
}
