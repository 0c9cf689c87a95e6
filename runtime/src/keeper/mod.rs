//! The parent of a project's containers: one thread, no decisions.

mod message;

pub use message::{Reply, Request, Running};
