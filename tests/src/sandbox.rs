//! The machine that a scenario takes for its own: mounts, and a network with an outside.
//!
//! ```text
//!   thread of the scenario: "the host"            thread of the sandbox: "outside"
//!   up0 192.0.2.2/24, default route --- veth ---  down0 192.0.2.1/24 and 2001:db8::1/64, DNS and HTTP
//!   /etc/resolv.conf: 192.0.2.1
//! ```

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use nix::sched::{CloneFlags, unshare};
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags, mount_bind, mount_change};

use crate::{Stage, outside};

/// Where the version 2 tree is beside version 1 trees.
const UNIFIED: &str = "/sys/fs/cgroup/unified";

/// The namespaces of a scenario. The outside ends with the value.
#[derive(Debug)]
pub struct Sandbox {
    outside: Option<JoinHandle<()>>,
    stop: Option<OwnedFd>,
}

impl Sandbox {
    /// Puts the calling thread, and all processes that it starts, into namespaces of their own. There is no way back:
    /// the thread is to end with the scenario.
    ///
    /// `scratch` is for files that are mounted over the machine's.
    ///
    /// # Errors
    ///
    /// What the kernel, or `ip`, refused.
    pub fn enter(scratch: &Path) -> io::Result<Self> {
        unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET)?;
        mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
        let resolver = scratch.join("resolv.conf");
        fs::write(&resolver, format!("nameserver {}\n", outside::ADDRESS))?;
        mount_bind(&resolver, fs::canonicalize("/etc/resolv.conf")?)?;
        ip("link set lo up")?;
        let (stopped, stop) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        let host = format!("/proc/{}/task/{}/ns/net", std::process::id(), nix::unistd::gettid());
        let (ready, is_ready) = mpsc::channel();
        let outside = thread::Builder::new().name("outside".into()).spawn(move || {
            let linked = link_outside(&host);
            let failed = linked.is_err();
            if ready.send(linked).is_err() || failed {
                return;
            }
            // It is missed by the scenario that needs it.
            let _ends = outside::serve(&stopped);
        })?;
        let sandbox = Self { outside: Some(outside), stop: Some(stop) };
        is_ready.recv().map_err(io::Error::other)??;
        ip("addr add 192.0.2.2/24 dev up0")?;
        // Its addresses and routes would come a moment later and look like something left behind.
        fs::write("/proc/sys/net/ipv6/conf/up0/disable_ipv6", "1")?;
        ip("link set up0 up")?;
        ip("route add default via 192.0.2.1")?;
        Ok(sandbox)
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        drop(self.stop.take());
        // A panic of the server has been printed already.
        let _panic = self.outside.take().map(JoinHandle::join);
    }
}

/// Leaves for a new namespace and leads a cable to the namespace at `host`.
fn link_outside(host: &str) -> io::Result<()> {
    unshare(CloneFlags::CLONE_NEWNET)?;
    ip("link set lo up")?;
    ip(&format!("link add down0 type veth peer name up0 netns {host}"))?;
    ip("addr add 192.0.2.1/24 dev down0")?;
    ip("addr add 2001:db8::1/64 dev down0 nodad")?;
    ip("link set down0 up")
}

impl Stage {
    /// Gives the stage an address in IPv6, 2001:db8::2, and a default route to the outside.
    ///
    /// # Errors
    ///
    /// What the kernel, or `ip`, refused.
    pub fn speak_ipv6(&self) -> io::Result<()> {
        for (name, value) in [("accept_ra", "0"), ("accept_dad", "0"), ("disable_ipv6", "0")] {
            fs::write(format!("/proc/sys/net/ipv6/conf/up0/{name}"), value)?;
        }
        ip("addr add 2001:db8::2/64 dev up0 nodad")?;
        ip("route add default via 2001:db8::1")
    }

    /// Takes it away again, with what belongs to it.
    ///
    /// # Errors
    ///
    /// What the kernel refused.
    pub fn forget_ipv6(&self) -> io::Result<()> {
        fs::write("/proc/sys/net/ipv6/conf/up0/disable_ipv6", "1")
    }

    /// Hides the version 2 control groups of a machine that has its controllers in version 1 trees, as machines were before
    /// there was a version 2. `false` where all is in version 2.
    ///
    /// # Errors
    ///
    /// What the kernel refused.
    pub fn hide_version_2(&self) -> io::Result<bool> {
        if !Path::new(UNIFIED).exists() {
            return Ok(false);
        }
        rustix::mount::mount("none", UNIFIED, "tmpfs", MountFlags::RDONLY, None)?;
        Ok(true)
    }

    /// Shows it again.
    ///
    /// # Errors
    ///
    /// What the kernel refused.
    pub fn show_version_2(&self) -> io::Result<()> {
        Ok(rustix::mount::unmount(UNIFIED, UnmountFlags::empty())?)
    }
}

/// Runs `ip` in the namespace of the calling thread.
pub(crate) fn ip(words: &str) -> io::Result<()> {
    let output = Command::new("ip").args(words.split(' ')).output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(io::Error::other(format!("ip {words}: {}", String::from_utf8_lossy(&output.stderr).trim())))
}
