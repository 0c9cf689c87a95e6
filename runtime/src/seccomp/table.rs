//! Architectures and the numbers of their system calls.

use std::collections::BTreeMap;
use std::sync::OnceLock;

/// The numbers by name, for all architectures at once.
const NUMBERS: &str = include_str!("syscalls.txt");

/// An architecture whose system calls a filter can meet on a machine that we run on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Arch {
    X86_64,
    I386,
    Aarch64,
    Arm,
}

impl Arch {
    /// The architecture that this program was built for.
    pub(super) const NATIVE: Self =
        if cfg!(target_arch = "aarch64") { Self::Aarch64 } else { Self::X86_64 };

    /// As libseccomp spells it, and so profiles; `SCMP_ARCH_X32` is not here, as it has no `AUDIT_ARCH` of its own.
    pub(super) fn from_profile(name: &str) -> Option<Self> {
        match name {
            "SCMP_ARCH_X86_64" => Some(Self::X86_64),
            "SCMP_ARCH_X86" => Some(Self::I386),
            "SCMP_ARCH_AARCH64" => Some(Self::Aarch64),
            "SCMP_ARCH_ARM" => Some(Self::Arm),
            _ => None,
        }
    }

    /// As Go spells it, and so the conditions in profiles.
    pub(super) fn condition_name(self) -> &'static str {
        match self {
            Self::X86_64 => "amd64",
            Self::I386 => "x86",
            Self::Aarch64 => "arm64",
            Self::Arm => "arm",
        }
    }

    /// `AUDIT_ARCH_*` of `linux/audit.h`: the ELF machine, and bits for 64-bit and little-endian.
    pub(super) fn audit(self) -> u32 {
        match self {
            Self::X86_64 => 0xc000_003e,
            Self::I386 => 0x4000_0003,
            Self::Aarch64 => 0xc000_00b7,
            Self::Arm => 0x4000_0028,
        }
    }

    /// Whether arguments have more than 32 bits.
    pub(super) fn is_wide(self) -> bool {
        matches!(self, Self::X86_64 | Self::Aarch64)
    }

    fn column(self) -> usize {
        match self {
            Self::X86_64 => 1,
            Self::I386 => 2,
            Self::Aarch64 => 3,
            Self::Arm => 4,
        }
    }

    /// The number of a system call; `None` if the architecture does not have it (or nobody knows it).
    pub(super) fn number(self, name: &str) -> Option<u32> {
        static TABLES: [OnceLock<BTreeMap<&'static str, u32>>; 4] = [const { OnceLock::new() }; 4];
        TABLES[self.column() - 1].get_or_init(|| self.read_table()).get(name).copied()
    }

    fn read_table(self) -> BTreeMap<&'static str, u32> {
        let rows = NUMBERS.lines().filter(|line| !line.starts_with('#'));
        let row = |line: &'static str| {
            let mut words = line.split(' ');
            Some((words.next()?, words.nth(self.column() - 1)?.parse().ok()?))
        };
        rows.filter_map(row).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_the_c_librarys() {
        #[cfg(target_arch = "x86_64")]
        let (arch, extra) = (
            Arch::X86_64,
            [
                ("open", libc::SYS_open),
                ("arch_prctl", libc::SYS_arch_prctl),
                ("vfork", libc::SYS_vfork),
            ],
        );
        #[cfg(target_arch = "aarch64")]
        let (arch, extra) = (
            Arch::Aarch64,
            [("openat", libc::SYS_openat), ("setns", libc::SYS_setns), ("fcntl", libc::SYS_fcntl)],
        );
        let common = [
            ("read", libc::SYS_read),
            ("clone", libc::SYS_clone),
            ("clone3", libc::SYS_clone3),
            ("socket", libc::SYS_socket),
            ("newfstatat", libc::SYS_newfstatat),
            ("umount2", libc::SYS_umount2),
            ("personality", libc::SYS_personality),
            ("openat2", libc::SYS_openat2),
            ("landlock_restrict_self", libc::SYS_landlock_restrict_self),
            ("set_mempolicy_home_node", libc::SYS_set_mempolicy_home_node),
            ("close_range", libc::SYS_close_range),
        ];
        for (name, number) in common.into_iter().chain(extra) {
            assert_eq!(arch.number(name).map(i64::from), Some(number), "{name}");
        }
    }

    #[test]
    fn numbers_are_those_of_the_installed_headers() {
        for (arch, file) in [(Arch::X86_64, "unistd_64.h"), (Arch::I386, "unistd_32.h")] {
            let Ok(text) =
                std::fs::read_to_string(format!("/usr/include/x86_64-linux-gnu/asm/{file}"))
            else {
                continue;
            };
            let defined =
                text.lines().filter_map(|line| line.strip_prefix("#define __NR_")?.split_once(' '));
            for (name, number) in defined {
                assert_eq!(arch.number(name), number.trim().parse().ok(), "{file} {name}");
            }
        }
    }

    #[test]
    fn every_row_is_whole() {
        for line in NUMBERS.lines().filter(|line| !line.starts_with('#')) {
            assert_eq!(line.split(' ').count(), 5, "{line}");
        }
        assert_eq!((Arch::I386.number("waitpid"), Arch::X86_64.number("waitpid")), (Some(7), None));
        assert_eq!(
            (Arch::Arm.number("set_tls"), Arch::Aarch64.number("openat")),
            (Some(0xf_0005), Some(56))
        );
    }
}
