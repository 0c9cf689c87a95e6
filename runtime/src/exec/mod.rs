//! One more process in a running container.

mod process;

pub use process::{ExecProcess, Privilege};
