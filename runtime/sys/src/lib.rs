//! Safe functions over the kernel, one topic a file, for what neither the standard library nor rustix offers.
//!
//! This is the one crate in which `unsafe` may be written. Its callers hand in descriptors and plain numbers and get
//! descriptors and [`std::io::Error`] back. Nothing here knows what a container is: there is no policy, no path of
//! ours, and no state that outlives a call.

pub mod bpf;
pub mod btrfs;
pub mod clone;
pub mod executable;
pub mod fds;
pub mod handle;
pub mod memory;
pub mod mount;
pub mod namespace;
pub mod netlink;
pub mod overlay;
pub mod pidfd;
pub mod process;
pub mod quota;
pub mod remove;
pub mod root;
pub mod seccomp;
