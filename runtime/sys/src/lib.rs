//! Skeleton.

pub mod root;
