//! `registries.json`: mirrors, and registries without verified TLS.
//!
//! ```json
//! {
//!   "registry-mirrors": ["https://mirror.example"],
//!   "mirrors": {"ghcr.io": ["https://ghcr-mirror.example"]},
//!   "insecure-registries": ["registry.lan:5000", "10.0.0.0/8"]
//! }
//! ```
//!
//! `registry-mirrors` and `insecure-registries` mean what they mean in Docker's `daemon.json`: mirrors of Docker Hub, and
//! hosts or networks whose certificates are not verified and which may speak plain HTTP. `mirrors` has those of other
//! registries. The file is the first of `$COMPOSE_REGISTRIES`, `$XDG_CONFIG_HOME/compose/registries.json` (or
//! `~/.config/…`) and `/etc/compose/registries.json` that is there.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::environment::Environment;

const SYSTEM: &str = "/etc/compose/registries.json";
const DOCKER_HUB: &str = "docker.io";

/// The file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// It cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// It does not say what it should.
    #[error("{} is malformed", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: serde_json::Error,
    },
    /// An entry is no host, address or network.
    #[error("`{entry}` in {} is neither HOST[:PORT] nor a network such as 10.0.0.0/8", path.display())]
    Entry {
        /// The file.
        path: PathBuf,
        /// The entry.
        entry: String,
    },
}

/// What the file says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct Settings {
    registry_mirrors: Vec<String>,
    mirrors: BTreeMap<String, Vec<String>>,
    insecure_registries: Vec<String>,
}

impl Settings {
    pub(crate) fn read(environment: &Environment) -> Result<Self, SettingsError> {
        let named = environment.path("COMPOSE_REGISTRIES");
        let must_be_there = named.is_some();
        let home = environment.path("HOME").map(|home| home.join(".config"));
        let own = environment.path("XDG_CONFIG_HOME").or(home);
        let own = own.map(|folder| folder.join("compose/registries.json"));
        let candidates = match named {
            Some(named) => vec![named],
            None => own.into_iter().chain([PathBuf::from(SYSTEM)]).collect(),
        };
        for path in candidates {
            match fs::read(&path) {
                Ok(bytes) => return Self::parse(&path, &bytes),
                Err(error) if error.kind() == io::ErrorKind::NotFound && !must_be_there => {}
                Err(source) => return Err(SettingsError::Read { path, source }),
            }
        }
        Ok(Self::default())
    }

    fn parse(path: &Path, bytes: &[u8]) -> Result<Self, SettingsError> {
        let settings: Self = serde_json::from_slice(bytes)
            .map_err(|source| SettingsError::Malformed { path: path.to_owned(), source })?;
        match settings.insecure_registries.iter().find(|entry| !is_entry(entry)) {
            Some(entry) => {
                Err(SettingsError::Entry { path: path.to_owned(), entry: entry.clone() })
            }
            None => Ok(settings),
        }
    }

    /// Where the images of the registry `domain` can be had beside itself, the best place first.
    pub(crate) fn mirrors(&self, domain: &str) -> impl Iterator<Item = &str> {
        let hub = if domain == DOCKER_HUB { self.registry_mirrors.as_slice() } else { &[] };
        let others = self.mirrors.get(domain).map_or(&[][..], Vec::as_slice);
        others.iter().chain(hub).map(String::as_str)
    }

    /// Whether the certificate of `host[:port]` is not verified, and plain HTTP is spoken if it has none. As with
    /// Docker, this machine itself is always such a host.
    pub(crate) fn is_insecure(&self, authority: &str) -> bool {
        let host = host_of(authority);
        let address: Option<IpAddr> = host.parse().ok();
        if host == "localhost" || address.is_some_and(|address| address.is_loopback()) {
            return true;
        }
        self.insecure_registries.iter().any(|entry| {
            entry == authority
                || entry == host
                || network(entry)
                    .zip(address)
                    .is_some_and(|(network, address)| contains(network, address))
        })
    }
}

/// The host without its port and brackets.
pub(crate) fn host_of(authority: &str) -> &str {
    match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => authority.rsplit_once(':').map_or(authority, |(host, _)| host),
    }
}

fn is_entry(entry: &str) -> bool {
    let host = !entry.is_empty() && !entry.contains(['/', ' ', '@']);
    host || network(entry).is_some()
}

fn network(entry: &str) -> Option<(IpAddr, u32)> {
    let (address, length) = entry.split_once('/')?;
    let (address, length): (IpAddr, u32) = (address.parse().ok()?, length.parse().ok()?);
    let longest = if address.is_ipv4() { 32 } else { 128 };
    (length <= longest).then_some((address, length))
}

fn contains((network, length): (IpAddr, u32), address: IpAddr) -> bool {
    match (network, address) {
        (IpAddr::V4(network), IpAddr::V4(address)) => {
            let bits = |address: Ipv4Addr| u32::from(address).checked_shr(32 - length).unwrap_or(0);
            bits(network) == bits(address)
        }
        (IpAddr::V6(network), IpAddr::V6(address)) => {
            let bits =
                |address: Ipv6Addr| u128::from(address).checked_shr(128 - length).unwrap_or(0);
            bits(network) == bits(address)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Settings, SettingsError> {
        Settings::parse(Path::new("registries.json"), text.as_bytes())
    }

    #[test]
    fn says_who_is_insecure() {
        let settings = parse(
            r#"{"insecure-registries": ["registry.lan:5000", "plain.lan", "10.0.0.0/8", "fd00::/8"]}"#,
        )
        .unwrap();
        #[rustfmt::skip]
        let table = [
            ("registry.lan:5000", true), ("registry.lan", false), ("registry.lan:5001", false),
            ("plain.lan", true), ("plain.lan:8080", true), ("10.1.2.3:5000", true), ("11.1.2.3", false),
            ("localhost:5000", true), ("127.3.4.5", true), ("[::1]:5000", true), ("[fd00::1]:5000", true),
            ("docker.io", false), ("localhost.example", false),
        ];
        for (authority, expected) in table {
            assert_eq!(settings.is_insecure(authority), expected, "{authority}");
        }
    }

    #[test]
    fn mirrors_come_in_their_order() {
        let settings = parse(
            r#"{"registry-mirrors": ["https://b"], "mirrors": {"docker.io": ["https://a"], "ghcr.io": ["http://c"]}}"#,
        )
        .unwrap();
        let of = |domain| settings.mirrors(domain).collect::<Vec<_>>();
        assert_eq!(of("docker.io"), ["https://a", "https://b"]);
        assert_eq!(of("ghcr.io"), ["http://c"]);
        assert!(of("quay.io").is_empty());
    }

    #[test]
    fn mistakes_are_said() {
        assert!(matches!(parse(r#"{"mirors": {}}"#), Err(SettingsError::Malformed { .. })));
        let refused = parse(r#"{"insecure-registries": ["http://x/"]}"#);
        assert!(matches!(refused, Err(SettingsError::Entry { .. })));
        let none =
            Environment::default().with("COMPOSE_REGISTRIES", "/nonexistent/registries.json");
        assert!(matches!(Settings::read(&none), Err(SettingsError::Read { .. })));
        let home = tempfile::tempdir().unwrap();
        let there = home.path().join(".config/compose");
        fs::create_dir_all(&there).unwrap();
        fs::write(there.join("registries.json"), r#"{"registry-mirrors": ["https://m"]}"#).unwrap();
        let environment = Environment::default().with("HOME", home.path().to_str().unwrap());
        assert_eq!(Settings::read(&environment).unwrap().mirrors("docker.io").count(), 1);
    }
}
