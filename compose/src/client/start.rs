//! Finding the supervisor, or bringing one up.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use runtime::keeper::LaunchError;
use rustix::fs::{FlockOperation, flock};

use super::{Client, ClientError};
use crate::record::ProjectPaths;
use crate::record::liveness::has_keeper;

/// No supervisor could be reached or brought up.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The folder of the project could not be made or locked.
    #[error("cannot use {}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// The kernel's words.
        source: io::Error,
    },
    /// Keeper or supervisor did not come up.
    #[error(transparent)]
    Launch(#[from] LaunchError),
    /// The supervisor refused to be talked to.
    #[error(transparent)]
    Client(#[from] ClientError),
}

/// How long a keeper may take to bring up another supervisor in the place of one that was killed.
const PATIENCE: Duration = Duration::from_secs(15);

/// How long one that was started at the same time, and was first, may take until it listens.
const RIVAL: Duration = Duration::from_secs(2);

/// The wait between two looks; a keeper starts the next supervisor after a tenth of a second.
const PACE: Duration = Duration::from_millis(2);

/// Connects to the supervisor of the project; calls `launch` first if there is none.
///
/// Two commands at once launch one: the folder of the project in the run root is locked (flock(2))
/// from the look at the socket until the new supervisor listens, for which `launch` waits. While a keeper lives nothing
/// is launched: it is about to start a supervisor, or to leave.
///
/// # Errors
///
/// [`StartError`].
pub fn connect_or_start(
    paths: &ProjectPaths,
    launch: impl FnOnce() -> Result<(), LaunchError>,
) -> Result<Client, StartError> {
    let socket = paths.socket();
    let deadline = Instant::now() + PATIENCE;
    loop {
        match Client::connect(&socket) {
            Err(ClientError::Absent { source, .. }) if is_absent(&source) => {}
            known => return Ok(known?),
        }
        let _lock = lock(paths)?;
        match Client::connect(&socket) {
            Err(ClientError::Absent { source, .. }) if is_absent(&source) => {}
            known => return Ok(known?),
        }
        if Instant::now() >= deadline || !has_keeper(paths) {
            return match launch() {
                Ok(()) => Ok(Client::connect(&socket)?),
                Err(error) => rival(&socket).ok_or(StartError::Launch(error)),
            };
        }
        sleep(PACE);
    }
}

/// The supervisor that another command, or a supervisor that lost its keeper, has begun to start at the same time: it
/// has the lock of the project, and is about to listen.
fn rival(socket: &Path) -> Option<Client> {
    let deadline = Instant::now() + RIVAL;
    loop {
        match Client::connect(socket) {
            Ok(client) => return Some(client),
            Err(_) if Instant::now() < deadline => sleep(PACE),
            Err(_) => return None,
        }
    }
}

/// Whether nobody listens, as against not being let in.
fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}

/// Makes the folders that a keeper writes into, and locks one of them.
fn lock(paths: &ProjectPaths) -> Result<File, StartError> {
    let failed = |folder: &Path| {
        let path = folder.to_owned();
        move |source| StartError::Folder { path, source }
    };
    for folder in [paths.data(), paths.run()] {
        fs::create_dir_all(folder).map_err(failed(folder))?;
    }
    let folder = paths.run();
    let file = File::open(folder).map_err(failed(folder))?;
    flock(&file, FlockOperation::LockExclusive).map_err(|error| failed(folder)(error.into()))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Roots;
    use std::cell::RefCell;
    use std::os::unix::net::UnixListener;

    #[test]
    fn launches_once_and_only_if_nobody_listens() {
        let folder = tempfile::tempdir().unwrap();
        let paths = Roots::new(folder.path().join("data"), folder.path().join("run")).project("p");
        let listener = RefCell::new(None);
        let launch = || {
            // What a killed supervisor leaves behind.
            let _ = fs::remove_file(paths.socket());
            *listener.borrow_mut() = Some(UnixListener::bind(paths.socket()).unwrap());
            Ok(())
        };
        connect_or_start(&paths, launch).unwrap();
        connect_or_start(&paths, || panic!("launched again")).unwrap();

        *listener.borrow_mut() = None;
        assert!(paths.socket().exists(), "a socket without a listener");
        connect_or_start(&paths, launch).unwrap();
    }

    #[test]
    fn says_why_the_keeper_does_not_start() {
        let folder = tempfile::tempdir().unwrap();
        let paths = Roots::new(folder.path().join("data"), folder.path().join("run")).project("p");
        let error =
            connect_or_start(&paths, || Err(LaunchError::Start(io::ErrorKind::OutOfMemory.into())));
        assert!(matches!(error, Err(StartError::Launch(_))), "{error:?}");
    }
}
