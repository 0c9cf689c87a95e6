//! The library behind the `compose` binary: compose file to model to plan to running project.
//!
//! Nothing here touches namespaces, netlink, overlays or archives; those live in the crates
//! `runtime`, `network`, `volumes` and `images`, which know nothing of compose files.

pub mod api;
pub mod apply;
pub mod build;
pub mod cli;
pub mod client;
pub mod diagnostic;
pub mod event;
pub mod file;
pub mod graph;
pub mod hash;
pub mod logs;
pub mod model;
pub mod observe;
pub mod plan;
pub mod platform;
pub mod record;
pub mod registry;
pub mod supervisor;
pub mod watch;
