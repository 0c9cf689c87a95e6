//! One more process in a running container.
//!
//! Who is at a terminal joins the container directly: [`run`] needs the number and the start time of its PID 1, and
//! neither keeper nor supervisor. What the supervisor wants to run (health checks, hooks) it asks the keeper for, with
//! [`Request::Exec`](crate::keeper::Request::Exec). Both take the same [`ExecProcess`] and the same steps.

mod namespace;
mod process;
mod relay;
mod run;

pub use namespace::namespace;
pub use process::{ExecProcess, Privilege};
pub(crate) use relay::Relay;
pub use run::{ExecError, Mode, Target, run};
