//! Digests of files that have not changed since they were read: by device, inode, size and times, as git's index.
//!
//! A file that was changed in the moment in which it was read might have the same times afterwards, so what is too young
//! is not remembered. A cache that is lost or damaged is an empty one.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use rustix::fs::Stat;
use rustix::time::ClockId;

use crate::digest::Digest;

const MAGIC: &[u8; 8] = b"stats\0\0\x01";
/// Bytes of a key and a digest on disk.
const KEY: usize = 7 * 8;
const RECORD: usize = KEY + 32;
/// Nanoseconds that a file has to be unchanged: more than any clock that file systems have their times from.
const SETTLED: i128 = 50_000_000;

type Key = [u8; KEY];

/// The digests of one context.
#[derive(Debug)]
pub(super) struct Stats {
    path: PathBuf,
    /// As they were read: sorted.
    known: Vec<u8>,
    fresh: Mutex<HashMap<Key, Digest>>,
    now: i128,
}

fn key(stat: &Stat) -> Key {
    let mut key = [0; KEY];
    let values: [u64; 7] = [
        stat.st_dev,
        stat.st_ino,
        stat.st_size.cast_unsigned(),
        stat.st_mtime.cast_unsigned(),
        stat.st_mtime_nsec,
        stat.st_ctime.cast_unsigned(),
        stat.st_ctime_nsec,
    ];
    for (place, value) in key.chunks_exact_mut(8).zip(values) {
        place.copy_from_slice(&value.to_be_bytes());
    }
    key
}

impl Stats {
    /// Reads what is remembered in the file at `path`.
    pub(super) fn open(path: PathBuf) -> Self {
        let known = fs::read(&path).unwrap_or_default();
        let whole = known.len() >= MAGIC.len()
            && known.starts_with(MAGIC)
            && (known.len() - MAGIC.len()).is_multiple_of(RECORD);
        let known = if whole { known[MAGIC.len()..].to_vec() } else { Vec::new() };
        let now = rustix::time::clock_gettime(ClockId::Realtime);
        let now = i128::from(now.tv_sec) * 1_000_000_000 + i128::from(now.tv_nsec);
        Self { path, known, fresh: Mutex::default(), now }
    }

    fn record(&self, index: usize) -> &[u8] {
        &self.known[index * RECORD..][..RECORD]
    }

    /// The digest of the file with this stat.
    pub(super) fn find(&self, stat: &Stat) -> Option<Digest> {
        let key = key(stat);
        let (mut low, mut high) = (0, self.known.len() / RECORD);
        while low < high {
            let middle = usize::midpoint(low, high);
            match self.record(middle)[..KEY].cmp(&key[..]) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => {
                    return Digest::from_bytes(&self.record(middle)[KEY..]);
                }
            }
        }
        self.fresh.lock().ok()?.get(&key).copied()
    }

    /// Remembers the digest of a file, if that is unlikely to change without a trace.
    pub(super) fn remember(&self, stat: &Stat, digest: Digest) {
        let changed = i128::from(stat.st_ctime) * 1_000_000_000 + i128::from(stat.st_ctime_nsec);
        if self.now - changed < SETTLED {
            return;
        }
        if let Ok(mut fresh) = self.fresh.lock() {
            fresh.insert(key(stat), digest);
        }
    }

    /// Writes what is new beside what is known. A cache that cannot be written is a slower next build, and no error.
    pub(super) fn save(&self) {
        let fresh = std::mem::take(&mut *match self.fresh.lock() {
            Ok(fresh) => fresh,
            Err(_) => return,
        });
        if fresh.is_empty() {
            return;
        }
        let mut records: Vec<[u8; RECORD]> =
            self.known.chunks_exact(RECORD).filter_map(|record| record.try_into().ok()).collect();
        // Records of files that have changed since stay until there are far more than files.
        if records.len() > 4 * fresh.len() + 100_000 {
            records.clear();
        }
        for (key, digest) in fresh {
            let mut record = [0; RECORD];
            record[..KEY].copy_from_slice(&key);
            record[KEY..].copy_from_slice(digest.as_bytes());
            records.push(record);
        }
        records.sort_unstable();
        records.dedup_by(|one, other| one[..KEY] == other[..KEY]);
        let mut bytes = MAGIC.to_vec();
        bytes.extend(records.concat());
        let _ = write(&self.path, &bytes);
    }
}

/// Replaces the file; which of two builds at the same time is the last does not matter.
fn write(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let next = path.with_extension(format!("next-{}", std::process::id()));
    fs::write(&next, bytes)?;
    fs::rename(next, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_settled_is_remembered() {
        let dir = tempfile::tempdir().unwrap();
        let cache = dir.path().join("cache");
        let file = dir.path().join("file");
        fs::write(&file, "a").unwrap();
        let stat = rustix::fs::stat(&file).unwrap();
        fs::write(&file, "ab").unwrap();
        let other = rustix::fs::stat(&file).unwrap();
        let digest = Digest::of(b"a");
        let young = Stats { now: 0, ..Stats::open(cache.clone()) };
        young.remember(&stat, digest);
        young.save();
        assert!(!cache.exists());
        let later = Stats { now: i128::MAX, ..Stats::open(cache.clone()) };
        later.remember(&stat, digest);
        later.save();
        let again = Stats::open(cache.clone());
        assert_eq!(again.find(&stat), Some(digest));
        assert_eq!(again.find(&other), None);
        fs::write(&cache, "damaged").unwrap();
        assert_eq!(Stats::open(cache).find(&stat), None);
    }
}
