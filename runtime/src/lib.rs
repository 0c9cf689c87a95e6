//! From an OCI runtime spec to a running, confined process.
//!
//! `spec` turns plain wishes into an OCI spec with Docker's defaults, `seccomp` compiles the
//! syscall filter that goes with it, and `cgroup` makes the place where the process is counted and limited.
//! `launch` puts these together into one value; the `keeper` clones the container and stays its parent, `init` is what
//! the clone does until it executes the container's program, `exec` joins a running one, and `log` keeps what it says.
//! `foreign` hands all this over to another OCI runtime, for who asks for one by name.
//! `once` is for a container that one caller waits for, without a keeper, `overlay` for layers without a container, and
//! `quota` for how much of them may be changed.
//!
//! Nothing here knows what a compose file, an image or a network is: the callers hand in paths, descriptors and numbers.

pub mod cgroup;
mod container;
pub mod exec;
pub mod exit;
pub mod failure;
pub mod foreign;
mod init;
pub mod keeper;
pub mod launch;
pub mod log;
pub mod once;
pub mod overlay;
pub mod pty;
pub mod quota;
pub mod seccomp;
pub mod spec;

pub use init::{owner, refresh, renew, view};
