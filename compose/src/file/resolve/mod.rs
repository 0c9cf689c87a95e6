//! The document to the typed project: no text with a prefix, a unit or a short form is left.
//!
//! What is wrong here is well-formed and would only fail when a container starts: an unknown
//! signal, a port over 65535, a capability that does not exist.

mod fields;
mod image;
mod limits;
mod models;
mod mount;
mod network;
mod predefined;
mod project;
mod security;
mod service;

pub(crate) use network::exposed;
pub(super) use project::{check, project};
