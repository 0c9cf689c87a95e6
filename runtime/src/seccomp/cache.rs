//! Compiled filters on disk: a checksum and a program in a file whose name says what it was compiled from.
//!
//! Everything about it may fail without harm: what cannot be read, or is not whole, is compiled again.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use sha2::{Digest as _, Sha256};

use super::resolve::Subject;

/// Changes with what the compiler makes of the same profile.
const FORMAT: u32 = 1;

/// Length of the checksum in front of a program.
const CHECKSUM: usize = 32;

/// Where the filter of a profile for a container is kept.
pub(super) fn path(directory: &Path, profile: &str, subject: Subject) -> PathBuf {
    let (major, minor) = subject.kernel;
    let mut hash = Sha256::new();
    hash.update(format!(
        "{FORMAT} {:?} {:x} {major}.{minor}\n",
        subject.arch, subject.capabilities.0
    ));
    hash.update(profile);
    directory.join(format!("seccomp-{}.bpf", hex(&hash.finalize())))
}

/// The program in a file, if it is whole.
pub(super) fn read(path: &Path) -> Option<Vec<u8>> {
    let mut bytes = fs::read(path).ok()?;
    let (checksum, program) = bytes.split_at_checked(CHECKSUM)?;
    let whole = !program.is_empty()
        && program.len().is_multiple_of(8)
        && Sha256::digest(program).as_slice() == checksum;
    whole.then(|| bytes.split_off(CHECKSUM))
}

/// Keeps a program; other processes see all of it or nothing.
pub(super) fn write(path: &Path, program: &[u8]) -> io::Result<()> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let temporary = path.with_extension(format!(
        "{}-{}",
        std::process::id(),
        COUNT.fetch_add(1, Ordering::Relaxed)
    ));
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    let written = fs::File::create_new(&temporary)
        .and_then(|mut file| {
            file.write_all(&Sha256::digest(program)).and_then(|()| file.write_all(program))
        })
        .and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        // The failure to report is the first one.
        let _ = fs::remove_file(&temporary);
    }
    written
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
