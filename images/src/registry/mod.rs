//! Registries: fetching images, and giving them away.
//!
//! ```no_run
//! use images::registry::{Cancel, Environment, Pull, Registry};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let store = images::Store::open("/var/lib/compose/images".as_ref())?;
//! let registry = Registry::new(Environment::of_process())?;
//! let reference = "mysql:8.4".parse()?;
//! let pull = Pull { reference: &reference, platform: None, cancel: &Cancel::default(), report: &|_| {} };
//! println!("{}", registry.pull(&store, &pull)?.image.id);
//! # Ok(())
//! # }
//! ```
//!
//! Everything here blocks the thread that calls it, and is meant to be called by several at once. `settings`,
//! `credentials`, `environment` and `tls` say who is who; `connect` (with `socks`), `send`, `authorise` and `client` talk;
//! `refusal` says what an answer means; `pull` (with `describe`, `layers` and `fetch`), `push` and `search` know what is to
//! be said. `artifact`, `copy` and `single` do the same for what is no image, for images that go from one registry to
//! the next, and for images of which only single layers are wanted.
//!
//! Source: OCI distribution-spec 1.1; github.com/distribution/distribution `docs/spec`.
//!
//! # Why
//!
//! A connection has an event loop of its own and is used by one thread. A layer is read, verified, decompressed and
//! unpacked by threads that wait for each other anyway; reading straight from the socket saves them a queue.

mod artifact;
mod authorise;
mod body;
mod cancel;
mod client;
mod connect;
mod copy;
mod credentials;
mod describe;
mod download;
mod environment;
mod error;
mod fetch;
mod layers;
mod message;
mod progress;
mod pull;
mod push;
mod refusal;
mod search;
mod send;
mod settings;
mod single;
mod slots;
mod socks;
mod tls;
mod token;
mod turns;

pub use artifact::{Artifact, ArtifactKind, ManifestVersion, Part, Publication};
pub use cancel::Cancel;
pub use client::Registry;
pub use connect::{ConnectError, Patience};
pub use copy::{Companions, CopyError};
pub use credentials::{Credentials, CredentialsError, Kept, forget, keep};
pub use download::DownloadError;
pub use environment::Environment;
pub use error::RegistryError;
pub use progress::{LayerStatus, Progress};
pub use pull::{Pull, PullError, Pulled};
pub use push::{Push, PushError, Pushed};
pub use search::Found;
pub use settings::SettingsError;
pub(crate) use single::{Documents, Remote};
pub use tls::CertificateError;
#[cfg(fuzzing)]
pub(crate) use token::{challenge, escaped};
