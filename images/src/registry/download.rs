//! Files that are fetched by their address, from anybody.
//!
//! Nobody is told who we are: credentials are for registries.

use std::fs::{File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use hyper::Uri;
use hyper::header::LAST_MODIFIED;

use super::cancel::Cancel;
use super::client::Registry;
use super::connect::{ConnectError, Origin};
use super::error::RegistryError;
use super::message::{Call, Place, Reply};

/// A file could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    /// It does not come.
    #[error(transparent)]
    Server(#[from] RegistryError),
    /// It cannot be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// Where it was to be.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
}

impl Registry {
    /// Fetches the file at `url`, with the proxies, certificates and patience that registries are spoken to with.
    ///
    /// It can be read by its owner alone, and its time is the one that the server names, else the beginning of 1970.
    ///
    /// # Errors
    ///
    /// [`DownloadError`]; there may be a part of the file at `to`.
    pub fn download(&self, url: &str, to: &Path, cancel: &Cancel) -> Result<(), DownloadError> {
        let mut failures = 0;
        loop {
            let error = match self.try_download(url, to, cancel) {
                Err(DownloadError::Server(error)) => error,
                answer => return answer,
            };
            failures += 1;
            let (is_passing, after) = match &error {
                RegistryError::Connect(error) => (error.is_passing(), None),
                RegistryError::Limited { after, .. } => (true, *after),
                RegistryError::Answer { status, .. } => {
                    (matches!(status, 408 | 500 | 502 | 503 | 504), None)
                }
                _ => (false, None),
            };
            // Somebody whom nobody can reach is asked once more and no oftener: most often there is no network.
            let is_gone = matches!(&error, RegistryError::Connect(ConnectError::Tcp { .. }));
            let tries = if is_gone { self.tries().min(2) } else { self.tries() };
            let pause = after.unwrap_or_else(|| self.pause(failures));
            if !is_passing || failures >= tries || pause > self.longest_pause() {
                return Err(error.into());
            }
            self.rest(pause, cancel).map_err(RegistryError::from)?;
        }
    }

    fn try_download(&self, url: &str, to: &Path, cancel: &Cancel) -> Result<(), DownloadError> {
        let address = || RegistryError::from(ConnectError::Address(url.to_owned()));
        // What stands behind `#` is not sent (RFC 9110, section 7.1).
        let url = url.split('#').next().unwrap_or_default();
        let uri: Uri = url.parse().map_err(|_| address())?;
        let place = Place::of_server(Origin::of(&uri).ok_or_else(address)?);
        let call = Call::get(url.to_owned(), String::new(), uri.path());
        let reply = self.ask_stranger(&place, &call, cancel)?;
        let time = modified(&reply);
        let unwritten = |source| DownloadError::Write { path: to.to_owned(), source };
        let mut file = File::create(to).map_err(unwritten)?;
        file.set_permissions(Permissions::from_mode(0o600)).map_err(unwritten)?;
        let mut reply = reply;
        while let Some(piece) = reply.next(cancel).map_err(RegistryError::from)? {
            file.write_all(&piece).map_err(unwritten)?;
        }
        file.set_modified(time).map_err(unwritten)
    }
}

/// When the server says that the file was changed.
fn modified(reply: &Reply<'_>) -> SystemTime {
    let text = reply.header(LAST_MODIFIED).unwrap_or_default();
    let second = jiff::fmt::rfc2822::parse(text.trim())
        .ok()
        .and_then(|time| u64::try_from(time.timestamp().as_second()).ok());
    SystemTime::UNIX_EPOCH + Duration::from_secs(second.unwrap_or_default())
}
