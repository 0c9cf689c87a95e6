//! The options of a tmpfs as they are written after its path: `size=64m,mode=1777,exec`.

use std::path::Path;

use super::{SpecError, Tmpfs};

/// Options of mount(8) that mean the same for every file system.
const FLAGS: [&str; 22] = [
    "ro",
    "rw",
    "exec",
    "noexec",
    "suid",
    "nosuid",
    "dev",
    "nodev",
    "sync",
    "async",
    "dirsync",
    "atime",
    "noatime",
    "diratime",
    "nodiratime",
    "relatime",
    "norelatime",
    "strictatime",
    "nostrictatime",
    "mand",
    "nomand",
    "noswap",
];

/// Options of tmpfs(5) that are handed on as they are.
const VALUES: [&str; 5] = ["nr_inodes", "nr_blocks", "mpol", "huge", "size"];

impl Tmpfs {
    /// Reads comma-separated options.
    ///
    /// # Errors
    /// [`SpecError::BadTmpfs`] for an unknown option or a value that is not what the option takes.
    pub fn parse(target: &Path, options: &str) -> Result<Self, SpecError> {
        let mut tmpfs = Self { target: target.to_owned(), ..Self::default() };
        let refused = |problem: String| SpecError::BadTmpfs { target: target.to_owned(), problem };
        for option in options.split(',').map(str::trim).filter(|option| !option.is_empty()) {
            let (name, value) =
                option.split_once('=').map_or((option, None), |(name, value)| (name, Some(value)));
            match (name, value) {
                // A share of the memory is for the kernel to work out.
                ("size", Some(value)) if !value.ends_with('%') => {
                    tmpfs.size =
                        Some(bytes(value).ok_or_else(|| {
                            refused(format!("size `{value}` must read like `64m`"))
                        })?);
                }
                ("mode", Some(value)) => {
                    let mode = u32::from_str_radix(value, 8).ok().filter(|mode| *mode <= 0o7777);
                    tmpfs.mode = Some(mode.ok_or_else(|| {
                        refused(format!("mode `{value}` must be octal, like `1777`"))
                    })?);
                }
                ("uid", Some(value)) => {
                    tmpfs.uid = Some(
                        id(value)
                            .ok_or_else(|| refused(format!("uid `{value}` must be a number")))?,
                    )
                }
                ("gid", Some(value)) => {
                    tmpfs.gid = Some(
                        id(value)
                            .ok_or_else(|| refused(format!("gid `{value}` must be a number")))?,
                    )
                }
                (name, Some(_)) if VALUES.contains(&name) => tmpfs.options.push(option.to_owned()),
                (name, None) if FLAGS.contains(&name) => tmpfs.options.push(option.to_owned()),
                _ => return Err(refused(format!("unknown option `{option}`"))),
            }
        }
        Ok(tmpfs)
    }
}

fn id(text: &str) -> Option<u32> {
    text.parse().ok()
}

/// A number of bytes with the kernel's suffixes.
fn bytes(text: &str) -> Option<u64> {
    let split = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let shift = match text[split..].to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" => 10,
        "m" | "mb" => 20,
        "g" | "gb" => 30,
        "t" | "tb" => 40,
        _ => return None,
    };
    text[..split].parse::<u64>().ok()?.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read() {
        let tmpfs =
            Tmpfs::parse(Path::new("/run"), "size=64m, mode=1770,uid=10,gid=20,exec,nr_inodes=1k")
                .unwrap();
        let expected = Tmpfs {
            target: "/run".into(),
            size: Some(64 << 20),
            mode: Some(0o1770),
            uid: Some(10),
            gid: Some(20),
            options: vec!["exec".into(), "nr_inodes=1k".into()],
        };
        assert_eq!(tmpfs, expected);
        assert_eq!(Tmpfs::parse(Path::new("/run"), "size=50%").unwrap().options, ["size=50%"]);
        assert_eq!(
            Tmpfs::parse(Path::new("/run"), "").unwrap(),
            Tmpfs { target: "/run".into(), ..Tmpfs::default() }
        );
    }

    #[test]
    fn mistakes_are_named() {
        #[rustfmt::skip]
        let table = [
            ("size=huge", "tmpfs `/run`: size `huge` must read like `64m`"),
            ("size=99999999999999999999g", "tmpfs `/run`: size `99999999999999999999g` must read like `64m`"),
            ("mode=999", "tmpfs `/run`: mode `999` must be octal, like `1777`"),
            ("uid=root", "tmpfs `/run`: uid `root` must be a number"),
            ("noexce", "tmpfs `/run`: unknown option `noexce`"),
            ("ro=1", "tmpfs `/run`: unknown option `ro=1`"),
        ];
        for (options, message) in table {
            assert_eq!(Tmpfs::parse(Path::new("/run"), options).unwrap_err().to_string(), message);
        }
    }
}
