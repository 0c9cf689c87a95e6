//! One netlink message: built from a header, attributes and attributes within attributes; and read back.
//!
//! netlink(7): all numbers in the order of the machine, but for those that a protocol wants in that of the
//! network; every header and attribute starts at a multiple of four.

/// Bytes of a message's header.
pub(crate) const HEADER: usize = 16;
/// Bytes of an attribute's header.
const ATTRIBUTE: usize = 4;
/// Set on attributes that hold attributes.
const NESTED: u16 = 0x8000;
/// What is left of an attribute's type without the flags for nesting and byte order.
const TYPE: u16 = 0x3fff;

/// Flags and kinds of messages that all protocols share (linux/netlink.h).
pub(crate) mod flag {
    /// Sent to the kernel.
    pub(crate) const REQUEST: u16 = 0x001;
    /// Success is to be answered as well.
    pub(crate) const ACK: u16 = 0x004;
    /// Something changed during a dump.
    pub(crate) const DUMP_INTERRUPTED: u16 = 0x010;
    /// All there are.
    pub(crate) const DUMP: u16 = 0x300;
    /// The refusal is followed by attributes, after the header alone of the request.
    pub(crate) const ACK_TLVS: u16 = 0x200;
    /// In place of what is there.
    pub(crate) const REPLACE: u16 = 0x100;
    /// An error if it is there.
    pub(crate) const EXCLUSIVE: u16 = 0x200;
    /// Made if it is not there.
    pub(crate) const CREATE: u16 = 0x400;
    /// Behind those that are there.
    pub(crate) const APPEND: u16 = 0x800;
    /// Kind: an acknowledgement or a refusal.
    pub(crate) const ERROR: u16 = 2;
    /// Kind: the end of a dump.
    pub(crate) const DONE: u16 = 3;
}

/// A request that is being written, with the command that would do the same.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    bytes: Vec<u8>,
    request: String,
}

impl Message {
    /// An empty request of `kind`; `request` is how one would type it.
    pub(crate) fn new(kind: u16, flags: u16, request: String) -> Self {
        let mut bytes = Vec::with_capacity(256);
        bytes.extend([0; 4]);
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        bytes.extend([0; 8]);
        Self { bytes, request }
    }

    /// Adds a structure of fixed size, filled up to a multiple of four.
    pub(crate) fn raw(&mut self, structure: &[u8]) -> &mut Self {
        self.bytes.extend(structure);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        self
    }

    /// Adds an attribute.
    pub(crate) fn bytes(&mut self, kind: u16, value: &[u8]) -> &mut Self {
        let length = u16::try_from(ATTRIBUTE + value.len()).expect("our attributes are short");
        self.bytes.extend(length.to_ne_bytes());
        self.bytes.extend(kind.to_ne_bytes());
        self.raw(value)
    }

    /// Adds a text with the zero that ends it.
    pub(crate) fn text(&mut self, kind: u16, value: &str) -> &mut Self {
        let mut value = value.as_bytes().to_vec();
        value.push(0);
        self.bytes(kind, &value)
    }

    /// Adds a number in the order of the machine.
    pub(crate) fn u32(&mut self, kind: u16, value: u32) -> &mut Self {
        self.bytes(kind, &value.to_ne_bytes())
    }

    /// Adds a number in the order of the network.
    pub(crate) fn be32(&mut self, kind: u16, value: u32) -> &mut Self {
        self.bytes(kind, &value.to_be_bytes())
    }

    /// Adds an attribute that holds what `fill` adds.
    pub(crate) fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) -> &mut Self {
        let start = self.bytes.len();
        self.bytes(kind | NESTED, &[]);
        fill(self);
        let length = u16::try_from(self.bytes.len() - start).expect("our attributes are short");
        self.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        self
    }

    /// How one would type it.
    pub(crate) fn request(&self) -> &str {
        &self.request
    }

    /// The bytes as they are sent.
    pub(crate) fn finish(&self, sequence: u32, more_flags: u16) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        let length = u32::try_from(bytes.len()).expect("our messages are short");
        bytes[0..4].copy_from_slice(&length.to_ne_bytes());
        let flags = u16::from_ne_bytes([bytes[6], bytes[7]]) | more_flags;
        bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
        bytes[8..12].copy_from_slice(&sequence.to_ne_bytes());
        bytes
    }
}

/// One message of an answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Answer<'a> {
    pub(crate) kind: u16,
    pub(crate) flags: u16,
    pub(crate) sequence: u32,
    pub(crate) payload: &'a [u8],
}

/// The messages of one datagram; what does not parse ends the walk.
pub(crate) fn answers(mut bytes: &[u8]) -> impl Iterator<Item = Answer<'_>> {
    std::iter::from_fn(move || {
        let length = usize::try_from(u32_at(bytes, 0)?).ok()?;
        let message = bytes.get(..length).filter(|message| message.len() >= HEADER)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(Answer {
            kind: u16_at(message, 4)?,
            flags: u16_at(message, 6)?,
            sequence: u32_at(message, 8)?,
            payload: &message[HEADER..],
        })
    })
}

/// The attributes in `bytes` as type and value; what does not parse ends the walk.
pub(crate) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16_at(bytes, 0)?);
        let value = bytes.get(ATTRIBUTE..length)?;
        let kind = u16_at(bytes, 2)? & TYPE;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// The number at `place`, in the order of the machine.
pub(crate) fn u16_at(bytes: &[u8], place: usize) -> Option<u16> {
    let number = bytes.get(place..place + 2)?;
    number.try_into().ok().map(u16::from_ne_bytes)
}

/// The number at `place`, in the order of the machine.
pub(crate) fn u32_at(bytes: &[u8], place: usize) -> Option<u32> {
    let number = bytes.get(place..place + 4)?;
    number.try_into().ok().map(u32::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn attributes_start_at_multiples_of_four_and_nest() {
        let mut message = Message::new(16, 1, "ip link".to_owned());
        message.raw(&[7]).text(3, "lo").nest(18, |inner| {
            inner.text(1, "veth").bytes(2, &[9]);
        });
        let bytes = message.finish(5, 4);
        let answer = answers(&bytes).next().unwrap();
        assert_eq!((answer.kind, answer.flags, answer.sequence), (16, 5, 5));
        assert_eq!(answer.payload[..4], [7, 0, 0, 0]);
        let outer: Vec<_> = attributes(&answer.payload[4..]).collect();
        assert_eq!(outer[0], (3, &b"lo\0"[..]));
        assert_eq!(outer[1].0, 18);
        let inner: Vec<_> = attributes(outer[1].1).collect();
        assert_eq!(inner, [(1, &b"veth\0"[..]), (2, &[9][..])]);
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_strange_to_read(bytes: Vec<u8>) {
            for answer in answers(&bytes) {
                for (_, value) in attributes(answer.payload) {
                    attributes(value).count();
                }
            }
            attributes(&bytes).count();
        }
    }
}
