//! Entries for the journal of systemd, in its native protocol: one datagram each.
//!
//! Source: systemd, "Native Journal Protocol"; moby `daemon/logger/journald` for the fields.

use std::io;
use std::path::Path;

use runtime::log::{Line, Stream};
use tokio::net::UnixDatagram;

use crate::record::logging::JournalTarget;

/// Where the journal listens.
const SOCKET: &str = "/run/systemd/journal/socket";

/// Bytes of a line in one entry: docker's, and small enough for a datagram.
const LONGEST: usize = 16 << 10;

/// The journal.
pub(super) struct Journal {
    /// The fields of every entry, encoded.
    fields: Vec<u8>,
    connection: Option<UnixDatagram>,
}

impl Journal {
    pub fn new(target: &JournalTarget) -> Self {
        let mut fields = Vec::new();
        for (name, value) in &target.fields {
            put(&mut fields, name, value.as_bytes());
        }
        Self { fields, connection: None }
    }

    pub fn connect(&mut self) -> io::Result<()> {
        let socket = UnixDatagram::unbound()?;
        socket.connect(Path::new(SOCKET))?;
        self.connection = Some(socket);
        Ok(())
    }

    pub async fn send(&mut self, line: &Line) -> io::Result<()> {
        let pieces = line.bytes.chunks(LONGEST);
        // An empty line is a line.
        let count = pieces.len().max(1);
        let pieces = pieces.chain((line.bytes.is_empty()).then_some(&[][..]));
        for (number, piece) in pieces.enumerate() {
            self.send_entry(&self.entry(line, piece, number + 1 < count)).await?;
        }
        Ok(())
    }

    async fn send_entry(&mut self, entry: &[u8]) -> io::Result<()> {
        if self.connection.is_none() {
            self.connect()?;
        }
        let sent = match &self.connection {
            Some(socket) => socket.send(entry).await.map(drop),
            None => Err(io::ErrorKind::NotConnected.into()),
        };
        if sent.is_err() {
            self.connection = None;
        }
        sent
    }

    fn entry(&self, line: &Line, piece: &[u8], more: bool) -> Vec<u8> {
        let priority = match line.stream {
            Stream::Stdout => "6",
            Stream::Stderr => "3",
        };
        let mut entry = Vec::new();
        put(&mut entry, "MESSAGE", piece);
        put(&mut entry, "PRIORITY", priority.as_bytes());
        put(&mut entry, "SYSLOG_TIMESTAMP", line.at.to_string().as_bytes());
        if more {
            put(&mut entry, "CONTAINER_PARTIAL_MESSAGE", b"true");
        }
        entry.extend_from_slice(&self.fields);
        entry
    }
}

/// Writes a field: a value with a newline in it is led by its length.
fn put(entry: &mut Vec<u8>, name: &str, value: &[u8]) {
    entry.extend_from_slice(name.as_bytes());
    if value.contains(&b'\n') {
        entry.push(b'\n');
        entry.extend_from_slice(&(value.len() as u64).to_le_bytes());
    } else {
        entry.push(b'=');
    }
    entry.extend_from_slice(value);
    entry.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_lines_or_led_by_their_length() {
        let mut entry = Vec::new();
        put(&mut entry, "A", b"b=c");
        put(&mut entry, "D", b"e\nf");
        assert_eq!(entry, b"A=b=c\nD\n\x03\0\0\0\0\0\0\0e\nf\n");
    }
}
