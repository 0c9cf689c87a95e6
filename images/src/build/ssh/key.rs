//! Private keys in files, and what they sign.
//!
//! Source: openssh `PROTOCOL.key`; RFC 4253 (RSA), RFC 5656 (ECDSA), RFC 8709 (Ed25519), RFC 8332 (RSA with SHA-2).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::rand::SystemRandom;
use ring::rsa;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
    EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RSA_PKCS1_SHA512,
    RsaEncoding,
};

use super::wire::{plain, put, put_number, take, take_u32};

/// How a file of openssh's own format begins.
const MAGIC: &[u8] = b"openssh-key-v1\0";

/// Flags of a request to sign.
const RSA_SHA_256: u32 = 2;
const RSA_SHA_512: u32 = 4;

/// A file has no key that can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// It is something else.
    #[error("it is neither the socket of an agent nor a private key")]
    NoKey,
    /// It cannot be read without a passphrase.
    #[error("the key has a passphrase: add it to an agent, and name that")]
    Passphrase,
    /// It ends early, or its numbers do not belong together.
    #[error("the key is damaged")]
    Damaged,
    /// A kind of key that is not known here.
    #[error(
        "the key is of a kind that is only taken from an agent: RSA, Ed25519, ECDSA P-256 and P-384 are read"
    )]
    Kind,
}

/// A private key.
pub(super) struct Key {
    /// The public key, as ssh writes it.
    pub(super) public: Vec<u8>,
    pub(super) comment: String,
    secret: Secret,
}

enum Secret {
    Ed25519(Ed25519KeyPair),
    Ecdsa(EcdsaKeyPair, &'static Curve),
    Rsa(Box<rsa::KeyPair>),
}

struct Curve {
    name: &'static str,
    kind: &'static str,
    algorithm: &'static EcdsaSigningAlgorithm,
    /// Bytes of a number.
    length: usize,
}

static CURVES: [Curve; 2] = [
    Curve {
        name: "nistp256",
        kind: "ecdsa-sha2-nistp256",
        algorithm: &ECDSA_P256_SHA256_FIXED_SIGNING,
        length: 32,
    },
    Curve {
        name: "nistp384",
        kind: "ecdsa-sha2-nistp384",
        algorithm: &ECDSA_P384_SHA384_FIXED_SIGNING,
        length: 48,
    },
];

impl Key {
    /// Reads a file.
    pub(super) fn parse(file: &[u8], comment: &str) -> Result<Self, KeyError> {
        let (label, body) = armoured(file).ok_or(KeyError::NoKey)?;
        if label == "ENCRYPTED PRIVATE KEY" || body.contains("ENCRYPTED") {
            return Err(KeyError::Passphrase);
        }
        let text: String = body.split_whitespace().collect();
        let bytes = STANDARD.decode(text).map_err(|_| KeyError::Damaged)?;
        let secret = match label {
            "OPENSSH PRIVATE KEY" => openssh(&bytes)?,
            "RSA PRIVATE KEY" => {
                Secret::Rsa(Box::new(rsa::KeyPair::from_der(&bytes).map_err(damaged)?))
            }
            "PRIVATE KEY" => pkcs8(&bytes)?,
            _ => return Err(KeyError::Kind),
        };
        Ok(Self { public: secret.public(), comment: comment.to_owned(), secret })
    }

    /// Signs; `None` if the key has no such signature.
    pub(super) fn sign(&self, message: &[u8], flags: u32) -> Option<Vec<u8>> {
        let random = SystemRandom::new();
        let (kind, signature) = match &self.secret {
            Secret::Ed25519(pair) => ("ssh-ed25519", pair.sign(message).as_ref().to_vec()),
            Secret::Ecdsa(pair, curve) => {
                let signed = pair.sign(&random, message).ok()?;
                let (r, s) = signed.as_ref().split_at(curve.length);
                let mut both = Vec::new();
                put_number(&mut both, r);
                put_number(&mut both, s);
                (curve.kind, both)
            }
            Secret::Rsa(pair) => {
                let (kind, encoding): (_, &dyn RsaEncoding) = match flags {
                    flags if flags & RSA_SHA_512 != 0 => ("rsa-sha2-512", &RSA_PKCS1_SHA512),
                    flags if flags & RSA_SHA_256 != 0 => ("rsa-sha2-256", &RSA_PKCS1_SHA256),
                    // SHA-1, which no server of today takes.
                    _ => return None,
                };
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(encoding, &random, message, &mut signature).ok()?;
                (kind, signature)
            }
        };
        let mut out = Vec::new();
        put(&mut out, kind.as_bytes());
        put(&mut out, &signature);
        Some(out)
    }
}

impl Secret {
    fn public(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::Ed25519(pair) => {
                put(&mut out, b"ssh-ed25519");
                put(&mut out, pair.public_key().as_ref());
            }
            Self::Ecdsa(pair, curve) => {
                put(&mut out, curve.kind.as_bytes());
                put(&mut out, curve.name.as_bytes());
                put(&mut out, pair.public_key().as_ref());
            }
            Self::Rsa(pair) => {
                let parts = rsa::PublicKeyComponents::<Vec<u8>>::from(pair.public());
                put(&mut out, b"ssh-rsa");
                put_number(&mut out, &parts.e);
                put_number(&mut out, &parts.n);
            }
        }
        out
    }
}

fn damaged(_: ring::error::KeyRejected) -> KeyError {
    KeyError::Damaged
}

/// The label and the inside of a text with `-----BEGIN …-----` around it.
fn armoured(file: &[u8]) -> Option<(&str, &str)> {
    let text = std::str::from_utf8(file).ok()?;
    let (_, rest) = text.split_once("-----BEGIN ")?;
    let (label, rest) = rest.split_once("-----")?;
    let (body, _) = rest.split_once("-----END ")?;
    label.ends_with("PRIVATE KEY").then_some((label, body))
}

fn openssh(bytes: &[u8]) -> Result<Secret, KeyError> {
    let mut rest = bytes.strip_prefix(MAGIC).ok_or(KeyError::Damaged)?;
    let cipher = take(&mut rest).ok_or(KeyError::Damaged)?;
    if cipher != b"none" {
        return Err(KeyError::Passphrase);
    }
    let inside = || {
        let (_derivation, _options) = (take(&mut rest)?, take(&mut rest)?);
        let _count = take_u32(&mut rest)?;
        let _public = take(&mut rest)?;
        let mut secret = take(&mut rest)?;
        // Twice the same random number, to see whether a passphrase was right.
        let checks = (take_u32(&mut secret)?, take_u32(&mut secret)?);
        Some(secret).filter(|_| checks.0 == checks.1)
    };
    let mut secret = { inside }().ok_or(KeyError::Damaged)?;
    let mut next = || take(&mut secret).ok_or(KeyError::Damaged);
    let kind = next()?;
    if let Some(curve) = CURVES.iter().find(|curve| curve.kind.as_bytes() == kind) {
        let (_name, public, number) = (next()?, next()?, plain(next()?));
        let missing = curve.length.checked_sub(number.len()).ok_or(KeyError::Damaged)?;
        let number = [vec![0; missing], number.to_vec()].concat();
        let random = SystemRandom::new();
        let pair = EcdsaKeyPair::from_private_key_and_public_key(
            curve.algorithm,
            &number,
            public,
            &random,
        );
        return Ok(Secret::Ecdsa(pair.map_err(damaged)?, curve));
    }
    match kind {
        b"ssh-ed25519" => {
            let (public, both) = (next()?, next()?);
            let seed = both.get(..32).ok_or(KeyError::Damaged)?;
            let pair = Ed25519KeyPair::from_seed_and_public_key(seed, public);
            Ok(Secret::Ed25519(pair.map_err(damaged)?))
        }
        b"ssh-rsa" => {
            let numbers: Vec<&[u8]> = (0..6).map(|_| next()).collect::<Result<_, _>>()?;
            let [n, e, d, inverse, p, q] = numbers[..] else { return Err(KeyError::Damaged) };
            let parts = rsa::KeyPairComponents {
                public_key: rsa::PublicKeyComponents { n: plain(n), e: plain(e) },
                d: plain(d),
                p: plain(p),
                q: plain(q),
                dP: &remainder(d, p).ok_or(KeyError::Damaged)?[..],
                dQ: &remainder(d, q).ok_or(KeyError::Damaged)?[..],
                qInv: plain(inverse),
            };
            let pair = rsa::KeyPair::from_components(&parts).map_err(damaged)?;
            Ok(Secret::Rsa(Box::new(pair)))
        }
        _ => Err(KeyError::Kind),
    }
}

fn pkcs8(bytes: &[u8]) -> Result<Secret, KeyError> {
    if let Ok(pair) = Ed25519KeyPair::from_pkcs8_maybe_unchecked(bytes) {
        return Ok(Secret::Ed25519(pair));
    }
    let random = SystemRandom::new();
    for curve in &CURVES {
        if let Ok(pair) = EcdsaKeyPair::from_pkcs8(curve.algorithm, bytes, &random) {
            return Ok(Secret::Ecdsa(pair, curve));
        }
    }
    rsa::KeyPair::from_pkcs8(bytes)
        .map(|pair| Secret::Rsa(Box::new(pair)))
        .map_err(|_| KeyError::Kind)
}

/// `number` modulo `prime - 1`: a bit after the other, since it is done once for a key.
fn remainder(number: &[u8], prime: &[u8]) -> Option<Vec<u8>> {
    let mut modulus = plain(prime).to_vec();
    // An odd number.
    *modulus.last_mut()? &= 0xfe;
    // One byte more, for what a shift moves out.
    modulus.insert(0, 0);
    let mut rest = vec![0; modulus.len()];
    for byte in number {
        for bit in (0..8).rev() {
            let mut carry = byte >> bit & 1;
            for digit in rest.iter_mut().rev() {
                let out = *digit >> 7;
                *digit = *digit << 1 | carry;
                carry = out;
            }
            if rest >= modulus {
                let mut borrow = false;
                for (digit, other) in rest.iter_mut().zip(&modulus).rev() {
                    let (less, first) = digit.overflowing_sub(*other);
                    let (less, second) = less.overflowing_sub(u8::from(borrow));
                    *digit = less;
                    borrow = first || second;
                }
            }
        }
    }
    Some(plain(&rest).to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remainders_are_those_of_school() {
        let table: [(u64, u64); 5] = [(0, 7), (5, 7), (6, 7), (1_000_003, 65_537), (u64::MAX, 257)];
        for (number, prime) in table {
            let found = remainder(&number.to_be_bytes(), &prime.to_be_bytes()).unwrap();
            let wanted = (number % (prime - 1)).to_be_bytes();
            assert_eq!(found, plain(&wanted), "{number} modulo {prime} - 1");
        }
    }

    #[test]
    fn what_is_no_key_is_told_apart() {
        let parse = |text: &str| Key::parse(text.as_bytes(), "x").err().unwrap();
        let key = |label: &str, body: &str| {
            format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n")
        };
        assert_eq!(parse("text"), KeyError::NoKey);
        assert_eq!(parse(&key("CERTIFICATE", "AAAA")), KeyError::NoKey);
        assert_eq!(parse(&key("ENCRYPTED PRIVATE KEY", "AAAA")), KeyError::Passphrase);
        let old = key("RSA PRIVATE KEY", "Proc-Type: 4,ENCRYPTED\nDEK-Info: AES\n\nAAAA");
        assert_eq!(parse(&old), KeyError::Passphrase);
        let mut locked = MAGIC.to_vec();
        put(&mut locked, b"aes256-ctr");
        assert_eq!(
            parse(&key("OPENSSH PRIVATE KEY", &STANDARD.encode(&locked))),
            KeyError::Passphrase
        );
        assert_eq!(parse(&key("OPENSSH PRIVATE KEY", "AAAA")), KeyError::Damaged);
        assert_eq!(parse(&key("DSA PRIVATE KEY", "AAAA")), KeyError::Kind);
    }
}
