//! Reading the files of a tree: each once if it can be helped, and several at a time.
//!
//! The key of a `COPY` needs the digest of every file, and its layer the content. What is small is kept in between.

use std::fs::File;
use std::io::{self, Read, Write};
use std::num::NonZero;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use rustix::fs::FileType;
use sys::root::{Place, Root};

use super::tree::{Item, Source, Tree, TreeError, kind, unreadable};
use crate::digest::{Digest, Hasher};

/// Bytes of the largest file that is kept in memory.
const SMALL: usize = 64 << 10;
/// Bytes of all that are kept.
const KEPT: usize = 64 << 20;
/// Bytes that are read at a time.
const BUFFER: usize = 128 << 10;
/// Files that a thread takes at a time.
const SHARE: usize = 64;

/// What is in a file.
#[derive(Debug, Clone)]
pub(super) struct Content {
    /// Its digest.
    pub(super) digest: Digest,
    /// All of it, if that was kept.
    pub(super) bytes: Option<Arc<[u8]>>,
}

/// Opens and reads files, with the directory held open in which the next one mostly is.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    root: &'a Root,
    open: Option<(PathBuf, Arc<OwnedFd>)>,
    buffer: Vec<u8>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(root: &'a Root) -> Self {
        Self { root, open: None, buffer: vec![0; BUFFER] }
    }

    /// Opens a regular file. Only a source itself may be a symbolic link, which is followed below the root.
    pub(super) fn open(&mut self, item: &Item) -> io::Result<File> {
        let (Some(name), false) = (item.from.file_name(), item.to.as_os_str().is_empty()) else {
            return self.root.open_file(&item.from);
        };
        let parent = item.from.parent().unwrap_or(Path::new(""));
        let directory = match &self.open {
            Some((known, directory)) if known == parent => Arc::clone(directory),
            _ => {
                let directory = Arc::new(self.root.open_dir(parent)?);
                self.open = Some((parent.to_owned(), Arc::clone(&directory)));
                directory
            }
        };
        Place::new(directory, name)?.open_file()
    }

    /// Reads to the end and gives each part to `take`. The end is known without another call if there is as much as
    /// `size` says.
    pub(super) fn read<E>(
        &mut self,
        file: &mut File,
        size: usize,
        failed: impl Fn(io::Error) -> E,
        mut take: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        loop {
            match file.read(&mut self.buffer) {
                Ok(0) => return Ok(()),
                Ok(length) => {
                    take(&self.buffer[..length])?;
                    if length == size && length < self.buffer.len() {
                        return Ok(());
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(failed(error)),
            }
        }
    }

    fn content(&mut self, item: &Item, keep: impl Fn(usize) -> bool) -> io::Result<Content> {
        let size = usize::try_from(item.stat.st_size).unwrap_or(usize::MAX);
        let mut kept = (size <= SMALL && keep(size)).then(|| Vec::with_capacity(size));
        let mut hasher = Hasher::default();
        let mut file = self.open(item)?;
        self.read(
            &mut file,
            size,
            |error| error,
            |part| {
                if let Some(bytes) = &mut kept {
                    bytes.extend_from_slice(part);
                    if bytes.len() > SMALL {
                        // It has grown since it was looked at.
                        kept = None;
                    }
                }
                hasher.write_all(part)
            },
        )?;
        Ok(Content { digest: hasher.finish().0, bytes: kept.map(Arc::from) })
    }
}

/// Finds the content of all files of `sources`: from an earlier build if the stat is as it was then, else by reading.
pub(super) fn read(tree: &Tree, sources: &mut [Source]) -> Result<(), TreeError> {
    let mut unread = Vec::new();
    for item in sources.iter_mut().flat_map(|source| &mut source.items) {
        if kind(&item.stat) != FileType::RegularFile || item.content.is_some() {
            continue;
        }
        match tree.stats.as_ref().and_then(|stats| stats.find(&item.stat)) {
            Some(digest) => item.content = Some(Content { digest, bytes: None }),
            None => unread.push(item),
        }
    }
    let kept = AtomicUsize::new(0);
    // What an image has comes with attributes, which are read with the file.
    let keep = |size| !tree.owned && kept.fetch_add(size, Ordering::Relaxed) + size <= KEPT;
    side_by_side(
        &mut unread,
        || Reader::new(&tree.root),
        |reader, item| {
            let content = reader.content(item, keep).map_err(unreadable(&item.from))?;
            if let Some(stats) = &tree.stats {
                stats.remember(&item.stat, content.digest);
            }
            item.content = Some(content);
            Ok(())
        },
    )
}

/// Does `work` for all `items`, a few at a time on each processor, each thread with what it needs for itself.
pub(super) fn side_by_side<T: Send, W, E: Send>(
    items: &mut [T],
    begin: impl Fn() -> W + Sync,
    work: impl Fn(&mut W, &mut T) -> Result<(), E> + Sync,
) -> Result<(), E> {
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    let threads = threads.min(items.len() / SHARE);
    let shares = Mutex::new(items.chunks_mut(SHARE));
    let failure = Mutex::new(None);
    let next = || {
        let failed = failure.lock().expect("nobody panics with it").is_some();
        shares.lock().expect("nobody panics with it").next().filter(|_| !failed)
    };
    let run = || {
        let mut own = begin();
        while let Some(share) = next() {
            if let Err(error) = share.iter_mut().try_for_each(|item| work(&mut own, item)) {
                failure.lock().expect("nobody panics with it").get_or_insert(error);
            }
        }
    };
    thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(run);
        }
        run();
    });
    failure.into_inner().expect("nobody panics with it").map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_done_once_and_a_failure_ends_it() {
        let mut items = vec![0_usize; 1000];
        side_by_side(
            &mut items,
            || (),
            |(), item| {
                *item += 1;
                Ok::<_, ()>(())
            },
        )
        .unwrap();
        assert!(items.iter().all(|count| *count == 1));
        let failed = side_by_side(
            &mut items,
            || (),
            |(), item| {
                *item += 1;
                if *item == 2 { Err("twice") } else { Ok(()) }
            },
        );
        assert_eq!(failed, Err("twice"));
        assert!(items.contains(&1));
    }
}
