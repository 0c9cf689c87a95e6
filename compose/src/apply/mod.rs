//! Carrying out a plan: the only code that changes the world.
//!
//! [`run`] walks the steps, as many side by side as their order allows; the other modules each carry out one kind of
//! step. Nothing here decides anything: whatever a step needs is in it.

mod container;
mod folders;
mod mounts;
mod network;
mod ready;
mod removal;
mod run;
mod step;
mod volume;
pub mod wishes;

pub use removal::{RemoveError, remove};
pub use run::{Applied, Job, StepFailure, run};
