//! What the filters of lists and of `prune` have in common: labels, times, truth.

use std::str::FromStr;

use jiff::Timestamp;

use crate::logs::when;

/// A label that must be there, or must not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelFilter {
    key: String,
    /// Any, if none is given.
    value: Option<String>,
    wanted: bool,
}

impl LabelFilter {
    /// Reads the two sides of `label=KEY[=VALUE]` and `label!=KEY[=VALUE]`; nothing if it is another filter.
    #[must_use]
    pub fn parse(filter: &str, label: &str) -> Option<Self> {
        let wanted = match filter {
            "label" => true,
            "label!" => false,
            _ => return None,
        };
        let (key, value) = match label.split_once('=') {
            Some((key, value)) => (key, Some(value.to_owned())),
            None => (label, None),
        };
        Some(Self { key: key.to_owned(), value, wanted })
    }

    /// Whether something with these labels passes.
    pub fn keeps<'l>(&self, label: impl Fn(&str) -> Option<&'l String>) -> bool {
        let has = label(&self.key)
            .is_some_and(|found| self.value.as_ref().is_none_or(|value| value == found));
        has == self.wanted
    }
}

/// A word for yes or no.
#[must_use]
pub fn truth(word: &str) -> Option<bool> {
    match word {
        "true" | "1" => Some(true),
        "false" | "0" => Some(false),
        _ => None,
    }
}

/// What `image prune` and `system prune` are asked beside what goes.
#[derive(Debug, clap::Args)]
pub struct PruneFlags {
    /// Only what is older, `until=TIME`, or has a label, `label=KEY[=VALUE]`, or has it not, `label!=…`
    #[arg(long, value_name = "KEY=VALUE")]
    pub filter: Vec<PruneFilter>,
    /// Do not ask
    #[arg(long, short)]
    pub force: bool,
}

/// One `--filter` of `image prune` and `system prune`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PruneFilter {
    /// Only what is older.
    Until(Timestamp),
    /// Only what has, or has not, this label.
    Label(LabelFilter),
}

impl FromStr for PruneFilter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (key, value) = text.split_once('=').unwrap_or((text, ""));
        if let Some(label) = LabelFilter::parse(key, value) {
            return Ok(Self::Label(label));
        }
        match key {
            "until" => when::parse(value, Timestamp::now())
                .map(Self::Until)
                .map_err(|error| error.to_string()),
            _ => Err("there are until=TIME, label=KEY[=VALUE], label!=KEY[=VALUE]".to_owned()),
        }
    }
}

impl PruneFilter {
    /// Whether something that was made then, and has these labels, goes. What does not say when it was made is old.
    pub fn keeps<'l>(
        &self,
        created: Option<Timestamp>,
        label: impl Fn(&str) -> Option<&'l String>,
    ) -> bool {
        match self {
            Self::Until(until) => created.is_none_or(|created| created < *until),
            Self::Label(filter) => filter.keeps(label),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn labels_and_times_decide_what_goes() {
        let labels = BTreeMap::from([("a".to_owned(), "b".to_owned())]);
        let made: Timestamp = "2026-01-02T00:00:00Z".parse().unwrap();
        for (text, keeps) in [
            ("label=a", true),
            ("label=a=b", true),
            ("label=a=c", false),
            ("label!=a", false),
            ("label!=a=c", true),
            ("label!=z", true),
            ("until=2026-01-03T00:00:00Z", true),
            ("until=2026-01-01T00:00:00Z", false),
            ("until=10m", true),
        ] {
            let filter: PruneFilter = text.parse().unwrap();
            assert_eq!(filter.keeps(Some(made), |key| labels.get(key)), keeps, "{text}");
        }
        for text in ["name=x", "until=soon", "label"] {
            assert_eq!(text.parse::<PruneFilter>().is_err(), text != "label", "{text}");
        }
    }
}
