//! Finding the supervisor, or bringing one up.

use std::fs::{self, File};
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};

use super::{Client, ClientError, PATIENCE};
use crate::record::ProjectPaths;

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
    /// The keeper could not be started.
    #[error("cannot start the keeper of the project")]
    Launch {
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It was started and does not listen.
    #[error("the supervisor does not listen after {} s", PATIENCE.as_secs())]
    Silent {
        /// What the last try said.
        source: ClientError,
    },
    /// The supervisor refused to be talked to.
    #[error(transparent)]
    Client(#[from] ClientError),
}

/// Connects to the supervisor of the project; calls `launch` first if there is none.
///
/// Two commands at once launch one: the folder of the project in the run root is locked (flock(2))
/// from the look at the socket until the new supervisor listens.
///
/// # Errors
///
/// [`StartError`].
pub fn connect_or_start(
    paths: &ProjectPaths,
    launch: impl FnOnce() -> Result<(), Box<dyn std::error::Error + Send + Sync>>,
) -> Result<Client, StartError> {
    let socket = paths.socket();
    match Client::connect(&socket) {
        Err(ClientError::Absent { source, .. }) if is_absent(&source) => {}
        known => return Ok(known?),
    }
    let _lock = lock(paths)?;
    match Client::connect(&socket) {
        Err(ClientError::Absent { source, .. }) if is_absent(&source) => {}
        known => return Ok(known?),
    }
    launch().map_err(|source| StartError::Launch { source })?;
    let end = Instant::now() + PATIENCE;
    loop {
        match Client::connect(&socket) {
            Ok(client) => return Ok(client),
            Err(source) if Instant::now() >= end => return Err(StartError::Silent { source }),
            // A start takes some ten milliseconds: a watch on the folder costs more than it saves.
            Err(_) => std::thread::sleep(Duration::from_micros(300)),
        }
    }
}

/// Whether nobody listens, as against not being let in.
fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}

fn lock(paths: &ProjectPaths) -> Result<File, StartError> {
    let folder = paths.run();
    let failed = |source| StartError::Folder { path: folder.to_owned(), source };
    fs::create_dir_all(folder).map_err(failed)?;
    let file = File::open(folder).map_err(failed)?;
    flock(&file, FlockOperation::LockExclusive).map_err(|error| failed(error.into()))?;
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
            *listener.borrow_mut() = Some(UnixListener::bind(paths.socket())?);
            Ok(())
        };
        connect_or_start(&paths, launch).unwrap();
        connect_or_start(&paths, || Err("launched again".into())).unwrap();

        *listener.borrow_mut() = None;
        assert!(paths.socket().exists(), "a socket without a listener");
        connect_or_start(&paths, launch).unwrap();
    }

    #[test]
    fn says_why_the_keeper_does_not_start() {
        let folder = tempfile::tempdir().unwrap();
        let paths = Roots::new(folder.path().join("data"), folder.path().join("run")).project("p");
        let error = connect_or_start(&paths, || Err("no memory".into())).unwrap_err();
        assert!(matches!(error, StartError::Launch { .. }), "{error:?}");
    }
}
