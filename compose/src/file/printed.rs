//! A document as it is printed, whatever the format.

use std::borrow::Cow;

use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Number, Value as Json};

/// A value whose keys are in the order of printing; texts are those of the document where it has them.
#[derive(Debug, Clone, PartialEq)]
pub enum Printed<'d> {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// Any number.
    Number(Number),
    /// A string.
    Text(Cow<'d, str>),
    /// A list.
    List(Vec<Self>),
    /// A mapping; no key is there twice.
    Map(Vec<(Cow<'d, str>, Self)>),
}

/// A part of a document that is printed: the whole of a large one needs much memory, most of it for the first time.
#[derive(Debug, Clone, PartialEq)]
pub enum Piece<'d> {
    /// A key of the top level with its value.
    Entry(Cow<'d, str>, Printed<'d>),
    /// A key of the top level whose value is a mapping with the entries that come next.
    Open(Cow<'d, str>),
    /// One of these.
    Inner(Cow<'d, str>, Printed<'d>),
}

impl Printed<'_> {
    /// The string, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The same, independent of the document.
    pub fn into_json(self) -> Json {
        match self {
            Self::Null => Json::Null,
            Self::Bool(flag) => Json::Bool(flag),
            Self::Number(number) => Json::Number(number),
            Self::Text(text) => Json::String(text.into_owned()),
            Self::List(items) => items.into_iter().map(Self::into_json).collect(),
            Self::Map(entries) => Json::Object(
                entries
                    .into_iter()
                    .map(|(key, value)| (key.into_owned(), value.into_json()))
                    .collect(),
            ),
        }
    }
}

impl<'j> From<&'j Json> for Printed<'j> {
    fn from(json: &'j Json) -> Self {
        match json {
            Json::Null => Self::Null,
            Json::Bool(flag) => Self::Bool(*flag),
            Json::Number(number) => Self::Number(number.clone()),
            Json::String(text) => Self::from(text.as_str()),
            Json::Array(items) => items.iter().map(Self::from).collect(),
            Json::Object(entries) => Self::Map(
                entries
                    .iter()
                    .map(|(key, value)| (Cow::from(key.as_str()), Self::from(value)))
                    .collect(),
            ),
        }
    }
}

impl<'d> From<&'d str> for Printed<'d> {
    fn from(text: &'d str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

impl From<String> for Printed<'_> {
    fn from(text: String) -> Self {
        Self::Text(Cow::Owned(text))
    }
}

impl FromIterator<Self> for Printed<'_> {
    fn from_iter<I: IntoIterator<Item = Self>>(items: I) -> Self {
        Self::List(items.into_iter().collect())
    }
}

impl Serialize for Printed<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(flag) => serializer.serialize_bool(*flag),
            Self::Number(number) => number.serialize(serializer),
            Self::Text(text) => serializer.serialize_str(text),
            Self::List(items) => serializer.collect_seq(items),
            Self::Map(entries) => {
                let mut map = serializer.serialize_map(Some(entries.len()))?;
                for (key, value) in entries {
                    map.serialize_entry(key, value)?;
                }
                map.end()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn is_the_same_in_every_form() {
        let value = json!({"b": [1, -2, 1.5, null, true], "a": {"text": "$x", "": []}});
        let printed = Printed::from(&value);
        assert_eq!(serde_json::to_string(&printed).unwrap(), value.to_string());
        assert_eq!(printed.into_json(), value);
    }
}
