//! The address of a socket whose path is long.

use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags};

/// What an address has room for, with the zero at its end: `sun_path` in unix(7).
const ROOM: usize = 108;

/// Calls `with` with a path that leads to `socket` and fits into an address: a project may have a long name. Where it is too long,
/// its folder is reached by a descriptor.
///
/// # Errors
///
/// When there is no such folder, and those of `with`.
pub fn reach<T>(socket: &Path, with: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    let (Some(folder), Some(name)) = (socket.parent(), socket.file_name()) else {
        return with(socket);
    };
    if socket.as_os_str().len() < ROOM {
        return with(socket);
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = rustix::fs::openat(CWD, folder, flags, Mode::empty())?;
    with(&Path::new("/proc/self/fd").join(folder.as_raw_fd().to_string()).join(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::{UnixListener, UnixStream};

    #[test]
    fn a_long_path_is_reached_as_a_short_one_is() {
        let root = tempfile::tempdir().unwrap();
        for length in [1, 60, 110, 250] {
            let folder = root.path().join("x".repeat(length));
            std::fs::create_dir(&folder).unwrap();
            let socket = folder.join("api.sock");
            let absent = reach(&socket, |path| UnixStream::connect(path)).unwrap_err();
            assert_eq!(absent.kind(), io::ErrorKind::NotFound);
            let _listener = reach(&socket, |path| UnixListener::bind(path)).unwrap();
            assert!(socket.exists());
            reach(&socket, |path| UnixStream::connect(path)).unwrap();
        }
    }
}
