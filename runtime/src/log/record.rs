//! One record of an index: when how many bytes came on which stream.

use jiff::Timestamp;

use super::Stream;

/// The size of a record on disk.
pub(super) const SIZE: usize = 16;

/// What a record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// So many bytes have come.
    Bytes(u32),
    /// The stream has ended: what follows on it is from another process, and no part of a line begun before.
    End,
}

/// One record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Record {
    /// Nanoseconds since the epoch.
    pub time_ns: u64,
    pub stream: Stream,
    pub kind: Kind,
}

impl Record {
    pub(super) fn now(stream: Stream, kind: Kind) -> Self {
        let time_ns = u64::try_from(Timestamp::now().as_nanosecond()).unwrap_or_default();
        Self { time_ns, stream, kind }
    }

    /// How many bytes of its stream it stands for.
    pub(super) fn length(self) -> u64 {
        match self.kind {
            Kind::Bytes(length) => u64::from(length),
            Kind::End => 0,
        }
    }

    pub(super) fn at(self) -> Timestamp {
        Timestamp::from_nanosecond(i128::from(self.time_ns)).unwrap_or_default()
    }

    /// Time, length, stream, kind, two bytes of nothing: little-endian.
    pub(super) fn encode(self) -> [u8; SIZE] {
        let mut bytes = [0; SIZE];
        let (kind, length) = match self.kind {
            Kind::Bytes(length) => (0, length),
            Kind::End => (1, 0),
        };
        bytes[..8].copy_from_slice(&self.time_ns.to_le_bytes());
        bytes[8..12].copy_from_slice(&length.to_le_bytes());
        bytes[12] = u8::from(self.stream == Stream::Stderr);
        bytes[13] = kind;
        bytes
    }

    pub(super) fn decode(bytes: &[u8; SIZE]) -> Self {
        let [time @ .., l0, l1, l2, l3, stream, kind, _, _] = *bytes;
        let stream = if stream == 0 { Stream::Stdout } else { Stream::Stderr };
        let kind =
            if kind == 0 { Kind::Bytes(u32::from_le_bytes([l0, l1, l2, l3])) } else { Kind::End };
        Self { time_ns: u64::from_le_bytes(time), stream, kind }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_back() {
        for stream in Stream::BOTH {
            for kind in [Kind::Bytes(0), Kind::Bytes(u32::MAX), Kind::End] {
                let record = Record { time_ns: 1 << 60, stream, kind };
                assert_eq!(Record::decode(&record.encode()), record);
            }
        }
    }
}
