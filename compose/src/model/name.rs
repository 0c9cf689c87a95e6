//! Names that a file gives to things, one type for each kind of thing.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A name that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// There is nothing.
    #[error("a {kind} name may not be empty")]
    Empty {
        /// What was to be named.
        kind: &'static str,
    },
    /// A character that names may not have.
    #[error("`{name}` is not a {kind} name: only {allowed} are allowed")]
    Forbidden {
        /// What was to be named.
        kind: &'static str,
        /// The text.
        name: String,
        /// Which characters may be used, in words.
        allowed: &'static str,
    },
}

fn key_characters(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}

fn project_characters(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_lowercase() || first.is_ascii_digit())
        && text.bytes().all(|byte| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-')
        })
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $kind:literal, $valid:expr, $allowed:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(Box<str>);

        impl $type {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $type {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                if text.is_empty() {
                    Err(NameError::Empty { kind: $kind })
                } else if $valid(text) {
                    Ok(Self(text.into()))
                } else {
                    Err(NameError::Forbidden { kind: $kind, name: text.into(), allowed: $allowed })
                }
            }
        }

        impl TryFrom<String> for $type {
            type Error = NameError;

            fn try_from(text: String) -> Result<Self, NameError> {
                text.parse()
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> Self {
                name.0.into()
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl Borrow<str> for $type {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl AsRef<str> for $type {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl PartialEq<str> for $type {
            fn eq(&self, other: &str) -> bool {
                &*self.0 == other
            }
        }

        impl PartialEq<&str> for $type {
            fn eq(&self, other: &&str) -> bool {
                &*self.0 == *other
            }
        }
    };
}

name!(
    /// The name of a project: `[a-z0-9][a-z0-9_-]*`.
    ProjectName,
    "project",
    project_characters,
    "lower-case letters, digits, `-` and `_`, with a letter or digit first,"
);
name!(
    /// A key under `services`: `[a-zA-Z0-9._-]+`.
    ServiceName,
    "service",
    key_characters,
    "letters, digits, `.`, `_` and `-`"
);
name!(
    /// A key under `networks`; the network's real name is in [`super::Network`].
    NetworkKey,
    "network",
    key_characters,
    "letters, digits, `.`, `_` and `-`"
);
name!(
    /// A key under `volumes`; the volume's real name is in [`super::Volume`].
    VolumeKey,
    "volume",
    key_characters,
    "letters, digits, `.`, `_` and `-`"
);
name!(
    /// A key under `secrets`.
    SecretKey,
    "secret",
    key_characters,
    "letters, digits, `.`, `_` and `-`"
);
name!(
    /// A key under `configs`.
    ConfigKey,
    "config",
    key_characters,
    "letters, digits, `.`, `_` and `-`"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn project_names_are_stricter_than_keys() {
        for good in ["a", "0", "my-app_2"] {
            assert!(good.parse::<ProjectName>().is_ok(), "{good}");
        }
        for bad in ["", "A", "-a", "_a", "a.b", "é"] {
            assert!(bad.parse::<ProjectName>().is_err(), "{bad}");
        }
        assert!("My.Service_1-x".parse::<ServiceName>().is_ok());
        assert!("a b".parse::<ServiceName>().is_err());
    }
}
