//! Services that name another runtime: whether it is here, and what it cannot do.

use runtime::foreign::{self, ForeignRuntime};

use crate::model::{Mount, MountKind, Propagation, Service};
use crate::record::ProjectPaths;

/// A runtime cannot be used for a service.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuntimeError {
    /// Its program is not there.
    #[error("the runtime `{name}` is not installed")]
    Missing {
        /// As the file names it.
        name: String,
    },
    /// The service wants something that only our own runtime does.
    #[error("`{attribute}` cannot be carried out with the runtime `{name}`")]
    Without {
        /// As the file names it.
        name: String,
        /// What the service wants.
        attribute: &'static str,
    },
}

/// The other runtime that a service names.
///
/// # Errors
///
/// [`RuntimeError`].
pub fn named(service: &Service) -> Result<Option<std::path::PathBuf>, RuntimeError> {
    let Some(name) = service.runtime.as_deref().filter(|name| !name.is_empty()) else {
        return Ok(None);
    };
    let without = |attribute| Err(RuntimeError::Without { name: name.to_owned(), attribute });
    if service.init {
        return without("init");
    }
    if service.mounts.iter().any(is_shared) {
        return without("volumes");
    }
    let path = std::env::var("PATH").unwrap_or_default();
    let found = foreign::find(name, &path);
    found.map(Some).map_err(|_| RuntimeError::Missing { name: name.to_owned() })
}

/// As [`named`], with the place for what it remembers of the container called `id`.
///
/// # Errors
///
/// [`RuntimeError`].
pub fn of_service(
    service: &Service,
    project: &ProjectPaths,
    id: &str,
) -> Result<Option<ForeignRuntime>, RuntimeError> {
    let program = named(service)?;
    Ok(program.map(|program| ForeignRuntime { program, root: project.foreign(id) }))
}

/// Whether what the container mounts is to be seen by the host.
fn is_shared(mount: &Mount) -> bool {
    let MountKind::Bind { propagation, .. } = &mount.kind else { return false };
    matches!(propagation, Some(Propagation::Shared | Propagation::Rshared))
}
