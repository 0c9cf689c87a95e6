//! The name of a content: its SHA-256.

use std::fmt;
use std::io::{self, Read, Write};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest as _, Sha256};

/// A SHA-256 digest, written `sha256:` and 64 lower-case hexadecimal digits.
///
/// Any other algorithm is refused at the door: the OCI image specification makes this one mandatory for everybody,
/// and a store with one algorithm has one name for each content.
///
/// Source: OCI image-spec 1.1, descriptor.md, "Digests".
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

/// A text that is no digest we can use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    /// Not of the form `ALGORITHM:HEX`, or not 64 lower-case hexadecimal digits.
    #[error("`{0}` is not a digest of the form sha256:<64 hexadecimal digits>")]
    Malformed(String),
    /// A digest by another algorithm than SHA-256.
    #[error("digest algorithm `{0}` is not supported, only sha256 is")]
    Algorithm(String),
}

impl Digest {
    /// Computes the digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// Parses the 64 hexadecimal digits without the algorithm in front.
    pub fn from_hex(hex: &str) -> Option<Self> {
        let digits = hex.as_bytes();
        if digits.len() != 64 {
            return None;
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
        }
        Some(Self(bytes))
    }

    /// The digest with these 32 bytes.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Some(Self(bytes.try_into().ok()?))
    }

    /// Its 32 bytes.
    pub(crate) fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The 64 hexadecimal digits: the name of a blob or layer in the store.
    pub fn hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The first twelve digits, as in the column `IMAGE ID` of `docker images`.
    pub fn short(&self) -> String {
        let mut hex = self.hex();
        hex.truncate(12);
        hex
    }
}

/// The value of a lower-case hexadecimal digit.
fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let malformed = || DigestError::Malformed(text.to_owned());
        let (algorithm, hex) = text.split_once(':').ok_or_else(malformed)?;
        match algorithm {
            "sha256" => Self::from_hex(hex).ok_or_else(malformed),
            "sha384" | "sha512" | "blake3" => Err(DigestError::Algorithm(algorithm.to_owned())),
            _ => Err(malformed()),
        }
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "sha256:{}", self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// Computes a digest of what is written to it, and counts it.
#[derive(Debug, Default)]
pub(crate) struct Hasher {
    state: State,
    size: u64,
}

/// sha2 uses the instructions for SHA-256 where the processor has them. Where it has not, ring's code is almost twice
/// as fast, and it is linked for TLS anyway.
enum State {
    Sha2(Sha256),
    Ring(ring::digest::Context),
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("State")
    }
}

impl Default for State {
    fn default() -> Self {
        if has_instructions() {
            Self::Sha2(Sha256::default())
        } else {
            Self::Ring(ring::digest::Context::new(&ring::digest::SHA256))
        }
    }
}

#[cfg(target_arch = "x86_64")]
fn has_instructions() -> bool {
    std::arch::is_x86_feature_detected!("sha")
}

#[cfg(not(target_arch = "x86_64"))]
const fn has_instructions() -> bool {
    true
}

impl Hasher {
    /// The digest and the number of bytes.
    pub(crate) fn finish(self) -> (Digest, u64) {
        let digest = match self.state {
            State::Sha2(state) => state.finalize().into(),
            State::Ring(state) => {
                let digest = state.finish();
                digest.as_ref().try_into().expect("SHA-256 has 32 bytes")
            }
        };
        (Digest(digest), self.size)
    }

    /// Reads `source` to its end.
    pub(crate) fn read_all(mut self, mut source: impl Read) -> io::Result<(Digest, u64)> {
        io::copy(&mut source, &mut self)?;
        Ok(self.finish())
    }
}

impl Write for Hasher {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.state {
            State::Sha2(state) => state.update(bytes),
            State::Ring(state) => state.update(bytes),
        }
        self.size += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn reads_what_it_writes() {
        assert_eq!(Digest::of(b"").to_string(), EMPTY);
        assert_eq!(EMPTY.parse(), Ok(Digest::of(b"")));
        assert_eq!(Digest::of(b"").short(), "e3b0c44298fc");
        let (digest, size) = Hasher::default().read_all(&b"abc"[..]).unwrap();
        assert_eq!((digest, size), (Digest::of(b"abc"), 3));
        assert_eq!(serde_json::to_string(&digest).unwrap(), format!("\"{digest}\""));
    }

    #[test]
    fn refuses_what_could_name_something_else() {
        let upper = EMPTY.replace('e', "E");
        let short = &EMPTY[..70];
        let slash = EMPTY.replace('e', "/");
        for text in ["", "sha256:", "e3b0", "../../etc:passwd", &upper, short, &slash, "md5:00"] {
            assert_eq!(
                text.parse::<Digest>(),
                Err(DigestError::Malformed(text.to_owned())),
                "{text}"
            );
        }
        assert_eq!("sha512:00".parse::<Digest>(), Err(DigestError::Algorithm("sha512".to_owned())));
    }
}
