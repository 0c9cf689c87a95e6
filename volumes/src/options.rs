//! The options of the local driver, `driver_opts`: `type`, `device` and `o`, as for mount(8).

use std::collections::BTreeMap;
use std::net::{IpAddr, ToSocketAddrs};
use std::path::Path;

use rustix::mount::MountFlags;

/// What is mounted for a volume of the local driver that has options.
///
/// Source: Docker, `volume/local/local_unix.go`, and mount(8) for the words in `o`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalMount {
    /// File system, as in `type`; empty for a bind mount.
    pub kind: String,
    /// Device, export, or for a bind mount the folder.
    pub device: String,
    /// The words of `o` that are flags of mount(2).
    pub flags: MountFlags,
    /// The other words of `o`, for the file system.
    pub data: String,
}

/// `driver_opts` that do not make a mount.
#[derive(Debug, thiserror::Error)]
pub enum OptionsError {
    /// Another key than `type`, `device` and `o`.
    #[error("the local driver has no option `{0}`; it has `type`, `device` and `o`")]
    Unknown(String),
    /// Options, but nothing to mount.
    #[error("the local driver needs `{0}` beside its other options")]
    Missing(&'static str),
    /// A bind mount of a path that depends on where one stands.
    #[error("`device: {0}` must be an absolute path")]
    Relative(String),
    /// An NFS server whose name has no address.
    #[error("cannot resolve `addr={host}`")]
    Address {
        /// The name that was asked for.
        host: String,
        /// What the resolver said.
        source: std::io::Error,
    },
}

/// The words of `o` that mount(2) takes as bits: word, bits to set, bits to clear.
const FLAGS: &[(&str, MountFlags, MountFlags)] = &[
    ("defaults", MountFlags::empty(), MountFlags::empty()),
    ("rw", MountFlags::empty(), MountFlags::RDONLY),
    ("ro", MountFlags::RDONLY, MountFlags::empty()),
    ("suid", MountFlags::empty(), MountFlags::NOSUID),
    ("nosuid", MountFlags::NOSUID, MountFlags::empty()),
    ("dev", MountFlags::empty(), MountFlags::NODEV),
    ("nodev", MountFlags::NODEV, MountFlags::empty()),
    ("exec", MountFlags::empty(), MountFlags::NOEXEC),
    ("noexec", MountFlags::NOEXEC, MountFlags::empty()),
    ("async", MountFlags::empty(), MountFlags::SYNCHRONOUS),
    ("sync", MountFlags::SYNCHRONOUS, MountFlags::empty()),
    ("dirsync", MountFlags::DIRSYNC, MountFlags::empty()),
    ("atime", MountFlags::empty(), MountFlags::NOATIME),
    ("noatime", MountFlags::NOATIME, MountFlags::empty()),
    ("diratime", MountFlags::empty(), MountFlags::NODIRATIME),
    ("nodiratime", MountFlags::NODIRATIME, MountFlags::empty()),
    ("relatime", MountFlags::RELATIME, MountFlags::empty()),
    ("norelatime", MountFlags::empty(), MountFlags::RELATIME),
    ("strictatime", MountFlags::STRICTATIME, MountFlags::empty()),
    ("bind", MountFlags::BIND, MountFlags::empty()),
    ("rbind", MountFlags::BIND.union(MountFlags::REC), MountFlags::empty()),
];

impl LocalMount {
    /// Reads `driver_opts`. No options, or only empty ones, are no mount: a folder of ours.
    ///
    /// # Errors
    ///
    /// [`OptionsError`]; nothing is resolved or touched here.
    pub fn parse(options: &BTreeMap<String, String>) -> Result<Option<Self>, OptionsError> {
        if let Some(key) =
            options.keys().find(|key| !["type", "device", "o"].contains(&key.as_str()))
        {
            return Err(OptionsError::Unknown(key.clone()));
        }
        let option = |key| options.get(key).map(String::as_str).unwrap_or_default();
        let (kind, device) = (option("type"), option("device"));
        if options.values().all(String::is_empty) {
            return Ok(None);
        }
        let (flags, data) = words(option("o"));
        let bind = flags.contains(MountFlags::BIND);
        if device.is_empty() {
            return Err(OptionsError::Missing("device"));
        }
        if kind.is_empty() && !bind {
            return Err(OptionsError::Missing("type"));
        }
        if bind && !Path::new(device).is_absolute() {
            return Err(OptionsError::Relative(device.to_owned()));
        }
        let kind = if bind { "" } else { kind };
        Ok(Some(Self { kind: kind.to_owned(), device: device.to_owned(), flags, data }))
    }

    /// Whether the volume is a folder of the host.
    pub fn is_bind(&self) -> bool {
        self.flags.contains(MountFlags::BIND)
    }

    /// The data for mount(2): as written, but the name of an NFS server as an address, because
    /// the kernel does not resolve names.
    ///
    /// # Errors
    ///
    /// [`OptionsError::Address`].
    pub(crate) fn data_for_kernel(&self) -> Result<String, OptionsError> {
        if !self.kind.starts_with("nfs") {
            return Ok(self.data.clone());
        }
        let words: Result<Vec<_>, _> = self.data.split(',').map(resolve_address).collect();
        Ok(words?.join(","))
    }
}

/// Splits the words of `o` into flags and the rest.
fn words(options: &str) -> (MountFlags, String) {
    let mut flags = MountFlags::empty();
    let mut data = Vec::new();
    for word in options.split(',').map(str::trim).filter(|word| !word.is_empty()) {
        match FLAGS.iter().find(|(name, ..)| *name == word) {
            Some((_, set, clear)) => flags = (flags | *set) - *clear,
            None => data.push(word),
        }
    }
    (flags, data.join(","))
}

/// `addr=NAME` as `addr=ADDRESS`; other words as they are.
fn resolve_address(word: &str) -> Result<String, OptionsError> {
    let Some(host) = word.strip_prefix("addr=") else { return Ok(word.to_owned()) };
    if host.parse::<IpAddr>().is_ok() {
        return Ok(word.to_owned());
    }
    let failed = |source| OptionsError::Address { host: host.to_owned(), source };
    let mut found = (host, 0).to_socket_addrs().map_err(failed)?;
    let address = found.next().ok_or_else(|| failed(std::io::ErrorKind::NotFound.into()))?;
    Ok(format!("addr={}", address.ip()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(pairs: &[(&str, &str)]) -> Result<Option<LocalMount>, String> {
        let options = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        LocalMount::parse(&options.collect()).map_err(|error| error.to_string())
    }

    #[test]
    fn reads_the_three_usual_forms() {
        assert_eq!(parse(&[]), Ok(None));
        assert_eq!(parse(&[("type", ""), ("o", ""), ("device", "")]), Ok(None));
        let tmpfs =
            parse(&[("type", "tmpfs"), ("device", "tmpfs"), ("o", "size=10m,uid=1000,nosuid")]);
        assert_eq!(
            tmpfs,
            Ok(Some(LocalMount {
                kind: "tmpfs".into(),
                device: "tmpfs".into(),
                flags: MountFlags::NOSUID,
                data: "size=10m,uid=1000".into(),
            }))
        );
        let bind =
            parse(&[("type", "none"), ("device", "/srv/data"), ("o", "bind,ro")]).unwrap().unwrap();
        assert!(bind.is_bind());
        assert_eq!((bind.kind.as_str(), bind.flags), ("", MountFlags::BIND | MountFlags::RDONLY));
        let nfs =
            parse(&[("type", "nfs"), ("device", ":/export"), ("o", "addr=10.0.0.5,nolock,rw")]);
        assert_eq!(nfs.unwrap().unwrap().data_for_kernel().unwrap(), "addr=10.0.0.5,nolock");
    }

    #[test]
    fn later_words_win() {
        let mount = parse(&[("type", "tmpfs"), ("device", "x"), ("o", "ro,rw")]).unwrap().unwrap();
        assert_eq!(mount.flags, MountFlags::empty());
    }

    #[test]
    fn refuses_what_makes_no_mount() {
        #[rustfmt::skip]
        let table: &[(&[(&str, &str)], &str)] = &[
            (&[("size", "1g")], "the local driver has no option `size`; it has `type`, `device` and `o`"),
            (&[("type", "tmpfs")], "the local driver needs `device` beside its other options"),
            (&[("device", "/x")], "the local driver needs `type` beside its other options"),
            (&[("type", "none"), ("o", "bind"), ("device", "./x")], "`device: ./x` must be an absolute path"),
        ];
        for (options, message) in table {
            assert_eq!(parse(options), Err((*message).to_owned()));
        }
    }
}
