//! The agent of a build: it says which keys there are, and signs with them. It takes no others, and gives none away.

use std::fs::{File, Permissions, set_permissions};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use rustix::net::Shutdown;

use super::Keys;
use super::wire::{put, take, take_u32};

/// The longest request.
const LONGEST: usize = 256 << 10;
/// How many may speak with it at a time; whoever comes then is turned away.
const MOST: usize = 64;

const FAILURE: u8 = 5;
const REQUEST_IDENTITIES: u8 = 11;
const IDENTITIES: u8 = 12;
const SIGN: u8 = 13;
const SIGNED: u8 = 14;

/// An agent that listens until it is dropped.
#[derive(Debug)]
pub(in crate::build) struct Agent {
    /// Its socket, for everybody who can come near it.
    pub(in crate::build) path: PathBuf,
    listener: Arc<UnixListener>,
}

impl Agent {
    /// Listens in `directory`.
    pub(in crate::build) fn listen(directory: &Path, name: &str, keys: &Keys) -> io::Result<Self> {
        // The path of a socket is short.
        let place = File::open(directory)?;
        let short = format!("/proc/self/fd/{}/{name}", place.as_raw_fd());
        let listener = Arc::new(UnixListener::bind(short)?);
        let path = directory.join(name);
        set_permissions(&path, Permissions::from_mode(0o666))?;
        let (listening, keys) = (Arc::clone(&listener), keys.clone());
        thread::spawn(move || accept(&listening, &keys));
        Ok(Self { path, listener })
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // The one who waits for callers is told that none will come.
        let _ = rustix::net::shutdown(&*self.listener, Shutdown::Both);
    }
}

fn accept(listener: &UnixListener, keys: &Keys) {
    let count = Arc::new(AtomicUsize::new(0));
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                if count.fetch_add(1, Ordering::Relaxed) >= MOST {
                    count.fetch_sub(1, Ordering::Relaxed);
                    continue;
                }
                let (keys, count) = (keys.clone(), Arc::clone(&count));
                thread::spawn(move || {
                    // Whoever sends nonsense is hung up on.
                    let _ = converse(stream, &keys);
                    count.fetch_sub(1, Ordering::Relaxed);
                });
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

fn converse(mut stream: UnixStream, keys: &Keys) -> io::Result<()> {
    loop {
        let mut length = [0; 4];
        stream.read_exact(&mut length)?;
        let length = u32::from_be_bytes(length) as usize;
        if length > LONGEST {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut request = vec![0; length];
        stream.read_exact(&mut request)?;
        let mut message = Vec::new();
        put(&mut message, &answer(&request, keys));
        stream.write_all(&message)?;
    }
}

fn answer(request: &[u8], keys: &Keys) -> Vec<u8> {
    let answered = match request.split_first() {
        Some((&REQUEST_IDENTITIES, _)) => Some(identities(keys)),
        Some((&SIGN, rest)) => sign(rest, keys),
        _ => None,
    };
    answered.unwrap_or_else(|| vec![FAILURE])
}

fn identities(keys: &Keys) -> Vec<u8> {
    let count = u32::try_from(keys.0.len()).unwrap_or_default();
    let mut out = vec![IDENTITIES];
    out.extend(count.to_be_bytes());
    for key in keys.0.iter() {
        put(&mut out, &key.public);
        put(&mut out, key.comment.as_bytes());
    }
    out
}

fn sign(mut rest: &[u8], keys: &Keys) -> Option<Vec<u8>> {
    let (public, message) = (take(&mut rest)?, take(&mut rest)?);
    let flags = take_u32(&mut rest)?;
    let key = keys.0.iter().find(|key| key.public == public)?;
    let mut out = vec![SIGNED];
    put(&mut out, &key.sign(message, flags)?);
    Some(out)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::build::Ssh;

    /// What an `ssh-keygen` of the machine makes is used by its `ssh-keygen -Y sign` through our agent, and checked.
    #[test]
    fn keys_of_all_kinds_sign_for_openssh() {
        if Command::new("ssh-keygen").arg("-?").output().is_err() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let run = |socket: Option<&Path>, words: &[&str]| {
            let mut command = Command::new(words[0]);
            command.args(&words[1..]).current_dir(dir.path());
            if let Some(socket) = socket {
                command.env("SSH_AUTH_SOCK", socket);
            }
            let output = command.stdin(std::process::Stdio::null()).output().unwrap();
            let said =
                String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
            (output.status.success(), said)
        };
        std::fs::write(dir.path().join("text"), "what is signed").unwrap();
        #[rustfmt::skip]
        let kinds: [&[&str]; 6] = [
            &["-t", "ed25519"], &["-t", "ecdsa", "-b", "256"], &["-t", "ecdsa", "-b", "384"], &["-t", "rsa", "-b", "2048"],
            &["-t", "rsa", "-b", "2048", "-m", "PEM"], &["-t", "rsa", "-b", "3072", "-m", "PKCS8"],
        ];
        for (number, kind) in kinds.iter().enumerate() {
            let name = format!("key{number}");
            let words = [&["ssh-keygen", "-q", "-N", "", "-C", "", "-f", &name][..], kind].concat();
            assert_eq!(run(None, &words), (true, String::new()));
            let path = dir.path().join(&name);
            let Ok(Ssh::Keys(keys)) = Ssh::open(path.to_str().unwrap()) else { panic!("{kind:?}") };
            // Without the file of the secret key, `-Y sign` asks the agent.
            std::fs::rename(&path, dir.path().join("hidden")).unwrap();
            let agent = Agent::listen(dir.path(), &format!("{name}.sock"), &keys).unwrap();
            let public = format!("{name}.pub");
            let sign = ["ssh-keygen", "-Y", "sign", "-q", "-n", "file", "-f", &public, "text"];
            let (signed, said) = run(Some(&agent.path), &sign);
            assert!(signed, "{kind:?}: {said}");
            let check = ["sh", "-c", "ssh-keygen -Y check-novalidate -n file -s text.sig < text"];
            let (good, said) = run(None, &check);
            assert!(good, "{kind:?}: {said}");
            std::fs::remove_file(dir.path().join("text.sig")).unwrap();
            drop(agent);
            assert!(UnixStream::connect(dir.path().join(format!("{name}.sock"))).is_err());
        }
        // One with a passphrase, and one of a kind that is not read.
        let locked = ["ssh-keygen", "-q", "-N", "secret", "-t", "ed25519", "-f", "locked"];
        assert!(run(None, &locked).0);
        let refused = Ssh::open(dir.path().join("locked").to_str().unwrap()).unwrap_err();
        let whole = crate::build::error::whole(&refused);
        assert!(whole.contains("passphrase"), "{whole}");
    }

    #[test]
    fn nonsense_is_answered_with_a_refusal() {
        let keys = Keys(Arc::new(Vec::new()));
        for request in [&b""[..], &[99], &[SIGN], &[SIGN, 0, 0, 0, 9], &[17, 1, 2, 3]] {
            assert_eq!(answer(request, &keys), [FAILURE]);
        }
        assert_eq!(answer(&[REQUEST_IDENTITIES], &keys), [IDENTITIES, 0, 0, 0, 0]);
    }
}
