//! From the changes of a step, as overlayfs keeps them, to a layer: its archive, compressed, and the digests of both.
//!
//! The directory itself becomes the unpacked layer. Equal changes give equal archives: names are in order, times are in
//! whole seconds, and no later than `SOURCE_DATE_EPOCH` if that is set.
//!
//! Source: OCI image-spec 1.1, layer.md; kernel `Documentation/filesystems/overlayfs.rst`.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::thread;

use rustix::fs::{AtFlags, FileType, OFlags, Timespec};
use sys::root::Root;
use tar::{Builder, EntryType, Header};

use super::copy::{Written, attributes, times};
use super::ignore::Patterns;
use super::read::Reader;
use super::tree::{Item, Tree, TreeError, kind};
use crate::digest::{Digest, Hasher};
use crate::layer::OPAQUE;
use crate::layer::stream::{Source, channel, tee};

/// How hard archives are compressed: as for imported ones.
const LEVEL: i32 = 1;

/// The changes of a step cannot be made a layer.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// They cannot be read.
    #[error("cannot read what the step has changed")]
    Tree(#[from] TreeError),
    /// The archive cannot be written.
    #[error("cannot pack `{path}`")]
    File {
        /// The path in the stage.
        path: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The layer cannot be kept.
    #[error("cannot write the layer")]
    Layer(#[source] io::Error),
}

/// A layer that was packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Packed {
    /// The digest of the archive.
    pub(super) diff_id: Digest,
    /// Bytes of all files.
    pub(super) size: u64,
    /// The digest of the compressed archive.
    pub(super) blob: Digest,
    /// Bytes of the compressed archive.
    pub(super) blob_size: u64,
}

/// Packs the changes in `upper` into the file `blob`; `None` if there are none. The content of some is known: `written`.
pub(super) fn pack(
    upper: &Path,
    written: &Written,
    blob: File,
    latest: Option<i64>,
) -> Result<Option<Packed>, PackError> {
    let failed = |path: &Path| {
        let path = path.display().to_string();
        move |source| PackError::File { path, source }
    };
    let root = Root::open(upper).map_err(failed(upper))?;
    let tree = Tree { root, hidden: Patterns::default(), owned: true, stats: None };
    let items = tree.select("", &Patterns::default())?.remove(0).items;
    if items.len() == 1 && !is_opaque(&tree, &items[0]) {
        return Ok(None);
    }
    if let Some(latest) = latest {
        for item in items.iter().rev().filter(|item| item.stat.st_mtime >= latest) {
            settle(&tree.root, &item.from, latest).map_err(failed(&item.from))?;
        }
    }
    let (to_hash, hash) = channel();
    let (to_blob, compress) = channel();
    thread::scope(|scope| {
        let digest = scope.spawn(move || Hasher::default().read_all(hash));
        let blob = scope.spawn(move || compress_into(compress, blob));
        let mut archive = Archive {
            builder: Builder::new(tee([to_hash, to_blob])),
            reader: Reader::new(&tree.root),
            tree: &tree,
            written,
            links: std::collections::HashMap::new(),
            size: 0,
            latest,
        };
        let written =
            items.iter().skip(1).try_for_each(|item| archive.add(item).map_err(failed(&item.from)));
        let size = archive.size;
        let written = written.and_then(|()| {
            if is_opaque(&tree, &items[0]) {
                archive.opaque(Path::new("")).map_err(failed(Path::new("")))?;
            }
            let mut tee = archive.builder.into_inner().map_err(PackError::Layer)?;
            tee.flush().map_err(PackError::Layer)
        });
        let digest = digest.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let blob = blob.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        // Who cannot take more ends the archive in the middle of a file, which is no more than a broken pipe there.
        let (diff_id, _) = digest.map_err(PackError::Layer)?;
        let (blob, blob_size) = blob.map_err(PackError::Layer)?;
        written?;
        Ok(Some(Packed { diff_id, size, blob, blob_size }))
    })
}

/// Compresses into a file; the digest and the size of that.
fn compress_into(mut source: Source, file: File) -> io::Result<(Digest, u64)> {
    struct Counted(File, Hasher);
    impl Write for Counted {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let count = self.0.write(bytes)?;
            self.1.write_all(&bytes[..count])?;
            Ok(count)
        }
        fn flush(&mut self) -> io::Result<()> {
            self.0.flush()
        }
    }
    let mut encoder = zstd::Encoder::new(Counted(file, Hasher::default()), LEVEL)?;
    io::copy(&mut source, &mut encoder)?;
    let Counted(_, hasher) = encoder.finish()?;
    Ok(hasher.finish())
}

fn settle(root: &Root, path: &Path, latest: i64) -> io::Result<()> {
    let time = times(Timespec { tv_sec: latest, tv_nsec: 0 });
    if path.as_os_str().is_empty() {
        let directory =
            root.resolve(path, OFlags::RDONLY | OFlags::DIRECTORY, rustix::fs::Mode::empty())?;
        return Ok(rustix::fs::futimens(directory, &time)?);
    }
    let place = root.place(path)?;
    Ok(rustix::fs::utimensat(place.directory(), place.name(), &time, AtFlags::SYMLINK_NOFOLLOW)?)
}

fn is_opaque(tree: &Tree, item: &Item) -> bool {
    let open = || {
        tree.root.resolve(&item.from, OFlags::RDONLY | OFlags::DIRECTORY, rustix::fs::Mode::empty())
    };
    let mut value = [0; 1];
    open().is_ok_and(|directory| {
        rustix::fs::fgetxattr(directory, OPAQUE, &mut value)
            .is_ok_and(|length| value[..length] == *b"y")
    })
}

struct Archive<'a, W: Write> {
    builder: Builder<W>,
    tree: &'a Tree,
    reader: Reader<'a>,
    written: &'a Written,
    /// What has several names, by inode.
    links: std::collections::HashMap<u64, PathBuf>,
    size: u64,
    latest: Option<i64>,
}

impl<W: Write> Archive<'_, W> {
    fn add(&mut self, item: &Item) -> io::Result<()> {
        let mut header = self.header(item);
        match kind(&item.stat) {
            FileType::Directory => {
                header.set_entry_type(EntryType::Directory);
                let mut name = item.from.as_os_str().to_owned();
                name.push("/");
                self.append(header, Path::new(&name), io::empty())?;
                if is_opaque(self.tree, item) {
                    self.opaque(&item.from)?;
                }
                Ok(())
            }
            FileType::RegularFile => self.file(item, header),
            FileType::Symlink => {
                header.set_entry_type(EntryType::Symlink);
                let target = item.link.as_deref().unwrap_or_default();
                self.builder.append_link(&mut header, &item.from, Path::new(target))
            }
            FileType::CharacterDevice if item.stat.st_rdev == 0 => {
                let mut name = std::ffi::OsString::from(".wh.");
                name.push(item.from.file_name().unwrap_or_default());
                self.whiteout(&item.from.with_file_name(name))
            }
            kind => {
                header.set_entry_type(match kind {
                    FileType::CharacterDevice => EntryType::Char,
                    FileType::BlockDevice => EntryType::Block,
                    _ => EntryType::Fifo,
                });
                if kind != FileType::Fifo {
                    header.set_device_major(rustix::fs::major(item.stat.st_rdev))?;
                    header.set_device_minor(rustix::fs::minor(item.stat.st_rdev))?;
                }
                self.append(header, &item.from, io::empty())
            }
        }
    }

    fn header(&self, item: &Item) -> Header {
        let stat = &item.stat;
        let mut header = Header::new_gnu();
        header.set_mode(stat.st_mode & 0o7777);
        header.set_uid(u64::from(stat.st_uid));
        header.set_gid(u64::from(stat.st_gid));
        let time = self.latest.map_or(stat.st_mtime, |latest| latest.min(stat.st_mtime));
        header.set_mtime(u64::try_from(time).unwrap_or_default());
        header.set_size(0);
        header
    }

    fn file(&mut self, item: &Item, mut header: Header) -> io::Result<()> {
        if item.stat.st_nlink > 1 {
            if let Some(first) = self.links.get(&item.stat.st_ino) {
                header.set_entry_type(EntryType::Link);
                return self.builder.append_link(&mut header, &item.from, first);
            }
            self.links.insert(item.stat.st_ino, item.from.clone());
        }
        let size = u64::try_from(item.stat.st_size).unwrap_or_default();
        self.size += size;
        header.set_entry_type(EntryType::Regular);
        header.set_size(size);
        // What was written from memory has no attributes.
        if let Some(bytes) = self.written.get(&item.from).filter(|bytes| bytes.len() as u64 == size)
        {
            return self.append(header, &item.from, &bytes[..]);
        }
        let file = self.reader.open(item)?;
        let found = attributes(&file)?;
        if !found.is_empty() {
            let keys: Vec<String> = found
                .iter()
                .map(|(name, _)| format!("SCHILY.xattr.{}", String::from_utf8_lossy(name)))
                .collect();
            let records =
                keys.iter().zip(&found).map(|(key, (_, value))| (key.as_str(), value.as_slice()));
            self.builder.append_pax_extensions(records)?;
        }
        self.append(header, &item.from, file.take(size))
    }

    /// What hides everything that lower layers have in a directory.
    fn opaque(&mut self, directory: &Path) -> io::Result<()> {
        self.whiteout(&directory.join(OsStr::from_bytes(b".wh..wh..opq")))
    }

    fn whiteout(&mut self, path: &Path) -> io::Result<()> {
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::Regular);
        header.set_mode(0);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(0);
        self.append(header, path, io::empty())
    }

    fn append(&mut self, mut header: Header, path: &Path, data: impl Read) -> io::Result<()> {
        self.builder.append_data(&mut header, path, data)
    }
}
