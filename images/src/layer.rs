//! Layers: archives that are unpacked into directories.
//!
//! `unpack` moves the bytes between threads (`stream`), `archive` says what the entries are (with `pax`, `sparse` and
//! `path`), and `read` makes files of them (with `adorn`).

mod adorn;
pub(crate) mod archive;
mod path;
mod pax;
mod read;
mod sparse;
pub(crate) mod stream;
#[cfg(test)]
mod tests;
mod unpack;

pub(crate) use adorn::{OPAQUE, is_allowed_attribute};
pub use archive::ArchiveError;
pub use path::PathError;
pub(crate) use path::clean;
pub use unpack::LayerError;
#[cfg(fuzzing)]
pub(crate) use unpack::unpack_limited;
pub(crate) use unpack::{is_archive, unpack, unpack_below, unpack_foreign};
