//! The parent of a project's containers: one thread, no decisions.
//!
//! A keeper clones processes, waits for them, writes each exit to a journal, holds descriptors, and starts the
//! supervisor again when that dies. It does nothing else, so that there is next to nothing in it that can fail.
//!
//! Who dies, and what happens:
//!
//! | dies | is seen by | and then |
//! |---|---|---|
//! | supervisor | keeper, end of the socket | it is started again, and gets all that is held by [`Request::List`] |
//! | keeper | supervisor, end of the socket | [`Keeper::replace`], then [`Request::Adopt`] for every container: they live on |
//! | both | the next command | [`launch`]; containers are found by their records and adopted |
//!
//! A container's exit is in the journal ([`read_exits`]) before [`Reply::Exited`] is sent; one that happens while no
//! supervisor listens is only there.

mod client;
mod config;
mod journal;
mod link;
mod message;
mod run;
mod supervisor;
mod table;

pub use client::{Keeper, LaunchError, announce_ready, launch};
pub use config::Config;
pub use journal::{Exit, read_exits};
pub use message::{Reply, Request, Running};
pub use run::{KeeperError, main};
