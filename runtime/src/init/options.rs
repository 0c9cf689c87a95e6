//! Mount options as text (mount(8)) to what the kernel's mount interface takes.

use oci_spec::runtime::Mount;

/// What the options of one mount ask for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Options {
    /// `MOUNT_ATTR_…` bits to set on the mount.
    pub attributes: u64,
    /// Bits to clear on the mount.
    pub cleared: u64,
    /// Bits to set on the mount and all below it.
    pub recursive: u64,
    /// Bits to clear on the mount and all below it.
    pub recursive_cleared: u64,
    /// `MS_PRIVATE` and so on; 0 for none given.
    pub propagation: u64,
    /// Whether the propagation is that of all mounts below as well.
    pub propagation_recursive: bool,
    /// What kind of mount it is.
    pub kind: Kind,
    /// Options of the file system with a value.
    pub values: Vec<(String, String)>,
    /// Options of the file system without one.
    pub flags: Vec<String>,
}

/// What kind of mount it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Kind {
    /// A file system of its own.
    #[default]
    FileSystem,
    /// A part of the host's tree, without the mounts below it.
    Bind,
    /// A part of the host's tree with the mounts below it.
    RecursiveBind,
}

/// One option that is a bit of the mount: its name, the bits it sets, the bits it clears.
type Bit = (&'static str, u64, u64);

#[rustfmt::skip]
const BITS: &[Bit] = &[
    ("ro",            libc::MOUNT_ATTR_RDONLY,      0),
    ("rw",            0,                            libc::MOUNT_ATTR_RDONLY),
    ("nosuid",        libc::MOUNT_ATTR_NOSUID,      0),
    ("suid",          0,                            libc::MOUNT_ATTR_NOSUID),
    ("nodev",         libc::MOUNT_ATTR_NODEV,       0),
    ("dev",           0,                            libc::MOUNT_ATTR_NODEV),
    ("noexec",        libc::MOUNT_ATTR_NOEXEC,      0),
    ("exec",          0,                            libc::MOUNT_ATTR_NOEXEC),
    ("nosymfollow",   libc::MOUNT_ATTR_NOSYMFOLLOW, 0),
    ("symfollow",     0,                            libc::MOUNT_ATTR_NOSYMFOLLOW),
    ("nodiratime",    libc::MOUNT_ATTR_NODIRATIME,  0),
    ("diratime",      0,                            libc::MOUNT_ATTR_NODIRATIME),
    ("relatime",      libc::MOUNT_ATTR_RELATIME,    libc::MOUNT_ATTR__ATIME),
    ("norelatime",    libc::MOUNT_ATTR_STRICTATIME, libc::MOUNT_ATTR__ATIME),
    ("strictatime",   libc::MOUNT_ATTR_STRICTATIME, libc::MOUNT_ATTR__ATIME),
    ("nostrictatime", libc::MOUNT_ATTR_RELATIME,    libc::MOUNT_ATTR__ATIME),
    ("noatime",       libc::MOUNT_ATTR_NOATIME,     libc::MOUNT_ATTR__ATIME),
    ("atime",         libc::MOUNT_ATTR_RELATIME,    libc::MOUNT_ATTR__ATIME),
];

#[rustfmt::skip]
const PROPAGATIONS: &[(&str, u64)] = &[
    ("private", libc::MS_PRIVATE), ("slave", libc::MS_SLAVE), ("shared", libc::MS_SHARED), ("unbindable", libc::MS_UNBINDABLE),
];

/// Options of mount(8) that mean nothing to the kernel here.
const IGNORED: &[&str] =
    &["defaults", "async", "loud", "silent", "nomand", "noiversion", "nolazytime", "tmpcopyup", ""];

impl Options {
    /// Reads the options of a mount of the spec.
    pub fn of(mount: &Mount) -> Self {
        let mut options = Self::default();
        if mount.typ().as_deref() == Some("bind") {
            options.kind = Kind::Bind;
        }
        for text in mount.options().iter().flatten() {
            options.add(text);
        }
        options
    }

    fn add(&mut self, text: &str) {
        let find = |name: &str| BITS.iter().find(|(known, ..)| *known == name);
        let spread = |name: &str| PROPAGATIONS.iter().find(|(known, _)| *known == name);
        match text {
            "bind" => self.kind = Kind::Bind,
            "rbind" => self.kind = Kind::RecursiveBind,
            _ if IGNORED.contains(&text) => {}
            _ => {
                let recursive = text.strip_prefix('r');
                if let Some((_, set, clear)) = find(text) {
                    change(&mut self.attributes, &mut self.cleared, *set, *clear);
                } else if let Some((_, set, clear)) = recursive.and_then(find) {
                    change(&mut self.recursive, &mut self.recursive_cleared, *set, *clear);
                } else if let Some((_, kind)) = spread(text) {
                    (self.propagation, self.propagation_recursive) = (*kind, false);
                } else if let Some((_, kind)) = recursive.and_then(spread) {
                    (self.propagation, self.propagation_recursive) = (*kind, true);
                } else if let Some((name, value)) = text.split_once('=') {
                    self.values.push((name.to_owned(), value.to_owned()));
                } else {
                    self.flags.push(text.to_owned());
                }
            }
        }
    }
}

/// Applies one option on top of those before it: the last one wins.
fn change(set: &mut u64, cleared: &mut u64, sets: u64, clears: u64) {
    *set = (*set & !clears) | sets;
    *cleared = (*cleared & !sets) | clears;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(texts: &[&str]) -> Options {
        let mut options = Options::default();
        texts.iter().for_each(|text| options.add(text));
        options
    }

    #[test]
    fn options_become_bits() {
        let options = parse(&[
            "rbind",
            "ro",
            "nosuid",
            "noatime",
            "rprivate",
            "size=64m",
            "newinstance",
            "defaults",
        ]);
        assert_eq!(options.kind, Kind::RecursiveBind);
        assert_eq!(
            options.attributes,
            libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NOATIME
        );
        assert_eq!(options.cleared, libc::MOUNT_ATTR__ATIME);
        assert_eq!((options.propagation, options.propagation_recursive), (libc::MS_PRIVATE, true));
        assert_eq!(options.values, [("size".to_owned(), "64m".to_owned())]);
        assert_eq!(options.flags, ["newinstance"]);
    }

    #[test]
    fn the_last_one_wins_and_r_means_recursive() {
        assert_eq!(parse(&["ro", "rw"]).attributes, 0);
        assert_eq!(parse(&["rw", "ro"]).attributes, libc::MOUNT_ATTR_RDONLY);
        // `ro` itself begins with an r.
        assert_eq!(parse(&["ro"]).recursive, 0);
        assert_eq!(
            parse(&["rro", "rnosuid"]).recursive,
            libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID
        );
        // The bits of noatime and strictatime are values of one field.
        assert_eq!(parse(&["noatime", "strictatime"]).attributes, libc::MOUNT_ATTR_STRICTATIME);
    }
}
