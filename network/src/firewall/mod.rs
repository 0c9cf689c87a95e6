//! Rules: the table of a network's namespace, and the one table of the host.
//!
//! Each change is one transaction, carried out whole or not at all. Base chains cost milliseconds (the kernel
//! waits for RCU), so they are made once; later changes only touch elements of sets.

mod host;
mod inside;
mod nft;
mod redirect;

pub(crate) use host::HostTable;
pub(crate) use inside::InsideTable;
pub(crate) use redirect::RedirectTable;
