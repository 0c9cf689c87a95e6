//! The folder of all volumes, and the one way in which one is made.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rustix::fs::FlockOperation;

use sys::remove::remove_tree;

use crate::name::random_hex;
use crate::options::{LocalMount, OptionsError};
use crate::{PopulateError, Volume, VolumeName, Wanted, populate};

/// Names of the store's own begin with a dot, which no volume's does.
const LOCK: &str = ".lock";
/// A volume that is being made. Found outside of the lock, it is what a killed process left.
const NEW: &str = ".new-";
/// A volume that is being removed; likewise.
pub(crate) const GONE: &str = ".gone-";
const RECORD: &str = "volume.json";
const DATA: &str = "_data";
const VERSION: u32 = 1;

/// All volumes of one data root.
///
/// Every change is made under one flock(2) and appears by rename(2); what a killed process left half-way is swept away
/// by the next change.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
}

/// The store could not be read.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The folder of the store, or of a volume.
    #[error("cannot read {path}")]
    Read {
        /// What was read.
        path: PathBuf,
        /// The kernel's words.
        source: io::Error,
    },
    /// The folder of the store could not be made or locked.
    #[error("cannot open the volumes at {path}")]
    Open {
        /// The folder.
        path: PathBuf,
        /// The kernel's words.
        source: io::Error,
    },
    /// A record that is not ours, or from the future.
    #[error("{path} is not a record of a volume that this version can read")]
    Record {
        /// The record.
        path: PathBuf,
        /// Where it stops making sense.
        source: serde_json::Error,
    },
}

/// A volume could not be made.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// A driver that is not here.
    #[error("volume {name}: there is no driver `{driver}`, only `local`")]
    Driver {
        /// The volume.
        name: VolumeName,
        /// The driver.
        driver: String,
    },
    /// Options that make no mount.
    #[error("volume {name}")]
    Options {
        /// The volume.
        name: VolumeName,
        /// What is wrong.
        source: OptionsError,
    },
    /// It exists with other options, which stay what they were at creation.
    #[error("volume {name} exists with other options than `driver_opts` has")]
    Different {
        /// The volume.
        name: VolumeName,
    },
    /// The file system refused.
    #[error("cannot create volume {name} at {path}")]
    Write {
        /// The volume.
        name: VolumeName,
        /// Where.
        path: PathBuf,
        /// The kernel's words.
        source: io::Error,
    },
    /// The store itself.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A population that a killed process left could not be finished.
    #[error(transparent)]
    Populate(#[from] PopulateError),
}

impl Store {
    /// Opens the store at `root`, making the folder if it is the first time.
    ///
    /// # Errors
    ///
    /// [`StoreError::Open`].
    pub fn open(root: &Path) -> Result<Self, StoreError> {
        let opened = DirBuilder::new().recursive(true).mode(0o711).create(root);
        opened.map_err(|source| StoreError::Open { path: root.to_owned(), source })?;
        Ok(Self { root: root.to_owned() })
    }

    /// The same store, only to be looked into: nothing is made, and where nothing is there are no volumes.
    pub fn look(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// Makes the volume, or finds it. Labels of one that exists stay as they are.
    ///
    /// # Errors
    ///
    /// [`CreateError`]; then there is no volume, or the one that was there before.
    pub fn create(&self, wanted: &Wanted) -> Result<Volume, CreateError> {
        let Wanted { name, labels, driver, driver_opts } = wanted;
        if driver != "local" {
            return Err(CreateError::Driver { name: name.clone(), driver: driver.clone() });
        }
        LocalMount::parse(driver_opts)
            .map_err(|source| CreateError::Options { name: name.clone(), source })?;
        let _lock = self.lock()?;
        if let Some(volume) = self.find(name.as_str())? {
            if volume.driver_opts != *driver_opts {
                return Err(CreateError::Different { name: name.clone() });
            }
            populate::finish(&volume)?;
            return Ok(volume);
        }
        self.sweep();
        let volume = Volume {
            version: VERSION,
            name: name.clone(),
            labels: labels.clone(),
            driver: driver.clone(),
            driver_opts: driver_opts.clone(),
            created: Timestamp::now(),
            path: self.root.join(name.as_str()).join(DATA),
        };
        self.write(&volume).map_err(|source| CreateError::Write {
            name: name.clone(),
            path: self.root.clone(),
            source,
        })?;
        Ok(volume)
    }

    /// The volume called `name`, if there is one; also how an `external` one is looked up.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when its record cannot be read.
    pub fn find(&self, name: &str) -> Result<Option<Volume>, StoreError> {
        let Ok(name) = VolumeName::parse(name) else { return Ok(None) };
        let path = self.root.join(name.as_str()).join(RECORD);
        let text = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(StoreError::Read { path, source }),
            Ok(text) => text,
        };
        let mut volume: Volume =
            serde_json::from_slice(&text).map_err(|source| StoreError::Record { path, source })?;
        volume.path = self.root.join(name.as_str()).join(DATA);
        Ok(Some(volume))
    }

    /// All volumes, by name.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub fn list(&self) -> Result<Vec<Volume>, StoreError> {
        let failed = |source| StoreError::Read { path: self.root.clone(), source };
        let mut volumes = Vec::new();
        let entries = match fs::read_dir(&self.root) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(volumes),
            Err(error) => return Err(failed(error)),
        };
        for entry in entries {
            let name = entry.map_err(failed)?.file_name();
            // A volume may go while we look.
            volumes.extend(name.to_str().map(|name| self.find(name)).transpose()?.flatten());
        }
        volumes.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(volumes)
    }

    /// Waits for the right to change the store; it ends with the value.
    pub(crate) fn lock(&self) -> Result<File, StoreError> {
        let path = self.root.join(LOCK);
        let failed = |source| StoreError::Open { path: path.clone(), source };
        let lock =
            File::options().create(true).truncate(false).write(true).open(&path).map_err(failed)?;
        rustix::fs::flock(&lock, FlockOperation::LockExclusive)
            .map_err(|errno| failed(errno.into()))?;
        Ok(lock)
    }

    /// The folder of the store.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Deletes what killed processes have left half-way, as every change does by itself. Does nothing while somebody
    /// else is at it.
    pub fn tidy(&self) {
        let lock = File::options().write(true).open(self.root.join(LOCK));
        if let Ok(lock) = lock
            && rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok()
        {
            self.sweep();
        }
    }

    /// Removes what killed processes left. The caller holds the lock. What resists is left for the next time:
    /// it is in nobody's way.
    pub(crate) fn sweep(&self) {
        let Ok(entries) = fs::read_dir(&self.root) else { return };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let ours = |prefix: &str| name.to_str().is_some_and(|name| name.starts_with(prefix));
            if ours(NEW) || ours(GONE) {
                let _resists = remove_tree(&entry.path());
            }
        }
    }

    /// Makes the folder beside its place and gives it its name when it is complete and on disk.
    fn write(&self, volume: &Volume) -> io::Result<()> {
        let new = self.root.join(format!("{NEW}{}", random_hex(8)?));
        // Only root may look through; what is inside of `_data` has owners of its own.
        DirBuilder::new().mode(0o711).create(&new)?;
        DirBuilder::new().mode(0o755).create(new.join(DATA))?;
        let mut text = serde_json::to_vec_pretty(volume)?;
        text.push(b'\n');
        let mut record = File::create(new.join(RECORD))?;
        record.write_all(&text)?;
        record.sync_all()?;
        File::open(&new)?.sync_all()?;
        fs::rename(&new, self.root.join(volume.name.as_str()))?;
        File::open(&self.root)?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn scratch() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("volumes")).unwrap();
        (dir, store)
    }

    fn wanted(name: &str) -> Wanted {
        Wanted::parse(name).unwrap()
    }

    #[test]
    fn what_a_killed_process_left_is_deleted_unless_somebody_is_at_it() {
        let (_dir, store) = scratch();
        let left = [NEW, GONE].map(|prefix| store.root.join(format!("{prefix}0123")));
        left.iter().for_each(|left| fs::create_dir_all(left.join(DATA)).unwrap());
        let lock = store.lock().unwrap();
        store.tidy();
        assert!(left.iter().all(|left| left.exists()));
        drop(lock);
        store.tidy();
        assert!(!left.iter().any(|left| left.exists()));
    }

    #[test]
    fn creates_once_and_finds_again() {
        let (_dir, store) = scratch();
        let mut first = wanted("shop_data");
        first.labels.insert("com.docker.compose.project".into(), "shop".into());
        let made = store.create(&first).unwrap();
        assert!(made.path.is_dir());
        let mut second = wanted("shop_data");
        second.labels.insert("other".into(), "label".into());
        assert_eq!(store.create(&second).unwrap(), made);
        assert_eq!(store.find("shop_data").unwrap(), Some(made));
        assert_eq!(store.find("other").unwrap(), None);
        assert_eq!(store.find("../shop_data").unwrap(), None);
    }

    #[test]
    fn lists_by_name_and_only_volumes() {
        let (_dir, store) = scratch();
        for name in ["b", "a", "c"] {
            store.create(&wanted(name)).unwrap();
        }
        fs::create_dir(store.root().join(".new-1234")).unwrap();
        fs::create_dir(store.root().join("no-record")).unwrap();
        let names: Vec<_> =
            store.list().unwrap().into_iter().map(|volume| volume.name.to_string()).collect();
        assert_eq!(names, ["a", "b", "c"]);
    }

    #[test]
    fn a_killed_creation_is_swept_away() {
        let (_dir, store) = scratch();
        let left = store.root().join(".new-1234");
        fs::create_dir_all(left.join("_data")).unwrap();
        fs::write(left.join("volume.json"), "{\"versi").unwrap();
        store.create(&wanted("a")).unwrap();
        assert!(!left.exists());
    }

    #[test]
    fn other_options_are_refused_and_said() {
        let (_dir, store) = scratch();
        store.create(&wanted("a")).unwrap();
        let mut other = wanted("a");
        other.driver_opts =
            BTreeMap::from([("type".into(), "tmpfs".into()), ("device".into(), "tmpfs".into())]);
        let refused = store.create(&other).unwrap_err().to_string();
        assert_eq!(refused, "volume a exists with other options than `driver_opts` has");
        other.driver = "rexray".into();
        let refused = store.create(&other).unwrap_err().to_string();
        assert_eq!(refused, "volume a: there is no driver `rexray`, only `local`");
    }

    #[test]
    fn a_broken_record_is_an_error_and_not_an_empty_volume() {
        let (_dir, store) = scratch();
        let volume = store.create(&wanted("a")).unwrap();
        fs::write(volume.home().join(RECORD), "{").unwrap();
        assert!(matches!(store.find("a"), Err(StoreError::Record { .. })));
        assert!(store.create(&wanted("a")).is_err());
    }
}
