//! Safe functions over the kernel, one topic a file.
//!
//! The one crate of the workspace in which `unsafe` may be written. Nothing here knows what a container is.

pub mod bpf;
pub mod namespace;
pub mod netlink;
pub mod root;
