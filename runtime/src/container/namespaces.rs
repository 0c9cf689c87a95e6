//! Which namespaces a container gets new, and the way into one of process numbers.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use oci_spec::runtime::LinuxNamespaceType;
use rustix::fs::{CWD, Mode, OFlags};
use rustix::thread::{LinkNameSpaceType, ThreadNameSpaceType};
use serde::Deserialize;
use serde::de::IgnoredAny;
use sys::clone::{Child, Namespaces};

use crate::failure::Failure;
use crate::launch::NamespaceKind;

/// The step under which failures are reported.
const STEP: &str = "clone";

/// What the parent has to know of a launch. Everything else is skipped over, so that the keeper does not grow with it.
#[derive(Debug, Deserialize)]
pub(super) struct Outline {
    spec: SpecOutline,
    cgroup: Option<PlaceOutline>,
    foreign: Option<IgnoredAny>,
}

#[derive(Debug, Deserialize)]
struct SpecOutline {
    linux: Option<LinuxOutline>,
}

#[derive(Debug, Deserialize)]
struct LinuxOutline {
    #[serde(default)]
    namespaces: Vec<NamespaceOutline>,
}

#[derive(Debug, Deserialize)]
struct NamespaceOutline {
    #[serde(rename = "type")]
    kind: LinuxNamespaceType,
    path: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
struct PlaceOutline {
    unified: Option<PathBuf>,
}

impl Outline {
    /// Whether the process only prepares what another runtime is given.
    pub(super) fn is_foreign(&self) -> bool {
        self.foreign.is_some()
    }

    /// The version 2 control group that the process is cloned into.
    pub(super) fn unified(&self) -> Option<&Path> {
        self.cgroup.as_ref()?.unified.as_deref()
    }

    /// The namespaces that are new: those of the spec that are not joined. That of mounts is always new. That of control
    /// groups is left to the child, which has to be in its groups first.
    pub(super) fn new_namespaces(&self, joins: &[NamespaceKind]) -> Result<Namespaces, Failure> {
        let mut new = Namespaces::MOUNT;
        for namespace in self.spec.linux.iter().flat_map(|linux| &linux.namespaces) {
            if joins.iter().any(|join| join.oci() == namespace.kind) {
                continue;
            }
            if let Some(path) = &namespace.path {
                let detail = format!("the namespace {} was not sent along", path.display());
                return Err(Failure { step: STEP.to_owned(), errno: 0, detail });
            }
            new |= match namespace.kind {
                LinuxNamespaceType::Pid => Namespaces::PID,
                LinuxNamespaceType::Network => Namespaces::NETWORK,
                LinuxNamespaceType::Ipc => Namespaces::IPC,
                LinuxNamespaceType::Uts => Namespaces::UTS,
                LinuxNamespaceType::Mount | LinuxNamespaceType::Cgroup => Namespaces::NONE,
                LinuxNamespaceType::User | LinuxNamespaceType::Time => {
                    let detail = format!("{:?} namespaces are not supported", namespace.kind);
                    return Err(Failure { step: STEP.to_owned(), errno: libc::ENOSYS, detail });
                }
            };
        }
        Ok(new)
    }
}

/// A namespace of process numbers, by itself or as that of a process.
pub(super) enum Target<'a> {
    Namespace(BorrowedFd<'a>),
    Process(BorrowedFd<'a>),
}

/// Clones a child while children of this process are born in `target`; its own namespace is never another
/// (setns(2), CLONE_NEWPID). So the child is ours and needs no process in between.
pub(super) fn within(
    target: Option<Target<'_>>,
    clone: impl FnOnce() -> io::Result<Child>,
) -> Result<Child, Failure> {
    let failed = |error: io::Error, detail: &str| Failure::of_call(STEP, &error, detail);
    let Some(target) = target else {
        return clone().map_err(|error| failed(error, "clone3"));
    };
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let own = rustix::fs::openat(CWD, "/proc/self/ns/pid", flags, Mode::empty())
        .map_err(|error| failed(error.into(), "our own pid namespace"))?;
    let pids = Some(LinkNameSpaceType::ProcessID);
    match target {
        Target::Namespace(namespace) => rustix::thread::move_into_link_name_space(namespace, pids),
        Target::Process(process) => {
            rustix::thread::move_into_thread_name_spaces(process, ThreadNameSpaceType::PROCESS_ID)
        }
    }
    .map_err(|error| failed(error.into(), "joining the pid namespace of the container"))?;
    let child = clone();
    if rustix::thread::move_into_link_name_space(own.as_fd(), pids).is_err() {
        // Every later child would be born in the wrong container. Containers survive this process, and it is replaced.
        std::process::abort();
    }
    child.map_err(|error| failed(error, "clone3"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outline(namespaces: &str) -> Outline {
        let text = format!(
            r#"{{"id":"x","spec":{{"ociVersion":"1","linux":{{"namespaces":{namespaces}}}}},"cgroup":null}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn joined_namespaces_are_not_new() {
        let all = outline(
            r#"[{"type":"pid"},{"type":"network","path":"/x"},{"type":"cgroup"},{"type":"mount"}]"#,
        );
        let new = all.new_namespaces(&[NamespaceKind::Network]).unwrap();
        assert_eq!(new, Namespaces::MOUNT | Namespaces::PID);
        assert_eq!(
            all.new_namespaces(&[NamespaceKind::Pid, NamespaceKind::Network]).unwrap(),
            Namespaces::MOUNT
        );
        assert!(all.new_namespaces(&[]).unwrap_err().detail.contains("/x"));
        assert_eq!(
            outline(r#"[{"type":"user"}]"#).new_namespaces(&[]).unwrap_err().errno,
            libc::ENOSYS
        );
    }
}
