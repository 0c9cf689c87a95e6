//! From a tar stream into a directory of a root. Links on the way are followed inside of the root, as the container's own
//! processes would follow them; nothing that the stream says leads out of it.

use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{FileType, Mode, Timespec};
use sys::root::Root;
use tar::{Archive, Entry, EntryType};

use super::entry::{Look, open_dir};
use super::tree::{CopyError, Owners, at, dress, own, replacing, writable};

/// Mode of directories that the stream does not have itself.
const IMPLIED: Mode = Mode::from_raw_mode(0o755);

/// Writes everything in `source` below the directory `into` of `root`, with the owners that it says.
///
/// # Errors
///
/// The first entry that cannot be written; what came before it is there.
pub fn unpack(source: impl Read, root: &Root, into: &Path) -> Result<(), CopyError> {
    let whole = Path::new("the archive");
    let mut archive = Archive::new(source);
    let mut folders: Vec<(PathBuf, Look)> = Vec::new();
    for entry in archive.entries().map_err(at(whole))? {
        let mut entry = entry.map_err(at(whole))?;
        let path = PathBuf::from(OsStr::from_bytes(&entry.path_bytes()));
        let path = into.join(inside(&path).map_err(at(&path))?);
        let found = look(&entry).map_err(at(&path))?;
        if path == into {
            continue;
        }
        if write(root, into, &path, &mut entry, &found).map_err(at(&path))? {
            folders.push((path, found));
        }
    }
    // Last, because what is written into a directory changes its time, and it may be read-only.
    for (path, found) in folders.into_iter().rev() {
        let opened = root.place(&path).and_then(|place| open_dir(&place));
        opened.and_then(|folder| dress(&folder, &found, Owners::Kept)).map_err(at(&path))?;
    }
    Ok(())
}

/// The path without what leads out of the directory.
fn inside(path: &Path) -> io::Result<PathBuf> {
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => clean.push(name),
            Component::CurDir | Component::RootDir => {}
            Component::ParentDir | Component::Prefix(_) => {
                return Err(io::Error::other("its name leads out of the archive"));
            }
        }
    }
    Ok(clean)
}

fn look<R: Read>(entry: &Entry<'_, R>) -> io::Result<Look> {
    let header = entry.header();
    let number = |number: io::Result<u64>| -> io::Result<u32> {
        u32::try_from(number?).map_err(|_| io::Error::other("a number is too large"))
    };
    let kind = match header.entry_type() {
        EntryType::Directory => FileType::Directory,
        EntryType::Symlink => FileType::Symlink,
        EntryType::Block => FileType::BlockDevice,
        EntryType::Char => FileType::CharacterDevice,
        EntryType::Fifo => FileType::Fifo,
        _ => FileType::RegularFile,
    };
    let part = |part: io::Result<Option<u32>>| part.ok().flatten().unwrap_or_default();
    let device = (part(header.device_major()), part(header.device_minor()));
    Ok(Look {
        kind,
        mode: Mode::from_raw_mode(header.mode()? & 0o7777),
        uid: number(header.uid())?,
        gid: number(header.gid())?,
        size: entry.size(),
        changed: Timespec {
            tv_sec: i64::try_from(header.mtime()?).unwrap_or_default(),
            tv_nsec: 0,
        },
        device: rustix::fs::makedev(device.0, device.1),
    })
}

/// Writes one entry; returns whether it is a directory.
fn write<R: Read>(
    root: &Root,
    into: &Path,
    path: &Path,
    entry: &mut Entry<'_, R>,
    found: &Look,
) -> io::Result<bool> {
    let place = root.place_creating(path, IMPLIED)?;
    match entry.header().entry_type() {
        EntryType::Directory => {
            match place.create_dir(Mode::from_raw_mode(0o700)) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    open_dir(&place)?;
                }
                made => made?,
            }
            return Ok(true);
        }
        EntryType::Symlink => {
            let target = link(entry)?;
            replacing(&place, |place| place.create_symlink(target.as_os_str()))?;
            own(&place, found, Owners::Kept)?;
        }
        EntryType::Link => {
            let existing = root.place(&into.join(inside(&link(entry)?)?))?;
            replacing(&place, |place| place.create_hard_link(&existing))?;
        }
        EntryType::Block | EntryType::Char | EntryType::Fifo => {
            replacing(&place, |place| place.create_node(found.kind, found.mode, found.device))?;
            own(&place, found, Owners::Kept)?;
        }
        _ => {
            let mut file = writable(&place)?;
            io::copy(entry, &mut file)?;
            dress(&file, found, Owners::Kept)?;
        }
    }
    Ok(false)
}

fn link<R: Read>(entry: &Entry<'_, R>) -> io::Result<PathBuf> {
    let target = entry.link_name_bytes().ok_or(io::ErrorKind::InvalidData)?;
    Ok(PathBuf::from(OsStr::from_bytes(&target)))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, symlink};

    use tar::{Builder, Header};

    use super::*;

    fn archive(entries: &[(&str, EntryType, &str)]) -> Vec<u8> {
        let mut builder = Builder::new(Vec::new());
        for (name, kind, content) in entries {
            let mut header = Header::new_gnu();
            header.set_entry_type(*kind);
            header.set_mode(0o755);
            let owner = rustix::process::getuid().as_raw();
            header.set_uid(owner.into());
            header.set_gid(rustix::process::getgid().as_raw().into());
            header.set_mtime(1000);
            // By hand: `set_path` refuses what a hostile archive has.
            header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
            let is_link = matches!(kind, EntryType::Symlink | EntryType::Link);
            if is_link {
                header.set_link_name(content).unwrap();
            }
            let data = if is_link { "" } else { content };
            header.set_size(data.len() as u64);
            header.set_cksum();
            builder.append(&header, data.as_bytes()).unwrap();
        }
        builder.into_inner().unwrap()
    }

    fn unpacked(bytes: &[u8], into: &Path) -> Result<(), CopyError> {
        unpack(bytes, &Root::open(into).unwrap(), Path::new("to"))
    }

    #[test]
    fn entries_become_files_with_their_times() {
        let dir = tempfile::tempdir().unwrap();
        let to = dir.path().join("to");
        fs::create_dir(&to).unwrap();
        let bytes = archive(&[
            ("a/", EntryType::Directory, ""),
            ("a/file", EntryType::Regular, "text"),
            ("a/same", EntryType::Link, "a/file"),
            ("a/link", EntryType::Symlink, "file"),
            ("implied/x", EntryType::Regular, ""),
        ]);
        unpacked(&bytes, dir.path()).unwrap();
        unpacked(&bytes, dir.path()).unwrap();
        assert_eq!(fs::read_to_string(to.join("a/link")).unwrap(), "text");
        assert_eq!(fs::metadata(to.join("a")).unwrap().mtime(), 1000);
        let inode = |name: &str| fs::metadata(to.join(name)).unwrap().ino();
        assert_eq!(inode("a/file"), inode("a/same"));
    }

    #[test]
    fn nothing_leaves_the_root() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        fs::create_dir_all(root.join("to")).unwrap();
        symlink(dir.path(), root.join("to/out")).unwrap();
        symlink("/", root.join("to/top")).unwrap();
        for entries in
            [[("../evil", EntryType::Regular, "x")], [("l2", EntryType::Link, "../../x")]]
        {
            assert!(unpacked(&archive(&entries), &root).is_err(), "{entries:?}");
        }
        let through = [
            ("out/evil", EntryType::Regular, "x"),
            ("top/inside", EntryType::Regular, "x"),
            ("l", EntryType::Symlink, "../../../.."),
            ("l/evil", EntryType::Regular, "x"),
        ];
        unpacked(&archive(&through), &root).unwrap();
        assert!(!dir.path().join("evil").exists());
        assert!(root.join("inside").exists() && root.join("evil").exists());
    }
}
