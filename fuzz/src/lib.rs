//! What the fuzz targets of Dockerfiles need.
//!
//! Those of compose files are in `compose` itself, as `compose::file::parsers` (`fuzz/src/parsers.rs`), because what they
//! reach is private there; those of archives in `images::fuzzed`.

#![allow(dead_code, unused_imports)]

pub mod build;
