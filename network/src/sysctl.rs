//! Settings of the network namespace in which the calling thread is.

use std::fs;
use std::io;

/// A setting was refused.
#[derive(Debug, thiserror::Error)]
#[error("sysctl -w {name}=\"{value}\"")]
pub struct SettingError {
    name: String,
    value: String,
    source: io::Error,
}

/// Writes a setting; dots separate, and a dot in the name of an interface is written as `/`, as in sysctl(8).
pub(crate) fn set(name: &str, value: &str) -> Result<(), SettingError> {
    fs::write(path(name), value).map_err(|source| SettingError {
        name: name.to_owned(),
        value: value.to_owned(),
        source,
    })
}

/// Writes a setting that a kernel without the feature does not have.
pub(crate) fn set_if_there(name: &str, value: &str) -> Result<(), SettingError> {
    match set(name, value) {
        Err(error) if error.source.kind() == io::ErrorKind::NotFound => Ok(()),
        outcome => outcome,
    }
}

/// Writes a setting that has another value; without need nothing is written, so a read-only `/proc/sys` will do.
pub(crate) fn set_if_different(name: &str, value: &str) -> Result<(), SettingError> {
    if is(name, value) { Ok(()) } else { set(name, value) }
}

/// Whether a setting is there and has this value.
pub(crate) fn is(name: &str, value: &str) -> bool {
    fs::read_to_string(path(name)).is_ok_and(|found| found.trim() == value)
}

/// What is below a name, as parts of further names: with `net.ipv6.conf` the links, and `all` and `default`.
pub(crate) fn children(name: &str) -> Vec<String> {
    let entries = fs::read_dir(path(name)).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.map(|name| name.replace('.', "/")).collect()
}

/// Whether the kernel speaks IPv6 at all.
pub(crate) fn has_ipv6() -> bool {
    fs::exists(path("net.ipv6.conf")).unwrap_or(false)
}

fn path(name: &str) -> String {
    let swapped = name.chars().map(|c| match c {
        '.' => '/',
        '/' => '.',
        other => other,
    });
    format!("/proc/sys/{}", swapped.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_and_slashes_change_places() {
        assert_eq!(
            path("net.ipv4.conf.eth0/1.arp_notify"),
            "/proc/sys/net/ipv4/conf/eth0.1/arp_notify"
        );
    }

    #[test]
    fn the_error_is_the_command() {
        let error = set("net.no_such_thing", "1").unwrap_err();
        assert_eq!(error.to_string(), "sysctl -w net.no_such_thing=\"1\"");
        set_if_there("net.no_such_thing", "1").unwrap();
    }
}
