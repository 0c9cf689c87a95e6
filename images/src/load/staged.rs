//! The files of an archive of images, on disk and with their digests.

use std::collections::HashMap;
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use super::LoadError;
use crate::digest::{Digest, Hasher};
use crate::layer::archive::{Archive, Kind};
use crate::layer::stream::{as_layer, decompress};
use crate::layer::{ArchiveError, clean};
use crate::manifest::LARGEST_DOCUMENT;
use crate::store::StoreError;
use crate::store::workspace::{StagedBlob, Workspace};

/// Files that an archive of images may have.
const MOST_FILES: usize = 100_000;

/// How many links are followed from a name to a file. Old versions of `docker save` link equal layers.
const MOST_LINKS: usize = 16;

/// All files of an archive by name.
#[derive(Debug)]
pub(super) struct Staged {
    files: HashMap<PathBuf, StagedBlob>,
    links: HashMap<PathBuf, PathBuf>,
}

impl Staged {
    /// Reads the whole archive into the workspace.
    pub(super) fn read(
        workspace: &Workspace<'_>,
        reader: impl Read + Send,
    ) -> Result<Self, LoadError> {
        let (_, plain) = as_layer(reader).and_then(decompress).map_err(ArchiveError::Read)?;
        let mut archive = Archive::new(BufReader::with_capacity(1 << 18, plain));
        let mut staged = Self { files: HashMap::new(), links: HashMap::new() };
        while let Some(entry) = archive.next()? {
            let name = || String::from_utf8_lossy(&entry.path).into_owned();
            let path = clean(&entry.path).map_err(|_| LoadError::Name(name()))?;
            if staged.files.len() + staged.links.len() >= MOST_FILES {
                return Err(
                    ArchiveError::Malformed("more files than an archive of images has").into()
                );
            }
            match entry.kind {
                Kind::File(None) => {
                    let blob =
                        stage(workspace, &format!("file-{}", staged.files.len()), &mut archive)?;
                    staged.files.insert(path, blob);
                }
                Kind::Symlink { target } => {
                    let at = path.parent().unwrap_or(Path::new("")).join(text(&target));
                    let target = clean(text_of(&at)).map_err(|_| LoadError::Name(name()))?;
                    staged.links.insert(path, target);
                }
                Kind::HardLink { target } => {
                    let target = clean(&target).map_err(|_| LoadError::Name(name()))?;
                    staged.links.insert(path, target);
                }
                _ => {}
            }
        }
        Ok(staged)
    }

    /// The file called `name`, if it is there.
    pub(super) fn find(&self, name: &str) -> Option<&StagedBlob> {
        let mut path = clean(name.as_bytes()).ok()?;
        for _ in 0..MOST_LINKS {
            match self.links.get(&path) {
                Some(target) => path = target.clone(),
                None => return self.files.get(&path),
            }
        }
        None
    }

    /// The file called `name`.
    pub(super) fn file(&self, name: &str) -> Result<&StagedBlob, LoadError> {
        self.find(name).ok_or_else(|| LoadError::Missing(name.to_owned()))
    }

    /// The blob with this digest and size, in the place of the OCI layout.
    pub(super) fn blob(&self, digest: Digest, size: u64) -> Result<&StagedBlob, LoadError> {
        let name = blob_name(digest);
        let blob = self.file(&name)?;
        if blob.digest != digest {
            let (expected, found) = (digest.to_string(), blob.digest.to_string());
            return Err(LoadError::Mismatch { name, expected, found });
        }
        if blob.size != size {
            let (expected, found) = (format!("{size} bytes"), blob.size.to_string());
            return Err(LoadError::Mismatch { name, expected, found });
        }
        Ok(blob)
    }
}

/// Where the OCI layout has a blob.
pub(super) fn blob_name(digest: Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

/// The content of a file that is a document.
pub(super) fn document(name: &str, blob: &StagedBlob) -> Result<Vec<u8>, LoadError> {
    if blob.size > LARGEST_DOCUMENT {
        return Err(LoadError::TooLarge { name: name.to_owned(), size: blob.size });
    }
    Ok(fs::read(&blob.path).map_err(StoreError::access("read", &blob.path))?)
}

fn stage(
    workspace: &Workspace<'_>,
    name: &str,
    data: &mut impl BufRead,
) -> Result<StagedBlob, LoadError> {
    let (path, mut file) = workspace.new_blob(name)?;
    let mut hasher = Hasher::default();
    loop {
        let piece = data.fill_buf().map_err(ArchiveError::from_read)?;
        if piece.is_empty() {
            break;
        }
        let mut write = || -> io::Result<()> {
            file.write_all(piece)?;
            hasher.write_all(piece)
        };
        write().map_err(StoreError::access("write", &path))?;
        let count = piece.len();
        data.consume(count);
    }
    let (digest, size) = hasher.finish();
    Ok(StagedBlob { digest, path, size })
}

fn text(bytes: &[u8]) -> &Path {
    use std::os::unix::ffi::OsStrExt;
    Path::new(std::ffi::OsStr::from_bytes(bytes))
}

fn text_of(path: &Path) -> &[u8] {
    use std::os::unix::ffi::OsStrExt;
    path.as_os_str().as_bytes()
}
