//! Where something was written, for messages that appear long after the file was read.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A position in a file.
///
/// Two places always compare equal and hash alike: moving a service down in its file changes no
/// meaning, so it must not make a project different or recreate a container.
#[derive(Debug, Clone)]
pub struct Place {
    /// The file, as absolute path or as the user named it.
    pub file: Arc<Path>,
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
}

impl PartialEq for Place {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Place {}

impl Hash for Place {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file.display(), self.line, self.column)
    }
}

impl Serialize for Place {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Place {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        let mut parts = text.rsplitn(3, ':');
        let column = parts.next().and_then(|part| part.parse().ok());
        let line = parts.next().and_then(|part| part.parse().ok());
        match (parts.next(), line, column) {
            (Some(file), Some(line), Some(column)) => {
                Ok(Self { file: Path::new(file).into(), line, column })
            }
            _ => Err(serde::de::Error::custom("a place is FILE:LINE:COLUMN")),
        }
    }
}

/// The places of the attributes of one object, by path below it (`image`, `ports[0]`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Places {
    places: BTreeMap<String, Place>,
}

impl Places {
    /// Notes where `attribute` was written.
    pub fn insert(&mut self, attribute: impl Into<String>, place: Place) {
        self.places.insert(attribute.into(), place);
    }

    /// Where `attribute` was written; for a list item that has no place of its own, where the
    /// list was.
    pub fn of(&self, attribute: &str) -> Option<&Place> {
        let mut path = attribute;
        loop {
            if let Some(place) = self.places.get(path) {
                return Some(place);
            }
            path = &path[..path.rfind(['.', '['])?];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(file: &str, line: u32, column: u32) -> Place {
        Place { file: Path::new(file).into(), line, column }
    }

    #[test]
    fn survives_json_even_with_colons_in_the_path() {
        let before = place("/a:b/compose.yaml", 3, 14);
        let text = serde_json::to_string(&before).unwrap();
        assert_eq!(text, r#""/a:b/compose.yaml:3:14""#);
        let after: Place = serde_json::from_str(&text).unwrap();
        assert_eq!(
            (&*after.file, after.line, after.column),
            (Path::new("/a:b/compose.yaml"), 3, 14)
        );
    }

    #[test]
    fn an_item_falls_back_to_its_list() {
        let mut places = Places::default();
        places.insert("ports", place("c", 1, 1));
        places.insert("ports[1]", place("c", 3, 5));
        let line = |attribute: &str| places.of(attribute).map(|place| place.line);
        assert_eq!(line("ports[1].target"), Some(3));
        assert_eq!(line("ports[0]"), Some(1));
        assert_eq!(line("image"), None);
    }
}
