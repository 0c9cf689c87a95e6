//! Where containers keep what outlives them: named and anonymous volumes, host paths, memory.
//!
//! A volume is a folder below the store with a record that was written once:
//!
//! ```text
//! DATA/volumes/NAME/volume.json   name, labels, driver options, time of creation
//! DATA/volumes/NAME/_data/        what the container sees
//! ```
//!
//! ```no_run
//! # use std::path::Path;
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use volumes::{Store, VolumeName, Wanted};
//!
//! let store = Store::open(Path::new("/var/lib/compose/volumes"))?;
//! let name = VolumeName::parse("shop_data")?;
//! let volume = store.create(&Wanted::named(name))?;
//! let layer = Path::new("/var/lib/compose/images/layers/abc").to_owned();
//! volumes::populate(&volume, &[layer], Path::new("/var/lib/mysql"))?;
//! let source = volume.mount()?; // a folder to bind into the container
//! # let _ = source;
//! # Ok(())
//! # }
//! ```
//!
//! Invariants:
//! - A name in the store is a complete volume: creation and removal each happen in one rename(2).
//! - Population is all or nothing, also over SIGKILL and power loss ([`populate`]).
//! - Nothing of an image is resolved by joining strings; a hostile link in it ends inside the image.
//! - Nothing here knows what a service, a container or a network is. Who uses a volume is told by the caller.

pub mod bind;
mod copy;
mod inspect;
mod layers;
mod name;
mod options;
mod populate;
mod remove;
mod store;
mod volume;

pub use copy::CopyError;
pub use inspect::Inspect;
pub use layers::LayersError;
pub use name::{NameError, VolumeName};
pub use options::{LocalMount, OptionsError};
pub use populate::{PopulateError, populate};
pub use remove::{PruneScope, Pruned, RemoveError, usage};
pub use store::{CreateError, Store, StoreError};
pub use volume::{MountError, SubpathError, Volume, Wanted};
