//! The parts of `compose` and `images` that read files, for the fuzz targets.
//!
//! It is compiled from the sources of `compose` itself, so that the targets reach what is private
//! there ([`file::parsers`]) and wait for nothing of the rest of the program.
//! The targets of `images` need none of it.

#![cfg(not(feature = "images"))]
#![allow(dead_code, unused_imports)]

pub mod build;
#[path = "../../compose/src/diagnostic.rs"]
pub mod diagnostic;
#[path = "../../compose/src/file/mod.rs"]
pub mod file;
#[path = "../../compose/src/model/mod.rs"]
pub mod model;
