//! A compose file as a tree in which everything knows where it was written.

use std::collections::HashMap;
use std::sync::Arc;

use super::source::Span;

/// A value and where it was written.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) value: Value,
    pub(crate) span: Span,
    pub(crate) tag: Tag,
}

/// What a node is, by the scalar rules of the YAML library that docker compose uses.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Int(Integer),
    Float(f64),
    Text(Arc<str>),
    /// A date, which no attribute of a compose file may be.
    Time(Arc<str>),
    List(Vec<Node>),
    Map(Map),
}

/// A whole number. Every node has room for one: with the alignment that it has by itself, nodes were a third larger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(Rust, packed(8))]
pub(crate) struct Integer(i128);

impl Integer {
    pub(crate) const fn get(self) -> i128 {
        self.0
    }
}

/// What a node does to the value that it is merged over.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Tag {
    /// Merges with it.
    #[default]
    None,
    /// `!reset`: takes it away.
    Reset,
    /// `!override`: stands in its place.
    Override,
}

/// A mapping in the order of the file.
///
/// Nearly all mappings of compose files have a handful of keys, which are found fastest by looking
/// at each; only large ones (thousands of services) have an index.
#[derive(Debug, Clone, Default)]
pub(crate) struct Map {
    entries: Vec<(Arc<str>, Entry)>,
    /// The places of the keys, once there are more than [`Map::SMALL`].
    #[expect(clippy::box_collection, reason = "every node has room for a map, few maps are large")]
    index: Option<Box<HashMap<Arc<str>, usize>>>,
}

/// The value of a key, and where the key was written.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) key: Span,
    pub(crate) node: Node,
}

impl Node {
    pub(crate) fn new(value: Value, span: Span) -> Self {
        Self { value, span, tag: Tag::None }
    }

    pub(crate) fn int(number: i128, span: Span) -> Self {
        Self::new(Value::int(number), span)
    }

    pub(crate) fn text(text: impl Into<Arc<str>>, span: Span) -> Self {
        Self::new(Value::Text(text.into()), span)
    }

    pub(crate) fn null(span: Span) -> Self {
        Self::new(Value::Null, span)
    }

    pub(crate) fn map(map: Map, span: Span) -> Self {
        Self::new(Value::Map(map), span)
    }

    pub(crate) fn list(items: Vec<Self>, span: Span) -> Self {
        Self::new(Value::List(items), span)
    }

    /// The node, of which nothing stays here.
    pub(crate) fn take(&mut self) -> Self {
        std::mem::replace(self, Self::null(self.span))
    }

    pub(crate) fn as_str(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn as_bool(&self) -> Option<bool> {
        match self.value {
            Value::Bool(flag) => Some(flag),
            _ => None,
        }
    }

    pub(crate) fn as_int(&self) -> Option<i128> {
        match self.value {
            Value::Int(number) => Some(number.get()),
            _ => None,
        }
    }

    pub(crate) fn as_map(&self) -> Option<&Map> {
        match &self.value {
            Value::Map(map) => Some(map),
            _ => None,
        }
    }

    pub(crate) fn as_map_mut(&mut self) -> Option<&mut Map> {
        match &mut self.value {
            Value::Map(map) => Some(map),
            _ => None,
        }
    }

    /// The items of a list; nothing for everything else.
    pub(crate) fn items(&self) -> &[Self] {
        match &self.value {
            Value::List(items) => items,
            _ => &[],
        }
    }

    /// The items of a list; anything else is one.
    pub(crate) fn one_or_more(&self) -> &[Self] {
        match &self.value {
            Value::List(items) => items,
            _ => std::slice::from_ref(self),
        }
    }

    pub(crate) fn items_mut(&mut self) -> &mut [Self] {
        match &mut self.value {
            Value::List(items) => items,
            _ => &mut [],
        }
    }

    /// The entries of a mapping; nothing for everything else.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (&Arc<str>, &Entry)> {
        self.as_map().into_iter().flat_map(Map::iter)
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Self> {
        self.as_map()?.get(key)
    }

    pub(crate) fn is_null(&self) -> bool {
        matches!(self.value, Value::Null)
    }

    /// What it is, in words.
    pub(crate) fn kind(&self) -> &'static str {
        match self.value {
            Value::Null => "nothing",
            Value::Bool(_) => "a boolean",
            Value::Int(_) | Value::Float(_) => "a number",
            Value::Text(_) => "a string",
            Value::Time(_) => "a date",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
        }
    }

    /// How many nodes it is made of.
    pub(crate) fn count(&self) -> usize {
        1 + match &self.value {
            Value::List(items) => items.iter().map(Self::count).sum(),
            Value::Map(map) => map.iter().map(|(_, entry)| entry.node.count()).sum(),
            _ => 0,
        }
    }
}

impl Value {
    pub(crate) const fn int(number: i128) -> Self {
        Self::Int(Integer(number))
    }
}

impl Map {
    /// Up to this many keys there is no index.
    const SMALL: usize = 24;

    /// An empty mapping with room for `keys`.
    pub(crate) fn with_capacity(keys: usize) -> Self {
        Self { entries: Vec::with_capacity(keys), index: None }
    }

    fn position(&self, key: &str) -> Option<usize> {
        if let Some(index) = &self.index {
            return index.get(key).copied();
        }
        self.entries.iter().position(|(known, _)| &**known == key)
    }

    /// Builds the index anew, or does without.
    fn reindex(&mut self) {
        self.index = (self.entries.len() > Self::SMALL).then(|| {
            let places = self.entries.iter().enumerate();
            Box::new(places.map(|(at, (key, _))| (key.clone(), at)).collect())
        });
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|entry| &entry.node)
    }

    pub(crate) fn get_mut(&mut self, key: &str) -> Option<&mut Node> {
        let at = self.position(key)?;
        self.entries.get_mut(at).map(|(_, entry)| &mut entry.node)
    }

    pub(crate) fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries.get(self.position(key)?).map(|(_, entry)| entry)
    }

    pub(crate) fn contains(&self, key: &str) -> bool {
        self.position(key).is_some()
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Puts `node` at `key`, in the place of what is there.
    pub(crate) fn insert(&mut self, key: impl Into<Arc<str>>, key_span: Span, node: Node) {
        let key = key.into();
        match self.position(&key) {
            Some(at) => self.entries[at].1 = Entry { key: key_span, node },
            None => self.add(key, key_span, node),
        }
    }

    /// Puts `node` at `key`, which is known not to be there.
    pub(crate) fn add(&mut self, key: Arc<str>, key_span: Span, node: Node) {
        let keys = self.entries.len();
        if keys == self.entries.capacity() && keys <= Self::SMALL {
            // Most mappings of a file get one key more, or none: twice the memory would stay empty.
            self.entries.reserve_exact(1 + keys / 4);
        }
        self.entries.push((key.clone(), Entry { key: key_span, node }));
        match &mut self.index {
            Some(index) => {
                index.insert(key, self.entries.len() - 1);
            }
            None if self.entries.len() > Self::SMALL => self.reindex(),
            None => {}
        }
    }

    /// Puts `node` at `key`, with its own place as that of the key.
    pub(crate) fn set(&mut self, key: &str, node: Node) {
        self.insert(key, node.span, node);
    }

    pub(crate) fn remove(&mut self, key: &str) -> Option<Entry> {
        let at = self.position(key)?;
        let (_, entry) = self.entries.remove(at);
        self.reindex();
        Some(entry)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Entry)> {
        self.entries.iter().map(|(key, entry)| (key, entry))
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (&Arc<str>, &mut Entry)> {
        self.entries.iter_mut().map(|(key, entry)| (&*key, entry))
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|(key, _)| &**key)
    }

    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&str, &mut Node) -> bool) {
        self.retain_entries(|key, entry| keep(key, &mut entry.node));
    }

    /// Keeps the entries of which `keep` wants that, as it leaves them.
    pub(crate) fn retain_entries(&mut self, mut keep: impl FnMut(&Arc<str>, &mut Entry) -> bool) {
        let before = self.entries.len();
        self.entries.retain_mut(|(key, entry)| keep(key, entry));
        if self.entries.len() != before {
            self.reindex();
        }
    }

    /// What it has, in no more memory than that needs; it is empty then, and keeps its own.
    pub(crate) fn take_all(&mut self) -> Self {
        Self { entries: self.entries.drain(..).collect(), index: self.index.take() }
    }
}

impl IntoIterator for Map {
    type Item = (Arc<str>, Entry);
    type IntoIter = std::vec::IntoIter<(Arc<str>, Entry)>;

    fn into_iter(self) -> Self::IntoIter {
        self.entries.into_iter()
    }
}

impl Node {
    /// True if both say the same, wherever they were written.
    pub(crate) fn same(&self, other: &Self) -> bool {
        match (&self.value, &other.value) {
            (Value::Null, Value::Null) => true,
            (Value::Bool(a), Value::Bool(b)) => a == b,
            (Value::Int(a), Value::Int(b)) => a == b,
            (Value::Float(a), Value::Float(b)) => a.total_cmp(b).is_eq(),
            (Value::Text(a), Value::Text(b)) | (Value::Time(a), Value::Time(b)) => a == b,
            (Value::List(a), Value::List(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.same(b))
            }
            (Value::Map(a), Value::Map(b)) => {
                a.len() == b.len()
                    && a.iter()
                        .all(|(key, entry)| b.get(key).is_some_and(|other| entry.node.same(other)))
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::report::Report;

    #[test]
    fn nodes_are_small() {
        // Memory that is touched for the first time is what large files take longest for.
        assert!(size_of::<Node>() <= 56 && size_of::<Entry>() <= 72);
    }

    #[test]
    fn large_and_small_mappings_behave_alike() {
        let mut report = Report::default();
        let span = report.sources.add(std::path::Path::new("x"), "", None).start();
        for size in [3, Map::SMALL, Map::SMALL + 1, 200] {
            let mut map = Map::default();
            for number in 0..size {
                map.set(&format!("k{number}"), Node::int(number as i128, span));
            }
            map.set("k1", Node::int(-1, span));
            assert_eq!(map.len(), size);
            assert_eq!(map.get("k1").and_then(Node::as_int), Some(-1));
            assert!(map.remove("k0").is_some() && !map.contains("k0"));
            assert_eq!(map.get("k2").and_then(Node::as_int), Some(2), "{size}");
            map.retain(|key, _| key != "k2");
            assert_eq!((map.len(), map.contains("k2")), (size - 2, false));
            let all = map.take_all();
            assert_eq!((map.len(), map.contains("k1"), all.len()), (0, false, size - 2));
            let map = all;
            assert!(map.contains("k1"));
            assert_eq!(map.keys().next(), Some("k1"));
        }
    }
}
