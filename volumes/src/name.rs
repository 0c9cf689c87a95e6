//! The names of volumes.

use std::borrow::Borrow;
use std::fmt;

use serde::{Deserialize, Serialize};

/// A name that may stand in the store: `[a-zA-Z0-9][a-zA-Z0-9_.-]*`, as Docker has it.
///
/// The first character keeps volumes apart from the store's own files, which begin with a dot,
/// and no name can leave the folder of the store.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct VolumeName(String);

/// A word that cannot be the name of a volume.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"{0}\" is not a volume name: letters, digits, `_`, `.` and `-`, at most 255, the first a letter or digit"
)]
pub struct NameError(String);

impl VolumeName {
    /// Longest file name on the file systems of Linux (limits.h, NAME_MAX).
    const LONGEST: usize = 255;

    /// Checks `name`.
    ///
    /// # Errors
    ///
    /// [`NameError`] when it has a character that Docker would refuse, or is empty or too long.
    pub fn parse(name: &str) -> Result<Self, NameError> {
        let mut bytes = name.bytes();
        let first = bytes.next().is_some_and(|byte| byte.is_ascii_alphanumeric());
        let rest = bytes.all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte));
        if first && rest && name.len() <= Self::LONGEST {
            Ok(Self(name.to_owned()))
        } else {
            Err(NameError(name.to_owned()))
        }
    }

    /// Makes up the name of an anonymous volume: 64 random hexadecimal digits.
    ///
    /// # Errors
    ///
    /// Those of getrandom(2), which on a booted system does not fail.
    pub fn anonymous() -> std::io::Result<Self> {
        Ok(Self(random_hex(32)?))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// `bytes` random bytes in hexadecimal digits.
pub(crate) fn random_hex(bytes: usize) -> std::io::Result<String> {
    let mut random = vec![0; bytes];
    let mut filled = 0;
    while filled < bytes {
        filled +=
            rustix::rand::getrandom(&mut random[filled..], rustix::rand::GetRandomFlags::empty())?;
    }
    Ok(random.iter().map(|byte| format!("{byte:02x}")).collect())
}

impl fmt::Display for VolumeName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl Borrow<str> for VolumeName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for VolumeName {
    type Error = NameError;

    fn try_from(name: String) -> Result<Self, NameError> {
        Self::parse(&name)
    }
}

impl From<VolumeName> for String {
    fn from(name: VolumeName) -> Self {
        name.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_what_docker_takes() {
        for name in ["a", "0", "shop_data", "Shop-1.2_x", &"x".repeat(255)] {
            assert!(VolumeName::parse(name).is_ok(), "{name}");
        }
        let long = "x".repeat(256);
        for name in ["", ".", "..", ".lock", "-a", "_a", "a/b", "a b", "a\0", "ä", &long] {
            assert!(VolumeName::parse(name).is_err(), "{name}");
        }
    }

    #[test]
    fn anonymous_names_are_64_hexadecimal_digits() {
        let (one, other) = (VolumeName::anonymous().unwrap(), VolumeName::anonymous().unwrap());
        assert_ne!(one, other);
        assert_eq!(one.as_str().len(), 64);
        assert!(one.as_str().bytes().all(|byte| byte.is_ascii_hexdigit()));
    }

    #[test]
    fn a_record_with_a_bad_name_is_not_read() {
        assert!(serde_json::from_str::<VolumeName>("\"../x\"").is_err());
    }
}
