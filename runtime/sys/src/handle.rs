//! What file systems call their files by themselves: name_to_handle_at(2).

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Bytes that a handle has at most (`MAX_HANDLE_SZ` of `linux/exportfs.h`).
const ROOM: usize = 128;

/// The same for the kernel.
const ROOM_TOLD: libc::c_uint = 128;

/// A `struct file_handle` with its bytes.
#[repr(C)]
struct Answer {
    bytes: libc::c_uint,
    kind: libc::c_int,
    handle: [u8; ROOM],
}

/// The name by which a file system knows a file for as long as there is that file, whatever its path. Two file systems may
/// have the same ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handle {
    /// What the bytes are, which only the file system knows.
    pub kind: i32,
    /// They.
    pub bytes: Vec<u8>,
}

/// The handle of `file`: that with which fanotify(7) tells of it. Since Linux 6.5 it need not be one that can be opened
/// (`AT_HANDLE_FID`), so that more file systems have them.
///
/// # Errors
///
/// What name_to_handle_at(2) says: `EOPNOTSUPP` for a file system without handles.
pub fn of(file: BorrowedFd<'_>) -> io::Result<Handle> {
    match ask(file, libc::AT_EMPTY_PATH | libc::AT_HANDLE_FID) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => ask(file, libc::AT_EMPTY_PATH),
        answer => answer,
    }
}

fn ask(file: BorrowedFd<'_>, flags: libc::c_int) -> io::Result<Handle> {
    let mut answer = Answer { bytes: ROOM_TOLD, kind: 0, handle: [0; ROOM] };
    let mut mount: libc::c_int = 0;
    // SAFETY: the descriptor is open, and the empty path ends with a NUL. `answer` begins as a file_handle does, says that
    // `ROOM` bytes follow, and they do; the kernel writes no more than that. `mount` is an int of ours. Nothing is kept.
    let outcome = unsafe {
        libc::name_to_handle_at(
            file.as_raw_fd(),
            c"".as_ptr(),
            (&raw mut answer).cast(),
            &raw mut mount,
            flags,
        )
    };
    if outcome != 0 {
        return Err(io::Error::last_os_error());
    }
    let length = (answer.bytes as usize).min(ROOM);
    Ok(Handle { kind: answer.kind, bytes: answer.handle[..length].to_vec() })
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::os::fd::AsFd;
    use std::path::Path;

    use super::*;

    #[test]
    fn a_directory_keeps_its_handle_when_it_moves() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = (folder.path().join("one"), folder.path().join("two"));
        let handle = |path: &Path| of(File::open(path).unwrap().as_fd()).unwrap();
        fs::create_dir(&one).unwrap();
        let before = handle(&one);
        assert!(!before.bytes.is_empty());
        fs::rename(&one, &two).unwrap();
        fs::create_dir(&one).unwrap();
        assert_eq!(handle(&two), before);
        assert_ne!(handle(&one), before);
    }
}
