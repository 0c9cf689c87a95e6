//! The system call filter of a container: Docker's profile format compiled to a range tree in classic BPF.
//!
//! `profile` reads the format, `resolve` settles who is meant (capabilities, architecture, kernel) and ends with a verdict
//! for each number, `assemble` turns these into instructions, `cache` keeps the result: the filter of a container is
//! usually one read of a file. No libseccomp: it compiles to a linear list by default, whose load costs three times as much.
//!
//! What differs from libseccomp: numbers beyond the newest that the profile knows, x32 and foreign architectures get
//! ENOSYS (runc adds the first of these to its filters too), where libseccomp would say EPERM or kill.

mod assemble;
mod cache;
mod error;
#[cfg(test)]
mod live;
mod oci;
mod profile;
mod resolve;
mod table;
#[cfg(test)]
mod tests;

pub use error::SeccompError;

use std::borrow::Cow;
use std::path::Path;

use oci_spec::runtime::{LinuxSeccomp, Spec};

use crate::spec::capabilities::{self, Set};
use crate::spec::{SeccompChoice, Wishes};
use profile::Profile;
use resolve::Subject;
use table::Arch;

/// The rules of Docker's default profile, from moby's profiles of 2026.
const DEFAULT: &str = include_str!("default.json");

/// The compiled filter for a container: the bytes of a `struct sock_filter` array, empty if unconfined.
///
/// A privileged container has no filter unless a profile is named, as in Docker. `cache` is a directory for compiled
/// filters; it is made if missing, and anything wrong with it only costs the time to compile.
///
/// # Errors
/// [`SeccompError`] if a user's profile cannot be read or understood, or the capabilities are wrong.
pub fn filter(wishes: &Wishes, cache: &Path) -> Result<Vec<u8>, SeccompError> {
    let Some((name, text)) = chosen(wishes)? else { return Ok(Vec::new()) };
    let subject = subject(wishes)?;
    let file = cache::path(cache, &text, subject);
    if let Some(program) = cache::read(&file) {
        return Ok(program);
    }
    let program = compile(&name, &text, subject)?;
    // Without a cache the next container compiles again, which is slower and not wrong.
    let _ = cache::write(&file, &program);
    Ok(program)
}

/// Writes the rules of the filter for a container into its spec, for a runtime that compiles them itself.
///
/// # Errors
/// As [`filter`].
pub fn give(spec: &mut Spec, wishes: &Wishes) -> Result<(), SeccompError> {
    let rules = rules(wishes)?;
    if let Some(linux) = spec.linux_mut() {
        linux.set_seccomp(rules);
    }
    Ok(())
}

/// The rules of the filter for a container; nothing if it is unconfined.
fn rules(wishes: &Wishes) -> Result<Option<LinuxSeccomp>, SeccompError> {
    let Some((name, text)) = chosen(wishes)? else { return Ok(None) };
    let profile = parse(&name, &text)?;
    oci::rules(&profile, subject(wishes)?)
        .map(Some)
        .map_err(|problem| SeccompError::Unsupported { profile: name, problem })
}

/// The name and the text of the profile that is wished for; nothing if the container is unconfined.
fn chosen(wishes: &Wishes) -> Result<Option<(String, Cow<'static, str>)>, SeccompError> {
    Ok(match &wishes.seccomp {
        SeccompChoice::Unconfined => None,
        SeccompChoice::Default if wishes.privileged => None,
        SeccompChoice::Default => Some(("default".to_owned(), Cow::Borrowed(DEFAULT))),
        SeccompChoice::Profile(path) => {
            let text = std::fs::read_to_string(path)
                .map_err(|source| SeccompError::Read { path: path.clone(), source })?;
            Some((path.display().to_string(), Cow::Owned(text)))
        }
    })
}

fn subject(wishes: &Wishes) -> Result<Subject, SeccompError> {
    let capabilities =
        capabilities::wished(wishes, Set::held()).map_err(SeccompError::Capabilities)?;
    Ok(Subject { arch: Arch::NATIVE, capabilities, kernel: kernel() })
}

fn parse(name: &str, text: &str) -> Result<Profile, SeccompError> {
    serde_json::from_str(text).map_err(|source| SeccompError::Parse { path: name.into(), source })
}

/// Compiles the text of a profile.
fn compile(name: &str, text: &str, subject: Subject) -> Result<Vec<u8>, SeccompError> {
    let profile = parse(name, text)?;
    let unsupported = |problem| SeccompError::Unsupported { profile: name.to_owned(), problem };
    let verdicts = resolve::resolve(&profile, subject).map_err(unsupported)?;
    let program = assemble::assemble(&verdicts);
    let program = program.ok_or_else(|| {
        unsupported("it has more rules than the kernel takes in one filter".to_owned())
    })?;
    Ok(program.into_iter().flat_map(assemble::Instruction::bytes).collect())
}

/// Major and minor version of the running kernel; 0.0 if it does not say.
fn kernel() -> (u32, u32) {
    let name = rustix::system::uname();
    let release = name.release().to_string_lossy();
    let mut numbers = release
        .split(|letter: char| !letter.is_ascii_digit())
        .map(|digits| digits.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}
