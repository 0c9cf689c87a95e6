//! What is on its way from a registry: `partial/HEX`, a blob as far as it has come, and `partial/HEX-BOOT`, a layer that
//! is unpacked and verified and waits for its image.
//!
//! Both outlive the process that fetches them, so that the next one goes on where it stopped. Whoever has the lock on
//! a blob is the one who fetches it; others wait and find it done. What nobody has touched for a day is deleted with
//! other garbage.
//!
//! A prepared layer is not written to disk yet: that is done once for all layers of an image. Therefore it is good only
//! until the next boot, whose identity is in its name.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::FlockOperation;
use rustix::io::Errno;

use super::Store;
use super::error::StoreError;
use super::workspace::StagedLayer;
use crate::digest::Digest;

/// How long a blob waits for somebody to go on with it.
const PATIENCE: Duration = Duration::from_secs(24 * 3600);

const BOOT: &str = "/proc/sys/kernel/random/boot_id";

/// A blob that is being fetched, and fetched by nobody else.
#[derive(Debug)]
pub(crate) struct Partial {
    pub(crate) file: File,
    pub(crate) path: PathBuf,
}

/// A layer that waits for its image.
#[derive(Debug)]
struct Prepared {
    tree: PathBuf,
    /// A file with the size of the layer in it; it is there before the tree.
    size: PathBuf,
}

impl Store {
    pub(super) fn partials(&self) -> PathBuf {
        self.root.join("partial")
    }

    pub(crate) fn partial(&self, digest: Digest) -> PathBuf {
        self.partials().join(digest.hex())
    }

    fn make_partials(&self) -> Result<(), StoreError> {
        let folder = self.partials();
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&folder);
        made.map_err(StoreError::access("create", &folder))
    }

    fn prepared_at(&self, diff_id: Digest) -> Result<Prepared, StoreError> {
        let boot = boot().map_err(StoreError::access("read", Path::new(BOOT)))?;
        let name = format!("{}-{boot}", diff_id.hex());
        let folder = self.partials();
        Ok(Prepared { tree: folder.join(&name), size: folder.join(name + ".size") })
    }

    /// Keeps a layer for its image, and for other images that are being fetched at the same time.
    pub(crate) fn prepare(&self, layer: &StagedLayer) -> Result<(), StoreError> {
        self.make_partials()?;
        let Prepared { tree, size } = self.prepared_at(layer.diff_id)?;
        fs::write(&size, layer.size.to_string()).map_err(StoreError::access("write", &size))?;
        match fs::rename(&layer.path, &tree) {
            // Another pull had the same layer in another compression.
            Err(_) if tree.is_dir() => Ok(()),
            answer => answer.map_err(StoreError::access("create", &tree)),
        }
    }

    /// The layer that waits under this digest.
    pub(crate) fn prepared(&self, diff_id: Digest) -> Result<Option<StagedLayer>, StoreError> {
        let Prepared { tree, size } = self.prepared_at(diff_id)?;
        if !tree.is_dir() {
            return Ok(None);
        }
        let size = fs::read_to_string(&size).ok().and_then(|text| text.parse().ok());
        Ok(size.map(|size| StagedLayer { diff_id, path: tree, size }))
    }

    /// Forgets a layer that its image has taken. What a killed process does not forget is garbage in a day.
    pub(crate) fn forget_prepared(&self, diff_id: Digest) {
        if let Ok(Prepared { size, .. }) = self.prepared_at(diff_id) {
            let _ = fs::remove_file(size);
        }
    }

    /// Takes the blob with this digest for oneself; `None` while somebody else has it.
    pub(crate) fn take_partial(&self, digest: Digest) -> Result<Option<Partial>, StoreError> {
        let path = self.partial(digest);
        self.make_partials()?;
        loop {
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .open(&path)
                .map_err(StoreError::access("open", &path))?;
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(Errno::WOULDBLOCK) => return Ok(None),
                Err(errno) => return Err(StoreError::access("lock", &path)(errno.into())),
            }
            // Whoever had it before may have given the file another name, or none.
            if is_at(&file, &path) {
                return Ok(Some(Partial { file, path }));
            }
        }
    }

    /// Deletes what nobody fetches: what is old, or all of it. Returns the bytes that this gave back.
    ///
    /// A blob that a killed commit left here although the store has it is of no use either. The caller holds the
    /// writers' lock alone.
    pub(super) fn sweep_partials(&self, all: bool) -> Result<u64, StoreError> {
        let folder = self.partials();
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
            Err(error) => return Err(StoreError::access("read", &folder)(error)),
        };
        let mut freed = 0;
        for entry in entries.flatten() {
            let path = entry.path();
            let Ok(found) = entry.metadata() else { continue };
            let name = entry.file_name();
            if let Some((_, boot_id)) = name.to_str().and_then(|name| name.split_once('-')) {
                let boot_id = boot_id.trim_end_matches(".size");
                let is_stale = boot().is_ok_and(|current| current != boot_id) || is_old(&path);
                if all || is_stale {
                    let size = fs::read_to_string(&path).ok().and_then(|text| text.parse().ok());
                    freed += size.unwrap_or(0);
                    sys::remove::remove_tree(&path).map_err(StoreError::access("delete", &path))?;
                }
                continue;
            }
            let digest = name.to_str().and_then(Digest::from_hex);
            let is_known = digest.is_some_and(|digest| self.has_blob(digest));
            if !all && !is_known && !is_old(&path) {
                continue;
            }
            let Ok(file) = File::open(&path) else { continue };
            if rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok()
                && is_at(&file, &path)
            {
                fs::remove_file(&path).map_err(StoreError::access("delete", &path))?;
                freed += found.len();
            }
        }
        Ok(freed)
    }
}

impl Partial {
    /// Throws away what has come so far.
    pub(crate) fn restart(&self) -> Result<(), StoreError> {
        self.file.set_len(0).map_err(StoreError::access("write", &self.path))
    }

    /// Deletes the file.
    pub(crate) fn delete(self) {
        // What resists is deleted when it is a day old.
        let _ = fs::remove_file(&self.path);
    }

    /// How much of it is here.
    pub(crate) fn length(&self) -> Result<u64, StoreError> {
        let found = self.file.metadata().map_err(StoreError::access("read", &self.path))?;
        Ok(found.len())
    }
}

/// Whether nobody has touched it for long. The status is looked at: the times of the root of a layer are the image's.
fn is_old(path: &Path) -> bool {
    let Ok(found) = fs::symlink_metadata(path) else { return false };
    let touched = Duration::from_secs(u64::try_from(found.ctime()).unwrap_or_default());
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    now.saturating_sub(touched) > PATIENCE
}

/// The identity of this boot. Source: random(4).
fn boot() -> io::Result<String> {
    Ok(fs::read_to_string(BOOT)?.trim().replace('-', ""))
}

fn is_at(file: &File, path: &Path) -> bool {
    let (Ok(one), Ok(other)) = (file.metadata(), fs::symlink_metadata(path)) else { return false };
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_has_it_and_the_next_goes_on() {
        use std::io::Write;
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let digest = Digest::of(b"x");
        let mut first = store.take_partial(digest).unwrap().unwrap();
        first.file.write_all(b"half").unwrap();
        assert!(store.take_partial(digest).unwrap().is_none());
        assert_eq!(store.sweep_partials(true).unwrap(), 0);
        drop(first);
        let second = store.take_partial(digest).unwrap().unwrap();
        assert_eq!(second.length().unwrap(), 4);
        drop(second);
        assert_eq!(store.sweep_partials(false).unwrap(), 0);
        assert_eq!(store.sweep_partials(true).unwrap(), 4);
        assert!(!store.partial(digest).exists());
    }
}
