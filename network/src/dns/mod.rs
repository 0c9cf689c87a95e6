//! Names: what a container may look up, and the server that answers at 127.0.0.11.

mod zone;

pub use zone::{Known, Names, Outside, Zone};
