//! How the files of a project travel in a registry: an artifact with a part for each file.
//!
//! All files lie in one folder when they arrive. Compose files become one, with a document for each; those that are
//! extended, environment files and label files keep the name that `publish` gave them.
//!
//! Source: docker/compose `internal/oci/push.go`, `pkg/remote/oci.go`.

use std::collections::BTreeMap;

use images::registry::{ArtifactKind, Part};

/// What a project is called in a registry.
pub const KIND: ArtifactKind<'static> = ArtifactKind {
    artifact: "application/vnd.docker.compose.project",
    config: "application/vnd.docker.compose.config.empty.v1+json",
};

/// The name of the file that the compose files become.
pub(super) const MAIN: &str = "compose.yaml";

const COMPOSE: &str = "application/vnd.docker.compose.file+yaml";
const ENVIRONMENT: &str = "application/vnd.docker.compose.envfile";

const VERSION: &str = "com.docker.compose.version";
const FILE: &str = "com.docker.compose.file";
const EXTENDS: &str = "com.docker.compose.extends";
const ENV_FILE: &str = "com.docker.compose.envfile";

/// What a file is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// A part of the project.
    Compose,
    /// A compose file of which services are extended.
    Extended,
    /// A file with variables or labels.
    Variables,
}

/// The version of this program, or of the format, that every part is marked with.
#[must_use]
pub fn marks() -> BTreeMap<String, String> {
    BTreeMap::from([(VERSION.to_owned(), env!("CARGO_PKG_VERSION").to_owned())])
}

/// A file as a part of the artifact.
#[must_use]
pub fn part(role: Role, name: &str, bytes: Vec<u8>) -> Part {
    let mut annotations = marks();
    let mut mark = |key: &str, value: &str| annotations.insert(key.to_owned(), value.to_owned());
    let media_type = match role {
        Role::Compose | Role::Extended => {
            mark(FILE, name);
            COMPOSE
        }
        Role::Variables => {
            mark(ENV_FILE, name);
            ENVIRONMENT
        }
    };
    if role == Role::Extended {
        mark(EXTENDS, "true");
    }
    Part { media_type: media_type.to_owned(), annotations, bytes }
}

/// Parts that are not those of a project.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(super) enum LayoutError {
    /// Somewhere else than in the folder of the artifact, or no name at all.
    #[error("one of its parts cannot be a file of the name `{0}`")]
    Name(String),
    /// A part that takes the place of another one.
    #[error("it has two parts of the name `{0}`")]
    Twice(String),
    /// Nothing to read.
    #[error("it has no compose file")]
    Empty,
}

/// The files that the parts of an artifact become.
pub(super) fn files(parts: &[Part]) -> Result<Vec<(String, Vec<u8>)>, LayoutError> {
    let mut main: Option<Vec<u8>> = None;
    let mut others: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    for part in parts {
        let name = |key: &str| {
            let name = part.annotations.get(key).map(String::as_str).unwrap_or_default();
            if is_plain(name) { Ok(name.to_owned()) } else { Err(LayoutError::Name(shown(name))) }
        };
        let name = match part.media_type.as_str() {
            COMPOSE if part.annotations.contains_key(EXTENDS) => name(FILE)?,
            COMPOSE => {
                let main = main.get_or_insert_default();
                if !main.is_empty() {
                    main.extend_from_slice(b"\n---\n");
                }
                main.extend_from_slice(&part.bytes);
                continue;
            }
            ENVIRONMENT => name(ENV_FILE)?,
            _ => continue,
        };
        if others.insert(name.clone(), part.bytes.clone()).is_some() {
            return Err(LayoutError::Twice(name));
        }
    }
    let main = main.ok_or(LayoutError::Empty)?;
    if others.contains_key(MAIN) {
        return Err(LayoutError::Twice(MAIN.to_owned()));
    }
    Ok([(MAIN.to_owned(), main)].into_iter().chain(others).collect())
}

/// True for the name of a file that lies in the folder itself. Whoever made the artifact is a stranger: a name that
/// leads out of the folder would write anywhere (CVE-2025-62725).
fn is_plain(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 255
        && !matches!(name, "." | "..")
        && !name.contains(['/', '\\'])
        && !name.chars().any(char::is_control)
}

fn shown(name: &str) -> String {
    name.chars().take(80).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(parts: &[Part]) -> Result<Vec<String>, LayoutError> {
        Ok(files(parts)?.into_iter().map(|(name, _)| name).collect())
    }

    #[test]
    fn compose_files_become_one() {
        let parts = [
            part(Role::Compose, "compose.yaml", b"a: 1".into()),
            part(Role::Extended, "e.yaml", b"b: 1".into()),
            part(Role::Compose, "compose.override.yaml", b"c: 1".into()),
            part(Role::Variables, "v.env", b"D=1".into()),
            Part { media_type: "text/plain".into(), ..part(Role::Compose, "x", b"?".into()) },
        ];
        let files = files(&parts).unwrap();
        let text: Vec<(&str, &str)> = files
            .iter()
            .map(|(name, bytes)| (&**name, std::str::from_utf8(bytes).unwrap()))
            .collect();
        let main = ("compose.yaml", "a: 1\n---\nc: 1");
        assert_eq!(text, [main, ("e.yaml", "b: 1"), ("v.env", "D=1")]);
    }

    #[test]
    fn names_that_lead_elsewhere() {
        let main = || part(Role::Compose, "compose.yaml", b"a: 1".into());
        for name in ["../x", "/etc/passwd", "a/b", "a\\b", "..", ".", "", "a\nb", "a\0"] {
            for role in [Role::Extended, Role::Variables] {
                let found = names(&[main(), part(role, name, Vec::new())]);
                assert!(matches!(found, Err(LayoutError::Name(_))), "{name}: {found:?}");
            }
        }
        let long = "x".repeat(256);
        assert!(names(&[main(), part(Role::Extended, &long, Vec::new())]).is_err());
    }

    #[test]
    fn names_that_are_taken() {
        let main = || part(Role::Compose, "compose.yaml", b"a: 1".into());
        let variables = |name| part(Role::Variables, name, Vec::new());
        let taken = |name: &str| Err(LayoutError::Twice(name.to_owned()));
        assert_eq!(names(&[main(), variables("compose.yaml")]), taken("compose.yaml"));
        assert_eq!(names(&[main(), variables("a"), variables("a")]), taken("a"));
        assert_eq!(names(&[variables("a")]), Err(LayoutError::Empty));
    }
}
