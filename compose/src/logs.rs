//! The log lines of several containers as one stream.
//!
//! [`merge`] puts them in the order of time, [`paint`] puts the name before each, [`follow`] ties
//! both to the log files of containers, and [`changes`] waits for more. Called by `logs` and by an attached
//! `up`, which read the files themselves: no supervisor is asked, and none has to be alive.

pub mod changes;
pub mod follow;
pub mod merge;
pub mod paint;
pub mod when;
