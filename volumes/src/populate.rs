//! The first content of a volume: what the image has at the place where the volume is mounted.
//!
//! # Why in two folders
//!
//! A copy takes time, and a process can be killed at any point of it. So the copy is made beside the volume, brought to
//! disk and renamed: from then on it is complete, and only has to be moved in, which the next one to come finishes if need
//! be.
//!
//! ```text
//! .populating   a copy that is not complete: thrown away when found
//! .populated    a complete copy that is not moved in yet: moved in when found
//! ```
//!
//! The folder `_data` itself stays the same folder all the time, because a container may have it mounted already.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use sys::remove::remove_tree;

use crate::copy::{copy_attributes, copy_tree, set_times};
use crate::{CopyError, LayersError, MountError, Volume, VolumeName, layers};

const POPULATING: &str = ".populating";
const POPULATED: &str = ".populated";

/// The first content of a volume could not be brought in. The volume is then as empty as before.
#[derive(Debug, thiserror::Error)]
pub enum PopulateError {
    /// The image has something else there than a folder.
    #[error("volume {name} cannot be filled from {at}: that is not a folder in the image")]
    NotDirectory {
        /// The volume.
        name: VolumeName,
        /// The place in the image.
        at: PathBuf,
    },
    /// The image could not be read there.
    #[error("volume {name}: cannot open {at} in the image")]
    Source {
        /// The volume.
        name: VolumeName,
        /// The place in the image.
        at: PathBuf,
        /// The kernel's words.
        source: io::Error,
    },
    /// Copying stopped.
    #[error("volume {name}: cannot copy from the image")]
    Copy {
        /// The volume.
        name: VolumeName,
        /// Where.
        source: CopyError,
    },
    /// The volume's own folder.
    #[error("volume {name}: {call}({path})")]
    Write {
        /// The volume.
        name: VolumeName,
        /// The call that was refused.
        call: &'static str,
        /// What it was about.
        path: PathBuf,
        /// The kernel's words.
        source: io::Error,
    },
    /// The layers of the image.
    #[error(transparent)]
    Layers(#[from] LayersError),
    /// A volume with options that cannot be mounted.
    #[error(transparent)]
    Mount(#[from] MountError),
}

/// Fills an empty volume with what the image of `layers` (topmost first) has at `at`, and says whether it did.
///
/// A volume that has anything in it is left alone. An empty one takes on owner and mode of the image's folder even if there
/// is nothing in it to copy, as with Docker. The links in `at` are followed inside of the image only.
///
/// # Errors
///
/// [`PopulateError`]; the volume is then empty, as before.
pub fn populate(volume: &Volume, layers: &[PathBuf], at: &Path) -> Result<bool, PopulateError> {
    let stage = Stage::of(volume)?;
    let _lock = stage.lock()?;
    stage.finish()?;
    if !stage.is_empty()? {
        return Ok(false);
    }
    let Some(source) = find(volume, layers, at)? else { return Ok(false) };
    stage.copy(&source)?;
    let moved = stage.finish()?;
    Ok(moved > 0)
}

/// Ends what a killed population left. The caller is about to use the volume.
pub(crate) fn finish(volume: &Volume) -> Result<(), PopulateError> {
    if volume.local_mount()?.is_some() {
        // Not before it is mounted; then `populate` finds it.
        return Ok(());
    }
    let stage = Stage::of(volume)?;
    if stage.new.exists() || stage.ready.exists() {
        let _lock = stage.lock()?;
        stage.finish()?;
    }
    Ok(())
}

/// Opens the folder `at` of the image, or nothing if the image has nothing there.
fn find(volume: &Volume, layers: &[PathBuf], at: &Path) -> Result<Option<OwnedFd>, PopulateError> {
    let Some(root) = layers::open(layers)? else { return Ok(None) };
    let (name, at) = (volume.name.clone(), at.to_owned());
    match root.resolve(&at, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()) {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            Err(PopulateError::NotDirectory { name, at })
        }
        Err(source) => Err(PopulateError::Source { name, at, source }),
    }
}

/// Where the content is on its way into a volume.
struct Stage {
    name: VolumeName,
    /// Holds the lock.
    home: PathBuf,
    /// The store, which is never copied into itself.
    store: PathBuf,
    data: PathBuf,
    new: PathBuf,
    ready: PathBuf,
}

impl Stage {
    fn of(volume: &Volume) -> Result<Self, PopulateError> {
        let home = volume.home().to_owned();
        let data = volume.mount()?;
        // The way in is a rename, so the stage is on the file system of the data: beside it, or in it if that is a mount.
        let (parent, prefix) =
            if volume.driver_opts.is_empty() { (&home, "") } else { (&data, ".compose") };
        let (new, ready) = (
            parent.join(format!("{prefix}{POPULATING}")),
            parent.join(format!("{prefix}{POPULATED}")),
        );
        let store = home.parent().unwrap_or(&home).to_owned();
        Ok(Self { name: volume.name.clone(), home, store, data, new, ready })
    }

    /// Waits until nobody else fills this volume.
    fn lock(&self) -> Result<File, PopulateError> {
        let home =
            File::open(&self.home).map_err(|source| self.failed("open", &self.home, source))?;
        rustix::fs::flock(&home, FlockOperation::LockExclusive)
            .map_err(|errno| self.failed("flock", &self.home, errno.into()))?;
        Ok(home)
    }

    fn is_empty(&self) -> Result<bool, PopulateError> {
        let failed = |source| self.failed("read_dir", &self.data, source);
        for entry in fs::read_dir(&self.data).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if path != self.new && path != self.ready {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Makes the complete copy, on disk, under its second name.
    fn copy(&self, source: &OwnedFd) -> Result<(), PopulateError> {
        let made = DirBuilder::new().mode(0o700).create(&self.new);
        made.map_err(|source| self.failed("mkdir", &self.new, source))?;
        let target = self.open(&self.new)?;
        let store =
            self.store.metadata().map_err(|source| self.failed("stat", &self.store, source))?;
        copy_tree(source, &target, (store.dev(), store.ino()))
            .map_err(|source| PopulateError::Copy { name: self.name.clone(), source })?;
        let copied = fs::read_dir(&self.new).is_ok_and(|mut entries| entries.next().is_some());
        if copied {
            rustix::fs::syncfs(&target)
                .map_err(|errno| self.failed("syncfs", &self.new, errno.into()))?;
        }
        fs::rename(&self.new, &self.ready)
            .map_err(|source| self.failed("rename", &self.new, source))
    }

    /// Throws away what is not complete and moves in what is; says how many names moved.
    fn finish(&self) -> Result<usize, PopulateError> {
        remove_tree(&self.new).map_err(|source| self.failed("remove", &self.new, source))?;
        if !self.ready.exists() {
            return Ok(0);
        }
        let (from, to) = (self.open(&self.ready)?, self.open(&self.data)?);
        let failed = |source| self.failed("rename", &self.ready, source);
        // Moving names away changes the times of the folder they leave.
        let before = rustix::fs::fstat(&from).map_err(|errno| failed(errno.into()))?;
        let mut moved = 0;
        for entry in fs::read_dir(&self.ready).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            match rustix::fs::renameat_with(&from, &name, &to, &name, RenameFlags::NOREPLACE) {
                Ok(()) => moved += 1,
                // What a container made there meanwhile is newer.
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(failed(errno.into())),
            }
        }
        copy_attributes(&from, &to, Path::new("."))
            .and_then(|()| set_times(&before, &to, Path::new(".")))
            .map_err(|source| PopulateError::Copy { name: self.name.clone(), source })?;
        rustix::fs::fsync(&to).map_err(|errno| self.failed("fsync", &self.data, errno.into()))?;
        remove_tree(&self.ready).map_err(|source| self.failed("remove", &self.ready, source))?;
        Ok(moved)
    }

    fn open(&self, path: &Path) -> Result<OwnedFd, PopulateError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::open(path, flags, Mode::empty())
            .map_err(|errno| self.failed("open", path, errno.into()))
    }

    fn failed(&self, call: &'static str, path: &Path, source: io::Error) -> PopulateError {
        PopulateError::Write { name: self.name.clone(), call, path: path.to_owned(), source }
    }
}

#[cfg(test)]
#[path = "populate_tests.rs"]
mod tests;
