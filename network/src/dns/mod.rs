//! Names: what a container may look up, and the server that answers at 127.0.0.11.

pub mod beside;
mod forward;
mod message;
mod resolver;
mod server;
mod zone;

pub use forward::Upstreams;
pub use resolver::Resolver;
pub use server::{BindError, Door, SERVER, Server};
pub use zone::{Known, Names, Outside, Zone};
