//! Carrying out a plan: the only code that changes the world.
//!
//! [`run`] walks the steps, as many side by side as their order allows; the other modules each carry out one kind of
//! step. [`check`] tells beforehand what is bound to fail, [`explain`] what a failure means.
//! Nothing here decides anything: whatever a step needs is in it.

mod ahead;
pub mod build;
mod cdi;
mod check;
mod container;
pub mod driver;
pub mod endpoint;
pub mod explain;
mod folders;
pub mod foreign;
mod hand_over;
pub mod image;
mod logging;
mod mounts;
mod network;
mod pre_start;
mod ready;
mod regrant;
mod removal;
mod roll_back;
mod run;
mod step;
pub mod storage;
mod update;
mod volume;
pub mod wishes;

pub use check::check;
pub use network::{NetworkError, wish as network_wish};
pub use removal::{RemoveError, remove};
pub use run::{Applied, Job, StepFailure, run};
