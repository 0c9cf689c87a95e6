//! From a root to a tar stream.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FileType, fgetxattr};
use sys::root::Place;
use tar::{Builder, EntryType, Header};

use super::entry::{DEEPEST, Look, children, look, mount_of, open_dir, open_file};
use super::tree::{CopyError, at};

/// The capabilities of a program (capabilities(7)), which tar programs keep under this name.
const CAPABILITY: &str = "security.capability";

/// Writes a tar stream.
#[expect(missing_debug_implementations, reason = "the builder inside has none")]
pub struct Packer<W: Write> {
    builder: Builder<W>,
    /// Only what is on this mount is packed; of another one the bare place.
    mount: Option<u64>,
    /// The tree is the upper one of an overlay: what it hides is packed as a layer of an image has it.
    upper: bool,
}

impl<W: Write> Packer<W> {
    /// A stream to `sink`. With `mount`, what other mounts hold is left out.
    pub fn new(sink: W, mount: Option<u64>) -> Self {
        Self { builder: Builder::new(sink), mount, upper: false }
    }

    /// A stream to `sink` of the changes that an overlay keeps, as a layer of an image (OCI image-spec 1.1, layer.md).
    pub fn of_changes(sink: W) -> Self {
        Self { builder: Builder::new(sink), mount: None, upper: true }
    }

    /// Packs what is at `place` under the name `name`.
    ///
    /// # Errors
    ///
    /// The first thing that cannot be read, or a sink that takes no more.
    pub fn add(&mut self, place: &Place, name: &Path) -> Result<(), CopyError> {
        self.add_at(place, name, 0)
    }

    /// Packs what is in a directory, below the name `name`.
    ///
    /// # Errors
    ///
    /// As [`Self::add`].
    pub fn add_children(&mut self, directory: OwnedFd, name: &Path) -> Result<(), CopyError> {
        self.add_inside(&Arc::new(directory), name, 0)
    }

    /// Ends the stream, and gives its sink back.
    ///
    /// # Errors
    ///
    /// A sink that takes no more.
    pub fn finish(self) -> io::Result<W> {
        let mut sink = self.builder.into_inner()?;
        sink.flush()?;
        Ok(sink)
    }

    fn add_at(&mut self, place: &Place, name: &Path, depth: usize) -> Result<(), CopyError> {
        let found = look(place).map_err(at(name))?;
        let foreign = match self.mount {
            Some(mount) => mount_of(place.directory(), place.name()).map_err(at(name))? != mount,
            None => false,
        };
        match found.kind {
            FileType::Directory => {
                if depth >= DEEPEST {
                    return Err(at(name)(io::Error::other("directories are nested too deeply")));
                }
                let mut with_slash = name.as_os_str().to_owned();
                with_slash.push("/");
                let mut header = header(&found, EntryType::Directory);
                self.builder
                    .append_data(&mut header, PathBuf::from(with_slash), io::empty())
                    .map_err(at(name))?;
                if foreign {
                    return Ok(());
                }
                let directory = Arc::new(open_dir(place).map_err(at(name))?);
                if self.upper {
                    self.add_opaque(&directory, name).map_err(at(name))?;
                }
                self.add_inside(&directory, name, depth + 1)
            }
            _ => self.add_one(place, name, &found, foreign).map_err(at(name)),
        }
    }

    fn add_inside(
        &mut self,
        directory: &Arc<OwnedFd>,
        name: &Path,
        depth: usize,
    ) -> Result<(), CopyError> {
        for child in children(directory).map_err(at(name))? {
            let path = name.join(child.name());
            match self.add_at(&child, &path, depth) {
                // It went while we looked.
                Err(error) if error.source.kind() == io::ErrorKind::NotFound => {}
                added => added?,
            }
        }
        Ok(())
    }

    /// An entry that hides what lower layers have in the directory, if it does.
    fn add_opaque(&mut self, directory: &OwnedFd, name: &Path) -> io::Result<()> {
        let mut value = [0; 64];
        if fgetxattr(directory, "trusted.overlay.redirect", &mut value).is_ok() {
            return Err(io::Error::other("a renamed directory cannot be made part of a layer"));
        }
        match fgetxattr(directory, "trusted.overlay.opaque", &mut value) {
            Ok(length) if &value[..length] == b"y" => self.add_mark(&name.join(".wh..wh..opq")),
            _ => Ok(()),
        }
    }

    fn add_mark(&mut self, name: &Path) -> io::Result<()> {
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::Regular);
        header.set_mode(0o644);
        header.set_size(0);
        self.builder.append_data(&mut header, name, io::empty())
    }

    fn add_one(
        &mut self,
        place: &Place,
        name: &Path,
        found: &Look,
        foreign: bool,
    ) -> io::Result<()> {
        match found.kind {
            // The overlay's sign for a name that is deleted.
            FileType::CharacterDevice if self.upper && found.device == 0 => {
                let mut mark = OsString::from(".wh.");
                mark.push(place.name());
                self.add_mark(&name.with_file_name(mark))
            }
            FileType::RegularFile if foreign => {
                let mut header = header(&Look { size: 0, ..*found }, EntryType::Regular);
                self.builder.append_data(&mut header, name, io::empty())
            }
            FileType::RegularFile => {
                let file = open_file(place)?;
                let mut value = [0; 64];
                if let Ok(length) = fgetxattr(&file, CAPABILITY, &mut value) {
                    let key = format!("SCHILY.xattr.{CAPABILITY}");
                    self.builder.append_pax_extensions([(key.as_str(), &value[..length])])?;
                }
                let mut header = header(found, EntryType::Regular);
                self.builder.append_data(&mut header, name, Exactly { file, left: found.size })
            }
            FileType::Symlink => {
                let target = place.read_link()?;
                let mut header = header(&Look { size: 0, ..*found }, EntryType::Symlink);
                self.builder.append_link(&mut header, name, Path::new::<OsStr>(&target))
            }
            // A socket is of use only to the process that listens.
            FileType::Socket => Ok(()),
            kind => {
                let kind = match kind {
                    FileType::BlockDevice => EntryType::Block,
                    FileType::CharacterDevice => EntryType::Char,
                    _ => EntryType::Fifo,
                };
                let mut header = header(&Look { size: 0, ..*found }, kind);
                header.set_device_major(rustix::fs::major(found.device))?;
                header.set_device_minor(rustix::fs::minor(found.device))?;
                self.builder.append_data(&mut header, name, io::empty())
            }
        }
    }
}

fn header(found: &Look, kind: EntryType) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(found.mode.bits());
    header.set_uid(found.uid.into());
    header.set_gid(found.gid.into());
    header.set_size(if kind == EntryType::Regular { found.size } else { 0 });
    header.set_mtime(u64::try_from(found.changed.tv_sec).unwrap_or_default());
    header
}

/// As many bytes as the header says, whatever becomes of the file meanwhile.
struct Exactly {
    file: std::fs::File,
    left: u64,
}

impl Read for Exactly {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if most == 0 {
            return Ok(0);
        }
        let mut count = self.file.read(&mut buffer[..most])?;
        if count == 0 {
            // It has become shorter.
            buffer[..most].fill(0);
            count = most;
        }
        self.left -= count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use sys::root::Root;

    use super::*;

    #[test]
    fn a_folder_becomes_a_stream_that_tar_reads() {
        let dir = tempfile::tempdir().unwrap();
        let long = "n".repeat(150);
        fs::create_dir_all(dir.path().join("a/b")).unwrap();
        fs::write(dir.path().join("a/b").join(&long), "text").unwrap();
        symlink("b", dir.path().join("a/link")).unwrap();
        let place = Root::open(dir.path()).unwrap().place(Path::new("a")).unwrap();
        let mut bytes = Vec::new();
        let mut packer = Packer::new(&mut bytes, None);
        packer.add(&place, Path::new("top")).unwrap();
        packer.finish().unwrap();
        let mut archive = tar::Archive::new(&bytes[..]);
        let names: Vec<String> = archive
            .entries()
            .unwrap()
            .map(|entry| entry.unwrap().path().unwrap().display().to_string())
            .collect();
        assert_eq!(names, ["top/", "top/b/", &format!("top/b/{long}"), "top/link"]);
    }

    #[test]
    fn what_an_overlay_hides_is_packed_as_a_layer_has_it() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("hidden")).unwrap();
        fs::write(dir.path().join("hidden/new"), "x").unwrap();
        let root = Root::open(dir.path()).unwrap();
        let gone = root.place(Path::new("gone")).unwrap();
        let opaque = rustix::fs::setxattr(
            dir.path().join("hidden"),
            "trusted.overlay.opaque",
            b"y",
            rustix::fs::XattrFlags::empty(),
        );
        let whiteout = gone.create_node(FileType::CharacterDevice, rustix::fs::Mode::empty(), 0);
        if opaque.is_err() || whiteout.is_err() {
            // Only root may; the scenario of `commit` runs as root in any case.
            return;
        }
        let mut bytes = Vec::new();
        let mut packer = Packer::of_changes(&mut bytes);
        let folder =
            root.resolve(Path::new(""), rustix::fs::OFlags::DIRECTORY, rustix::fs::Mode::empty());
        packer.add_children(folder.unwrap(), Path::new("")).unwrap();
        packer.finish().unwrap();
        let mut archive = tar::Archive::new(&bytes[..]);
        let names: Vec<String> = archive
            .entries()
            .unwrap()
            .map(|entry| entry.unwrap().path().unwrap().display().to_string())
            .collect();
        assert_eq!(names, [".wh.gone", "hidden/", "hidden/.wh..wh..opq", "hidden/new"]);
    }

    #[test]
    fn a_file_that_shrinks_is_filled_up() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"abc").unwrap();
        std::io::Seek::rewind(&mut file).unwrap();
        let mut text = Vec::new();
        Exactly { file, left: 5 }.read_to_end(&mut text).unwrap();
        assert_eq!(text, b"abc\0\0");
    }
}
