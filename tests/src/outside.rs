//! The internet as the scenarios know it: a name server and a web server in a network namespace of their own.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};

/// Its address.
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// Its address in IPv6, for scenarios that have asked for one of their own.
pub const ADDRESS_SIX: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
/// The name of its address.
pub const NAME: &str = "outside.test";
/// The name of its address in IPv6. These two are all that its name server knows.
pub const NAME_SIX: &str = "six.test";
/// What its web server says, followed by the address of whoever asked.
pub const GREETING: &str = "greetings from outside to ";

/// Answers DNS and HTTP until `stop` is closed. The calling thread is in the namespace.
///
/// # Errors
///
/// When the ports cannot be bound.
pub fn serve(stop: &OwnedFd) -> io::Result<()> {
    // Both families by one socket each.
    let dns = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 53))?;
    let web = TcpListener::bind((Ipv6Addr::UNSPECIFIED, 80))?;
    loop {
        let mut ready = [
            PollFd::new(&dns, PollFlags::IN),
            PollFd::new(&web, PollFlags::IN),
            PollFd::new(stop, PollFlags::IN),
        ];
        match poll(&mut ready, None) {
            Err(rustix::io::Errno::INTR) => continue,
            Err(errno) => return Err(errno.into()),
            Ok(_) => {}
        }
        let [to_dns, to_web, to_stop] = ready.map(|one| !one.revents().is_empty());
        if to_stop {
            return Ok(());
        }
        // A client that goes away is its own affair.
        let _ = to_dns.then(|| answer_name(&dns));
        let _ = to_web.then(|| answer_page(&web));
    }
}

fn answer_page(web: &TcpListener) -> io::Result<()> {
    let (mut client, from) = web.accept()?;
    client.set_read_timeout(Some(Duration::from_secs(2)))?;
    let mut request = [0; 4096];
    let _words = client.read(&mut request)?;
    let body = format!("{GREETING}{}\n", from.ip().to_canonical());
    write!(
        client,
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

fn answer_name(dns: &UdpSocket) -> io::Result<()> {
    let mut query = [0; 512];
    let (length, from) = dns.recv_from(&mut query)?;
    if let Some(answer) = reply(&query[..length]) {
        dns.send_to(&answer, from)?;
    }
    Ok(())
}

/// The answer to a query with one question: an address for each name, and no such name for others (RFC 1035,
/// section 4; RFC 3596, section 2).
fn reply(query: &[u8]) -> Option<Vec<u8>> {
    let question = query.get(12..)?;
    let end = question.iter().position(|byte| *byte == 0)? + 5;
    let question = question.get(..end)?;
    let mut name = String::new();
    let mut labels = question;
    while let [length @ 1..=63, rest @ ..] = labels {
        let (label, rest) = rest.split_at_checked(usize::from(*length))?;
        name.push_str(&String::from_utf8_lossy(label).to_ascii_lowercase());
        name.push('.');
        labels = rest;
    }
    let (address, kind) = match name.trim_end_matches('.') {
        NAME => (ADDRESS.octets().to_vec(), 1),
        NAME_SIX => (ADDRESS_SIX.octets().to_vec(), 28),
        _ => (Vec::new(), 0),
    };
    let known = !address.is_empty();
    // A query for another type of a known name has an empty answer.
    let answers = known && question.ends_with(&[0, kind, 0, 1]);
    let mut reply = query.get(..2)?.to_vec();
    reply.extend([0x81, if known { 0x80 } else { 0x83 }]);
    reply.extend([0, 1, 0, u8::from(answers), 0, 0, 0, 0]);
    reply.extend(question);
    if answers {
        reply.extend([0xc0, 12, 0, kind, 0, 1, 0, 0, 0, 1, 0]);
        reply.push(u8::try_from(address.len()).ok()?);
        reply.extend(address);
    }
    Some(reply)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_itself_only() {
        let six = b"\xab\xcd\x01\0\0\x01\0\0\0\0\0\0\x03six\x04test\0\0\x1c\0\x01";
        assert!(reply(six).unwrap().ends_with(&ADDRESS_SIX.octets()));
        let header = [0xab, 0xcd, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        let question = b"\x07outside\x04test\0\0\x01\0\x01";
        let known = reply(&[header.as_slice(), question].concat()).unwrap();
        assert_eq!(known[..4], [0xab, 0xcd, 0x81, 0x80]);
        assert!(known.ends_with(&ADDRESS.octets()));
        let unknown =
            reply(&[header.as_slice(), b"\x05other\x04test\0\0\x01\0\x01"].concat()).unwrap();
        assert_eq!(unknown[3], 0x83);
        assert_eq!(reply(&header), None);
    }
}
