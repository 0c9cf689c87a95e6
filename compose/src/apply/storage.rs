//! How much a container may change of its root: `storage_opt` of a service.

use std::collections::BTreeMap;
use std::path::Path;

use runtime::quota::{self, QuotaError};

use crate::file::bytes;
use crate::model::Service;
use crate::record::ContainerPaths;

/// What is said of the storage of a container cannot be carried out.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// The value is none.
    #[error("`{0}` is no size of the storage of a container")]
    BadSize(String),
    /// Changes stay in memory.
    #[error(
        "the image holds the data of compose itself, so that what the container changes stays in memory"
    )]
    InMemory,
    /// The file system.
    #[error(transparent)]
    Quota(#[from] QuotaError),
}

/// How many bytes a container with these options may write into its root; nothing for as many as there are.
///
/// # Errors
///
/// [`StorageError::BadSize`].
pub fn size(options: &BTreeMap<String, String>) -> Result<Option<u64>, StorageError> {
    let option = options.iter().find(|(key, _)| key.eq_ignore_ascii_case("size"));
    let Some((_, text)) = option else { return Ok(None) };
    let bytes = bytes(text).and_then(|bytes| u64::try_from(bytes).ok());
    let bytes = bytes.ok_or_else(|| StorageError::BadSize(text.clone()))?;
    // As with docker, nothing is no limit.
    Ok((bytes > 0).then_some(bytes))
}

/// Makes sure that what `service` wants can be had below `data`.
///
/// # Errors
///
/// [`StorageError`].
pub fn check(service: &Service, data: &Path) -> Result<(), StorageError> {
    if_limited(service, |_| quota::check(data))
}

/// Makes the folder for the writable layer, if that is to be limited.
///
/// # Errors
///
/// [`StorageError`].
pub fn limit(service: &Service, paths: &ContainerPaths) -> Result<(), StorageError> {
    if_limited(service, |bytes| quota::create(&paths.limited(), bytes))
}

/// Changes how much a container may write that was limited before.
///
/// # Errors
///
/// [`StorageError`].
pub fn resize(service: &Service, paths: &ContainerPaths) -> Result<(), StorageError> {
    if_limited(service, |bytes| quota::resize(&paths.limited(), bytes))
}

fn if_limited(
    service: &Service,
    with: impl FnOnce(u64) -> Result<(), QuotaError>,
) -> Result<(), StorageError> {
    let limit = size(&service.storage_opt)?;
    Ok(limit.map_or(Ok(()), with)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_written_as_docker_takes_it() {
        let of =
            |key: &str, value: &str| size(&BTreeMap::from([(key.to_owned(), value.to_owned())]));
        #[rustfmt::skip]
        let table = [
            ("size", "1g", Some(1 << 30)),
            ("size", "1.5M", Some(3 << 19)),
            ("SIZE", "10 KiB", Some(10 << 10)),
            ("size", "4096", Some(4096)),
            ("size", "0", None),
            ("other", "1g", None),
        ];
        for (key, value, expected) in table {
            assert_eq!(of(key, value).unwrap(), expected, "{key}={value}");
        }
        for value in ["", "much", "-1g"] {
            let error = of("size", value).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("`{value}` is no size of the storage of a container")
            );
        }
    }
}
