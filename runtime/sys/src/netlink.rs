//! The two options of a netlink socket that no other crate has a safe word for.

use std::io;
use std::os::fd::{AsFd, AsRawFd as _};

/// Asks the kernel to say in words why it refuses a request, and not to send the request back with the refusal.
///
/// `NETLINK_EXT_ACK` and `NETLINK_CAP_ACK` of netlink(7), Linux 4.12 and 4.3.
///
/// # Errors
///
/// `ENOPROTOOPT` when `socket` is not a netlink socket.
pub fn explain_errors(socket: impl AsFd) -> io::Result<()> {
    enable(&socket, libc::NETLINK_EXT_ACK)?;
    enable(&socket, libc::NETLINK_CAP_ACK)
}

fn enable(socket: &impl AsFd, option: libc::c_int) -> io::Result<()> {
    let on: libc::c_int = 1;
    const LENGTH: libc::socklen_t = 4;
    // SAFETY: the descriptor is open for as long as `socket` is borrowed; the value is a live `c_int` and the
    // length is its size, which is what setsockopt(2) reads; nothing is kept after the call.
    let outcome = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_NETLINK,
            option,
            (&raw const on).cast(),
            LENGTH,
        )
    };
    if outcome == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{AddressFamily, SocketType, socket};

    #[test]
    fn only_a_netlink_socket_can_explain() {
        let route = socket(AddressFamily::NETLINK, SocketType::RAW, None).unwrap();
        explain_errors(&route).unwrap();
        let other = socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
        assert!(explain_errors(&other).is_err());
    }
}
