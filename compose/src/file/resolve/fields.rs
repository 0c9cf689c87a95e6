//! Reads the keys of one mapping.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use crate::file::node::{Entry, Map, Node, Value};
use crate::file::report::Report;
use crate::file::schema::mark;
use crate::file::source::Span;
use crate::file::units::Nanoseconds;

/// The keys of one mapping, and where to say what is wrong with them.
pub(super) struct Fields<'n, 'r> {
    pub(super) map: Option<&'n Map>,
    /// A bit for the mark of each key that there is: most keys that are asked for are not there.
    present: u64,
    pub(super) report: &'r mut Report,
}

/// What a text should be, for the message if it is not.
#[derive(Debug, Clone, Copy)]
pub(super) struct What {
    /// With an article.
    pub(super) name: &'static str,
    /// What to write instead.
    pub(super) help: &'static str,
}

impl<'n, 'r> Fields<'n, 'r> {
    pub(super) fn new(report: &'r mut Report, node: Option<&'n Node>) -> Self {
        let map = node.and_then(Node::as_map);
        let keys = map.into_iter().flat_map(Map::keys);
        let present = keys.fold(0, |present, key| present | 1 << mark(key));
        Self { map, present, report }
    }

    pub(super) fn get(&self, key: &str) -> Option<&'n Node> {
        if self.present & 1 << mark(key) == 0 {
            return None;
        }
        self.map?.get(key).filter(|node| !node.is_null())
    }

    /// The keys of the mapping `key`.
    pub(super) fn inner(&mut self, key: &str) -> Fields<'n, '_> {
        Fields::new(self.report, self.get(key))
    }

    pub(super) fn text(&self, key: &str) -> Option<String> {
        let text = self.get(key).and_then(Node::as_str);
        text.filter(|text| !text.is_empty()).map(str::to_owned)
    }

    pub(super) fn path(&self, key: &str) -> Option<PathBuf> {
        self.text(key).map(PathBuf::from)
    }

    pub(super) fn flag(&self, key: &str) -> bool {
        self.get(key).and_then(Node::as_bool).unwrap_or(false)
    }

    pub(super) fn optional_flag(&self, key: &str) -> Option<bool> {
        self.get(key).and_then(Node::as_bool)
    }

    /// An integer that fits into `T`.
    pub(super) fn integer<T: TryFrom<i128>>(&mut self, key: &str) -> Option<T> {
        let node = self.get(key)?;
        let number = node.as_int()?;
        let fits = T::try_from(number).ok();
        if fits.is_none() {
            self.refuse(
                node.span,
                format!("`{key}` cannot be {number}"),
                "it is too small or too large",
            );
        }
        fits
    }

    /// A number in thousand millionths.
    pub(super) fn nano(&mut self, key: &str) -> Option<u64> {
        let node = self.get(key)?;
        #[expect(clippy::cast_precision_loss, reason = "numbers of CPUs are small")]
        let number = match node.value {
            Value::Int(number) => number.get() as f64,
            Value::Float(number) => number,
            _ => return None,
        };
        if !(0.0..=1e6).contains(&number) {
            self.refuse(
                node.span,
                format!("`{key}` cannot be {number}"),
                "it is too small or too large",
            );
            return None;
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "the range was checked"
        )]
        let nano = (number * 1e9).round() as u64;
        Some(nano).filter(|nano| *nano > 0)
    }

    pub(super) fn duration(&self, key: &str) -> Option<Duration> {
        let text = self.get(key)?.as_str()?;
        Nanoseconds::parse(text).ok().map(Nanoseconds::duration)
    }

    /// Text that a type understands.
    pub(super) fn parsed<T: FromStr>(&mut self, key: &str, what: What) -> Option<T> {
        let node = self.get(key)?;
        self.parse(node, what)
    }

    /// Reads `node` as `T`, or says what it should be.
    pub(super) fn parse<T: FromStr>(&mut self, node: &Node, what: What) -> Option<T> {
        let text = node.as_str().filter(|text| !text.is_empty())?;
        let parsed = text.parse().ok();
        if parsed.is_none() && !self.report.has_error_within(node.span) {
            let What { name, help } = what;
            self.report.error(node.span, format!("`{text}` is not {name}")).help(help);
        }
        parsed
    }

    pub(super) fn refuse(&mut self, span: Span, message: String, help: &str) {
        self.report.error(span, message).help(help);
    }

    pub(super) fn items(&self, key: &str) -> &'n [Node] {
        self.get(key).map(Node::items).unwrap_or_default()
    }

    pub(super) fn texts(&self, key: &str) -> Vec<String> {
        self.items(key).iter().filter_map(Node::as_str).map(str::to_owned).collect()
    }

    /// A list of things that a type understands.
    pub(super) fn parsed_list<T: FromStr>(&mut self, key: &str, what: What) -> Vec<T> {
        self.items(key).iter().filter_map(|node| self.parse(node, what)).collect()
    }

    pub(super) fn entries(
        &self,
        key: &str,
    ) -> impl Iterator<Item = (&'n str, &'n Entry)> + use<'n> {
        let map = self.get(key).and_then(Node::as_map);
        map.into_iter().flat_map(Map::iter).map(|(key, entry)| (&**key, entry))
    }

    /// A mapping of text; keys without value have the empty text.
    pub(super) fn pairs(&self, key: &str) -> BTreeMap<String, String> {
        self.entries(key)
            .map(|(key, entry)| {
                (key.to_owned(), entry.node.as_str().unwrap_or_default().to_owned())
            })
            .collect()
    }

    /// A mapping of text in which keys may have no value.
    pub(super) fn optional_pairs(&self, key: &str) -> BTreeMap<String, Option<String>> {
        self.entries(key)
            .map(|(key, entry)| (key.to_owned(), entry.node.as_str().map(str::to_owned)))
            .collect()
    }

    /// A command: nothing, or words.
    pub(super) fn command(&self, key: &str) -> Option<Vec<String>> {
        self.get(key).map(|_| self.texts(key))
    }
}
