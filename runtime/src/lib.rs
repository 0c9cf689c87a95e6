//! From an OCI runtime spec to a running, confined process.
//!
//! `spec` turns plain wishes into an OCI spec with Docker's defaults, `seccomp` compiles the
//! syscall filter that goes with it, and `cgroup` makes the place where the process is counted and limited.
//!
//! Nothing here knows what a compose file, an image or a network is: the callers hand in paths, descriptors and numbers.

pub mod cgroup;
pub mod seccomp;
pub mod spec;
