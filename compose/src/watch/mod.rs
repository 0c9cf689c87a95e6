//! Following files: what was saved, which rules of `develop.watch` it is about, and the way of files into a container.
//!
//! [`source`] tells of changes (inotify(7) through the crate `notify`, one watcher for everything that a command follows; beyond
//! its limits [`marks`] of fanotify(7)),
//! [`batch`] waits until a save is over, [`rule`] decides what a path means, [`sync`] writes files into the file system of
//! a container, [`inputs`] knows the files that a project was read from, [`context`] those that images are built from, and
//! [`names`] tells when another file takes the place of one that is mounted.
//!
//! # Invariants
//!
//! - An event is only a hint: what is done is decided by what is on disk when the batch is over. So it does not matter
//!   how an editor saves, whether events are lost, or in which order they come.
//! - Nothing is polled. While nothing is saved, nothing runs.
//! - Paths of a container are resolved below its root (openat2(2), `RESOLVE_IN_ROOT`).

pub mod batch;
pub mod context;
pub mod gitignore;
pub mod inputs;
pub mod marks;
pub mod names;
pub mod rule;
pub mod source;
pub mod sync;
