//! Who holds a port: from the address to the socket's inode, from the inode to the process.

use std::fmt;
use std::fs;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use super::Protocol;

/// A process that holds a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Its id.
    pub pid: i32,
    /// Its name, as in `/proc/PID/comm`.
    pub name: String,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (pid {})", self.name, self.pid)
    }
}

/// The state of a listening TCP socket, and of a UDP socket that is bound and not connected.
const LISTENING: [(Protocol, &str); 2] = [(Protocol::Tcp, "0A"), (Protocol::Udp, "07")];

impl Holder {
    /// The process whose socket keeps others from `address`.
    ///
    /// Reads all of `/proc/*/fd`, so it is for the moment of failure only. proc(5), `/proc/net/tcp`.
    pub fn find(address: SocketAddr, protocol: Protocol) -> Option<Self> {
        let inode = inode(address, protocol)?;
        let socket = format!("socket:[{inode}]");
        let processes = fs::read_dir("/proc").ok()?.flatten();
        let mut pids =
            processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        let pid = pids.find(|pid| has_descriptor(*pid, &socket))?;
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?.trim().to_owned();
        Some(Self { pid, name })
    }
}

fn has_descriptor(pid: i32, target: &str) -> bool {
    let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    descriptors
        .flatten()
        .any(|entry| fs::read_link(entry.path()).is_ok_and(|link| link.as_os_str() == target))
}

fn inode(address: SocketAddr, protocol: Protocol) -> Option<u64> {
    // The table of the thread: that of the process may be of another namespace.
    let table = |suffix| fs::read_to_string(format!("/proc/thread-self/net/{protocol}{suffix}"));
    ["", "6"].into_iter().filter_map(|suffix| table(suffix).ok()).find_map(|table| {
        table.lines().skip(1).find_map(|line| conflicting(line, address, protocol))
    })
}

/// The inode of a line of the table when its socket keeps others from `address`.
fn conflicting(line: &str, address: SocketAddr, protocol: Protocol) -> Option<u64> {
    let mut columns = line.split_whitespace().skip(1);
    let (local, state) = (columns.next()?, columns.nth(1)?);
    let inode = columns.nth(5)?.parse().ok()?;
    let (ip, port) = local.split_once(':')?;
    let taken = u16::from_str_radix(port, 16).ok()? == address.port()
        && LISTENING.contains(&(protocol, state))
        && shares(parse_address(ip)?, address.ip());
    taken.then_some(inode)
}

/// Whether a socket on `held` keeps others from `wanted`.
fn shares(held: IpAddr, wanted: IpAddr) -> bool {
    held == wanted || held.is_unspecified() || wanted.is_unspecified()
}

/// An address as the table has it: words in the order of the machine, in hexadecimal.
fn parse_address(text: &str) -> Option<IpAddr> {
    let words = text.as_bytes().chunks(8).map(|word| {
        let word = u32::from_str_radix(std::str::from_utf8(word).ok()?, 16).ok()?;
        Some(word.to_ne_bytes())
    });
    let bytes = words.collect::<Option<Vec<_>>>()?.concat();
    match bytes.len() {
        4 => Some(IpAddr::from(<[u8; 4]>::try_from(bytes).ok()?)),
        16 => Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).to_canonical()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_endian = "little")]
    fn a_line_of_the_table_is_read() {
        let line = "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  0 0 4711 1 0 100 0";
        let table = [
            ("127.0.0.1:8080", Protocol::Tcp, Some(4711)),
            ("0.0.0.0:8080", Protocol::Tcp, Some(4711)),
            ("127.0.0.2:8080", Protocol::Tcp, None),
            ("127.0.0.1:8081", Protocol::Tcp, None),
            ("127.0.0.1:8080", Protocol::Udp, None),
        ];
        for (address, protocol, inode) in table {
            assert_eq!(conflicting(line, address.parse().unwrap(), protocol), inode, "{address}");
        }
        assert_eq!(conflicting("", "127.0.0.1:1".parse().unwrap(), Protocol::Tcp), None);
    }

    #[test]
    fn a_listener_of_this_process_is_found() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let holder = Holder::find(listener.local_addr().unwrap(), Protocol::Tcp).unwrap();
        assert_eq!(holder.pid, i32::try_from(std::process::id()).unwrap());
    }
}
