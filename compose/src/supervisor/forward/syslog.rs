//! Messages to a syslog server: RFC 3164, RFC 5424, syslog(3).
//!
//! Source for the spelling of each format, the severities and the newline after each message: moby
//! `daemon/logger/syslog`, and its `srslog`.

use std::io;
use std::path::Path;

use jiff::Zoned;
use jiff::tz::TimeZone;
use runtime::log::{Line, Stream};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpStream, UdpSocket, UnixDatagram, UnixStream};

use crate::record::logging::{SyslogAddress, SyslogFormat, SyslogTarget};

/// Where a server on the same machine listens.
const USUAL: [&str; 3] = ["/dev/log", "/var/run/syslog", "/var/run/log"];

/// A syslog server.
pub(super) struct Syslog {
    target: SyslogTarget,
    host: String,
    connection: Option<Connection>,
}

enum Connection {
    Udp(UdpSocket),
    Tcp(TcpStream),
    Stream(UnixStream),
    Datagram(UnixDatagram),
}

impl Syslog {
    pub fn new(target: SyslogTarget) -> Self {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        Self { target, host, connection: None }
    }

    pub fn name(&self) -> String {
        match &self.target.address {
            SyslogAddress::Usual => format!("syslog at {}", USUAL.join(", ")),
            SyslogAddress::Unix(path) => format!("unix://{}", path.display()),
            SyslogAddress::UnixDatagram(path) => format!("unixgram://{}", path.display()),
            SyslogAddress::Udp(host) => format!("udp://{host}"),
            SyslogAddress::Tcp(host) => format!("tcp://{host}"),
        }
    }

    pub async fn connect(&mut self) -> io::Result<()> {
        let connection = match &self.target.address {
            SyslogAddress::Usual => {
                let mut last = Err(io::ErrorKind::NotFound.into());
                for path in USUAL {
                    last = local(Path::new(path)).await;
                    if last.is_ok() {
                        break;
                    }
                }
                last?
            }
            SyslogAddress::Unix(path) => local(path).await?,
            SyslogAddress::UnixDatagram(path) => Connection::Datagram(datagram(path)?),
            SyslogAddress::Udp(host) => {
                let mut addresses = tokio::net::lookup_host(host).await?;
                let address = addresses.next().ok_or(io::ErrorKind::AddrNotAvailable)?;
                let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
                let socket = UdpSocket::bind(any).await?;
                socket.connect(address).await?;
                Connection::Udp(socket)
            }
            SyslogAddress::Tcp(host) => Connection::Tcp(TcpStream::connect(host).await?),
        };
        self.connection = Some(connection);
        Ok(())
    }

    pub async fn send(&mut self, line: &Line) -> io::Result<()> {
        let message = self.message(line, &line.at.to_zoned(TimeZone::system()));
        if self.connection.is_none() {
            self.connect().await?;
        }
        let sent = match self.connection.as_mut() {
            // A datagram to nobody is lost, which only the next one is told.
            Some(Connection::Udp(socket)) => {
                let _ = socket.send(&message).await;
                Ok(())
            }
            Some(Connection::Tcp(stream)) => stream.write_all(&message).await,
            Some(Connection::Stream(stream)) => stream.write_all(&message).await,
            Some(Connection::Datagram(socket)) => socket.send(&message).await.map(drop),
            None => Err(io::ErrorKind::NotConnected.into()),
        };
        if sent.is_err() {
            self.connection = None;
        }
        sent
    }

    fn message(&self, line: &Line, at: &Zoned) -> Vec<u8> {
        let SyslogTarget { facility, format, tag, .. } = &self.target;
        let severity = match line.stream {
            Stream::Stdout => 6,
            Stream::Stderr => 3,
        };
        let priority = facility * 8 + severity;
        let (pid, host) = (std::process::id(), &self.host);
        let stamp = || at.strftime("%b %e %H:%M:%S");
        let head = match format {
            SyslogFormat::Local => format!("<{priority}>{} {tag}[{pid}]: ", stamp()),
            SyslogFormat::Rfc3164 => format!("<{priority}>{} {host} {tag}[{pid}]: ", stamp()),
            SyslogFormat::Rfc5424 => {
                let at = at.strftime("%Y-%m-%dT%H:%M:%S%:z");
                format!("<{priority}>1 {at} {host} {tag} {pid} {tag} - ")
            }
            SyslogFormat::Rfc5424Micro => {
                let at = at.strftime("%Y-%m-%dT%H:%M:%S.%6f%:z");
                format!("<{priority}>1 {at} {host} {tag} {pid} {tag} - ")
            }
        };
        [head.as_bytes(), &line.bytes, b"\n"].concat()
    }
}

/// A server on this machine, which may want a stream or datagrams.
async fn local(path: &Path) -> io::Result<Connection> {
    match datagram(path) {
        Ok(socket) => Ok(Connection::Datagram(socket)),
        Err(error) if error.raw_os_error() == Some(libc::EPROTOTYPE) => {
            Ok(Connection::Stream(UnixStream::connect(path).await?))
        }
        Err(error) => Err(error),
    }
}

fn datagram(path: &Path) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.connect(path)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    #[test]
    fn each_format_has_its_spelling() {
        let at: Timestamp = "2026-11-05T03:04:05.678901Z".parse().unwrap();
        let at = at.to_zoned(TimeZone::UTC);
        let pid = std::process::id();
        let stamp = "Nov  5 03:04:05";
        for (format, stream, expected) in [
            (SyslogFormat::Local, Stream::Stdout, format!("<134>{stamp} web[{pid}]: hi\n")),
            (SyslogFormat::Rfc3164, Stream::Stderr, format!("<131>{stamp} box web[{pid}]: hi\n")),
            (
                SyslogFormat::Rfc5424,
                Stream::Stdout,
                format!("<134>1 2026-11-05T03:04:05+00:00 box web {pid} web - hi\n"),
            ),
            (
                SyslogFormat::Rfc5424Micro,
                Stream::Stdout,
                format!("<134>1 2026-11-05T03:04:05.678901+00:00 box web {pid} web - hi\n"),
            ),
        ] {
            let target = SyslogTarget {
                address: SyslogAddress::Usual,
                facility: 16,
                format,
                tag: "web".to_owned(),
            };
            let syslog = Syslog { target, host: "box".to_owned(), connection: None };
            let line = Line { at: at.timestamp(), stream, bytes: b"hi".to_vec() };
            assert_eq!(String::from_utf8(syslog.message(&line, &at)).unwrap(), expected);
        }
    }
}
