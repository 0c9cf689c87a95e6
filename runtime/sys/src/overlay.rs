//! Overlays of however many layers, on kernels of all ages.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{fsconfig_create, fsconfig_set_string};

/// The longest string that fsconfig(2) takes, with its end.
const LONGEST: usize = 256;

/// Since Linux 6.5 overlay knows its options one by one. Before, fsconfig(2) takes any word and what it means is asked only
/// when the file system is created.
const KNOWS_ITS_OPTIONS: (u32, u32) = (6, 5);

/// The working directory is the process's, and the layers of old kernels are named below it.
static WORKING_DIRECTORY: Mutex<()> = Mutex::new(());

/// Creates the overlay that `context` (fsopen(2)) describes, with these read-only layers, topmost first.
///
/// Layers are given one by one (`lowerdir+`, Linux 6.7) where the kernel takes that. Else they are one string of at most
/// 255 bytes, which is why they are numbers of descriptors below `/proc/self/fd`, the working directory for this
/// moment: room for some 80 layers.
///
/// # Errors
///
/// `E2BIG` for more layers than an old kernel takes, and what the kernel says.
pub fn create(context: BorrowedFd<'_>, layers: &[OwnedFd]) -> io::Result<()> {
    if release().is_none_or(|release| release >= KNOWS_ITS_OPTIONS) {
        match add_each(context, layers) {
            Err(Errno::INVAL) => {}
            answer => return Ok(answer.and_then(|()| fsconfig_create(context))?),
        }
    }
    create_joined(context, layers)
}

fn add_each(context: BorrowedFd<'_>, layers: &[OwnedFd]) -> rustix::io::Result<()> {
    layers.iter().try_for_each(|layer| {
        let path = format!("/proc/self/fd/{}", layer.as_raw_fd());
        fsconfig_set_string(context, "lowerdir+", path)
    })
}

fn create_joined(context: BorrowedFd<'_>, layers: &[OwnedFd]) -> io::Result<()> {
    let names: Vec<String> = layers.iter().map(|layer| layer.as_raw_fd().to_string()).collect();
    let joined = names.join(":");
    if joined.len() >= LONGEST {
        return Err(Errno::TOOBIG.into());
    }
    let _turn = WORKING_DIRECTORY.lock().unwrap_or_else(PoisonError::into_inner);
    let before = rustix::fs::openat(CWD, ".", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    rustix::process::chdir("/proc/self/fd")?;
    // The one kernel looks the names up when they are said, the other when they are used.
    let said = fsconfig_set_string(context, "lowerdir", joined);
    let created = said.and_then(|()| fsconfig_create(context));
    rustix::process::fchdir(&before)?;
    Ok(created?)
}

/// Major and minor number of the running kernel.
fn release() -> Option<(u32, u32)> {
    numbers(rustix::system::uname().release().to_str().ok()?)
}

fn numbers(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.split(|letter: char| !letter.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::fd::AsFd;

    use rustix::fs::AtFlags;
    use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsmount, fsopen};

    use super::*;

    #[test]
    fn releases_are_numbers_with_words_behind_them() {
        assert_eq!(numbers("6.1.0-50-cloud-amd64"), Some((6, 1)));
        assert_eq!(numbers("6.18.44-fc-v782"), Some((6, 18)));
        assert_eq!(numbers("7.0"), Some((7, 0)));
        assert_eq!(numbers("5.12-rc3"), Some((5, 12)));
        assert_eq!(numbers("unknown"), None);
    }

    #[test]
    fn layers_in_one_string_are_the_same_overlay() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let layers: Vec<OwnedFd> = (0..40)
            .map(|number| {
                let layer = folder.path().join(number.to_string());
                fs::create_dir(&layer).unwrap();
                fs::write(layer.join(format!("file{number}")), "").unwrap();
                fs::write(layer.join("top"), number.to_string()).unwrap();
                rustix::fs::open(layer, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap()
            })
            .collect();
        type Way = fn(BorrowedFd<'_>, &[OwnedFd]) -> io::Result<()>;
        for way in [create as Way, create_joined] {
            let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).unwrap();
            way(context.as_fd(), &layers).unwrap();
            let tree =
                fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty()).unwrap();
            for number in 0..40 {
                rustix::fs::statat(&tree, format!("file{number}"), AtFlags::empty()).unwrap();
            }
            let top = rustix::fs::openat(&tree, "top", OFlags::RDONLY, Mode::empty()).unwrap();
            let mut content = [0; 8];
            let length = rustix::io::read(&top, &mut content).unwrap();
            assert_eq!(&content[..length], b"0");
        }
        let many: Vec<OwnedFd> = (0..300).map(|_| layers[0].try_clone().unwrap()).collect();
        let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).unwrap();
        let refused = create_joined(context.as_fd(), &many).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(libc::E2BIG));
    }
}
