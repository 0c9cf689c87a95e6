//! The variables with which files are filled in.

use std::collections::BTreeMap;
use std::ops::Deref;

use super::source::Span;
use super::trace::Origin;

/// Variables, and where those that stand in a file were written.
#[derive(Debug, Clone, Default)]
pub(crate) struct Environment {
    values: BTreeMap<String, String>,
    places: BTreeMap<String, Span>,
}

impl Deref for Environment {
    type Target = BTreeMap<String, String>;

    fn deref(&self) -> &Self::Target {
        &self.values
    }
}

impl From<BTreeMap<String, String>> for Environment {
    fn from(values: BTreeMap<String, String>) -> Self {
        Self { values, places: BTreeMap::new() }
    }
}

impl Environment {
    /// Sets `name`, which is not written in a file.
    pub(super) fn set(&mut self, name: &str, value: impl Into<String>) {
        self.places.remove(name);
        self.values.insert(name.to_owned(), value.into());
    }

    /// Sets `name` as the file at `place` says.
    pub(super) fn insert(&mut self, name: String, value: String, place: Span) {
        self.places.insert(name.clone(), place);
        self.values.insert(name, value);
    }

    /// Adds the variables of `other` that are not there yet.
    pub(super) fn complete(&mut self, other: Self) {
        for (name, value) in other.values {
            if self.values.contains_key(&name) {
                continue;
            }
            if let Some(place) = other.places.get(&name) {
                self.places.insert(name.clone(), *place);
            }
            self.values.insert(name, value);
        }
    }

    /// The variables with the places at which they were written.
    pub(super) fn into_placed(self) -> impl Iterator<Item = (String, String, Option<Span>)> {
        let Self { values, mut places } = self;
        values.into_iter().map(move |(name, value)| {
            let place = places.remove(&name);
            (name, value, place)
        })
    }

    /// The variables alone.
    pub(super) fn into_values(self) -> BTreeMap<String, String> {
        self.values
    }

    /// Where the value of `name`, which is set, comes from.
    pub(super) fn origin(&self, name: &str) -> Origin {
        match self.places.get(name) {
            Some(place) => Origin::File(*place),
            None if name == "COMPOSE_PROJECT_NAME" => Origin::Project,
            None => Origin::Environment,
        }
    }
}
