//! The end of a volume.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use sys::remove::remove_tree;

use crate::name::random_hex;
use crate::store::GONE;
use crate::{MountError, Store, StoreError, Volume, VolumeName};

/// A volume could not be removed.
#[derive(Debug, thiserror::Error)]
pub enum RemoveError {
    /// There is none.
    #[error("there is no volume {name}")]
    Missing {
        /// What was asked for.
        name: String,
    },
    /// Containers have it.
    #[error("volume {name} is used by {}", users.join(", "))]
    InUse {
        /// The volume.
        name: VolumeName,
        /// The containers.
        users: Vec<String>,
    },
    /// Its mount could not be taken away.
    #[error(transparent)]
    Mount(#[from] MountError),
    /// The file system refused.
    #[error("cannot remove {path}")]
    Delete {
        /// What resisted.
        path: PathBuf,
        /// The kernel's words.
        source: io::Error,
    },
    /// The store itself.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Which unused volumes to prune.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PruneScope {
    /// Those that nobody named.
    Anonymous,
    /// All.
    All,
}

/// A volume that was pruned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pruned {
    /// The volume.
    pub name: VolumeName,
    /// Bytes on disk that it had.
    pub bytes: u64,
}

impl Store {
    /// Removes the volume called `name` with all that is in it.
    ///
    /// `users` are the containers that have it, as the caller knows them. The volume is gone from the store in one
    /// step; a process that is killed while it deletes leaves a folder that the next change of the store removes.
    ///
    /// # Errors
    ///
    /// [`RemoveError`].
    pub fn remove(&self, name: &str, users: &[String]) -> Result<(), RemoveError> {
        let lock = self.lock()?;
        let volume =
            self.find(name)?.ok_or_else(|| RemoveError::Missing { name: name.to_owned() })?;
        if !users.is_empty() {
            return Err(RemoveError::InUse { name: volume.name, users: users.to_vec() });
        }
        // What is mounted on it is not ours to delete.
        volume.unmount()?;
        let gone = self.retire(&volume)?;
        drop(lock);
        delete(&gone)
    }

    /// Removes the volumes in `scope` that `used` does not claim and `wanted` agrees to, and says what went.
    ///
    /// Goes on when one resists; the failures come back beside what succeeded.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the store cannot be read at all.
    pub fn prune(
        &self,
        scope: PruneScope,
        used: impl Fn(&VolumeName) -> bool,
        wanted: impl Fn(&Volume) -> bool,
    ) -> Result<(Vec<Pruned>, Vec<RemoveError>), StoreError> {
        let in_scope = |volume: &Volume| scope == PruneScope::All || volume.is_anonymous();
        let (mut pruned, mut failures) = (Vec::new(), Vec::new());
        for volume in self.list()? {
            if !in_scope(&volume) || !wanted(&volume) || used(&volume.name) {
                continue;
            }
            let bytes = usage(&volume.path);
            match self.remove(volume.name.as_str(), &[]) {
                Ok(()) => pruned.push(Pruned { name: volume.name, bytes }),
                Err(error) => failures.push(error),
            }
        }
        Ok((pruned, failures))
    }

    /// Takes the name away from the volume. The caller holds the lock.
    fn retire(&self, volume: &Volume) -> Result<PathBuf, RemoveError> {
        let retire = || -> io::Result<PathBuf> {
            let gone = self.root().join(format!("{GONE}{}", random_hex(8)?));
            fs::rename(volume.home(), &gone)?;
            File::open(self.root())?.sync_all()?;
            Ok(gone)
        };
        retire().map_err(|source| RemoveError::Delete { path: volume.home().to_owned(), source })
    }
}

/// Deletes a retired volume. Another process may sweep it at the same time.
fn delete(gone: &Path) -> Result<(), RemoveError> {
    remove_tree(gone).map_err(|source| RemoveError::Delete { path: gone.to_owned(), source })
}

/// Bytes on disk below `path`, as far as they can be read; links are not followed.
#[must_use]
pub fn usage(path: &Path) -> u64 {
    let Ok(found) = path.symlink_metadata() else { return 0 };
    let below = fs::read_dir(path).ok().filter(|_| found.is_dir());
    let inside: u64 = below.into_iter().flatten().flatten().map(|entry| usage(&entry.path())).sum();
    found.blocks() * 512 + inside
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Wanted;

    fn scratch() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("volumes")).unwrap();
        (dir, store)
    }

    fn names(store: &Store) -> Vec<String> {
        store.list().unwrap().into_iter().map(|volume| volume.name.to_string()).collect()
    }

    #[test]
    fn removes_with_content_and_without_following_links() {
        let (dir, store) = scratch();
        let kept = dir.path().join("kept");
        fs::create_dir(&kept).unwrap();
        fs::write(kept.join("file"), "host").unwrap();
        let volume = store.create(&Wanted::parse("a").unwrap()).unwrap();
        fs::create_dir_all(volume.path.join("deep/er")).unwrap();
        std::os::unix::fs::symlink(&kept, volume.path.join("deep/link")).unwrap();
        store.remove("a", &[]).unwrap();
        assert_eq!(names(&store), [""; 0]);
        assert!(kept.join("file").exists());
        assert_eq!(fs::read_dir(store.root()).unwrap().count(), 1, "the lock only");
        assert!(matches!(store.remove("a", &[]), Err(RemoveError::Missing { .. })));
    }

    #[test]
    fn a_volume_in_use_stays_and_its_users_are_named() {
        let (_dir, store) = scratch();
        store.create(&Wanted::parse("a").unwrap()).unwrap();
        let refused = store.remove("a", &["shop-web-1".into(), "shop-db-1".into()]).unwrap_err();
        assert_eq!(refused.to_string(), "volume a is used by shop-web-1, shop-db-1");
        assert_eq!(names(&store), ["a"]);
    }

    #[test]
    fn prunes_the_anonymous_and_unused_unless_told_otherwise() {
        let (_dir, store) = scratch();
        let anonymous = store.create(&Wanted::anonymous(Default::default()).unwrap()).unwrap();
        store.create(&Wanted::parse("named").unwrap()).unwrap();
        store.create(&Wanted::parse("used").unwrap()).unwrap();
        fs::write(anonymous.path.join("file"), [1; 10_000]).unwrap();
        let used = |name: &VolumeName| name.as_str() == "used";
        let (pruned, failures) = store.prune(PruneScope::Anonymous, used, |_| true).unwrap();
        assert!(failures.is_empty());
        assert_eq!(pruned.len(), 1);
        assert!(pruned[0].bytes >= 10_000);
        assert_eq!(names(&store), ["named", "used"]);
        store.prune(PruneScope::All, used, |_| true).unwrap();
        assert_eq!(names(&store), ["used"]);
    }

    #[test]
    fn a_killed_removal_is_finished_by_the_next_change() {
        let (_dir, store) = scratch();
        let volume = store.create(&Wanted::parse("a").unwrap()).unwrap();
        let gone = store.retire(&volume).unwrap();
        assert_eq!(names(&store), [""; 0]);
        store.create(&Wanted::parse("a").unwrap()).unwrap();
        assert!(!gone.exists());
    }
}
