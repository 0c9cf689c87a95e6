//! Is the process that a state names still the same process?
//!
//! A pid alone is not a name: it is reused, and after a reboot it means
//! nothing. Pid, start time and boot id together are one.

use std::fs;
use std::io;

use serde::{Deserialize, Serialize};

use super::ProjectPaths;

/// A process, named so that it cannot be mistaken for a later one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessName {
    /// Its pid in the namespace of the host.
    pub pid: i32,
    /// When it started: field 22 of `/proc/PID/stat`, clock ticks since boot.
    pub started_ticks: u64,
    /// During which uptime of the machine.
    pub boot_id: BootId,
}

impl ProcessName {
    /// Names the process that has `pid` at this moment.
    ///
    /// # Errors
    ///
    /// When there is none, or `/proc` cannot be read.
    pub fn of(pid: i32) -> io::Result<Self> {
        let stat = Stat::read(pid)?;
        Ok(Self { pid, started_ticks: stat.started_ticks, boot_id: BootId::current()? })
    }

    /// Whether the process still runs.
    #[must_use]
    pub fn is_alive_now(&self) -> bool {
        BootId::current().is_ok_and(|now| self.is_alive(&now))
    }

    /// Whether the process still runs, in the boot `now`.
    ///
    /// A process that has exited and waits for its parent (a zombie) does not
    /// run any more.
    #[must_use]
    pub fn is_alive(&self, now: &BootId) -> bool {
        self.stat(now).is_some_and(|stat| stat.runs())
    }

    /// Whether the kernel still knows the process, in the boot `now`: it runs, or its parent has not heard of its exit.
    #[must_use]
    pub fn is_known(&self, now: &BootId) -> bool {
        self.stat(now).is_some()
    }

    fn stat(&self, now: &BootId) -> Option<Stat> {
        let stat = (*now == self.boot_id).then(|| Stat::read(self.pid))?;
        stat.ok().filter(|stat| stat.started_ticks == self.started_ticks)
    }
}

/// Whether the keeper of a project that was last heard of lives: then there is a supervisor, or one comes.
#[must_use]
pub fn has_keeper(paths: &ProjectPaths) -> bool {
    #[derive(Deserialize)]
    struct Identity {
        pid: i32,
        pid_started: u64,
    }
    let read = || -> io::Result<bool> {
        let identity: Identity = serde_json::from_slice(&fs::read(paths.keeper())?)?;
        let boot_id = BootId::current()?;
        let Identity { pid, pid_started: started_ticks } = identity;
        Ok(ProcessName { pid, started_ticks, boot_id: boot_id.clone() }.is_alive(&boot_id))
    };
    read().unwrap_or(false)
}

/// The kernel's name for one uptime, from `/proc/sys/kernel/random/boot_id`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BootId(String);

impl BootId {
    /// The boot we are in.
    ///
    /// # Errors
    ///
    /// When `/proc` cannot be read.
    pub fn current() -> io::Result<Self> {
        fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|id| Self(id.trim().to_owned()))
    }
}

/// The two fields of proc_pid_stat(5) that matter here.
struct Stat {
    state: u8,
    started_ticks: u64,
}

impl Stat {
    fn read(pid: i32) -> io::Result<Self> {
        Self::parse(&fs::read(format!("/proc/{pid}/stat"))?)
            .ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// The command, field 2, may hold spaces and parentheses: fields are
    /// counted from its last closing parenthesis, after which field 3 comes.
    fn parse(stat: &[u8]) -> Option<Self> {
        let end = stat.iter().rposition(|byte| *byte == b')')?;
        let mut fields = stat[end + 1..].split(u8::is_ascii_whitespace).filter(|f| !f.is_empty());
        let state = *fields.next()?.first()?;
        let started = fields.nth(22 - 4)?;
        Some(Self { state, started_ticks: str::from_utf8(started).ok()?.parse().ok()? })
    }

    fn runs(&self) -> bool {
        !matches!(self.state, b'Z' | b'X' | b'x')
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, id};

    use super::*;

    #[test]
    fn a_process_is_itself_and_no_other() {
        let now = BootId::current().unwrap();
        let ourselves = ProcessName::of(i32::try_from(id()).unwrap()).unwrap();
        assert!(ourselves.is_alive(&now));
        let later = ProcessName { started_ticks: ourselves.started_ticks + 1, ..ourselves.clone() };
        assert!(!later.is_alive(&now), "the pid was reused");
        assert!(!ourselves.is_alive(&BootId("another".to_owned())), "the machine was rebooted");
    }

    #[test]
    fn a_zombie_does_not_run() {
        let mut child = Command::new("true").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let name = ProcessName::of(pid).unwrap();
        // Waits for the exit without reaping it.
        let options =
            rustix::process::WaitIdOptions::EXITED | rustix::process::WaitIdOptions::NOWAIT;
        let target = rustix::process::WaitId::Pid(rustix::process::Pid::from_raw(pid).unwrap());
        rustix::process::waitid(target, options).unwrap();
        let boot = BootId::current().unwrap();
        assert!(!name.is_alive(&boot) && name.is_known(&boot));
        child.wait().unwrap();
        assert!(!name.is_known(&boot));
    }

    #[test]
    fn a_command_with_parentheses_does_not_shift_the_fields() {
        let fields: Vec<String> = (4..=52).map(|field| field.to_string()).collect();
        let stat = format!("1 (a) b (c)) S {}", fields.join(" "));
        let stat = Stat::parse(stat.as_bytes()).unwrap();
        assert_eq!((stat.state, stat.started_ticks), (b'S', 22));
    }
}
