//! Limits as a list of files and values: computed first, shown in tests, written last.

use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

use super::limits::DeviceRate;
use super::{CgroupError, file};

/// Whether settings are for new directories or for ones in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Everything is at the kernel's defaults: only what is asked for is written.
    Fresh,
    /// What is not asked for goes back to its default.
    Update,
}

/// Whether a machine may do without a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Presence {
    Required,
    /// Swap accounting can be switched off, as on Debian before 11: Docker drops the limit then, and so do we.
    Optional,
}

/// One value for one file of one controller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Setting {
    pub(super) controller: &'static str,
    /// Files and values in order of preference, as schedulers and kernels differ: the first file that exists is written.
    files: Vec<(&'static str, String)>,
    presence: Presence,
}

impl Setting {
    pub(super) fn new(controller: &'static str, file: &'static str, value: impl ToString) -> Self {
        Self { controller, files: vec![(file, value.to_string())], presence: Presence::Required }
    }

    /// Adds a file for machines that have none of those before it.
    pub(super) fn or(mut self, file: &'static str, value: impl ToString) -> Self {
        self.files.push((file, value.to_string()));
        self
    }

    pub(super) fn optional(self) -> Self {
        Self { presence: Presence::Optional, ..self }
    }

    /// Writes the value; with [`Purpose::Update`] only if it differs.
    pub(super) fn apply(&self, directory: &Path, purpose: Purpose) -> Result<(), CgroupError> {
        let mut outcome = Ok(());
        for (name, value) in &self.files {
            if purpose == Purpose::Update
                && file::read(directory, name).is_ok_and(|found| found == value.trim())
            {
                return Ok(());
            }
            outcome = file::write(directory, name, value);
            match &outcome {
                Err(CgroupError::Write { source, .. }) if file::is_missing(source) => {}
                _ => return outcome,
            }
        }
        match self.presence {
            Presence::Optional => Ok(()),
            Presence::Required => outcome,
        }
    }
}

/// The value if there is one, the default where defaults are to be restored.
pub(super) fn or_reset<T: ToString>(
    value: Option<T>,
    default: &str,
    purpose: Purpose,
) -> Option<String> {
    match (value, purpose) {
        (Some(value), _) => Some(value.to_string()),
        (None, Purpose::Update) => Some(default.to_owned()),
        (None, Purpose::Fresh) => None,
    }
}

/// `MAJOR:MINOR` of a block device of the host.
pub(super) fn device_number(rate: &DeviceRate) -> Result<String, CgroupError> {
    let path = &rate.device;
    let found = std::fs::metadata(path)
        .map_err(|source| CgroupError::Device { path: path.clone(), source })?;
    if !found.file_type().is_block_device() {
        let source = std::io::Error::from_raw_os_error(libc::ENOTBLK);
        return Err(CgroupError::Device { path: path.clone(), source });
    }
    Ok(format!("{}:{}", rustix::fs::major(found.rdev()), rustix::fs::minor(found.rdev())))
}

/// The settings as text, one in a line.
#[cfg(test)]
pub(super) fn print(settings: &[Setting]) -> String {
    let words = |(file, value): &(&str, String)| format!("{file} = {value}");
    settings
        .iter()
        .map(|set| set.files.iter().map(words).collect::<Vec<_>>().join(" | ") + "\n")
        .collect()
}
