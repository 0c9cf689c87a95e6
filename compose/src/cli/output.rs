//! Files that a command writes for somebody: whole, or as they were before.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, linkat, open, openat, renameat, unlinkat};
use rustix::io::Errno;

/// A file that has no name until it is whole, so that whoever is cut off leaves nothing.
///
/// A device, a pipe and the like are written as they are: nothing may stand in their place.
#[derive(Debug)]
pub struct Output {
    file: File,
    /// None for what was there and is no file.
    way: Option<Way>,
}

/// The way of a file to its place.
#[derive(Debug)]
struct Way {
    /// Held open: by then the thread may be in another mount namespace.
    directory: OwnedFd,
    name: OsString,
    /// What it is called until then; none while it has no name at all, as most file systems allow.
    waiting: Option<OsString>,
}

impl Output {
    /// A file that [`Self::finish`] puts to `path`; its directory is there already.
    ///
    /// # Errors
    ///
    /// What open(2) says of the directory, or of what is there and is no file.
    pub fn create(path: &Path) -> io::Result<Self> {
        // What a link leads to is written, and not the link.
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        if fs::metadata(&path).is_ok_and(|found| !found.is_file()) {
            return Ok(Self { file: File::create(&path)?, way: None });
        }
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
        let parent = path.parent().filter(|parent| *parent != Path::new(""));
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = open(parent.unwrap_or(Path::new(".")), flags, Mode::empty())?;
        let (write, mode) = (OFlags::WRONLY | OFlags::CLOEXEC, Mode::from(0o666));
        let (file, waiting) = match openat(&directory, ".", write | OFlags::TMPFILE, mode) {
            Ok(file) => (file, None),
            Err(Errno::OPNOTSUPP | Errno::ISDIR) => {
                let beside = beside(&name);
                let flags = write | OFlags::CREATE | OFlags::TRUNC;
                (openat(&directory, &beside, flags, mode)?, Some(beside))
            }
            Err(error) => return Err(error.into()),
        };
        let way = Some(Way { directory, name, waiting });
        Ok(Self { file: file.into(), way })
    }

    /// Puts it to its place, over the file that is there.
    ///
    /// # Errors
    ///
    /// What link(2) and rename(2) say; the file that is there stays then.
    pub fn finish(mut self) -> io::Result<()> {
        let Some(Way { directory, name, waiting }) = &mut self.way else { return Ok(()) };
        if waiting.is_none() {
            let beside = beside(name);
            // Somebody else's, who was cut off between the two names.
            let _ = unlinkat(&*directory, &beside, AtFlags::empty());
            let open = format!("/proc/self/fd/{}", self.file.as_raw_fd());
            linkat(CWD, &open, &*directory, &beside, AtFlags::SYMLINK_FOLLOW)?;
            *waiting = Some(beside);
        }
        if let Some(beside) = waiting {
            renameat(&*directory, &*beside, &*directory, &*name)?;
        }
        self.way = None;
        Ok(())
    }
}

impl io::Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if let Some(Way { directory, waiting: Some(beside), .. }) = &self.way {
            // Half a file is of no use to anybody, and nobody is left to tell.
            let _ = unlinkat(directory, beside, AtFlags::empty());
        }
    }
}

/// The name beside `name` that it has for a moment.
fn beside(name: &OsStr) -> OsString {
    let mut beside = name.to_owned();
    beside.push(format!(".{}.part", std::process::id()));
    beside
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use std::os::unix::fs::{FileTypeExt as _, symlink};

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let name = |entry: io::Result<fs::DirEntry>| entry.unwrap().file_name().into_string();
        let mut names: Vec<String> = entries.map(|entry| name(entry).unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_is_there_when_it_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        let mut output = Output::create(&path).unwrap();
        output.write_all(b"half").unwrap();
        assert_eq!(names(folder.path()), [""; 0]);
        drop(output);
        assert_eq!(names(folder.path()), [""; 0]);
        for text in ["first", "second"] {
            let mut output = Output::create(&path).unwrap();
            output.write_all(text.as_bytes()).unwrap();
            output.finish().unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        drop(Output::create(&path).unwrap());
        assert_eq!(fs::read_to_string(&path).unwrap(), "second");
        assert_eq!(names(folder.path()), ["out"]);
    }

    #[test]
    fn a_file_with_a_name_is_taken_away_or_put_to_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        let named = || {
            let directory = File::open(folder.path()).unwrap().into();
            let way = Way { directory, name: "out".into(), waiting: Some("waits".into()) };
            let file = File::create(folder.path().join("waits")).unwrap();
            Output { file, way: Some(way) }
        };
        drop(named());
        assert_eq!(names(folder.path()), [""; 0]);
        named().finish().unwrap();
        assert_eq!(names(folder.path()), ["out"]);
        assert!(path.is_file());
    }

    #[test]
    fn nothing_stands_in_the_place_of_a_pipe_or_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let (pipe, link) = (folder.path().join("pipe"), folder.path().join("link"));
        rustix::fs::mknodat(CWD, &pipe, rustix::fs::FileType::Fifo, Mode::from(0o600), 0).unwrap();
        // Opened for both, so that nobody has to wait for the other end.
        let reader = File::options().read(true).write(true).open(&pipe).unwrap();
        let output = Output::create(&pipe).unwrap();
        output.finish().unwrap();
        assert!(fs::symlink_metadata(&pipe).unwrap().file_type().is_fifo());
        drop(reader);
        symlink("out", &link).unwrap();
        fs::write(folder.path().join("out"), "old").unwrap();
        let mut output = Output::create(&link).unwrap();
        output.write_all(b"new").unwrap();
        output.finish().unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_to_string(folder.path().join("out")).unwrap(), "new");
        assert!(Output::create(&folder.path().join("none/out")).is_err());
    }
}
