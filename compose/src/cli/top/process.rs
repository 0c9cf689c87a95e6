//! A process as `/proc` tells of it (proc(5)).

use std::fs;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use nix::unistd::{SysconfVar, sysconf};

/// One process.
#[derive(Debug, PartialEq, Eq)]
pub struct Process {
    pub pid: i32,
    pub parent: i32,
    pub uid: u32,
    /// The command line, or its name in brackets.
    pub command: String,
    terminal: i32,
    started_ticks: i64,
    used_ticks: i64,
}

impl Process {
    /// Reads what there is about `pid`; nothing if it is gone.
    pub fn read(pid: i32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let words = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        Self::parse(pid, &stat, &status, &words)
    }

    fn parse(pid: i32, stat: &str, status: &str, words: &[u8]) -> Option<Self> {
        // The name is in parentheses and may hold any character, parentheses too.
        let (before, behind) = stat.rsplit_once(')')?;
        let name = before.split_once('(')?.1;
        // The first field behind the name is the third of all.
        let fields: Vec<&str> = behind.split_ascii_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<i64>().ok();
        let uid = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
        let command = String::from_utf8_lossy(words).replace('\0', " ").trim_end().to_owned();
        Some(Self {
            pid,
            parent: i32::try_from(field(4)?).ok()?,
            uid: uid.split_ascii_whitespace().next()?.parse().ok()?,
            command: if command.is_empty() { format!("[{name}]") } else { command },
            terminal: i32::try_from(field(7)?).ok()?,
            started_ticks: field(22)?,
            used_ticks: field(14)? + field(15)?,
        })
    }

    /// The terminal, as ps(1) writes it.
    pub fn terminal(&self) -> String {
        // Bits 15 to 8 are the major number, 31 to 20 and 7 to 0 the minor one; 136 is pts.
        let (major, minor) = ((self.terminal >> 8) & 0xff, self.terminal & 0xff);
        match (self.terminal, major) {
            (0, _) => "?".to_owned(),
            (_, 136) => format!("pts/{minor}"),
            _ => format!("{major}:{minor}"),
        }
    }
}

/// What ticks mean.
#[derive(Debug)]
pub struct Clock {
    booted: Timestamp,
    ticks_per_second: i64,
}

impl Clock {
    /// The clock of this machine.
    pub fn read() -> Self {
        let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
        let booted = stat
            .lines()
            .find_map(|line| line.strip_prefix("btime "))
            .and_then(|seconds| Timestamp::from_second(seconds.trim().parse().ok()?).ok());
        let ticks = sysconf(SysconfVar::CLK_TCK).ok().flatten();
        Self {
            booted: booted.unwrap_or(Timestamp::UNIX_EPOCH),
            ticks_per_second: ticks.filter(|ticks| *ticks > 0).unwrap_or(100),
        }
    }

    /// The time of day at which it was started.
    pub fn start_of(&self, process: &Process) -> String {
        let up = SignedDuration::from_secs(process.started_ticks / self.ticks_per_second);
        let started = self.booted.checked_add(up).unwrap_or(self.booted);
        started.to_zoned(TimeZone::system()).strftime("%H:%M").to_string()
    }

    /// How much of one processor it has used since its start, in hundredths.
    pub fn share_of(&self, process: &Process) -> i64 {
        let lived = Timestamp::now().duration_since(self.booted).as_secs()
            - process.started_ticks / self.ticks_per_second;
        process.used_ticks * 100 / self.ticks_per_second / lived.max(1)
    }

    /// The processor time it has used.
    pub fn used_by(&self, process: &Process) -> String {
        let seconds = process.used_ticks / self.ticks_per_second;
        format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_hold_anything() {
        let stat = "7 (a) (b c) S 1 7 7 34817 7 4194560 0 0 0 0 250 50 0 0 20 0 1 0 6000 0 0";
        let status = "Name:\tx\nUid:\t1000\t1000\t1000\t1000\n";
        let process = Process::parse(7, stat, status, b"").unwrap();
        assert_eq!((process.parent, process.uid), (1, 1000));
        assert_eq!(process.command, "[a) (b c]");
        assert_eq!(process.terminal(), "pts/1");
        let clock = Clock { booted: Timestamp::UNIX_EPOCH, ticks_per_second: 100 };
        assert_eq!(clock.used_by(&process), "00:00:03");
        assert_eq!(clock.share_of(&process), 0);
        let process = Process::parse(7, stat, status, b"sleep\0inf\0").unwrap();
        assert_eq!(process.command, "sleep inf");
    }

    #[test]
    fn reads_this_very_process() {
        let pid = i32::try_from(std::process::id()).unwrap();
        assert!(Process::read(pid).is_some());
        assert_eq!(Process::read(-1), None);
    }
}
