//! Names of images, read exactly as Docker reads them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::digest::{Digest, DigestError};

const DEFAULT_DOMAIN: &str = "docker.io";
const LEGACY_DOMAIN: &str = "index.docker.io";
const OFFICIAL: &str = "library/";
const DEFAULT_TAG: &str = "latest";
const LONGEST_NAME: usize = 255;
const LONGEST_TAG: usize = 128;

/// A complete name of an image: registry, repository, and a tag or a digest or both.
///
/// `mysql` is read as `docker.io/library/mysql:latest`. [`Display`](fmt::Display) writes the complete form and
/// [`Reference::familiar`] the short one that people write.
///
/// ```
/// use images::Reference;
/// let reference: Reference = "mysql:8.4".parse().unwrap();
/// assert_eq!(reference.to_string(), "docker.io/library/mysql:8.4");
/// assert_eq!(reference.familiar(), "mysql:8.4");
/// ```
///
/// Source: github.com/distribution/reference, `normalize.go` and `regexp.go`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    domain: String,
    path: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// A text that is no name of an image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// Nothing at all.
    #[error("the image name is empty")]
    Empty,
    /// 64 hexadecimal digits could be an id as well as a name.
    #[error("`{0}` is an image id, not a name: a name cannot be 64 hexadecimal digits")]
    LooksLikeId(String),
    /// The repository has upper-case letters.
    #[error("image name `{0}` must be lower case")]
    UpperCase(String),
    /// The registry is not a host name with an optional port.
    #[error("`{domain}` in image name `{name}` is not a registry host")]
    Domain {
        /// The whole name.
        name: String,
        /// Its part before the first slash.
        domain: String,
    },
    /// The repository does not follow the grammar.
    #[error(
        "image name `{0}` is malformed: its parts are lower-case letters and digits, separated by `.`, `_`, `__` or `-`"
    )]
    Path(String),
    /// Registry and repository are longer than 255 characters.
    #[error("image name `{0}` is longer than {LONGEST_NAME} characters")]
    TooLong(String),
    /// The part behind the colon is no tag.
    #[error(
        "`{tag}` in image name `{name}` is not a tag: letters, digits, `_`, `.` and `-`, at most {LONGEST_TAG}"
    )]
    Tag {
        /// The whole name.
        name: String,
        /// Its part behind the colon.
        tag: String,
    },
    /// The part behind the `@` is no digest.
    #[error("image name `{name}`")]
    Digest {
        /// The whole name.
        name: String,
        /// What is wrong with the digest.
        source: DigestError,
    },
}

impl Reference {
    /// The registry, such as `docker.io` or `localhost:5000`.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// The repository in the registry, such as `library/mysql`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Registry and repository, without tag and digest.
    pub fn repository(&self) -> String {
        format!("{}/{}", self.domain, self.path)
    }

    /// The tag; `None` only when there is a digest.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest of the manifest, when the name has one.
    pub fn digest(&self) -> Option<Digest> {
        self.digest
    }

    /// This repository at `digest`, without a tag.
    pub fn at(&self, digest: Digest) -> Self {
        Self { tag: None, digest: Some(digest), ..self.clone() }
    }

    /// Whether both name the same repository, whatever the tag or digest.
    pub fn same_repository(&self, other: &Self) -> bool {
        self.domain == other.domain && self.path == other.path
    }

    /// The repository as people write it: without `docker.io/` and `library/`.
    pub fn familiar_repository(&self) -> String {
        if self.domain != DEFAULT_DOMAIN {
            return self.repository();
        }
        let short = self.path.strip_prefix(OFFICIAL).filter(|rest| !rest.contains('/'));
        short.unwrap_or(&self.path).to_owned()
    }

    /// The whole name as people write it, such as `mysql:latest`.
    pub fn familiar(&self) -> String {
        self.with_suffix(self.familiar_repository())
    }

    fn with_suffix(&self, mut name: String) -> String {
        if let Some(tag) = &self.tag {
            name.push(':');
            name.push_str(tag);
        }
        if let Some(digest) = &self.digest {
            name.push('@');
            name.push_str(&digest.to_string());
        }
        name
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(name: &str) -> Result<Self, ReferenceError> {
        if name.is_empty() {
            return Err(ReferenceError::Empty);
        }
        if Digest::from_hex(name).is_some() {
            return Err(ReferenceError::LooksLikeId(name.to_owned()));
        }
        let (rest, digest) = split_digest(name)?;
        let (domain, rest) = split_domain(rest);
        let (path, tag) = split_tag(name, rest)?;
        check_domain(name, &domain)?;
        let path = if domain == DEFAULT_DOMAIN && !path.contains('/') {
            format!("{OFFICIAL}{path}")
        } else {
            path.to_owned()
        };
        check_path(name, &path)?;
        if domain.len() + 1 + path.len() > LONGEST_NAME {
            return Err(ReferenceError::TooLong(name.to_owned()));
        }
        let tag =
            tag.map(str::to_owned).or_else(|| digest.is_none().then(|| DEFAULT_TAG.to_owned()));
        Ok(Self { domain, path, tag, digest })
    }
}

fn split_digest(name: &str) -> Result<(&str, Option<Digest>), ReferenceError> {
    match name.split_once('@') {
        None => Ok((name, None)),
        Some((rest, digest)) => match digest.parse() {
            Ok(digest) => Ok((rest, Some(digest))),
            Err(source) => Err(ReferenceError::Digest { name: name.to_owned(), source }),
        },
    }
}

/// The first part is a registry when it cannot be a part of a repository: it has a dot, a port or an upper-case
/// letter, or is `localhost`.
fn split_domain(rest: &str) -> (String, &str) {
    let is_domain = |part: &str| {
        part == "localhost"
            || part.contains(['.', ':'])
            || part.contains(|c: char| c.is_ascii_uppercase())
    };
    match rest.split_once('/') {
        Some((LEGACY_DOMAIN, path)) => (DEFAULT_DOMAIN.to_owned(), path),
        Some((domain, path)) if is_domain(domain) => (domain.to_owned(), path),
        _ => (DEFAULT_DOMAIN.to_owned(), rest),
    }
}

fn split_tag<'a>(name: &str, rest: &'a str) -> Result<(&'a str, Option<&'a str>), ReferenceError> {
    let Some((path, tag)) = rest.split_once(':') else { return Ok((rest, None)) };
    let word = |c: u8| c.is_ascii_alphanumeric() || c == b'_';
    let valid = tag.len() <= LONGEST_TAG
        && tag.bytes().next().is_some_and(word)
        && tag.bytes().all(|c| word(c) || c == b'.' || c == b'-');
    if !valid {
        return Err(ReferenceError::Tag { name: name.to_owned(), tag: tag.to_owned() });
    }
    Ok((path, Some(tag)))
}

/// A host name or address with an optional port. IPv6 addresses stand in brackets.
fn check_domain(name: &str, domain: &str) -> Result<(), ReferenceError> {
    let (host, port) = match domain.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, rest)) => (
            Host::Address(address),
            rest.strip_prefix(':').or(Some("0").filter(|_| rest.is_empty())),
        ),
        None => match domain.split_once(':') {
            Some((host, port)) => (Host::Name(host), Some(port)),
            None => (Host::Name(domain), Some("0")),
        },
    };
    let valid_port =
        port.is_some_and(|port| !port.is_empty() && port.bytes().all(|c| c.is_ascii_digit()));
    let valid_host = match host {
        Host::Address(address) => {
            !address.is_empty() && address.bytes().all(|c| c.is_ascii_hexdigit() || c == b':')
        }
        Host::Name(host) => host.split('.').all(|label| {
            let edge = |c: u8| c.is_ascii_alphanumeric();
            label.bytes().all(|c| edge(c) || c == b'-')
                && label.bytes().next().is_some_and(edge)
                && label.bytes().last().is_some_and(edge)
        }),
    };
    if valid_host && valid_port {
        return Ok(());
    }
    Err(ReferenceError::Domain { name: name.to_owned(), domain: domain.to_owned() })
}

enum Host<'a> {
    Name(&'a str),
    Address(&'a str),
}

fn check_path(name: &str, path: &str) -> Result<(), ReferenceError> {
    if path.contains(|c: char| c.is_ascii_uppercase()) {
        return Err(ReferenceError::UpperCase(name.to_owned()));
    }
    if path.split('/').all(is_component) {
        Ok(())
    } else {
        Err(ReferenceError::Path(name.to_owned()))
    }
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn is_component(component: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let separators = component.split(plain).filter(|run| !run.is_empty());
    component.starts_with(plain)
        && component.ends_with(plain)
        && separators
            .into_iter()
            .all(|run| matches!(run, "." | "_" | "__") || run.bytes().all(|c| c == b'-'))
}

impl fmt::Display for Reference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.with_suffix(self.repository()))
    }
}

impl Serialize for Reference {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Reference {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn completes_names_as_docker_does() {
        let digest = format!("sha256:{HEX}");
        let at = |name: &str| format!("{name}@{digest}");
        #[rustfmt::skip]
        let table = [
            ("mysql", "docker.io/library/mysql:latest", "mysql:latest"),
            ("mysql:8.4", "docker.io/library/mysql:8.4", "mysql:8.4"),
            ("bitnami/redis", "docker.io/bitnami/redis:latest", "bitnami/redis:latest"),
            ("docker.io/mysql", "docker.io/library/mysql:latest", "mysql:latest"),
            ("index.docker.io/mysql:1", "docker.io/library/mysql:1", "mysql:1"),
            ("docker.io/library/mysql", "docker.io/library/mysql:latest", "mysql:latest"),
            ("library/mysql", "docker.io/library/mysql:latest", "mysql:latest"),
            ("ghcr.io/a/b/c:v1", "ghcr.io/a/b/c:v1", "ghcr.io/a/b/c:v1"),
            ("localhost/app", "localhost/app:latest", "localhost/app:latest"),
            ("localhost:5000/app", "localhost:5000/app:latest", "localhost:5000/app:latest"),
            ("Registry/app", "Registry/app:latest", "Registry/app:latest"),
            ("[fd00::1]:5000/app:x", "[fd00::1]:5000/app:x", "[fd00::1]:5000/app:x"),
            ("localhost:5000", "docker.io/library/localhost:5000", "localhost:5000"),
            ("a__b/c-d--e.f_g", "docker.io/a__b/c-d--e.f_g:latest", "a__b/c-d--e.f_g:latest"),
            (&at("mysql"), &at("docker.io/library/mysql"), &at("mysql")),
            (&at("mysql:8"), &at("docker.io/library/mysql:8"), &at("mysql:8")),
        ];
        for (text, complete, familiar) in table {
            let reference: Reference = text.parse().unwrap();
            assert_eq!(reference.to_string(), complete, "{text}");
            assert_eq!(reference.familiar(), familiar, "{text}");
            assert_eq!(reference.to_string().parse(), Ok(reference.clone()), "{text}");
            assert_eq!(reference.familiar().parse(), Ok(reference), "{text}");
        }
    }

    #[test]
    fn refuses_what_docker_refuses() {
        let long = "a".repeat(300);
        let tag = format!("a:{}", "b".repeat(129));
        #[rustfmt::skip]
        let table = [
            "", HEX, "MySQL", "a/B", "a//b", "/a", "a/", "-a", "a-", "a..b", "a___b", "a._b", "a b", "a:", "a:-x",
            "a:b:c", "a@", "a@sha256:00", "a@md5:00", "a.b:x/c", "-a.b/c", "../../etc/passwd", "a\0b", "ä", &long, &tag,
        ];
        for text in table {
            assert!(text.parse::<Reference>().is_err(), "{text}");
        }
        assert_eq!(
            "MySQL".parse::<Reference>(),
            Err(ReferenceError::UpperCase("MySQL".to_owned()))
        );
    }
}
