//! What the steps that build a container hand to each other.

use std::os::fd::OwnedFd;

use oci_spec::runtime::{Linux, LinuxNamespaceType, Spec};
use sys::root::Root;

use super::entry::{Entry, Standard};
use crate::exec::{ExecProcess, Privilege};
use crate::launch::{Launch, NamespaceKind};

/// A container that is being built around this process.
pub(super) struct Stage {
    /// What it is to be.
    pub launch: Launch,
    /// Namespaces of others to join.
    pub joins: Vec<(NamespaceKind, OwnedFd)>,
    /// The mount namespace of the container whose ipc namespace was joined.
    pub neighbour: Option<OwnedFd>,
    /// Namespaces of others that another runtime joins, by their paths below this process.
    pub kept: Vec<OwnedFd>,
    /// The sources of bind mounts, in the order of the spec's mounts; taken before propagation is cut.
    pub sources: Vec<Option<OwnedFd>>,
    /// The copies of granted files, in their order, until their owners are known.
    pub granted: Vec<OwnedFd>,
    /// The mount of the root file system, once there is one.
    pub root: Option<Root>,
    /// What is done to every process of a container.
    pub entry: Entry,
}

impl Stage {
    /// The beginning: nothing is done yet.
    pub fn new(launch: Launch, standard: Standard, joins: Vec<(NamespaceKind, OwnedFd)>) -> Self {
        let process = launch.spec.process().as_ref();
        let args = process.and_then(|process| process.args().clone()).unwrap_or_default();
        let terminal = process.and_then(oci_spec::runtime::Process::terminal).unwrap_or(false);
        let mut entry =
            Entry::new(ExecProcess::of(&launch, args, Privilege::Container), standard, terminal);
        entry.init = launch.init;
        Self {
            launch,
            joins,
            neighbour: None,
            kept: Vec::new(),
            sources: Vec::new(),
            granted: Vec::new(),
            root: None,
            entry,
        }
    }

    /// The spec.
    pub fn spec(&self) -> &Spec {
        &self.launch.spec
    }

    /// The part of the spec that is about Linux.
    pub fn linux(&self) -> Option<&Linux> {
        self.spec().linux().as_ref()
    }

    /// Whether the spec has a namespace of this kind, new or joined, and not the host's.
    pub fn has_namespace(&self, kind: LinuxNamespaceType) -> bool {
        let namespaces = self.linux().and_then(|linux| linux.namespaces().as_ref());
        namespaces
            .is_some_and(|namespaces| namespaces.iter().any(|namespace| namespace.typ() == kind))
    }
}
