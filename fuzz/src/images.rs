//! What the fuzz targets of `images` call: each reader on any input, with what must hold of it. Here, because what they
//! reach is private to that crate.

mod archives;
mod build;

pub use archives::{archive, layer, manifest, reference};
pub use build::{dockerfile, dockerignore};
