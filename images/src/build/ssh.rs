//! What `RUN --mount=type=ssh` may use: the agent of the user, or key files, for which there is an agent of the build.
//!
//! Source: docker buildx, `--ssh`; draft-miller-ssh-agent (the protocol); openssh `PROTOCOL.key` (the files).

mod agent;
mod key;
mod wire;

use std::fmt::Debug;
use std::fs;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::PathBuf;
use std::sync::Arc;

pub(super) use agent::Agent;
pub use key::KeyError;

use key::Key;

/// No key file is longer.
const LONGEST_KEY: u64 = 64 << 10;

/// An agent, or keys of which one is made.
#[derive(Debug, Clone)]
pub enum Ssh {
    /// The socket of an agent.
    Socket(PathBuf),
    /// Keys.
    Keys(Keys),
}

/// Keys without a passphrase.
#[derive(Clone)]
pub struct Keys(Arc<Vec<Key>>);

impl Debug for Keys {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_tuple("Keys").field(&self.0.len()).finish()
    }
}

/// What was named is neither an agent nor a key.
#[derive(Debug, thiserror::Error)]
pub enum SshError {
    /// Nothing was named, and the user has no agent.
    #[error("there is no agent: SSH_AUTH_SOCK is not set")]
    NoAgent,
    /// It cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// It is no key, or none that can be used.
    #[error("cannot use {}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: KeyError,
    },
}

impl Ssh {
    /// Reads what a person writes: the socket of an agent, or key files with commas between them.
    ///
    /// # Errors
    ///
    /// [`SshError`].
    pub fn open(text: &str) -> Result<Self, SshError> {
        if text.is_empty() {
            return Err(SshError::NoAgent);
        }
        let socket = PathBuf::from(text);
        if fs::metadata(&socket).is_ok_and(|found| found.file_type().is_socket()) {
            return Ok(Self::Socket(socket));
        }
        let read = |path: &str| {
            let path = PathBuf::from(path);
            let mut bytes = Vec::new();
            fs::File::open(&path)
                .and_then(|file| {
                    io::Read::read_to_end(&mut io::Read::take(file, LONGEST_KEY), &mut bytes)
                })
                .map_err(|source| SshError::Read { path: path.clone(), source })?;
            let comment = path.display().to_string();
            Key::parse(&bytes, &comment).map_err(|source| SshError::Key { path, source })
        };
        let keys = text.split(',').filter(|path| !path.is_empty()).map(read);
        Ok(Self::Keys(Keys(Arc::new(keys.collect::<Result<_, _>>()?))))
    }
}
