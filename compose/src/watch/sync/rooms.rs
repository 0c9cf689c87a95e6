//! Directories in which files wait for their names.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::fs::{AtFlags, Mode, OFlags, StatxFlags, statx};
use sys::root::Place;

/// One for each mount, since no file moves to another one. They are taken away when this is dropped, with all that is in them.
#[derive(Debug, Default)]
pub(super) struct Rooms {
    by_mount: BTreeMap<u64, Room>,
}

#[derive(Debug)]
struct Room {
    place: Place,
    open: Arc<OwnedFd>,
}

impl Rooms {
    /// Where files wait for their names in `directory`. If its mount has no room yet, one is made there, with a `name` that
    /// nothing has.
    pub fn of(&mut self, directory: &Arc<OwnedFd>, name: &OsStr) -> io::Result<Arc<OwnedFd>> {
        let found = statx(&**directory, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID)?;
        if let Some(room) = self.by_mount.get(&found.stx_mnt_id) {
            return Ok(Arc::clone(&room.open));
        }
        let place = Place::new(Arc::clone(directory), name)?;
        place.create_dir(Mode::from_raw_mode(0o700))?;
        let open = Arc::new(place.open(OFlags::PATH | OFlags::DIRECTORY)?);
        self.by_mount.insert(found.stx_mnt_id, Room { place, open: Arc::clone(&open) });
        Ok(open)
    }
}

impl Drop for Rooms {
    fn drop(&mut self) {
        for room in self.by_mount.values() {
            // Nobody is left to tell of what stays.
            let _ = room.place.remove_all();
        }
    }
}
