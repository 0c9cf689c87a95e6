//! Images: the store, names, archives, and registries.
//!
//! ```no_run
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let store = images::Store::open("/var/lib/compose/images".as_ref())?;
//! for image in store.list()?.images {
//!     println!("{} in {:?}", image.id.short(), image.layers);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Invariants
//!
//! - A layer directory has its name only after its digest was verified and it is on disk; it is never changed then.
//! - An image is named in the index only after everything that it needs has its name.
//! - Nothing that an archive says is done outside of the directory of its layer.
//! - Nothing here mounts, knows what a compose file is, or prints.

pub mod build;
mod change;
mod digest;
mod image;
mod import;
mod layer;
mod load;
mod manifest;
mod platform;
mod record;
mod reference;
pub mod registry;
mod save;
mod select;
mod store;
mod words;

/// For `scripts/fuzz`.
#[cfg(fuzzing)]
#[path = "../../fuzz/src/images.rs"]
pub mod fuzzed;

pub use change::{Change, ChangeError};
pub use digest::{Digest, DigestError};
pub use image::{DEFAULT_PATH, HealthCheck, Image, Origin};
pub use import::{Import, ImportError};
pub use layer::{ArchiveError, LayerError, PathError};
pub use load::LoadError;
pub use manifest::DocumentError;
pub use platform::{Platform, PlatformError};
pub use reference::{Reference, ReferenceError};
pub use save::SaveError;
pub use store::{
    Damaged, FindError, Force, Listing, RemoveError, Removed, Store, StoreError, TagError, Usage,
    Verified,
};
pub use words::WordError;
