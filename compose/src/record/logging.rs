//! Where the log lines of a container go, beside the log that we keep of it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Where the log lines of a container go.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogTarget {
    /// Into our own files only (`json-file`, `local`).
    #[default]
    Files,
    /// Nowhere: `logs` has none to show (`none`).
    Nowhere,
    /// To a syslog server as well.
    Syslog(SyslogTarget),
    /// To the journal of systemd as well.
    Journal(JournalTarget),
}

/// A syslog server and how it is spoken to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyslogTarget {
    /// Where it listens.
    pub address: SyslogAddress,
    /// The number of the facility, 0 to 23.
    pub facility: u8,
    /// How a message is written.
    pub format: SyslogFormat,
    /// What the lines are from.
    pub tag: String,
}

/// Where a syslog server listens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SyslogAddress {
    /// At the first of the usual sockets that is there: `/dev/log`, `/var/run/syslog`, `/var/run/log`.
    Usual,
    /// `unix://PATH`: a stream or, if it is none, datagrams.
    Unix(PathBuf),
    /// `unixgram://PATH`.
    UnixDatagram(PathBuf),
    /// `udp://HOST[:PORT]`.
    Udp(String),
    /// `tcp://HOST[:PORT]`.
    Tcp(String),
}

/// How a syslog message is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SyslogFormat {
    /// As syslog(3) does, for a server on the same machine: without a host name.
    #[default]
    Local,
    /// RFC 3164, with seconds in local time.
    Rfc3164,
    /// RFC 5424, with seconds.
    Rfc5424,
    /// RFC 5424, with microseconds.
    Rfc5424Micro,
}

/// What the journal is told beside the lines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalTarget {
    /// The fields of every entry, by their names in the journal.
    pub fields: BTreeMap<String, String>,
}
