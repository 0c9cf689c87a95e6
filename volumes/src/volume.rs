//! A volume that exists, and what one wants to exist.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, StatxFlags};
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};
use serde::{Deserialize, Serialize};
use sys::root::Root;

use crate::options::{LocalMount, OptionsError};
use crate::{NameError, VolumeName};

/// The label by which Docker marks volumes that nobody named.
pub(crate) const ANONYMOUS: &str = "com.docker.volume.anonymous";

/// A volume as a file or a command asks for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Name in the store, project prefix and all.
    pub name: VolumeName,
    /// Labels, `com.docker.compose.project` among them where a project made it.
    pub labels: BTreeMap<String, String>,
    /// The driver; only `local` exists.
    pub driver: String,
    /// `driver_opts`: `type`, `device`, `o`.
    pub driver_opts: BTreeMap<String, String>,
}

impl Wanted {
    /// A plain local volume.
    pub fn named(name: VolumeName) -> Self {
        Self {
            name,
            labels: BTreeMap::new(),
            driver: "local".to_owned(),
            driver_opts: BTreeMap::new(),
        }
    }

    /// A volume that nobody named, marked by the label that `prune` looks for.
    ///
    /// # Errors
    ///
    /// Those of [`VolumeName::anonymous`].
    pub fn anonymous(labels: BTreeMap<String, String>) -> io::Result<Self> {
        let mut wanted = Self::named(VolumeName::anonymous()?);
        wanted.labels = labels;
        wanted.labels.insert(ANONYMOUS.to_owned(), String::new());
        Ok(wanted)
    }

    /// A plain local volume of that name, checked.
    ///
    /// # Errors
    ///
    /// [`NameError`].
    pub fn parse(name: &str) -> Result<Self, NameError> {
        VolumeName::parse(name).map(Self::named)
    }
}

/// A volume in the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// Version of the record.
    pub(crate) version: u32,
    /// Name in the store.
    pub name: VolumeName,
    /// Labels given at creation.
    pub labels: BTreeMap<String, String>,
    /// The driver: `local`.
    pub driver: String,
    /// Options given at creation.
    pub driver_opts: BTreeMap<String, String>,
    /// When it was made.
    pub created: Timestamp,
    /// The folder that holds the data, or on which the options are mounted.
    #[serde(skip)]
    pub path: PathBuf,
}

/// A volume with options could not be mounted or unmounted.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    /// The options make no mount.
    #[error("volume {name}")]
    Options {
        /// The volume.
        name: VolumeName,
        /// What is wrong with them.
        source: OptionsError,
    },
    /// The kernel refused.
    #[error("volume {name}: {call}")]
    Kernel {
        /// The volume.
        name: VolumeName,
        /// The call as one would type it.
        call: String,
        /// The kernel's words.
        source: io::Error,
    },
    /// The folder behind a bind volume is not there.
    #[error("volume {name}: `device: {device}` does not exist")]
    Device {
        /// The volume.
        name: VolumeName,
        /// The folder that is missing.
        device: String,
    },
}

/// A part of a volume could not be found.
#[derive(Debug, thiserror::Error)]
pub enum SubpathError {
    /// Nothing there.
    #[error("volume {name} has no `{subpath}`")]
    Missing {
        /// The volume.
        name: VolumeName,
        /// The part that was asked for.
        subpath: PathBuf,
    },
    /// Another failure on the way.
    #[error("volume {name}: openat2({subpath:?})")]
    Open {
        /// The volume.
        name: VolumeName,
        /// The part that was asked for.
        subpath: PathBuf,
        /// The kernel's words.
        source: io::Error,
    },
}

impl Volume {
    /// Whether nobody named it.
    pub fn is_anonymous(&self) -> bool {
        self.labels.contains_key(ANONYMOUS)
    }

    /// The folder of the store that holds record and data.
    pub(crate) fn home(&self) -> &Path {
        self.path.parent().unwrap_or(&self.path)
    }

    /// What its options mount, if it has any.
    ///
    /// # Errors
    ///
    /// [`MountError::Options`]; not for a volume that this store created.
    pub fn local_mount(&self) -> Result<Option<LocalMount>, MountError> {
        LocalMount::parse(&self.driver_opts)
            .map_err(|source| MountError::Options { name: self.name.clone(), source })
    }

    /// Makes the volume usable and says which folder to bind into a container.
    ///
    /// A volume without options is always usable. One with options is mounted on its folder in the mount namespace of
    /// the caller, unless it is mounted already; a plain bind volume needs no mount, it *is* its device.
    /// Repeatable. [`Volume::unmount`] is the end of it.
    ///
    /// # Errors
    ///
    /// [`MountError`].
    pub fn mount(&self) -> Result<PathBuf, MountError> {
        let Some(mount) = self.local_mount()? else { return Ok(self.path.clone()) };
        if mount.is_bind() {
            let missing =
                || MountError::Device { name: self.name.clone(), device: mount.device.clone() };
            Path::new(&mount.device).metadata().map_err(|_| missing())?;
            if mount.flags == MountFlags::BIND || mount.flags == MountFlags::BIND | MountFlags::REC
            {
                return Ok(PathBuf::from(mount.device));
            }
        }
        if !self.is_mounted()? {
            self.mount_options(&mount)?;
        }
        Ok(self.path.clone())
    }

    /// Takes the mount of a volume with options away, if there is one.
    ///
    /// # Errors
    ///
    /// [`MountError::Kernel`] with EBUSY while something in this mount namespace uses it.
    pub fn unmount(&self) -> Result<(), MountError> {
        while self.is_mounted()? {
            rustix::mount::unmount(&self.path, UnmountFlags::NOFOLLOW)
                .map_err(|errno| self.refused("umount", errno.into()))?;
        }
        Ok(())
    }

    /// Resolves `subpath` inside of the volume's folder `root`, links included: what leads out of it ends in it.
    ///
    /// Another container may share the volume and be hostile, so the answer holds at the moment of the call only. The
    /// descriptor (O_PATH) keeps what was found; the path is its name at that moment.
    ///
    /// # Errors
    ///
    /// [`SubpathError`].
    pub fn subpath(&self, root: &Path, subpath: &Path) -> Result<(OwnedFd, PathBuf), SubpathError> {
        let open = || -> io::Result<(OwnedFd, PathBuf)> {
            let found = Root::open(root)?.resolve(subpath, OFlags::PATH, Mode::empty())?;
            let path = std::fs::read_link(format!("/proc/self/fd/{}", found.as_raw_fd()))?;
            Ok((found, path))
        };
        let (name, owned) = (self.name.clone(), subpath.to_owned());
        open().map_err(|source| match source.raw_os_error() {
            Some(libc::ENOENT | libc::ENOTDIR) => SubpathError::Missing { name, subpath: owned },
            _ => SubpathError::Open { name, subpath: owned, source },
        })
    }

    /// Whether something is mounted on the folder: statx(2), STATX_ATTR_MOUNT_ROOT, Linux 5.8.
    pub(crate) fn is_mounted(&self) -> Result<bool, MountError> {
        let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
        let found = rustix::fs::statx(CWD, &self.path, flags, StatxFlags::TYPE)
            .map_err(|errno| self.refused("statx", errno.into()))?;
        Ok(found.stx_attributes.contains(rustix::fs::StatxAttributes::MOUNT_ROOT))
    }

    fn mount_options(&self, mount: &LocalMount) -> Result<(), MountError> {
        let data = mount
            .data_for_kernel()
            .map_err(|source| MountError::Options { name: self.name.clone(), source })?;
        let call = format!("mount -t {} -o {data} {} on", mount.kind, mount.device);
        let data = std::ffi::CString::new(data)
            .map_err(|_| self.refused(&call, io::ErrorKind::InvalidInput.into()))?;
        rustix::mount::mount(
            mount.device.as_str(),
            &self.path,
            mount.kind.as_str(),
            mount.flags,
            data.as_c_str(),
        )
        .map_err(|errno| self.refused(&call, errno.into()))?;
        // A bind mount ignores its other flags at first: mount(2), "Creating a bind mount".
        let rest = mount.flags - MountFlags::BIND - MountFlags::REC;
        if mount.is_bind() && !rest.is_empty() {
            rustix::mount::mount_remount(&self.path, MountFlags::BIND | rest, "")
                .map_err(|errno| self.refused("mount -o remount,bind", errno.into()))?;
        }
        // Mounts of containers must not travel back to the host through a shared peer group.
        rustix::mount::mount_change(&self.path, MountPropagationFlags::PRIVATE)
            .map_err(|errno| self.refused("mount --make-private", errno.into()))
    }

    fn refused(&self, call: &str, source: io::Error) -> MountError {
        MountError::Kernel {
            name: self.name.clone(),
            call: format!("{call} {}", self.path.display()),
            source,
        }
    }
}
