//! What the scenarios in `cases/` stand on.
//!
//! A scenario is one intent and runs on a [`Stage`]: a data root and a run root of its own, a mount namespace, and a network
//! namespace that plays the host, with a second one behind it that plays the internet ([`sandbox`]). It drives the binary
//! as a user would and looks at what can be observed. At its end the stage checks that nothing is left ([`world`]).
//!
//! ```no_run
//! use scenarios::{Stage, Verdict};
//!
//! fn hello_says_its_name(stage: &Stage) -> Verdict {
//!     stage.file("compose.yaml", "services: {hello: {image: 'rootfs:/', command: hostname}}")?;
//!     stage.compose(["up"]).success()?;
//!     stage.compose(["down"]).success()?;
//!     Ok(())
//! }
//! ```
//!
//! Invariants:
//! - Nothing reaches the network, the mounts or the folders of the machine; control groups lie below the project's own name.
//! - No scenario sleeps: it waits for a state, with a bound ([`eventually`]).
//! - What cannot run here is reported as ignored with its reason, and as a failure where `TEST_REQUIRE` names it ([`need`]).

pub mod command;
pub mod need;
pub mod outside;
pub mod sandbox;
pub mod stage;
pub mod web;
pub mod world;

pub use command::{Checked, Run, Running};
pub use need::Need;
pub use stage::{Stage, eventually};

/// How a scenario ends.
pub type Verdict = Result<(), Box<dyn std::error::Error>>;
